"""The supervised camera: every stall ends in frames or in an error, and no healthy camera is disturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from brokers import wait_until
from fakes import FakeEstimator, ListDelivery, ListReporter
from scripted_camera import Device, Remedy, number

from edgepose.camera.base import Revivable, Source
from edgepose.camera.supervisor import CameraSupervisor, SupervisorTiming
from edgepose.daemon.pipeline import Pipeline
from edgepose.errors import CameraError
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose

STEPS = ("flush", "restart", "reopen")
STALL_S = 0.1


# The same steps, forty times as fast.
FAST = SupervisorTiming(stall_s=STALL_S, open_s=1.0, held_s=0.0, close_s=0.1, longest_pause_s=0.05, file_s=0.2)
Watch = Callable[..., tuple[CameraSupervisor, ListReporter]]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """watch(open, timing) gives the supervised camera and its reporter; the camera is closed at the end."""
    made: list[CameraSupervisor] = []

    def start(
        open_source: Callable[[], Source], timing: SupervisorTiming = FAST
    ) -> tuple[CameraSupervisor, ListReporter]:
        reporter = ListReporter()
        made.append(CameraSupervisor(open_source, reporter=reporter, timing=timing))
        return made[-1], reporter

    yield start
    for camera in made:
        camera.close()


def take(camera: CameraSupervisor) -> Frame:
    frame = camera.read()
    assert frame is not None
    return frame


def read_to_the_end(camera: CameraSupervisor) -> list[int]:
    """Reads all frames, and returns the numbers that they show."""
    return [number(frame) for frame in iter(camera.read, None)]


def read_aside(camera: CameraSupervisor) -> threading.Thread:
    thread = threading.Thread(target=read_to_the_end, args=(camera,))
    thread.start()
    return thread


def camera_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("camera")]


def test_an_observer_that_never_returns_keeps_nobody_from_closing_the_camera() -> None:
    released, seen = threading.Event(), []

    def observe(frame: Frame) -> None:
        seen.append(frame.index)
        if len(seen) > 1:
            released.wait(30)

    camera = CameraSupervisor(Device().open, reporter=Reporter(), on_frame=observe, timing=FAST)
    assert take(camera).index == 0
    wait_until(lambda: len(seen) > 1, "the observer to be busy")
    closing = threading.Thread(target=camera.close)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    released.set()


def test_frames_pass_through_in_order(watch: Watch) -> None:
    camera, reporter = watch(Device().open)
    frames = [take(camera) for _ in range(200)]
    indices = [frame.index for frame in frames]
    assert indices == [number(frame) for frame in frames]
    assert indices == sorted(set(indices))
    assert indices[-1] + 1 == len(indices) + camera.displaced
    assert reporter.kinds == []
    assert set(camera.counts.values()) == {0}
    assert reporter.alerts == {}


@pytest.mark.parametrize("remedy", STEPS)
def test_a_stall_is_cured_by_the_first_step_that_helps(remedy: Remedy, watch: Watch) -> None:
    device = Device()
    camera, reporter = watch(device.open)
    before = take(camera).index
    device.stop(remedy)
    while not reporter.kinds or reporter.kinds[-1] != "camera_recovered":
        after = take(camera).index
    assert after > before
    taken = STEPS[: STEPS.index(remedy) + 1]
    assert reporter.kinds == ["camera_stalled", *(f"camera_{step}" for step in taken), "camera_recovered"]
    assert [device.flushes, device.restarts, device.openings - 1] == [int(step in taken) for step in STEPS]
    assert camera.counts["stalls"] == camera.counts["recovered"] == 1
    assert reporter.alerts == {}


def test_a_source_that_gives_up_waiting_by_itself_is_revived_too(
    watch: Watch,
) -> None:
    device = Device()
    device.impatient = True
    camera, reporter = watch(device.open)
    device.stop("restart")
    while "camera_recovered" not in reporter.kinds:
        take(camera)
    assert reporter.kinds == ["camera_stalled", "camera_flush", "camera_restart", "camera_recovered"]
    assert [text for _, text, _ in reporter.events[:3]] == ["no frame for 2 s"] * 3
    assert camera.counts["abandoned"] == 0


@pytest.mark.slow
def test_a_hundred_random_stalls_are_all_recovered_from(watch: Watch) -> None:
    chance, device = random.Random(1), Device(period_s=0.0005)
    # On a busy machine also a healthy camera stalls for that long.
    camera, reporter = watch(device.open, replace(FAST, stall_s=0.03))
    last = -1
    for i in range(100):
        for _ in range(chance.randrange(1, 20)):
            frame = take(camera)
            assert frame.index > last
            last = frame.index
        reporter.kinds.clear()
        remedy = chance.choice(STEPS)
        device.stop(remedy)
        while "camera_recovered" not in reporter.kinds:
            take(camera)
        assert f"camera_{remedy}" in reporter.kinds, i
    assert camera.counts["stalls"] >= 100
    assert camera.counts["recovered"] == camera.counts["stalls"]
    assert reporter.alerts == {}
    wait_until(lambda: len(camera_threads()) <= 2, "the threads that were left behind to end")


def test_a_stall_again_at_once_goes_on_where_the_ladder_was(watch: Watch) -> None:
    device = Device()
    camera, reporter = watch(device.open, replace(FAST, held_s=60.0))
    for remedy in ("flush", "restart", "reopen", "reopen"):
        device.stop(remedy)
        reporter.kinds.clear()
        while "camera_recovered" not in reporter.kinds:
            take(camera)
        assert reporter.kinds == ["camera_stalled", f"camera_{remedy}", "camera_recovered"]


def test_the_alert_stands_as_long_as_the_trouble(watch: Watch) -> None:
    device = Device()
    camera, reporter = watch(device.open)
    thread = read_aside(camera)
    device.stop("time")
    wait_until(lambda: reporter.alerts.get("camera", "").startswith("no frame for"), "the alert")
    device.cure("time")
    wait_until(lambda: reporter.alerts == {}, "the alert to end")
    camera.close()
    thread.join(5)
    assert not thread.is_alive()


def test_an_unplugged_camera_is_opened_anew_until_it_is_back(
    watch: Watch,
) -> None:
    device = Device()
    camera, reporter = watch(device.open)
    last = take(camera).index
    device.unplugged = True
    plug = threading.Timer(0.2, lambda: setattr(device, "unplugged", False))
    plug.start()
    while "camera_recovered" not in reporter.kinds:
        last, before = take(camera).index, last
        assert last > before
    assert reporter.kinds[:2] == ["camera_stalled", "camera_reopen"]
    assert set(reporter.kinds[1:-1]) == {"camera_reopen"}
    assert (device.flushes, device.restarts) == (0, 0)
    assert camera.counts["reopens"] == device.openings - 1 > 1


def test_a_camera_that_stays_away_is_given_up(watch: Watch) -> None:
    device = Device()
    camera, reporter = watch(device.open)
    device.unplugged = True
    with pytest.raises(
        CameraError, match=r"^the camera is given up after \d+ s and 10 openings; .* last: the camera is not there$"
    ):
        read_to_the_end(camera)
    assert device.openings == 1 + FAST.most_openings
    assert reporter.kinds[-1] == "camera_lost"
    assert reporter.alerts == {"camera": "the camera is not there"}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["flush", "restart", "open", "close"])
def test_a_step_that_hangs_is_left_behind(method: str, watch: Watch) -> None:
    device = Device()
    camera, reporter = watch(device.open)
    take(camera)
    device.broken = {method}
    device.stop("reopen")
    if method == "open":  # that one alone would never come back
        threading.Timer(1.5, device.broken.clear).start()
    while "camera_recovered" not in reporter.kinds:
        take(camera)
    assert camera.counts["abandoned"] >= 1
    device.free.set()
    camera.close()
    wait_until(lambda: not camera_threads(), "the threads that were left behind to end")
    assert device.closings == device.openings  # also what was opened late


def test_what_a_thread_left_behind_still_brings_is_thrown_away(
    watch: Watch,
) -> None:
    device = Device()
    camera, reporter = watch(device.open)
    take(camera)
    device.broken = {"read"}
    indices = list[int]()
    thread = threading.Thread(target=lambda: indices.extend(frame.index for frame in iter(camera.read, None)))
    thread.start()
    wait_until(lambda: device.openings == 2, "the reopening")
    # From now on reads work; those that hang do so until the second event is set, and come back with frames.
    device.broken, late, device.free = set(), device.free, threading.Event()
    wait_until(lambda: "camera_recovered" in reporter.kinds, "frames")
    late.set()
    wait_until(lambda: len(camera_threads()) == 1, "the threads that were left behind to end")
    made = device.made
    wait_until(lambda: device.made > made + 20, "more frames")
    camera.close()
    thread.join(5)
    assert indices == sorted(set(indices))
    assert reporter.kinds[-1] == "camera_recovered"


def test_a_driver_that_holds_every_thread_is_given_up(watch: Watch) -> None:
    device = Device()
    camera, reporter = watch(device.open, replace(FAST, most_hanging=3, open_s=0.1))
    take(camera)
    device.broken = {"read", "close", "flush", "restart"}
    with pytest.raises(CameraError, match="given up"):
        read_to_the_end(camera)
    assert reporter.kinds[-1] == "camera_lost"
    assert len(camera_threads()) <= 3 + 3
    device.free.set()


@pytest.mark.slow
def test_a_thousand_reopenings_leave_no_thread_and_no_file_behind(watch: Watch) -> None:
    device = Device(period_s=0.0)
    assert not isinstance(device.open_plain(), Revivable)
    camera, reporter = watch(device.open_plain, replace(FAST, stall_s=0.005))
    files = Path("/proc/self/fd")
    most_threads = most_files = 0
    before = len(list(files.iterdir()))
    for _ in range(1000):
        reporter.kinds.clear()
        device.stop("reopen")
        while "camera_recovered" not in reporter.kinds:
            take(camera)
        most_threads = max(most_threads, len(camera_threads()))
        most_files = max(most_files, len(list(files.iterdir())))
    assert camera.counts["reopens"] >= 1000
    assert most_threads <= 2 + FAST.most_hanging
    assert most_files <= before + 2 + FAST.most_hanging
    wait_until(lambda: len(camera_threads()) == 1, "the last thread to end")
    assert len(list(files.iterdir())) <= before


@pytest.mark.slow
def test_a_slow_model_is_not_taken_for_a_dead_camera() -> None:
    class Slow(FakeEstimator):
        def estimate(self, frame: Frame, region: object = None) -> Pose:
            time.sleep(1.0)  # what it takes, twice as long as the limit
            return super().estimate(frame)

    device = Device(period_s=0.03)
    timing = replace(FAST, stall_s=0.5)
    camera, delivery = CameraSupervisor(device.open, reporter=Reporter(), timing=timing), ListDelivery()
    stop = threading.Event()
    pipeline = Pipeline(camera, Slow(), delivery, "cage-07", reporter=Reporter())
    thread = threading.Thread(target=pipeline.run, args=(stop,))
    thread.start()
    wait_until(lambda: len(delivery.messages) == 3, "three poses")
    stop.set()
    thread.join(10)
    assert set(camera.counts.values()) == {0}
    assert (device.openings, device.flushes, device.restarts) == (1, 0, 0)


def test_whoever_reads_slowly_gets_the_newest_frame(watch: Watch) -> None:
    device = Device(period_s=0.001)
    camera, reporter = watch(device.open)
    take(camera)
    made = device.made
    wait_until(lambda: device.made > made + 50, "frames that nobody takes")
    assert take(camera).index >= made + 49
    assert camera.displaced >= 48
    assert reporter.kinds == []


def test_a_camera_slower_than_the_limit_says_so(watch: Watch) -> None:
    device = Device(rate_hz=5, period_s=0.2)
    camera, reporter = watch(device.open)
    assert [take(camera).index for _ in range(4)] == [0, 1, 2, 3]
    assert reporter.kinds == []


@pytest.mark.slow
def test_a_process_that_was_stopped_does_not_blame_the_camera(tmp_path: Path) -> None:
    """Time goes on while the process is stopped by a real signal, but no camera could give it a frame then."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from edgepose.camera.supervisor import CameraSupervisor, SupervisorTiming\n"
        "from edgepose.system.reporter import Reporter\n"
        "from scripted_camera import Device\n"
        "timing = SupervisorTiming(stall_s=1.2)\n"
        "camera = CameraSupervisor(Device(period_s=1.0).open, reporter=Reporter(), timing=timing)\n"
        "for i in range(5):\n"
        "    camera.read()\n"
        "    print(i, flush=True)\n"
        "print(camera.counts['stalls'])\n",
        encoding="utf-8",
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(3.0)  # how long it is stopped
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=30)
    assert out.split()[-1] == "0"


