"""The outbox and its spool, without a broker: few writes, few messages, kept as long as a broker may forget them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from brokers import wait_until
from delivering import pose
from hypothesis import given
from hypothesis import strategies as st

from edgepose.delivery.ack_tracker import AckedRows
from edgepose.delivery.batching import BATCH_POSES, Batch, Item, join, pack
from edgepose.delivery.outbox import Outbox, Parcel
from edgepose.delivery.spool import SpoolRules
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.delivery.spool_memory import SpoolMemory
from edgepose.delivery.timing import DeliveryTiming
from edgepose.protocol.codec import decode, encode
from edgepose.protocol.messages import AnimalMessage, BatchMessage, Keypoint
from edgepose.system.clock import boot_us
from edgepose.system.reporter import Reporter

FOREVER = float("inf")
AT_ONCE = DeliveryTiming(spill_s=0.0, spool_hz=1e9)


@pytest.fixture
def new_outbox(tmp_path: Path) -> Callable[..., Outbox]:
    """new_outbox(...) makes one without threads: the test is the link and the disk. Everything is overdue at once."""

    def make(max_mb: float = 10.0, *, drop_newest: bool = False, **timing: float) -> Outbox:
        disk = SpoolDisk(tmp_path / "spool.db", max_mb * 1e6, 3600.0, reopen_s=0.0)
        reporter = Reporter()
        rules = SpoolRules(1, wait=False, drop_newest=drop_newest)
        made = Outbox(SpoolMemory(tmp_path, reporter), disk, rules, reporter, replace(AT_ONCE, **timing))
        made.reconnected(0.0)
        return made

    return make


def accept(outbox: Outbox, *seqs: int, keypoints: int = 1) -> None:
    """Gives the outbox poses that hardly compress."""
    for seq in seqs:
        points = {f"{seq * 1.1:.9f}-{i}": Keypoint(seq / 7, seq / 11, 0.5) for i in range(keypoints)}
        animals = [AnimalMessage(id="1", id_score=1.0, score=0.5, keypoints=points)]
        outbox.accept("pose", encode(msgspec.structs.replace(pose(seq), animals=animals)), threading.Event())


def disk_works(outbox: Outbox) -> None:
    """Does one turn of the disk's thread, its tidying included."""
    outbox.spool.step(outbox, tidy=True)


def sent(outbox: Outbox) -> list[Parcel]:
    return list(iter(lambda: outbox.take(spooled=True), None))


def seqs_of(parcels: list[Parcel]) -> list[int]:
    return [one.seq for parcel in parcels for one in decode(parcel.payload, BatchMessage).poses]


def batches(*sizes: int) -> list[Batch]:
    """Returns batches in rows 1, 2, ... of consecutive poses."""
    made, first = [], 0
    for row, size in enumerate(sizes, 1):
        items = [Item(seq, "pose", encode(pose(seq)), 0.0) for seq in range(first, first + size)]
        (batch, _) = pack(items)[0]
        batch.rows[row] = size
        made.append(batch)
        first += size
    return made


def test_once_one_waits_too_long_the_younger_are_written_with_it(new_outbox: Callable[..., Outbox]) -> None:
    """Otherwise a camera would write to its disk ten times a second."""
    outbox = new_outbox(spill_s=0.05)
    accept(outbox, 1)
    wait_until(lambda: outbox._live[0].accepted_s + 0.05 < time.monotonic(), "the first to be overdue")
    accept(outbox, 2, 3)
    disk_works(outbox)
    assert outbox.spool._disk.rows(0) == [1]
    assert outbox.spool.poses == 3
    assert not outbox.waiting


class FailingDisk(SpoolDisk):
    """A disk whose next use meets a bug, not an error of the disk."""

    fails = True

    def room(self) -> bool:
        if self.fails:
            self.fails = False
            raise RuntimeError("a bug")
        return super().room()

    def append(self, batches: Sequence[Batch], synced: bool, reason: str | None = None) -> None:
        if self.fails:
            self.fails = False
            raise RuntimeError("a bug")
        super().append(batches, synced, reason)


