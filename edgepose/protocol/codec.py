"""Encodes and decodes messages, and makes the animals of a message from a pose."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from edgepose.protocol.messages import AnimalMessage, Keypoint, Message
from edgepose.types import F64, Pose, Skeleton

M = TypeVar("M")

ONLY_ANIMAL = "1"  # the id of the animal where a model knows only one


def encode(message: Message) -> bytes:
    """Returns the message as JSON."""
    return msgspec.json.encode(message)


def decode(payload: bytes, kind: type[M]) -> M:
    """Reads JSON. Raises msgspec.DecodeError or UnicodeDecodeError for what is not JSON, or does not fit the schema."""
    found: M = _decoder(kind)(payload)  # type: ignore[arg-type]  # a class is hashable
    return found


@functools.cache
def _decoder(kind: type[Any]) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(kind).decode


def as_json(payload: bytes) -> bytes:
    """Returns a payload as JSON, also one that an earlier version has written as MessagePack.

    The maps of MessagePack begin with a byte beyond ASCII, and JSON never does. What is neither is returned as it is.
    """
    if payload[:1] < b"\x80":
        return payload
    try:
        return msgspec.json.encode(msgspec.msgpack.decode(payload, type=dict[str, Any]))
    except (ValueError, TypeError, ArithmeticError, RecursionError):  # msgspec's own errors are ValueErrors
        return payload


class _Named(msgspec.Struct):
    device: Annotated[str, Meta(pattern=r"^[^/+#\x00]+$")]


def device_of(payload: bytes) -> str:
    """Returns the device that a JSON payload is of; empty where there is none, or none that can be part of a topic."""
    try:
        return decode(payload, _Named).device
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def animals_of(pose: Pose, keypoints: dict[str, Keypoint], min_animal_score: float = 0.0) -> list[AnimalMessage]:
    """Returns the animals of a message, for a model of one animal: none where its score is below `min_animal_score`.

    pose: all keypoints of the animal. keypoints: those of the message, as `keypoints_of` returns them.
    """
    score = float(pose.score.mean())
    if score < min_animal_score:
        return []
    return [AnimalMessage(id=ONLY_ANIMAL, id_score=1.0, score=round(score, 3), keypoints=keypoints)]


def keypoints_of(
    pose: Pose, skeleton: Skeleton, min_score: float = 0.0, xy_mm: F64 | None = None
) -> dict[str, Keypoint]:
    """Returns the keypoints of a message, by name, without those whose score is below `min_score`.

    They are rounded to 0.01 px, 0.001 mm and 0.001 of the score: ten times finer than the best human label, and short.

    Args:
        pose: the keypoints in the order of the skeleton.
        skeleton: the names of the keypoints.
        min_score: between 0 and 1.
        xy_mm: (K, 2) positions on the ground, NaN where they are unknown; None where there is no geometry.
    """
    found = {
        name: Keypoint(round(x, 2), round(y, 2), round(score, 3))
        for name, (x, y), score in zip(skeleton.keypoints, pose.xy_px.tolist(), pose.score.tolist(), strict=True)
        if score >= min_score
    }
    if xy_mm is not None:
        for name, (x_mm, y_mm) in zip(skeleton.keypoints, xy_mm.tolist(), strict=True):
            if name in found and math.isfinite(x_mm + y_mm):
                found[name] = msgspec.structs.replace(found[name], x_mm=round(x_mm, 3), y_mm=round(y_mm, 3))
    return found
