"""Commands that no client should send: arbitrary bytes, and real commands with everything wrong that can be."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import paho.mqtt.client as paho
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgepose.protocol.commands import COMMANDS

ODD = [
    "",
    "\0",
    "\ud800",
    "\udfff x",
    "\ufeff",
    "é",
    "😀",
    "\x85",
    "a\nb",
    "x" * 65,
    "x" * 501,
    "start",
    "note",
    "5",
    "id",
    "rate",
]
NASTY: list[Any] = [
    *ODD,
    *(None, True, False, 0, -1, 1, 5, 16, 65_536, 2**31, 2**63, 2**64, -(2**63) - 1, 10**40),
    *(0.5, -0.0, 5e-324, 1e308, float("nan"), float("inf"), -float("inf")),
    *([], {}, [[]], [{}], [0, 0, 16, 16], [0, 0, 16], [0] * 5, [-1, 0, 16, 16], [0, 0, 16.5, 1e9], ["0", 0, 16, None]),
    *({"id": "1"}, {"": {"": {}}}, [0, 0, 65_535, 65_535], [float("nan")] * 4, [2**70] * 4, [[[[[[[[[]]]]]]]]]),
]
TEXT = st.sampled_from(ODD) | st.text(max_size=20)
NAMES = st.sampled_from([*COMMANDS, *COMMANDS, "fly", "", "PING", "x" * 1000, "é", "ping "]) | st.text(
    "ab\0é+#", max_size=9
)
KEYS = st.sampled_from(["id", "rate_hz", "min_score", "region", "phase", "text", "v", "ID", *ODD])
VALUES = st.sampled_from(NASTY) | st.floats() | st.integers() | TEXT
FIELDS = st.lists(st.tuples(KEYS, VALUES), max_size=4)
"""Lists of pairs, because a key may come twice."""
TOPICS = [
    *("", "answers/here", "é", "+", "#", "a/+", "$SYS/x", "\0", "a\nb", "\ufeff", "\ud800", "/" * 300, "x" * 60_000),
    *(
        "edgepose/cage-07/command/ping",
        "edgepose/cage-08/command/restart",
        "edgepose/cage-07/pose",
        "edgepose/a/reply/b",
    ),
]


@st.composite
def as_json(draw: st.DrawFn) -> bytes:
    """JSON with NaN, lone surrogates, keys that come twice, any number of brackets."""
    pairs = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in draw(FIELDS)]
    text = "{" + ", ".join(pairs) + "}"
    deep = draw(st.sampled_from(["", "", "", "[", '{"a":', "[{"])) * draw(st.integers(1, 2000))
    return (draw(st.sampled_from(["", " ", "\n", "\ufeff"])) + text.replace("null", deep or "null")).encode(
        errors="surrogatepass" if draw(st.booleans()) else "replace"
    )


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid command with some bytes changed, removed or added."""
    valid = [
        {},
        {},
        {"id": "a1"},
        {"rate_hz": 5.5, "min_score": 0.5, "region": [1, 2, 30, 40]},
        {"phase": "stop", "text": "é"},
    ]
    data = bytearray(msgspec.json.encode(draw(st.sampled_from(valid))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


LARGE = st.tuples(st.binary(min_size=1, max_size=4), st.integers(1000, 3000)).map(lambda pair: pair[0] * pair[1])
PAYLOADS = st.binary(max_size=64) | as_json() | damaged() | LARGE


@st.composite
def messages(draw: st.DrawFn, payloads: st.SearchStrategy[bytes]) -> paho.MQTTMessage:
    name, flags = draw(NAMES).encode(errors="replace"), draw(st.integers(0, 31))
    message = paho.MQTTMessage(mid=1, topic=b"edgepose/cage-07/command/" + name)
    message.payload = draw(payloads)
    message.retain, message.dup, message.qos = flags & 7 == 7, bool(flags & 1), flags >> 1 & 1
    if flags & 16:
        message.properties = Properties(PacketTypes.PUBLISH)
        message.properties.ResponseTopic = draw(st.sampled_from(TOPICS) | TEXT)
        if flags & 8:
            message.properties.CorrelationData = bytes(range(flags))
    return message