@pytest.mark.parametrize("drop_newest", [True, False])  # which asks for room first, or not
def test_a_bug_in_the_spool_costs_no_pose_and_does_not_end_its_thread(drop_newest: bool, tmp_path: Path) -> None:
    """A thread that ended would keep every later pose in memory, and nobody would say so."""
    reporter, disk = Reporter(), FailingDisk(tmp_path / "spool.db", 1e7, 3600.0)
    outbox = Outbox(
        SpoolMemory(tmp_path, reporter), disk, SpoolRules(1, wait=False, drop_newest=False), reporter, AT_ONCE
    )
    outbox.reconnected(0.0)
    accept(outbox, 1, 2, 3)
    outbox.spool.start(outbox)
    try:
        wait_until(lambda: outbox.spool.poses == 3, "the second attempt to write them")
        assert not outbox.waiting
        wait_until(lambda: not reporter.alerts, "the end of the alert")
        event = reporter.take(0.0)
        assert event is not None
        assert "RuntimeError('a bug')" in event.text
    finally:
        outbox.spool.close(5.0)


def test_small_batches_go_out_in_one_message(new_outbox: Callable[..., Outbox]) -> None:
    outbox = new_outbox()
    for first in range(0, 300, 15):
        accept(outbox, *range(first, first + 15))
        outbox.spool._write(outbox)
    disk_works(outbox)
    parcels = sent(outbox)
    assert len(parcels) == 5
    assert seqs_of(parcels) == list(range(300))
    assert all(one.replay for parcel in parcels for one in decode(parcel.payload, BatchMessage).poses)
    outbox.acknowledge(parcels)
    assert outbox.empty()
    assert outbox.delivered == 300


def test_joining_keeps_each_pose_and_row() -> None:
    parts = batches(15, 30, 14, 2, BATCH_POSES, 1)
    joined = join(parts)
    assert [batch.rows for batch in joined] == [{1: 15, 2: 30, 3: 14}, {4: 2}, {5: 60}, {6: 1}]
    assert [batch.poses for batch in joined] == [59, 2, 60, 1]
    alone, together = (
        [one for batch in some for one in decode(batch.payload, BatchMessage).poses] for some in (parts, joined)
    )
    assert alone == together


def test_what_is_not_alike_is_not_joined() -> None:
    event, newer = Batch("event", 1, b"{}", {7: 1}), Batch("poses", 3, b'{"v":3}', {8: 3})
    parts = [*batches(3), event, event, newer, *batches(3)]
    assert join(parts) == parts


def test_what_was_acknowledged_stays_while_a_broker_may_forget_it(new_outbox: Callable[..., Outbox]) -> None:
    """While the broker is away, nothing is forgotten however old it is."""
    outbox = new_outbox(keep_acked_s=-1.0, ack_grain_s=-1.0)
    accept(outbox, 1, 2, 3)
    disk_works(outbox)
    outbox.acknowledge(sent(outbox))
    accept(outbox, 4)
    outbox.acknowledge([outbox.take(spooled=False)])
    disk_works(outbox)
    assert outbox.empty()
    assert outbox.forgotten(0.0, FOREVER) == 4
    disk_works(outbox)
    again = sent(outbox)
    assert sorted(seqs_of(again)) == [1, 2, 3, 4]
    outbox.acknowledge(again)
    outbox.forget_old()  # now it is there, and has not forgotten
    disk_works(outbox)
    assert outbox.spool._disk.rows(0) == []
    assert outbox.forgotten(0.0, FOREVER) == 0


def test_every_pose_beyond_the_bound_is_counted_also_while_it_drains(new_outbox: Callable[..., Outbox]) -> None:
    outbox = new_outbox(max_mb=0.5)
    received: list[int] = []
    for first in range(0, 6_000, 60):
        accept(outbox, *range(first, first + 60), keypoints=12)
        disk_works(outbox)
        if first % 300 == 0:
            batch = outbox.take(spooled=True)
            received += seqs_of([batch])
            outbox.acknowledge([batch])
    while parcels := sent(outbox):
        received += seqs_of(parcels)
        outbox.acknowledge(parcels)
        disk_works(outbox)
    assert len(received) == len(set(received))
    assert outbox.dropped["spool_full"] > 2_000
    assert len(received) + outbox.dropped["spool_full"] == 6_000
    assert received[-1] == 5_999
    assert outbox.empty()


