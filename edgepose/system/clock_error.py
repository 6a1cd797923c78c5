"""Reads how far the wall clock may be off, as the time service of this computer says: `clock_error_us` of a pose.

The bound is the root synchronization distance of RFC 5905 (appendix A.5.5.2), which is the largest error from all
causes, with the offset that is still to be corrected:

    |offset| + (root delay + delay) / 2 + root dispersion + dispersion + jitter + 15 ppm * age

`delay` is the round trip to the server, and `age` is the time since its last answer; the other root terms are the
server's own. It is assumed that the server at the root is right. systemd-timesyncd gives the server's last answer as
the property NTPMessage (org.freedesktop.timesync1(5)). chrony's root delay and root dispersion contain all but the
offset; `clock_error` in chronyc(1), under `tracking`, is the same sum. Other time services, such as ptp4l, are not
asked: the error is then unknown.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import threading
import time
from dataclasses import dataclass

import msgspec

_MANAGER = ("org.freedesktop.timesync1", "/org/freedesktop/timesync1")
_PROPERTY = ("org.freedesktop.DBus.Properties", "Get", "ss", "org.freedesktop.timesync1.Manager", "NTPMessage")
# A timesyncd that somebody has stopped must not be started by our question.
_BUSCTL = ("busctl", "--json=short", "--auto-start=no", "--timeout=5", "call", *_MANAGER, *_PROPERTY)
_CHRONYC = ("chronyc", "-n", "-c", "tracking")  # -n: the name of the server is not looked up
_DRIFT_US_PER_S = 15.0  # PHI of RFC 5905: the frequency tolerance of a clock that a time service has disciplined
_MOST_US = 16e6  # MAXDISP of RFC 5905: a clock with a larger error is not synchronised
_STEP_US = 400_000  # NTP_MAX_ADJUST of systemd: timesyncd corrects a larger offset at once, a smaller one slowly
_NOT_SYNCHRONISED = 3  # of the two leap bits
_CHRONY_SYNCHRONISED = {"Normal", "Insert second", "Delete second"}
_CHRONY_LOCAL = "7F7F0101"  # chronyd serves its own clock, without any source


@dataclass(frozen=True, slots=True)
class ClockErrorTiming:
    """Seconds.

    Attributes:
        ask_s: time between two questions.
        answer_s: a program that has not answered by then is ended.
        stale_s: an answer that is older is no longer used. By then three questions have remained without an answer.
    """

    ask_s: float = 30.0
    answer_s: float = 10.0
    stale_s: float = 100.0


class ClockErrorReader:
    """Asks the time service regularly, in a thread of its own, because an answer takes longer than a pose."""

    def __init__(self, timing: ClockErrorTiming = ClockErrorTiming()) -> None:
        self._timing, self._closing = timing, threading.Event()
        self._last = math.inf, -math.inf  # bound in microseconds, and when it was given, monotonic clock in seconds
        threading.Thread(target=self._run, name="clock_error", daemon=True).start()

    def now_us(self) -> int | None:
        """Returns the bound of the wall clock's error in microseconds, or None where it is not known."""
        bound_us, answered_s = self._last
        age_s = time.monotonic() - answered_s
        return _known(bound_us + _DRIFT_US_PER_S * age_s) if age_s <= self._timing.stale_s else None

    def close(self) -> None:
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            bound_us = _ask(self._timing.answer_s)
            if bound_us is not None:
                self._last = bound_us, time.monotonic()
            self._closing.wait(self._timing.ask_s)


def ask_clock_error_us(timing: ClockErrorTiming = ClockErrorTiming()) -> int | None:
    """Asks once. Returns the bound of the wall clock's error in microseconds, or None where it is not known."""
    bound_us = _ask(timing.answer_s)
    return None if bound_us is None else _known(bound_us)


def timesyncd_bound_us(answer: bytes, now_us: int) -> float | None:
    """Computes the bound from what busctl prints.

    Args:
        answer: the property NTPMessage as JSON.
        now_us: wall clock, epoch microseconds.

    Returns:
        Microseconds, infinite where the clock is not synchronised, or None where the answer is of another form.
    """
    try:
        return _bound_us(msgspec.json.decode(answer, type=_Reply).data[0].data, now_us)
    except (ValueError, ArithmeticError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def _bound_us(ntp: _NtpMessage, now_us: int) -> float:
    offset_us = ((ntp.receive_us - ntp.origin_us) + (ntp.transmit_us - ntp.destination_us)) / 2
    delay_us = (ntp.destination_us - ntp.origin_us) - (ntp.transmit_us - ntp.receive_us)
    age_us: float = now_us - ntp.destination_us
    if abs(offset_us) >= _STEP_US and not ntp.ignored:  # timestamps from before the step
        offset_us, age_us = 0.0, age_us - offset_us
    if ntp.packets == 0 or ntp.leap == _NOT_SYNCHRONISED or ntp.precision > 0 or age_us < 0:
        return math.inf
    root_us = (ntp.root_delay_us + max(delay_us, 0)) / 2 + ntp.root_dispersion_us
    return abs(offset_us) + root_us + 2.0**ntp.precision * 1e6 + ntp.jitter_us + _DRIFT_US_PER_S * age_us / 1e6


def chrony_bound_us(answer: bytes) -> float | None:
    """Computes the bound from what `chronyc -c tracking` prints. Returns the same as `timesyncd_bound_us`."""
    fields = answer.decode(errors="replace").strip().split(",")
    try:
        reference, offset_s, delay_s, dispersion_s = fields[0], *(float(fields[column]) for column in (4, 10, 11))
        synchronised = fields[13] in _CHRONY_SYNCHRONISED and reference != _CHRONY_LOCAL
    except (ValueError, IndexError):
        return None
    return (abs(offset_s) + delay_s / 2 + dispersion_s) * 1e6 if synchronised else math.inf


class _NtpMessage(msgspec.Struct, array_like=True, frozen=True):
    """The property NTPMessage of timesyncd, `(uuuuittayttttbtt)`: its server's last answer.

    `origin_us` and `destination_us` are of this computer's clock, in epoch microseconds: when the question left, and
    when the answer came. `receive_us` and `transmit_us` are of the server's clock.
    """

    leap: int
    version: int
    mode: int
    stratum: int
    precision: int  # of the server's clock: the exponent of 2, in seconds
    root_delay_us: int
    root_dispersion_us: int
    reference: list[int]
    origin_us: int
    receive_us: int
    transmit_us: int
    destination_us: int
    ignored: bool  # as a spike: the clock was not corrected by it
    packets: int
    jitter_us: int


class _Variant(msgspec.Struct, frozen=True):
    data: _NtpMessage


class _Reply(msgspec.Struct, frozen=True):
    data: tuple[_Variant]


def _ask(answer_s: float) -> float | None:
    """Returns the bound of the first time service that answers, in microseconds, or None where none does."""
    answer = _output(_BUSCTL, answer_s)
    bound_us = None if answer is None else timesyncd_bound_us(answer, time.time_ns() // 1000)
    if bound_us is None and (answer := _output(_CHRONYC, answer_s)) is not None:
        bound_us = chrony_bound_us(answer)
    return bound_us


def _output(command: tuple[str, ...], answer_s: float) -> bytes | None:
    """Returns what the program prints, or None where it does not exist, fails or hangs."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        environ = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(command, capture_output=True, check=False, timeout=answer_s, env=environ)
        return done.stdout if done.returncode == 0 else None
    return None


def _known(bound_us: float) -> int | None:
    return math.ceil(bound_us) if 0 <= bound_us <= _MOST_US else None
