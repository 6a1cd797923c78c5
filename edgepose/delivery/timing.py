"""Defines how long the delivery waits for what, and how much it keeps in memory."""

from __future__ import annotations

from dataclasses import dataclass

from edgepose.mqtt.connection import CONNECT_S
from edgepose.mqtt.reconnect import ReconnectTiming


@dataclass(frozen=True, slots=True)
class DeliveryTiming:
    """Sets how long the delivery waits, in seconds, and how much it keeps in memory.

    Attributes:
        spill_s: a message that has no acknowledgement after this time is written to the disk.
        group_s: the longest wait for a group of live poses to fill.
        keep_acked_s: acknowledged messages are kept for this time, because a broker that is killed forgets them.
        ack_grain_s: rows that were acknowledged within this time are remembered as one range.
        spool_hz: poses per second that are read from the spool at most. Subscribers get live poses through the same
            queue: at 15,000 a loaded machine delayed them by 235 ms at the 95th percentile, at 8,000 by 62 to 134.
        tick_s: the disk's thread works at least so often.
        reopen_s: time between attempts to use a disk that failed.
        retry_refused_s: refused messages are tried again after this time.
        retry_refused_soonest_s: time between two trials at least, whatever the occasion.
        health_s: period of /health.
        ack_timeout_s: a broker that answers and acknowledges nothing is left after this time: only a new connection
            mends that.
        doubt_s: how long the broker may take to say since when it runs.
        last_word_s: how long the last messages may take at the end.
        drain_s: how long the end waits for acknowledgements, and for the disk.
        connect_s: how long the network, TLS and the broker's answer may take, each.
        memory_messages: number of messages in memory at most, while the disk cannot be used: 11 minutes at 30 poses
            per second, about 15 MB.
        reconnect: when to try again, and what a broken connection means.
    """

    spill_s: float = 0.5
    group_s: float = 2.0
    keep_acked_s: float = 60.0
    ack_grain_s: float = 1.0
    spool_hz: float = 8000.0
    tick_s: float = 0.1
    reopen_s: float = 10.0
    retry_refused_s: float = 300.0
    retry_refused_soonest_s: float = 10.0
    health_s: float = 30.0
    ack_timeout_s: float = 10.0
    doubt_s: float = 2.0
    last_word_s: float = 2.0
    drain_s: float = 5.0
    connect_s: float = CONNECT_S
    memory_messages: int = 20_000
    reconnect: ReconnectTiming = ReconnectTiming()