def test_drop_newest_keeps_the_oldest(new_outbox: Callable[..., Outbox]) -> None:
    outbox = new_outbox(max_mb=0.5, drop_newest=True)
    for first in range(0, 6_000, 60):
        accept(outbox, *range(first, first + 60), keypoints=12)
        disk_works(outbox)
    kept = outbox.spool.poses
    assert kept + outbox.dropped["spool_full"] == 6_000
    assert kept < 4_000
    outbox.acknowledge(parcels := sent(outbox))
    assert seqs_of(parcels)[:200] == list(range(200))


def test_what_is_refused_alone_is_tried_once_more_from_the_disk(new_outbox: Callable[..., Outbox]) -> None:
    """The message was written to the disk because the answer took long."""
    outbox = new_outbox()
    accept(outbox, 1, 2)
    first, second = outbox.take(spooled=False), outbox.take(spooled=False)
    disk_works(outbox)
    outbox.acknowledge([second])
    outbox.refuse(first, "not_authorized")
    assert not outbox.spool.refused.counts()
    disk_works(outbox)
    parcels = sent(outbox)
    assert seqs_of(parcels) == [1, 2]
    outbox.refuse(parcels[0], "not_authorized")
    disk_works(outbox)
    assert outbox.spool.refused.counts() == {"not_authorized": 2}
    assert outbox.empty()


def test_what_nobody_heard_goes_out_again_when_the_answers_come_together(new_outbox: Callable[..., Outbox]) -> None:
    """The subscriber came between the two, and both answers were read at once."""
    outbox = new_outbox()
    accept(outbox, 1, 2)
    first, second = outbox.take(spooled=False), outbox.take(spooled=False)
    first.unheard = True
    outbox.acknowledge([first, second])
    disk_works(outbox)
    assert seqs_of(sent(outbox)) == [1]


def test_who_hears_the_spool_gets_the_live_poses_that_nobody_heard(new_outbox: Callable[..., Outbox]) -> None:
    outbox = new_outbox()
    accept(outbox, 1)
    disk_works(outbox)
    accept(outbox, 2)
    live, late = sent(outbox)
    live.unheard = True
    outbox.acknowledge([live])
    outbox.acknowledge([late])
    disk_works(outbox)
    assert seqs_of(sent(outbox)) == [2]


def test_what_nobody_heard_outlives_a_kill(new_outbox: Callable[..., Outbox], tmp_path: Path) -> None:
    outbox = new_outbox()
    accept(outbox, 1, 2, 3)
    parcels = [outbox.take(spooled=False) for _ in range(3)]
    parcels[1].unheard = True
    outbox.acknowledge(parcels)
    outbox._memory.close()
    assert {left.number: left.acked_s is None for left in SpoolMemory(tmp_path, Reporter()).leftovers} == {
        1: False,
        2: True,
        3: False,
    }


def test_what_the_broker_forgot_outlives_a_kill_too(new_outbox: Callable[..., Outbox], tmp_path: Path) -> None:
    outbox = new_outbox()
    accept(outbox, 1)
    outbox.acknowledge([outbox.take(spooled=False)])
    assert outbox.forgotten(0.0, FOREVER) == 1
    outbox._memory.close()
    assert [left.acked_s for left in SpoolMemory(tmp_path, Reporter()).leftovers] == [None]


def test_a_batch_on_disk_of_which_a_part_was_not_heard_goes_out(new_outbox: Callable[..., Outbox]) -> None:
    outbox = new_outbox()
    accept(outbox, 1, 2)
    first, second = outbox.take(spooled=False), outbox.take(spooled=False)
    disk_works(outbox)
    first.unheard = True
    outbox.acknowledge([first])
    outbox.acknowledge([second])
    disk_works(outbox)
    assert seqs_of(sent(outbox)) == [1, 2]


