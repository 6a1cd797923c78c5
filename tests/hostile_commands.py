"""Commands as nobody should send them: arbitrary bytes, and the real ones with everything wrong that can be."""

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
"""Pairs, so that a key may come twice."""
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
    """NaN, lone surrogates, keys that come twice, any number of brackets."""
    pairs = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in draw(FIELDS)]
    text = "{" + ", ".join(pairs) + "}"
    deep = draw(st.sampled_from(["", "", "", "[", '{"a":', "[{"])) * draw(st.integers(1, 2000))
    return (draw(st.sampled_from(["", " ", "\n", "\ufeff"])) + text.replace("null", deep or "null")).encode(
        errors="surrogatepass" if draw(st.booleans()) else "replace"
    )


@st.composite
def as_messagepack(draw: st.DrawFn) -> bytes:
    """Also with bytes, extensions and keys of any kind; a map's head says how many pairs follow, not always rightly."""
    pairs = draw(FIELDS)
    body = b"".join(_packed(key) + _packed(value) for key, value in pairs)
    wrong = draw(st.sampled_from([0, 0, 0, 1, 2]))
    more = draw(
        st.sampled_from([b"", b"", b"\x00", b"\xc1", b"\xc0\xc0", b"\xa2id\xc4\x01x", b"\x91\x01\x02", b"\x80\x80"])
    )
    times = b"\xa2id\xd6\xff\xff\xff\xff\xff"  # a moment where text should be
    return bytes([0x80 | len(pairs) + wrong]) + body + (times if wrong == 1 else more)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid command with a few bytes changed, cut off or added."""
    valid = [{"id": "a1"}, {"rate_hz": 5.5, "min_score": 0.5, "region": [1, 2, 30, 40]}, {"phase": "stop", "text": "é"}]
    encode = draw(st.sampled_from([msgspec.json.encode, msgspec.msgpack.encode]))
    data = bytearray(encode(draw(st.sampled_from(valid))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


LARGE = st.tuples(st.binary(min_size=1, max_size=4), st.integers(1000, 3000)).map(lambda pair: pair[0] * pair[1])
PAYLOADS = st.binary(max_size=64) | as_json() | as_messagepack() | damaged() | LARGE


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


def _packed(value: Any) -> bytes:
    """Integers beyond 64 bits as floats; text with lone surrogates as the bytes it cannot have."""
    if isinstance(value, str):
        data = value.encode(errors="surrogatepass")
        return b"\xda" + len(data).to_bytes(2, "big") + data
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(_packed, value))
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(_packed(key) + _packed(part) for key, part in value.items())
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        value = float(min(max(value, -(10**300)), 10**300))
    return msgspec.msgpack.encode(value)
