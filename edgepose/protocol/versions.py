"""Reads messages of every version: from older devices, queues of brokers, spools and journals.

To make version 3, change `VERSION` and `Message.v` in `messages`, and add to `_CONVERTERS` what makes a message of
version 3 from one of version 2. Messages of a newer version cannot be read, but whoever gets one can keep it for a
later edgepose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from edgepose.errors import EdgeposeError
from edgepose.protocol.codec import ONLY_ANIMAL, as_json, decode
from edgepose.protocol.messages import VERSION, Message

M = TypeVar("M", bound=Message)

_DAMAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class UnreadableMessageError(EdgeposeError):
    """A message is damaged, or does not fit its schema."""


class NewerVersionError(UnreadableMessageError):
    """A message has a version that only a later edgepose can read. version: its number."""

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version}, and this edgepose reads messages up to version {VERSION}")
        self.version = version


class _Version(msgspec.Struct):
    v: Annotated[int, Meta(ge=1, le=2**31 - 1)]


def read_message(payload: bytes, kind: type[M]) -> M:
    """Reads a message of any version up to ours, in JSON or in the MessagePack of version 1.

    Raises NewerVersionError, and UnreadableMessageError for everything else that cannot be read.
    """
    try:
        return decode(payload, kind)  # nearly all are of our version
    except _DAMAGE:
        pass
    try:
        payload = upgraded(payload)
        version = decode(payload, _Version).v
        if version > VERSION:
            raise NewerVersionError(version)
        return decode(payload, kind)
    except _DAMAGE as exc:
        raise UnreadableMessageError(str(exc)) from None


def upgraded(payload: bytes) -> bytes:
    """Returns a message of an older version as JSON of our version, and one of ours or of a newer version as it is.

    Raises UnreadableMessageError where the payload is no message.
    """
    payload = as_json(payload)
    try:
        version = decode(payload, _Version).v
        if version >= VERSION:
            return payload
        message = decode(payload, dict[str, Any])
        for older in range(version, VERSION):
            message = _CONVERTERS[older](message)
        return msgspec.json.encode(message)
    except (*_DAMAGE, AttributeError, KeyError, TypeError, ArithmeticError) as exc:  # a field is not what it should be
        raise UnreadableMessageError(str(exc)) from None


def _from_version_1(message: dict[str, Any]) -> dict[str, Any]:
    """Version 2 has a list of animals in place of the keypoints of one, and more about the time of a pose."""
    changed: dict[str, Any] = {**message, "v": 2}
    if isinstance(message.get("poses"), list):  # in /health it is a number
        changed["poses"] = [_from_version_1(pose) for pose in message["poses"]]
    if "keypoints" in message:
        keypoints = changed.pop("keypoints")
        scores = [point["score"] for point in keypoints.values()]
        score = round(sum(scores) / len(scores), 3) if scores else 0.0
        animal = {"id": ONLY_ANIMAL, "id_score": 1.0, "score": score, "keypoints": keypoints}
        changed |= {"mono_us": None, "clock_error_us": None, "animals": [animal]}
    return changed


_CONVERTERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_version_1}
