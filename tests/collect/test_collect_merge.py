"""Merging: what several collectors wrote, in one folder."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from collecting import all_of, event, gaps_in, poses_in, started
from delivering import pose
from mouse_messages import INFO
from test_collect_archive import collect, seqs, tags, take

from edgepose.collect.archive import Archive
from edgepose.collect.hours import hour_path
from edgepose.collect.journal import Arrival, Journal, hour_of
from edgepose.collect.merge import merge
from edgepose.collect.newer_messages import NewerMessage
from edgepose.collect.reports import read_events, read_info
from edgepose.errors import EdgeposeError, UsageError
from edgepose.protocol.codec import encode

pytest.importorskip("pyarrow")


def test_poses_gaps_tags_and_events_are_settled(tmp_path: Path) -> None:
    a, b, target = tmp_path / "a", tmp_path / "b", tmp_path / "all"
    archive = Archive(a, shared=True)
    archive.keep_info(INFO)
    take(archive, *seqs(1, 3, 5, 9), started(4, subject="m"), event(1))
    archive.finish()
    collect(b, *seqs(2, 3, 4, 6), event(2), event(1), shared=True)
    assert merge([target, a, b]) == f"{target}: 7 poses of 1 device, 2 missing (gaps.csv)"
    assert poses_in(target) == all_of(1, 2, 3, 4, 5, 6, 9)
    assert gaps_in(target) == [(7, 8)]
    assert tags(target) == "---mmmm"
    assert [one.event for one in read_events(target / "cage-07" / "events.csv")] == [1, 2, 4]
    assert (target / "cage-07" / "info.json").exists()
    assert poses_in(a) == all_of(1, 3, 5, 9)


def test_merging_again_changes_nothing_and_more_can_be_added(tmp_path: Path) -> None:
    a, b, target = tmp_path / "a", tmp_path / "b", tmp_path / "all"
    collect(a, *seqs(1, 2), started(1, subject="a"), shared=True)
    merge([target, a])
    written = hour_path(target, "cage-07", 0).stat().st_mtime_ns
    assert "2 poses of 1 device, 0 missing" in merge([target, a])
    assert hour_path(target, "cage-07", 0).stat().st_mtime_ns == written
    collect(b, *seqs(5), started(4, subject="b"), shared=True)
    assert "3 poses of 1 device, 2 missing" in merge([target, b])
    assert tags(target) == "aab"


def test_a_folder_that_was_renamed_is_a_device_of_that_name(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a")
    archive.keep_info(INFO)
    take(archive, *seqs(1, 2))
    archive.finish()
    (tmp_path / "a" / "cage-07").rename(tmp_path / "a" / "left cage")
    merge([tmp_path / "all", tmp_path / "a"])
    assert sorted(path.name for path in (tmp_path / "all").iterdir() if path.is_dir()) == ["left cage"]
    info = read_info(tmp_path / "all" / "left cage" / "info.json")
    assert info == msgspec.structs.replace(INFO, device="left cage")


@pytest.mark.parametrize("device", ["../outside", "/tmp/outside-of-edgepose", "..", ""])
def test_nothing_is_written_outside_of_the_folder(device: str, tmp_path: Path) -> None:
    """Somebody else may have made the recordings that are merged."""
    others, strange = tmp_path / "in" / "others", pose(2, device=device)
    archive = Archive(others)
    archive.keep_info(INFO)
    take(archive, pose(1))
    archive.finish()
    (others / "cage-07" / "info.json").write_bytes(encode(msgspec.structs.replace(INFO, device=device)))
    journal = Journal(others / "journal.db")
    arrivals = [Arrival(device, hour_of(strange), "pose", encode(strange))]
    events = [msgspec.structs.replace(started(1), device=device)]
    journal.write(arrivals, events, [NewerMessage(device, 2, "pose", encode(strange))])
    journal.close()
    merge([tmp_path / "in" / "all", others])
    assert poses_in(tmp_path / "in" / "all") == all_of(1)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["all", "others"]
    assert not Path("/tmp/outside-of-edgepose").exists()


def test_a_late_start_corrects_files_that_only_the_target_has(tmp_path: Path) -> None:
    a, b, target = tmp_path / "a", tmp_path / "b", tmp_path / "all"
    collect(a, *seqs(1, 2), shared=True)
    merge([target, a])
    collect(b, started(2, subject="b"), shared=True)
    merge([target, b])
    assert tags(target) == "-b"


def test_what_a_killed_collector_left_is_merged_and_stays_its_own(tmp_path: Path) -> None:
    killed = Archive(tmp_path / "a", shared=True)
    take(killed, *seqs(1, 2), started(2, subject="m"))
    killed._journal.close()
    assert "2 poses" in merge([tmp_path / "all", tmp_path / "a"])
    assert tags(tmp_path / "all") == "-m"
    assert poses_in(tmp_path / "a") == []
    collect(tmp_path / "a", shared=True)
    assert poses_in(tmp_path / "a") == all_of(1, 2)


def test_a_running_collectors_files_are_merged_and_its_folder_is_no_target(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collect(tmp_path / "a", *seqs(1), shared=True)
    running = Archive(tmp_path / "a", shared=True)
    take(running, *seqs(2))
    assert "1 pose" in merge([tmp_path / "all", tmp_path / "a"])
    assert "what it has not written yet is not merged" in caplog.text
    with pytest.raises(EdgeposeError, match="a collector uses it"):
        merge([tmp_path / "a", tmp_path / "all"])
    running.finish()


def test_a_collector_goes_on_in_a_folder_that_was_merged_into(tmp_path: Path) -> None:
    collect(tmp_path / "a", *seqs(1, 2))
    collect(tmp_path / "b", *seqs(3, 4))
    merge([tmp_path / "a", tmp_path / "b"])
    again = collect(tmp_path / "a", *seqs(4, 5))
    assert (again.poses, again.duplicates) == (1, 1)
    assert gaps_in(tmp_path / "a") == []


def test_the_device_is_as_it_was_last(tmp_path: Path) -> None:
    for age_s, name in enumerate(("b", "a", "c")):
        archive = Archive(tmp_path / name)
        archive.keep_info(msgspec.structs.replace(INFO, boot=name))
        archive.finish()
        path = tmp_path / name / "cage-07" / "info.json"
        os.utime(path, (1_000_000 - age_s, 1_000_000 - age_s))
    merge([tmp_path / name for name in ("a", "b", "c")])
    info = read_info(tmp_path / "a" / "cage-07" / "info.json")
    assert info is not None
    assert info.boot == "b"


def test_a_folder_named_twice_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    with pytest.raises(UsageError, match="name each once"):
        merge([tmp_path / "all", tmp_path, tmp_path / "." / "all" / ".."])


def test_a_damaged_source_is_reported(tmp_path: Path) -> None:
    path = hour_path(tmp_path / "a", "cage-07", 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nonsense")
    with pytest.raises(EdgeposeError, match="cannot read"):
        merge([tmp_path / "all", tmp_path / "a"])


def test_devices_and_boots_are_kept_apart(tmp_path: Path) -> None:
    collect(tmp_path / "a", pose(1), pose(3, device="cage-08"), pose(7, boot="c"))
    collect(tmp_path / "b", pose(3), pose(1, device="cage-08"))
    assert "5 poses of 2 devices, 2 missing" in merge([tmp_path / "all", tmp_path / "a", tmp_path / "b"])
