"""Poses one by one, as they come, and many in one message, as a backlog goes out."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from edgepose.clock import boot_id
from edgepose.core.messages import TOPICS, BatchMessage, PoseMessage, Wire, decode, encode

BATCH_POSES, BATCH_BYTES = 60, 40_000  # in one message of the backlog


@dataclass(slots=True, eq=False)
class Batch:
    """One MQTT message of the backlog. poses: in it; an event counts as one. id: its row on the disk."""

    leaf: str
    poses: int
    payload: bytes
    id: int | None = None


@dataclass(slots=True, eq=False)
class Item:
    """One message. number: in the RAM tier. accepted_s: monotonic clock. batch: where the backlog has it too."""

    number: int
    leaf: str
    payload: bytes
    accepted_s: float
    batch: Batch | None = None


def pack(items: Sequence[Item], wire: Wire) -> list[tuple[Batch, list[Item]]]:
    """Poses in few messages, marked as replay; whatever else, and what cannot be read, alone."""
    packed: list[tuple[Batch, list[Item]]] = []
    group: list[Item] = []
    size = 0
    for item in items:
        if item.leaf != "pose":
            packed.append((_alone(item, wire), [item]))
            continue
        if group and (len(group) >= BATCH_POSES or size + len(item.payload) > BATCH_BYTES):
            packed.extend(_together(group, wire))
            group, size = [], 0
        group.append(item)
        size += len(item.payload)
    return packed + _together(group, wire)


def _together(items: list[Item], wire: Wire) -> list[tuple[Batch, list[Item]]]:
    poses = []
    for item in items:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):  # another version's, left in the RAM tier
            poses.append(decode(item.payload, PoseMessage))
    if not poses:
        return []
    return [(Batch("poses", len(poses), bundle(poses, wire, replay=True)), items)]


def _alone(item: Item, wire: Wire) -> Batch:
    payload = item.payload
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, KeyError):
        message = decode(payload, TOPICS[item.leaf].payload)
        payload = encode(msgspec.structs.replace(message, replay=True), wire)
    return Batch(item.leaf, 1, payload)


def bundle(poses: Sequence[PoseMessage], wire: Wire, *, replay: bool) -> bytes:
    """The payload of /poses. The poses of a backlog say so themselves too."""
    if replay:
        poses = [msgspec.structs.replace(pose, replay=True) for pose in poses]
    return encode(BatchMessage(device=poses[0].device, boot=boot_id(), replay=replay, poses=list(poses)), wire)
