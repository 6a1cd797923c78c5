"""Defines how messages are kept, and how many poses become one MQTT message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from edgepose.protocol.codec import decode, encode
from edgepose.protocol.messages import BatchMessage, Message, PoseMessage
from edgepose.protocol.topics import TOPICS
from edgepose.protocol.versions import UnreadableMessageError, read_message
from edgepose.system.clock import boot_id

BATCH_POSES, BATCH_BYTES = 60, 40_000  # in one message of the spool at most


@dataclass(slots=True, eq=False)
class Batch:
    """One MQTT message of the spool.

    Attributes:
        leaf: the last level of its topic.
        poses: number of poses in it; an event counts as one.
        payload: JSON.
        rows: number of poses by row of the disk.
        device: the device that made them, where that is known. It may be this one's former name.
    """

    leaf: str
    poses: int
    payload: bytes
    rows: dict[int, int] = field(default_factory=dict)
    device: str = ""


@dataclass(slots=True, eq=False)
class Item:
    """One message as the daemon has made it.

    Attributes:
        number: its number in the spool in memory.
        leaf: the last level of its topic.
        payload: JSON.
        accepted_s: when the delivery took charge of it, monotonic clock.
        batch: the batch of the disk that has it too.
    """

    number: int
    leaf: str
    payload: bytes
    accepted_s: float
    batch: Batch | None = None


class MessageSource(Protocol):
    """The spool takes from it the messages that are not on the disk yet."""

    def overdue(self, *, all_of_it: bool) -> tuple[list[Item], list[Item]]:
        """Returns what has waited too long: what was not sent, which leaves the source, and what is in flight."""

    def written(self, items: Sequence[Item]) -> set[Item]:
        """The disk has these. Returns those that are still in flight."""

    def put_back(self, items: Sequence[Item]) -> None:
        """The disk did not take these."""


def pack(items: Sequence[Item]) -> list[tuple[Batch, list[Item]]]:
    """Puts poses into few batches, marked as replay; other messages become a batch each."""
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
    """Returns one batch, with poses of older versions converted. What cannot be read is a batch of its own, as it is:
    a newer version has left it in memory, or it is damaged."""
    packed, poses = [], {}
    for item in items:
        try:
            poses[item] = read_message(item.payload, PoseMessage)
        except UnreadableMessageError:
            packed.append((_alone(item), [item]))
    if poses:
        packed.append((Batch("poses", len(poses), encode_batch([*poses.values()], replay=True)), [*poses]))
    return packed


def _alone(item: Item) -> Batch:
    payload = item.payload
    with contextlib.suppress(UnreadableMessageError, KeyError):
        message = read_message(payload, TOPICS[item.leaf].payload)
        payload = encode(msgspec.structs.replace(message, replay=True))
    return Batch(item.leaf, 1, payload)


def join(batches: Iterable[Batch]) -> list[Batch]:
    """Joins small batches that follow each other: to a broker a small message is as much work as a large one."""
    groups: list[list[Batch]] = []
    for batch in batches:
        if groups and _fits(groups[-1], batch):
            groups[-1].append(batch)
        else:
            groups.append([batch])
    return [joined for group in groups for joined in _merged(group)]


def _fits(group: list[Batch], batch: Batch) -> bool:
    alike = batch.leaf == group[0].leaf == "poses" and batch.device == group[0].device
    few = sum(one.poses for one in group) + batch.poses <= BATCH_POSES
    return alike and few and sum(len(one.payload) for one in group) + len(batch.payload) <= BATCH_BYTES


class _UnreadBatch(Message, frozen=True, kw_only=True):
    """A BatchMessage whose poses are not decoded."""

    replay: bool
    poses: list[msgspec.Raw]


def _merged(group: list[Batch]) -> list[Batch]:
    if len(group) == 1:
        return group
    try:
        parts = [decode(batch.payload, _UnreadBatch) for batch in group]
    except (msgspec.DecodeError, UnicodeDecodeError):  # of a newer version
        return group
    poses = [pose for part in parts for pose in part.poses]
    whole = _UnreadBatch(device=parts[0].device, boot=boot_id(), replay=True, poses=poses)
    rows = {row: count for batch in group for row, count in batch.rows.items()}
    return [Batch("poses", len(poses), encode(whole), rows, group[0].device)]


def encode_batch(poses: Sequence[PoseMessage], *, replay: bool) -> bytes:
    """Returns the payload of /poses. With `replay` each of the poses is marked too."""
    if replay:
        poses = [msgspec.structs.replace(pose, replay=True) for pose in poses]
    return encode(BatchMessage(device=poses[0].device, boot=boot_id(), replay=replay, poses=list(poses)))