# --- opening, closing ----------------------------------------------------------------------------------------


def test_a_camera_that_is_not_there_at_the_start_is_an_error_at_once() -> None:
    device = Device()
    device.unplugged = True
    with pytest.raises(CameraError, match=r"^the camera is not there$"):
        CameraSupervisor(device.open, reporter=Reporter(), timing=FAST)
    assert device.openings == 1


@pytest.mark.parametrize("method", ["open", "read"])
def test_a_camera_that_hangs_at_the_start_is_an_error_in_time(method: str) -> None:
    device = Device()
    device.broken = {method}
    with pytest.raises(CameraError, match="gives no frame within 1 s"):
        CameraSupervisor(device.open, reporter=Reporter(), timing=FAST)
    device.free.set()
    wait_until(lambda: device.closings == 1 and not camera_threads(), "the source to be closed")


def test_an_odd_error_of_a_driver_becomes_a_camera_error() -> None:
    def broken() -> Source:
        raise RuntimeError("Camera __init__ sequence did not complete.")

    with pytest.raises(CameraError, match=r"driver failed \(RuntimeError: Camera __init__"):
        CameraSupervisor(broken, reporter=Reporter())


@pytest.mark.parametrize("hanging", [(), ("close", "flush", "restart", "open")], ids=["waits", "hangs"])
def test_close_ends_a_waiting_read(hanging: tuple[str, ...], watch: Watch) -> None:
    device = Device()
    camera, _reporter = watch(device.open)
    device.stop("none")
    device.broken = set(hanging)
    thread = read_aside(camera)
    wait_until(lambda: not hanging or camera.counts["reopens"] > 0, "the ladder to be climbed")
    camera.close()
    thread.join(5)
    assert not thread.is_alive()
    assert camera.read() is None
    device.free.set()
    wait_until(lambda: device.closings == device.openings, "everything to be closed")


