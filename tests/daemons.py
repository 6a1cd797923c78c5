"""The real `edgepose run` in a process of its own, and what it logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brokers import wait_until

TIMED_DAEMON = Path(__file__).parent / "timed_daemon.py"


class Daemon:
    """A daemon in a process of its own.

    Args:
        config: its config file.
        env: more environment variables.
        timing: other times than the usual ones, as `edgepose.daemon.assembly.DaemonTiming` names them.
        board_root: the folder with the board's `sys` and `proc`, where it is not `/`.

    Attributes:
        lines: the lines that it wrote to stderr.
    """

    def __init__(
        self,
        config: Path,
        env: Mapping[str, str] | None = None,
        *,
        timing: Mapping[str, Any] | None = None,
        board_root: Path = Path("/"),
    ) -> None:
        self.lines: list[str] = []
        words = [sys.executable, "-m", "edgepose", "run", "-c", str(config)]
        if timing is not None:
            words = [sys.executable, str(TIMED_DAEMON), str(config), json.dumps(timing), str(board_root)]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.lines) or self._ended(), f"the line {text!r}", 30)

    def warnings(self) -> list[str]:
        return [line for line in self.lines if " WARNING " in line or " ERROR " in line]

    def stop(self) -> str:
        """Ends the daemon as systemd would, and returns its last line."""
        self.process.send_signal(signal.SIGTERM)
        assert self.wait() == 0, self.lines
        return self.lines[-1]

    def wait(self) -> int:
        """Waits for the end of the daemon, and returns its exit status. Then `lines` is complete."""
        status = self.process.wait(60)
        self._reader.join(10)
        assert not any("Traceback" in line for line in self.lines), self.lines
        return status

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(10)

    def _ended(self) -> bool:
        assert self.process.poll() is None, self.lines
        return False

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                if "XNNPACK delegate" not in line:
                    self.lines.append(line.rstrip())
