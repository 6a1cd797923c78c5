"""Ends a command when a signal asks for it."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def stop_on_signals(*, once: bool) -> threading.Event:
    """Returns an event that SIGTERM, Ctrl-C and a closed terminal set; with `nohup` a closed terminal does not.

    once: True lets a second signal end the process at once, so that nothing can make it hang. False ignores it, for a
        command that must end processes of its own first.
    """
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        if once:
            for number, handler in before.items():
                signal.signal(number, handler)

    for number in before:
        signal.signal(number, on_signal)
    return stop
