"""Reports the state of the daemon to systemd: ready after the first pose, alive while poses are handed over, stopping.

The protocol is sd_notify(3): datagrams to the socket that $NOTIFY_SOCKET names. No timer pings by itself: a daemon that
hangs in the camera, in the interpreter or in the delivery must look dead.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence

_PINGS = 4  # within the time after which systemd kills the daemon
_STATUS_S = 10.0  # between two status lines


class SystemdNotifier:
    """Sends nothing where nobody listens, as on another system, or when the daemon is started by hand.

    Attributes:
        watchdog_s: time without a ping after which systemd kills the daemon, seconds; 0: never.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(environ.get("WATCHDOG_USEC", "0")) / 1e6 if ours else 0.0
        self._seen: tuple[int, ...] = ()
        self._pinged_s = self._status_s = 0.0
        self._ready = False

    def progress(self, poses: int, signs: Sequence[int]) -> None:
        """Reports that the daemon is ready, and later sends a ping when every part has made progress.

        Call it often.

        Args:
            poses: number of poses handed over so far; the daemon is ready with the first one.
            signs: what each part has done so far. Each number must have changed since the last ping.
        """
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

    def allow_slow_frames(self, period_s: float) -> None:
        """Asks systemd to wait longer for a ping where frames come only every `period_s` seconds."""
        if 0 < self.watchdog_s < _PINGS * period_s:
            self.watchdog_s = _PINGS * period_s
            self._send(f"WATCHDOG_USEC={self.watchdog_s * 1e6:.0f}\nEXTEND_TIMEOUT_USEC={self.watchdog_s * 1e6:.0f}")

    def status(self, text: str) -> None:
        """Sets the line that `systemctl status` shows."""
        if self._ready and time.monotonic() - self._status_s >= _STATUS_S:
            self._status_s = time.monotonic()
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
