"""Spools of other versions of edgepose: poses of version 1 go out as ours, and those of a newer version as they are."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from delivering import pose

from edgepose.delivery.batching import Batch
from edgepose.delivery.outbox import Outbox
from edgepose.delivery.spool import SpoolRules
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.delivery.spool_memory import SpoolMemory
from edgepose.delivery.timing import DeliveryTiming
from edgepose.protocol.codec import decode, encode
from edgepose.protocol.messages import BatchMessage, Message, PoseMessage
from edgepose.system.reporter import Reporter

VERSION_1 = Path(__file__).parents[1] / "version_1"
AT_ONCE = DeliveryTiming(spill_s=0.0, spool_hz=1e9)


def new_outbox(disk: Path, memory: Path) -> Outbox:
    reporter = Reporter()
    spool = SpoolDisk(disk / "spool.db", 1e7, 1e9, reopen_s=0.0)
    made = Outbox(SpoolMemory(memory, reporter), spool, SpoolRules(1, wait=False, drop_newest=False), reporter, AT_ONCE)
    made.reconnected(0.0)
    return made


def sent(outbox: Outbox) -> list[tuple[str, bytes]]:
    """Returns (leaf, payload) of everything that goes out, with the broker's acknowledgement."""
    found = []
    for _ in range(3):  # to the disk, from it, and until nothing is left
        outbox.spool.step(outbox, tidy=True)
        while parcel := outbox.take(spooled=True):
            found.append((parcel.leaf, parcel.payload))
            outbox.acknowledge([parcel])
    return found


def poses_of(messages: Iterable[tuple[str, bytes]]) -> list[PoseMessage]:
    found: list[PoseMessage] = []
    for leaf, payload in messages:
        found += decode(payload, BatchMessage).poses if leaf == "poses" else [decode(payload, PoseMessage)]
    return found


def of_version(version: int, message: Message) -> bytes:
    return json.dumps({**json.loads(encode(message)), "v": version, "more": [1]}).encode()


@pytest.mark.parametrize(("wire", "first"), [("json", 1000), ("msgpack", 1020)])
def test_a_spool_of_version_1_loses_no_pose(tmp_path: Path, wire: str, first: int) -> None:
    shutil.copytree(VERSION_1 / wire, tmp_path, dirs_exist_ok=True)
    outbox = new_outbox(tmp_path / "disk" / "cage-07", tmp_path / "ram" / "cage-07")
    found = poses_of(sent(outbox))
    assert sorted(one.seq for one in found) == list(range(first, first + 20))
    for one in found:
        assert (one.v, one.boot, one.replay, one.mono_us) == (2, "old", True, None)
        assert one.animals[0].keypoints["snout"].x == one.seq
    assert outbox.empty()
    assert not outbox.dropped


def test_what_cannot_be_read_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = SpoolMemory(tmp_path, Reporter())
    for number, payload in enumerate((b"", b"hello", encode(pose(3)), b'{"v": 1, "keypoints": 5}'), 1):
        memory.add(number, "pose", payload)
    memory.close()
    disk = SpoolDisk(tmp_path / "spool.db", 1e7, 1e9)
    disk.append([Batch("poses", 7, b"hello")], synced=True)
    disk.close()
    outbox = new_outbox(tmp_path, tmp_path)
    assert [one.seq for one in poses_of(sent(outbox))] == [3]
    assert outbox.dropped == {"memory_damaged": 3, "spool_damaged": 7}
    assert "gave up 3 messages" in caplog.text
    assert "gave up 7 poses that cannot be read" in caplog.text
    again = new_outbox(tmp_path, tmp_path)
    assert sent(again) == []
    assert not again.dropped  # what was given up is gone


def test_what_a_newer_version_has_left_goes_out_as_it_is(tmp_path: Path) -> None:
    newer = [of_version(3, pose(seq)) for seq in range(3)]
    memory = SpoolMemory(tmp_path, Reporter())
    for number, payload in enumerate((newer[0], encode(pose(10)), newer[1]), 1):
        memory.add(number, "pose", payload)
    memory.close()
    disk = SpoolDisk(tmp_path / "spool.db", 1e7, 1e9)
    disk.append([Batch("pose", 1, newer[2])], synced=True)
    disk.close()
    outbox = new_outbox(tmp_path, tmp_path)
    outbox.accept("pose", encode(pose(11)), threading.Event())
    found = sent(outbox)
    assert sorted(payload for _, payload in found if payload in newer) == sorted(newer)
    assert sorted(one.seq for one in poses_of(one for one in found if one[1] not in newer)) == [10, 11]
    assert not outbox.dropped
