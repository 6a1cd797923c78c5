"""Signals that ask a command to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def stop_on_signals(*, once: bool) -> threading.Event:
    """An event that SIGTERM, Ctrl-C and a closed terminal set, the last one not where `nohup` has forbidden it.

    once: a second signal ends the process as if this had not been called, so that nothing can make it hang.
    Otherwise it changes nothing, for a command that has processes of its own to clean up after.
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
