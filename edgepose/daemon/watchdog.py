"""Tells systemd how the daemon is: ready after the first pose, alive while poses are handed over, stopping.

The protocol is sd_notify(3): datagrams to the socket that $NOTIFY_SOCKET names. A timer that pings by itself would be a
lie: whoever hangs in the camera, in the interpreter, in the hand-over or in the delivery must look dead.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence

_PINGS = 4  # in the time after which systemd gives us up
_STATUS_S = 10.0  # between two status lines


class Notifier:
    """Says nothing where nobody listens: started by hand, or on another system. watchdog_s: after so long without a
    ping systemd kills us; 0: never."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(environ.get("WATCHDOG_USEC", "0")) / 1e6 if ours else 0.0
        self._seen: tuple[int, ...] = ()
        self._pinged_s = self._told_s = 0.0
        self._ready = False

    def progress(self, poses: int, signs: Sequence[int]) -> None:
        """poses: handed over so far; the first one tells that we are ready. signs: what each part of the daemon has
        done so far. To be called often; a ping goes out only when every part has done something since the last one."""
        if not self._ready:
            if not poses:
                return
            self._ready = True
            self._send("READY=1\nSTATUS=poses are flowing")
        elif time.monotonic() - self._pinged_s < self.watchdog_s / _PINGS:
            return
        if any(now == before for now, before in zip(signs, self._seen, strict=False)):
            return
        self._seen, self._pinged_s = tuple(signs), time.monotonic()
        if self.watchdog_s:
            self._send("WATCHDOG=1")

    def be_patient(self, period_s: float) -> None:
        """Frames come only so often: systemd must wait longer for the next ping."""
        if 0 < self.watchdog_s < _PINGS * period_s:
            self.watchdog_s = _PINGS * period_s
            self._send(f"WATCHDOG_USEC={self.watchdog_s * 1e6:.0f}\nEXTEND_TIMEOUT_USEC={self.watchdog_s * 1e6:.0f}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if self._ready and time.monotonic() - self._told_s >= _STATUS_S:
            self._told_s = time.monotonic()
            self._send(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace, whose names begin with a NUL byte.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # a manager that does not read must not hold poses up
            sender.connect(address)
            sender.send(text.encode())
