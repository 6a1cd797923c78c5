"""`edgepose run` with other times than it is shipped with.

    python timed_daemon.py TIMING CONFIG

TIMING is JSON with the fields of `edgepose.daemon.assembly.DaemonTiming`; what it leaves out stays as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from edgepose.cli.run import log_to_stderr
from edgepose.config.loading import read_config
from edgepose.daemon.assembly import Daemon, DaemonTiming
from edgepose.system.exit_status import exit_status
from edgepose.system.signals import stop_on_signals


def run() -> int:
    log_to_stderr()
    timing = msgspec.json.decode(sys.argv[1], type=DaemonTiming)
    Daemon(read_config(Path(sys.argv[2])), stop_on_signals(once=True), timing).run()
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("edgepose", run))
