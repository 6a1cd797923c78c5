"""`edgepose run` with other times than it is shipped with.

    python timed_daemon.py CONFIG TIMING [BOARD_ROOT]

TIMING is JSON with the fields of `edgepose.daemon.assembly.DaemonTiming`; what it leaves out stays as it is. BOARD_ROOT
is the folder that holds the board's `sys` and `proc`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from edgepose.cli.run import log_to_stderr
from edgepose.config.loading import read_config
from edgepose.daemon.assembly import Daemon, DaemonTiming
from edgepose.daemon.board import ROOT
from edgepose.system.exit_status import exit_status
from edgepose.system.signals import stop_on_signals


def run() -> int:
    log_to_stderr()
    config, timing, *root = sys.argv[1:]
    times = msgspec.json.decode(timing, type=DaemonTiming)
    board_root, stop = Path(*root) if root else ROOT, stop_on_signals(once=True)
    Daemon(read_config(Path(config)), stop, times, board_root, config_file=Path(config)).run()
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("edgepose", run))
