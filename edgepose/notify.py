"""Tells systemd how the daemon is: ready after the first pose, alive while poses are handed over, stopping.

The protocol is sd_notify(3): datagrams to the socket that $NOTIFY_SOCKET names. A timer that pings by itself would be a
lie: whoever hangs in the camera, in the interpreter or in the delivery must look dead.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

_PINGS = 4  # in the time after which systemd gives us up


class Notifier:
    """Says nothing where nobody listens: started by hand, or on another system."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(environ.get("WATCHDOG_USEC", "0")) / 1e6 if ours else 0.0
        self._seen = self._pinged_s = 0.0
        self._ready = False

    def progress(self, count: float) -> None:
        """count: what was handed over so far. To be called often; a ping goes out only when it has grown."""
        if count <= self._seen:
            return
        now = time.monotonic()
        if not self._ready:
            self._ready = True
            self._send("READY=1\nSTATUS=poses are flowing")
        elif now - self._pinged_s < self.watchdog_s / _PINGS:
            return
        self._seen, self._pinged_s = count, now
        if self.watchdog_s:
            self._send("WATCHDOG=1")

    def slow_down(self, period_s: float) -> None:
        """Poses come only so often: systemd must have more patience."""
        if 0 < self.watchdog_s < _PINGS * period_s:
            self.watchdog_s = _PINGS * period_s
            self._send(f"WATCHDOG_USEC={self.watchdog_s * 1e6:.0f}")

    def waiting(self, why: str) -> None:
        """There is nothing to hand over, rightly so."""
        if time.monotonic() - self._pinged_s >= self.watchdog_s / _PINGS:
            self._pinged_s = time.monotonic()
            self._send(f"WATCHDOG=1\nSTATUS={why}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace, whose names begin with a NUL byte.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(address)
            sender.send(text.encode())