# --- files: not live -----------------------------------------------------------------------------------------


def test_a_file_is_read_whole_in_order_however_slowly(watch: Watch) -> None:
    device = Device(live=False, period_s=0.0)
    device.frames = 500
    camera, _reporter = watch(device.open)
    assert read_to_the_end(camera) == list(range(500))
    assert camera.read() is None
    assert camera.displaced == 0


def test_a_file_that_hangs_is_reported_and_waited_for(watch: Watch) -> None:
    device = Device(live=False, period_s=0.0)
    device.frames = 50
    camera, reporter = watch(device.open)
    numbers = [number(take(camera)) for _ in range(10)]
    device.stop("time")
    reader = threading.Thread(target=lambda: numbers.extend(number(frame) for frame in iter(camera.read, None)))
    reader.start()
    wait_until(lambda: reporter.kinds == ["camera_stalled"], "the report of the stall")
    device.cure("time")
    reader.join(10)
    assert numbers == list(range(50))
    assert reporter.kinds == ["camera_stalled", "camera_recovered"]
    assert (device.openings, device.flushes, device.restarts) == (1, 0, 0)


def test_a_file_that_never_comes_back_is_given_up(watch: Watch) -> None:
    device = Device(live=False)
    camera, reporter = watch(device.open)
    device.stop("none")
    with pytest.raises(CameraError, match=r"given up after \d+ s; check disk and network"):
        read_to_the_end(camera)
    assert reporter.kinds == ["camera_stalled", "camera_lost"]
    assert device.openings == 1


def test_an_error_of_a_file_is_raised_as_it_is(watch: Watch) -> None:
    device = Device(live=False)
    camera, reporter = watch(device.open)
    device.unplugged = True
    with pytest.raises(CameraError, match=r"^the camera was unplugged$"):
        read_to_the_end(camera)
    assert reporter.kinds == []