def test_a_spool_that_breaks_under_way_is_replaced_and_goes_on(
    new_outbox: Callable[..., Outbox], tmp_path: Path
) -> None:
    """The rows of the new file must not be taken for those of the old one, which were sent already."""
    outbox = new_outbox()
    accept(outbox, 1, 2, 3)
    disk_works(outbox)
    outbox.acknowledge(sent(outbox))
    outbox.spool._disk.close()
    (tmp_path / "spool.db").write_bytes(b"no database " * 500)
    accept(outbox, 4, 5)
    disk_works(outbox)
    assert seqs_of(sent(outbox)) == [4, 5]


def test_the_spool_goes_out_at_a_pace(new_outbox: Callable[..., Outbox]) -> None:
    outbox = new_outbox(spool_hz=600.0)
    accept(outbox, *range(600))
    disk_works(outbox)
    begin, taken = time.monotonic(), 0
    while taken < 300:
        parcel = outbox.take(spooled=True)
        taken += parcel.batch.poses if parcel else 0
    assert time.monotonic() - begin > 0.2  # 300 of them, but for the first and what a tenth of a second is worth


@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0, 0.4)), unique_by=lambda step: step[0]), st.floats(0, 20))
def test_acknowledged_rows_are_known_with_their_time(steps: list[tuple[int, float]], before_s: float) -> None:
    rows, truth, now_s = AckedRows(), {}, 0.0
    for row, pause_s in steps:
        now_s += pause_s
        rows.add(row, 10 * row, now_s)
        truth[row] = now_s
    assert [row for row in range(62) if row in rows] == sorted(truth)
    assert rows.poses == 10 * sum(truth)
    old = [run for run in rows.ranges if run.last_s < before_s]
    gone = {row for run in old for row in range(run.first, run.last + 1)}
    assert all(truth[row] < before_s for row in gone)
    assert gone >= {row for row, acked_s in truth.items() if acked_s < before_s - 1.0}
    rows.remove(old)
    assert rows.poses == 10 * (sum(truth) - sum(gone))
    assert [row for row in range(62) if row in rows] == sorted(truth.keys() - gone)


def test_rows_in_order_are_few_ranges_however_many() -> None:
    rows, begin_s = AckedRows(), boot_us() / 1e6
    for row in range(200_000):
        rows.add(row, 15, begin_s + row / 3000)
    assert len(rows.ranges) < 80


def test_what_is_being_written_is_not_delivered_yet(
    new_outbox: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for everything to be delivered must not find nothing left while a batch goes to the disk."""
    outbox = new_outbox()
    found: list[bool] = []
    append = SpoolDisk.append

    def slow(self: SpoolDisk, *args: object) -> None:
        found.append(outbox.empty())
        append(self, *args)

    disk_works(outbox)
    assert outbox.empty()
    monkeypatch.setattr(SpoolDisk, "append", slow)
    accept(outbox, 1)
    disk_works(outbox)
    assert found == [False]
    assert not outbox.empty()


def test_spools_of_an_earlier_version_go_out_as_json(new_outbox: Callable[..., Outbox], tmp_path: Path) -> None:
    """Spools of an earlier version may hold MessagePack."""
    (batch,) = batches(2)
    batch.payload, batch.rows = msgspec.msgpack.encode(decode(batch.payload, BatchMessage)), {}
    disk = SpoolDisk(tmp_path / "spool.db", 1e7, 3600.0)
    disk.append([batch], synced=True)
    disk.close()
    memory = SpoolMemory(tmp_path, Reporter())
    memory.add(1, "pose", msgspec.msgpack.encode(pose(7)))
    memory.close()
    outbox = new_outbox()
    disk_works(outbox)
    disk_works(outbox)
    assert sorted(seqs_of(sent(outbox))) == [0, 1, 7]
