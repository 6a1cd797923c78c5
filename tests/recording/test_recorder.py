"""The recorder alone: what is on the disk agrees with the frames that it was given, whatever happens meanwhile."""

from __future__ import annotations

import csv
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from brokers import wait_until
from fakes import SKELETON, FakeCamera, FakeEstimator, ListDelivery

from edgepose.camera.supervisor import CameraSupervisor
from edgepose.config.schema import BetweenConfig, RecordConfig
from edgepose.daemon.observers import Observers
from edgepose.daemon.pipeline import Pipeline
from edgepose.errors import ConfigError
from edgepose.recording.recorder import Recorder
from edgepose.recording.retention import RecordingTiming
from edgepose.recording.segments import name_of
from edgepose.system.reporter import Event, Reporter
from edgepose.types import Frame, Pose
from edgepose.video.video_reader import VideoReader

NOON_US = 1_795_348_800_000_000  # 2026-11-22T12:00:00Z


QUICK = RecordingTiming(sync_s=0.02, tidy_s=0.05, repair_s=0.1, retry_s=0.1)


def picture(i: int, size_wh: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A picture that shows its number in black and white columns, which can be read after compression too."""
    bits = [255 * (i >> b & 1) for b in range(12)]
    return np.repeat(np.repeat(np.array(bits, np.uint8)[None], size_wh[1], 0), size_wh[0] // 12, 1)[..., None].repeat(
        3, 2
    )


def number_of(image: np.ndarray) -> int:
    width = image.shape[1] // 12
    return sum(int(image[:, b * width : (b + 1) * width].mean() > 127) << b for b in range(12))


def frame(i: int, **changes: object) -> Frame:
    """Frame i of a camera with 30 frames a second."""
    values = {"image": picture(i), "order": "bgr", "index": i, "captured_mono_ns": i * 33_333_333}
    return Frame(**{"captured_us": NOON_US + i * 33_333, **values, **changes})  # type: ignore[arg-type]


def pose(i: int) -> Pose:
    return Pose(np.array([[i + 0.25, 1], [2, 3]], np.float32), np.array([0.9, 0.4], np.float32))


Make = Callable[..., Recorder]


@pytest.fixture
def reporter() -> Reporter:
    return Reporter()


@pytest.fixture
def make(tmp_path: Path, reporter: Reporter) -> Iterator[Make]:
    """make(**settings) starts a recorder with these settings of the config."""
    made: list[Recorder] = []

    def start(timing: RecordingTiming = QUICK, **settings: object) -> Recorder:
        folder = settings.pop("folder", str(tmp_path / "rec"))
        record = RecordConfig(folder=folder, **settings)  # type: ignore[arg-type]
        made.append(Recorder(record, "cage-07", SKELETON, "fake@1", reporter=reporter, timing=timing))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.close()


def noise(size_wh: tuple[int, int], count: int) -> list[np.ndarray]:
    """Pictures that no encoder makes much smaller."""
    return list(np.random.default_rng(0).integers(0, 255, (count, size_wh[1], size_wh[0], 3), np.uint8))


def events_of(reporter: Reporter, kind: str) -> list[Event]:
    """The events of that kind since the last call."""
    return [event for event in iter(lambda: reporter.take(0), None) if event.kind == kind]


def feed(made: Recorder, numbers: range, *, every: int = 1, **changes: object) -> None:
    for i in numbers:
        shown = frame(i, **changes)
        made.captured(shown)
        if i % every == 0:
            made.posed(shown, pose(i))


def rows_of(video: Path) -> tuple[list[dict[str, str]], list[list[str]]]:
    with video.with_suffix(".csv").open(encoding="utf-8") as file:
        times = list(csv.DictReader(file))
    with video.with_name(f"{video.stem}_poses.csv").open(encoding="utf-8") as file:
        poses = list(csv.reader(file))
    assert [row[0] for row in poses[:3]] == ["scorer", "bodyparts", "coords"]
    return times, poses[3:]


def frames_of(video: Path) -> list[np.ndarray]:
    """Reads the frames as DeepLabCut and SLEAP do: one after the other, and by number."""
    capture, found = cv2.VideoCapture(str(video)), []
    while (got := capture.read())[0]:
        found.append(got[1])
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == len(found)
    if len(found) > 3:
        capture.set(cv2.CAP_PROP_POS_FRAMES, 3)
        assert number_of(capture.read()[1]) == number_of(found[3])
    return found


def videos(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "rec" / "cage-07").glob("*.mp4"))


def check(video: Path, first: int, last: int, *, every: int = 1) -> None:
    """The segment holds exactly the frames first..last, in all three files."""
    times, poses = rows_of(video)
    assert [number_of(image) for image in frames_of(video)] == list(range(first, last + 1))
    assert [int(row["frame"]) for row in times] == list(range(first, last + 1))
    assert [int(row["video_frame"]) for row in times] == list(range(last - first + 1))
    assert [int(row["t_us"]) for row in times] == [NOON_US + i * 33_333 for i in range(first, last + 1)]
    for i, row in zip(range(first, last + 1), poses, strict=True):
        expected = [str(i + 0.25), "1.0"] if i % every == 0 else ["", ""]
        assert row[:3] == [str(i - first), *expected]


def test_frames_times_and_poses_agree_over_segments(tmp_path: Path, make: Make, reporter: Reporter) -> None:
    made = make(segment_s=2)
    feed(made, range(150), every=3)
    made.close()
    first, second, third = videos(tmp_path)
    check(first, 0, 60, every=3)
    check(second, 61, 121, every=3)
    check(third, 122, 149, every=3)
    assert made.frames == 150
    assert not made.dropped
    assert [event.count for event in events_of(reporter, "segment")] == [61, 61, 28]
    assert not list(tmp_path.rglob("*.part"))
    capture = cv2.VideoCapture(str(first))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(30)


@pytest.mark.parametrize("lost", [0, 1, 700])
def test_what_a_kill_leaves_is_completed_at_the_next_start(
    tmp_path: Path, make: Make, reporter: Reporter, lost: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of the video and of the tables may be missing, or may be zeros."""
    made = make()
    feed(made, range(100), every=2)
    wait_until(lambda: made.frames == 100, "all frames")
    copy = tmp_path / "killed" / "cage-07"
    copy.mkdir(parents=True)
    for path in (tmp_path / "rec" / "cage-07").glob("*.part"):
        data = path.read_bytes()
        keep = len(data) - (lost if "poses" not in path.name else 3 * lost)
        (copy / path.name).write_bytes(data[:keep] + b"\0" * (lost // 2))
    made.close()
    again = make(folder=str(tmp_path / "killed"))
    wait_until(lambda: not list(copy.glob("*.part")), "the repair")
    again.close()
    assert not caplog.messages
    (video,) = copy.glob("*.mp4")
    images, (times, poses) = frames_of(video), rows_of(video)
    assert [number_of(image) for image in images] == list(range(len(images)))
    assert len(images) == len(times) == len(poses)
    assert 60 <= len(images) <= 100
    assert [int(row["frame"]) for row in times] == list(range(len(images)))
    assert [row[0] for row in poses] == [str(i) for i in range(len(images))]
    assert all(row[1] in {"", str(i + 0.25)} for i, row in enumerate(poses))
    text = f"{video.stem}: {len(images)} frames, cut off and repaired"
    assert (text, len(images)) in [(event.text, event.count) for event in events_of(reporter, "segment")]


def test_a_segment_has_the_rate_of_all_its_frames_and_not_of_the_first_ones(tmp_path: Path, make: Make) -> None:
    """A busy start gave a tenth of the frames, and then the camera slows down in the dark."""
    steps_ns = [100_000_000] * 4 + [33_333_333] * 40 + [66_666_667] * 40
    stamps = np.cumsum([0, *steps_ns])
    made = make(segment_s=60)
    for i, stamp in enumerate(stamps.tolist()):
        shown = frame(i, captured_mono_ns=stamp)
        made.captured(shown)
        made.posed(shown, pose(i))
    made.close()
    (video,) = videos(tmp_path)
    true_hz = len(steps_ns) * 1e9 / stamps[-1]
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(true_hz, rel=1e-3)
    assert len(frames_of(video)) == len(stamps)
    read = VideoReader(video)
    assert [read.time_s for _ in read] == pytest.approx(((stamps - stamps[0]) / 1e9).tolist())
    assert read.problems() == []
    video.with_suffix(".csv").unlink()
    read = VideoReader(video)
    assert [read.time_s for _ in read][-1] == pytest.approx(stamps[-1] / 1e9, rel=1e-3)


def test_of_a_video_without_a_beginning_nothing_stays(tmp_path: Path, make: Make) -> None:
    folder = tmp_path / "rec" / "cage-07"
    folder.mkdir(parents=True)
    for end in (".mp4", ".csv", "_poses.csv"):
        (folder / f"cage-07_20260101T000000Z{end}.part").write_bytes(b"\0" * 50)
    large = folder / "cage-07_20260102T000000Z.mp4.part"
    large.write_bytes(b"\0" * 1_500_000)
    for end in ("_poses.csv", ".csv"):  # of a video that never began
        (folder / f"cage-07_20260103T000000Z{end}.part").write_bytes(b"\0" * 50)
    make()
    wait_until(lambda: not list(folder.glob("*.part")), "the repair")
    assert [path.name for path in folder.iterdir()] == ["cage-07_20260102T000000Z.mp4.damaged"]


def test_an_unfinished_avi_of_an_earlier_version_stays_and_is_reported_once(
    tmp_path: Path, make: Make, reporter: Reporter, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "rec" / "cage-07"
    folder.mkdir(parents=True)
    names = {f"cage-07_20260101T000000Z{end}.part" for end in (".avi", ".csv", "_poses.csv")}
    for name in names:
        (folder / name).write_bytes(b"\0" * 2_000_000)
    made = make(max_gb=0.001)  # far less than what is there
    wait_until(lambda: "unfinished_avi" in reporter.alerts and made.retention.full, "the alert")
    time.sleep(0.3)  # three more attempts to repair, and six to tidy
    made.close()
    assert {path.name for path in folder.iterdir()} == names
    assert "1 unfinished .avi of an earlier version, such as cage-07" in reporter.alerts["unfinished_avi"]
    assert len([text for text in caplog.messages if "not repaired or removed" in text]) == 1


def test_the_oldest_segments_make_room(tmp_path: Path, make: Make, reporter: Reporter) -> None:
    images = noise((320, 240), 30)
    made = make(segment_s=1, max_gb=0.006)
    for second in range(1, 9):
        for i, image in enumerate(images):
            feed(made, range(second * 30 + i, second * 30 + i + 1), image=image)
        wait_until(lambda last=second: made.frames >= 30 * last, "the frames")
    wait_until(lambda: made.retention.mb < 6 and made.retention.segments, "room")
    made.close()
    kept = [name_of(path.name).stamp for path in videos(tmp_path)]  # type: ignore[union-attr]
    texts = [event.text for event in events_of(reporter, "segment_removed")]
    removed = [text.split("_")[1][:15] for text in texts]
    assert removed
    assert kept
    assert max(removed) < min(kept)
    assert "max_gb" in texts[0]
    for path in videos(tmp_path):
        assert len(frames_of(path)) == len(rows_of(path)[0])


def test_segments_of_a_former_name_count_in_the_quota_and_go_first(
    tmp_path: Path, make: Make, reporter: Reporter
) -> None:
    """A renamed device has moved them here."""
    folder = tmp_path / "rec" / "cage-07"
    folder.mkdir(parents=True)
    for day in (10, 11):
        for ending in (".mp4", ".csv", "_poses.csv"):
            (folder / f"raspberrypi_202611{day}T120000Z{ending}").write_bytes(bytes(300_000))
    make(max_gb=0.001)
    wait_until(lambda: len(list(folder.glob("*.mp4"))) == 1, "the oldest segment to go")
    assert [path.name for path in folder.glob("*.mp4")] == ["raspberrypi_20261111T120000Z.mp4"]
    assert "raspberrypi_20261110T120000Z: max_gb" in events_of(reporter, "segment_removed")[0].text


def test_only_synchronised_clocks_know_ages(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rec" / "cage-07"
    folder.mkdir(parents=True)
    new = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    names = ["cage-07_20200101T000000Z.mp4", "cage-07_20200101T000000Z_unsynced.mp4", f"cage-07_{new}Z.mp4"]
    for name in (*names, "holiday.mp4"):
        (folder / name).write_bytes(b"x")
    (folder / "cage-07_20200101T000000Z.csv").write_bytes(b"x")
    synced = [False]
    monkeypatch.setattr("edgepose.system.clock.SyncFlag.synced", lambda _: synced[0])
    made = make(max_age_h=1)
    wait_until(lambda: made.retention.segments == 3, "the first check")
    synced[0] = True
    wait_until(lambda: made.retention.segments == 2, "the removal")
    assert {path.name for path in folder.iterdir()} == {*names[1:], "holiday.mp4"}


def test_a_full_disk_is_an_alert_and_poses_go_on(tiny_disk: Path, make: Make, reporter: Reporter) -> None:
    ballast = tiny_disk / "ballast"
    made = make(folder=str(tiny_disk))
    images = noise((96, 64), 200)
    ballast.write_bytes(b"x" * 450_000)
    for i, image in enumerate(images):
        feed(made, range(i, i + 1), image=image)
    wait_until(lambda: made.dropped["disk"] > 0 and "recording" in reporter.alerts, "the alert")
    observers, delivery = Observers([made.posed], [made.captured], reporter=reporter), ListDelivery()
    camera = CameraSupervisor(lambda: FakeCamera(30), on_frame=observers.captured, reporter=reporter)
    pipeline = Pipeline(camera, FakeEstimator(), delivery, "cage-07", observers, reporter=reporter)
    pipeline.run(threading.Event())
    assert len(delivery.messages) == 30
    ballast.unlink()
    before = made.frames

    def more() -> bool:
        for image in images[:3]:
            feed(made, range(1000, 1001), image=image)
        return made.frames > before + 20 and not reporter.alerts

    wait_until(more, "recording again")
    made.close()
    for video in (tiny_disk / "cage-07").glob("*.mp4"):
        assert len(frames_of(video)) == len(rows_of(video)[0])


def test_a_disk_that_ends_in_the_middle_of_a_write_costs_the_tail(
    make: Make, reporter: Reporter, full_disk: None
) -> None:
    made = make()
    for i, image in enumerate(noise((320, 240), 60)):
        feed(made, range(i, i + 1), image=image)
    wait_until(lambda: made.dropped["disk"] > 0 and reporter.alerts, "the alert")
    assert "File too large" in reporter.alerts["recording"]


def test_what_cannot_be_encoded_in_time_is_counted_and_holds_nobody_up(tmp_path: Path, make: Make) -> None:
    """A hundred frames come at once, and wait in a queue for twenty."""
    images = [picture(i, (648, 480)) for i in range(100)]
    made = make(RecordingTiming(queue_bytes=20 * images[0].nbytes))
    for i, image in enumerate(images):
        feed(made, range(i, i + 1), every=2, image=image)
    assert made.dropped["slow"] > 50
    made.close()
    (video,) = videos(tmp_path)
    times, poses = rows_of(video)
    numbers = [number_of(image) for image in frames_of(video)]
    assert numbers == [int(row["frame"]) for row in times]
    assert [row[1] for row in poses] == ["" if i % 2 else str(i + 0.25) for i in numbers]
    assert made.frames + made.dropped["slow"] == 100


def test_recording_follows_the_schedule(in_berlin: None, tmp_path: Path, make: Make) -> None:
    made = make(when=BetweenConfig(between=("13:00", "13:01")))
    feed(made, range(-60, 0))
    feed(made, range(60))
    feed(made, range(1810, 1840))
    made.close()
    (video,) = videos(tmp_path)
    check(video, 0, 59)
    assert not made.dropped


def test_a_marked_experiment_is_recorded_also_after_a_restart(tmp_path: Path, make: Make) -> None:
    first = make(when="marked")
    feed(first, range(30))
    wait_until(lambda: not first._queue, "the frames")
    first.schedule.mark("start")
    feed(first, range(30, 60))
    first.schedule.mark("note")
    first.close()
    second = make(when="marked")
    feed(second, range(100, 130))
    wait_until(lambda: second.frames == 30, "the frames")
    second.schedule.mark("stop")
    feed(second, range(130, 160))
    second.close()
    before, after = videos(tmp_path)
    check(before, 30, 59)
    check(after, 100, 129)


@pytest.mark.parametrize("order", ["gray", "i420", "smaller", "full", "odd"])
def test_every_kind_of_frame_is_recorded_in_the_cameras_size(tmp_path: Path, make: Make, order: str) -> None:
    kinds = {
        "gray": lambda i: {"image": picture(i)[..., 0], "order": "gray"},
        "i420": lambda i: {"image": cv2.cvtColor(picture(i), cv2.COLOR_BGR2YUV_I420), "order": "i420"},
        "smaller": lambda i: {"image": picture(i, (48, 32)), "field_wh": (96, 64)},
        "full": lambda i: {"image": picture(i, (48, 32)), "field_wh": (96, 64), "full": picture(i)},
        "odd": lambda i: {"image": np.pad(picture(i), ((0, 1), (0, 1), (0, 0)))},
    }
    made = make()
    for i in range(20):
        made.captured(frame(i, **kinds[order](i)))
    made.close()
    (video,) = videos(tmp_path)
    images = frames_of(video)
    assert images[0].shape[:2] == (64, 96)  # an odd last row and column are left out
    assert [number_of(image) for image in images] == list(range(20))


def test_without_pyav_the_recorder_does_not_start(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # importing it fails
    with pytest.raises(ConfigError, match=r"^record: writing video needs av; pip install 'edgepose\[video\]'"):
        make()
