"""Poses one by one, as they come, and many in one message, as a backlog goes out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from edgepose.protocol.codec import decode, encode
from edgepose.protocol.messages import BatchMessage, Message, PoseMessage
from edgepose.protocol.topics import TOPICS
from edgepose.system.clock import boot_id

BATCH_POSES, BATCH_BYTES = 60, 40_000  # in one message of the backlog


@dataclass(slots=True, eq=False)
class Batch:
    """One MQTT message of the backlog. poses: in it; an event counts as one. rows: its rows on the disk, with the poses
    of each."""

    leaf: str
    poses: int
    payload: bytes
    rows: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Item:
    """One message. number: in the RAM tier. accepted_s: monotonic clock. batch: where the backlog has it too."""

    number: int
    leaf: str
    payload: bytes
    accepted_s: float
    batch: Batch | None = None


def pack(items: Sequence[Item]) -> list[tuple[Batch, list[Item]]]:
    """Poses in few messages, marked as replay; whatever else, and what cannot be read, alone."""
    packed: list[tuple[Batch, list[Item]]] = []
    group: list[Item] = []
    size = 0
    for item in items:
        if item.leaf != "pose":
            packed.append((_alone(item), [item]))
            continue
        if group and (len(group) >= BATCH_POSES or size + len(item.payload) > BATCH_BYTES):
            packed.extend(_together(group))
            group, size = [], 0
        group.append(item)
        size += len(item.payload)
    return packed + _together(group)


def _together(items: list[Item]) -> list[tuple[Batch, list[Item]]]:
    poses = []
    for item in items:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):  # another version's, left in the RAM tier
            poses.append(decode(item.payload, PoseMessage))
    if not poses:
        return []
    return [(Batch("poses", len(poses), bundle(poses, replay=True)), items)]


def _alone(item: Item) -> Batch:
    payload = item.payload
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, KeyError):
        message = decode(payload, TOPICS[item.leaf].payload)
        payload = encode(msgspec.structs.replace(message, replay=True))
    return Batch(item.leaf, 1, payload)


def join(batches: Iterable[Batch]) -> list[Batch]:
    """Neighbours of a backlog together: to a broker a small message is as much work as a large one."""
    groups: list[list[Batch]] = []
    for batch in batches:
        if groups and _fits(groups[-1], batch):
            groups[-1].append(batch)
        else:
            groups.append([batch])
    return [joined for group in groups for joined in _merged(group)]


def _fits(group: list[Batch], batch: Batch) -> bool:
    alike = batch.leaf == group[0].leaf == "poses"
    few = sum(one.poses for one in group) + batch.poses <= BATCH_POSES
    return alike and few and sum(len(one.payload) for one in group) + len(batch.payload) <= BATCH_BYTES


class _Bundle(Message, frozen=True, kw_only=True):
    """A BatchMessage whose poses are not read."""

    replay: bool
    poses: list[msgspec.Raw]


def _merged(group: list[Batch]) -> list[Batch]:
    if len(group) == 1:
        return group
    try:
        parts = [decode(batch.payload, _Bundle) for batch in group]
    except (msgspec.DecodeError, UnicodeDecodeError):  # another version's
        return group
    poses = [pose for part in parts for pose in part.poses]
    whole = _Bundle(device=parts[0].device, boot=boot_id(), replay=True, poses=poses)
    rows = {row: count for batch in group for row, count in batch.rows.items()}
    return [Batch("poses", len(poses), encode(whole), rows)]


def bundle(poses: Sequence[PoseMessage], *, replay: bool) -> bytes:
    """The payload of /poses. The poses of a backlog say so themselves too."""
    if replay:
        poses = [msgspec.structs.replace(pose, replay=True) for pose in poses]
    return encode(BatchMessage(device=poses[0].device, boot=boot_id(), replay=replay, poses=list(poses)))
