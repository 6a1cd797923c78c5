"""Runs the daemon as a child process, as systemd would start it, for the demo."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgepose.mqtt.demo_broker import end


@dataclass(frozen=True, slots=True)
class ChildDaemon:
    """A running daemon.

    Attributes:
        process: its process.
        log: the file that its messages go to.
        started_s: when it was started, on the monotonic clock.
    """

    process: subprocess.Popen[bytes]
    log: Path
    started_s: float

    def last_line(self) -> str:
        """Returns its last message, such as the reason why it has ended."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("edgepose: ") if lines else "it says nothing"


@contextlib.contextmanager
def child_daemon(config: Mapping[str, Any]) -> Iterator[ChildDaemon]:
    """Runs `edgepose run` with this configuration and a spool of its own, and ends it at the end."""
    with tempfile.TemporaryDirectory(prefix="edgepose-demo-") as folder:
        path, log = Path(folder) / "edgepose.yaml", Path(folder) / "edgepose.log"
        spool = {"folder": folder, "ram_folder": f"{folder}/ram"}
        path.write_text(yaml.safe_dump({**config, "spool": spool}), encoding="utf-8")
        command = [sys.executable, "-m", "edgepose", "run", "-c", str(path)]
        with log.open("wb") as output:
            # It gets its own session, so that Ctrl-C reaches only us, and we end the daemon before its broker.
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            yield ChildDaemon(process, log, time.monotonic())
        finally:
            end(process)
