"""Takes reports from every part of the daemon: that something happened, or that something is wrong.

A part gets the reporter in its constructor. `event` is for what happened once (a camera was restarted, a mark was set);
the delivery takes events from here and sends each of them. `alert` is for a trouble that begins and ends; what is wrong
now is in `alerts`, and so in `/health`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from edgepose.system.clock import SyncFlag, wall_us

log = logging.getLogger(__name__)

MOST_EVENTS = 1000  # waiting to be taken; ten minutes of a rule that begins and ends once a second
QUIET_S = 60.0  # a trouble that ends and comes back within this time is not reported anew


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        kind: what, as `protocol.messages.EventMessage` lists it.
        text: in words, for people.
        count: how many, where the kind counts something; else 0.
        seq: sequence number of the first pose that is accepted after it.
        t_us: wall clock when it happened, epoch microseconds.
        synced: whether that clock was synchronised.
    """

    kind: str
    text: str
    count: int
    seq: int
    t_us: int
    synced: bool


class Reporter:
    """Events that wait to be sent, and the alerts of now. Every method may be called by any thread, and none waits.

    Attributes:
        next_seq: sequence number of the next pose; whoever accepts poses keeps it up to date.
        kept: number of events that were kept since the start, whether they have been taken or not.
        dropped: number of events that were lost because `most_events` others were waiting.
    """

    def __init__(self, *, quiet_s: float = QUIET_S, most_events: int = MOST_EVENTS) -> None:
        self.next_seq = 0
        self.kept = self.dropped = 0
        self._quiet_s, self._most_events = quiet_s, most_events
        self._sync = SyncFlag()
        self._events: deque[Event] = deque()
        self._alerts: dict[str, str] = {}
        self._ended_s: dict[str, float] = {}  # monotonic clock of the end of the last trouble, by what it is about
        self._replaced_s: dict[tuple[str, str], float] = {}  # monotonic clock when a text was last in `alerts`
        self._changed = threading.Condition()
        self._closed = False

    def event(self, kind: str, text: str, count: int = 0, *, mono_ns: int | None = None) -> None:
        """Keeps an event until it is taken.

        mono_ns: when it happened, monotonic clock in nanoseconds; None means now.
        """
        text = _sendable(text)
        ago_us = 0 if mono_ns is None else (time.monotonic_ns() - mono_ns) // 1000
        event = Event(kind, text, count, self.next_seq, max(0, wall_us() - ago_us), self._sync.synced())
        with self._changed:
            if len(self._events) >= self._most_events:
                self.dropped += 1
                return
            self._events.append(event)
            self.kept += 1
            self._changed.notify_all()

    def alert(self, about: str, text: str | None, *, event: bool = True) -> bool:
        """Begins a trouble, changes its text, or ends it (None).

        The log has each text once, and an event of kind `alert` says that the trouble began. A trouble or a text that
        returns within `quiet_s` is in `alerts`, but is not reported anew.

        Args:
            about: the subject, such as `broker`. There is one trouble for each subject.
            text: what is wrong and what to do about it; None when nothing is wrong any more.
            event: False where the caller sends more precise events of its own.

        Returns:
            True when the text has been logged now.
        """
        now, text = time.monotonic(), None if text is None else _sendable(text)
        with self._changed:
            before = self._alerts.get(about)
            if before == text:
                return False
            self._replaced_s = {key: at_s for key, at_s in self._replaced_s.items() if now - at_s < self._quiet_s}
            if before is not None:
                self._replaced_s[about, before] = now
            if text is None:
                del self._alerts[about]
                self._ended_s[about] = now
                return False
            self._alerts[about] = text
            new = before is None and now - self._ended_s.get(about, -self._quiet_s) >= self._quiet_s
            to_log = (about, text) not in self._replaced_s
        if to_log:
            log.warning("%s", text)
        if new and event:
            self.event("alert", f"{about}: {text}")
        return to_log

    @property
    def alerts(self) -> Mapping[str, str]:
        """Returns a copy of what is wrong now: a text for each subject."""
        with self._changed:
            return dict(self._alerts)

    def take(self, seconds: float) -> Event | None:
        """Removes the oldest event and returns it.

        Waits so long for one. Returns None when none comes, and after `close` when all have been taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._closed, seconds)
            return self._events.popleft() if self._events else None

    def close(self) -> None:
        """Ends the waiting of `take`, now and from here on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _sendable(text: str) -> str:
    """Replaces what UTF-8 cannot express, such as the bytes of a file's name in another encoding."""
    return text.encode(errors="replace").decode()
