"""The source for Camera Modules, on a picamera2 that misbehaves as the real one does (fake_picamera2)."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from brokers import Mosquitto, wait_until
from fake_picamera2 import BUSY, CONTROLS, IMX219, USB, Hardware, install, planes_of
from fakes import FakeEstimator, ListDelivery

from edgepose.camera import open_camera
from edgepose.camera.picamera2.camera import Picamera2Source, age, lores_wh
from edgepose.camera.supervisor import CameraSupervisor
from edgepose.camera.synthetic.scene import Scene
from edgepose.cli.main import main
from edgepose.config.camera import Picamera2Config
from edgepose.daemon.pipeline import Pipeline
from edgepose.errors import CameraError, ConfigError
from edgepose.geometry.letterbox import ModelInput
from edgepose.inference.estimator import Estimator
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose

COLOUR, GRAY = ModelInput((320, 240), 3, "letterbox"), ModelInput((320, 240), 1, "letterbox")
FAST = Picamera2Config(rate_hz=500, controls={"ExposureTime": 1000})
FASTER = {**CONTROLS, "FrameDurationLimits": (1000, 11767556, None)}


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """A /dev of the test's own."""
    folder = tmp_path / "dev"
    folder.mkdir()
    return folder


@pytest.fixture
def opened(devices: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Picamera2Source]]:
    """opened(hardware, config, model) gives the source on that hardware."""
    made: list[Picamera2Source] = []

    def make(
        hardware: Hardware, camera: Picamera2Config = FAST, model: ModelInput = COLOUR, **more: Any
    ) -> Picamera2Source:
        if hardware.controls == CONTROLS:
            hardware.controls = FASTER
        install(monkeypatch, hardware)
        made.append(Picamera2Source(camera, model, **{"dev": devices, **more}))
        return made[-1]

    yield make
    for source in made:
        source.close()


def read(source: Picamera2Source) -> Frame:
    frame = source.read()
    assert frame is not None
    return frame


def number(frame: Frame) -> int:
    """Returns the number of a frame without a scene."""
    return int.from_bytes(frame.image.tobytes()[:4], "little")


# --- what cannot be used is told in one line -----------------------------------------------------------------


def test_no_camera_is_an_error(opened: Any) -> None:
    with pytest.raises(CameraError, match=r"^no Camera Module is detected; .*--list-cameras.*ribbon.*auto_detect=1$"):
        opened(Hardware(cameras=()))


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (IndexError("list index out of range"), r"^imx219: list index out of range; see whether `rpicam-hello`"),
        (RuntimeError(BUSY), r"^imx219: in use by another program; stop that one, or choose another camera"),
        (
            RuntimeError("Failed to\nacquire"),
            r"^imx219: Camera __init__ sequence did not complete, because: Failed to acquire; see whether",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), r"^imx219: no memory for its pictures; make camera.size_wh"),
    ],
)
def test_the_error_says_why_a_camera_does_not_open(opened: Any, raised: BaseException, message: str) -> None:
    with pytest.raises(CameraError, match=message) as caught:
        opened(Hardware(opening=raised))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.3.36", "^imx219: list index out of range"),
        ("0.3.38", "^imx219: No camera number 0 found - use .rpicam-hello"),
    ],
)
def test_a_camera_that_vanishes_while_it_is_opened_is_an_error(
    opened: Any, monkeypatch: pytest.MonkeyPatch, version: str, message: str
) -> None:
    listed = [{"Model": "imx219", "Id": IMX219, "Num": 0}]
    monkeypatch.setattr("fake_picamera2.Picamera2.global_camera_info", lambda: listed)
    with pytest.raises(CameraError, match=message):
        opened(Hardware(version=version, cameras=()))


def test_who_uses_the_camera_is_named(opened: Any, devices: Path) -> None:
    """libcamera locks the media device, and the kernel lists the lock with its owner."""
    device = devices / "media0"
    device.touch()
    code = f"import fcntl; f = open({str(device)!r}, 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        begin = re.escape(f"imx219: in use by process {other.pid} ({sys.executable} -c import")
        with pytest.raises(CameraError, match=rf"^{begin}.*\); stop that one, or choose"):
            opened(Hardware(opening=RuntimeError(BUSY)))
        other.communicate(b"\n")


def test_looking_for_permission_gives_up_no_lock(opened: Any, devices: Path) -> None:
    """A process that closes a file loses all its locks on it, also those of libcamera for another camera."""
    device = devices / "media0"
    device.touch()
    with device.open("r+") as mine:
        fcntl.lockf(mine, fcntl.LOCK_EX)
        opened(Hardware())
        code = f"import fcntl; f = open({str(device)!r}, 'r+'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.parametrize("name", ["media3", "dma_heap/vidbuf_cached", "dma_heap/linux,cma"])
def test_a_device_that_may_not_be_opened_is_an_error(opened: Any, devices: Path, name: str, lock: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        device = Path(folder) / name
        device.parent.mkdir(exist_ok=True)
        device.touch(0o600)
        lock(devices)  # makes root nobody
        try:
            with pytest.raises(
                CameraError, match=rf"^no permission for {device}; sudo usermod -aG video \w+, then log"
            ):
                opened(Hardware(), dev=Path(folder))
        finally:
            if os.getuid() == 0:
                os.seteuid(0)


def test_the_error_says_how_to_get_a_python_with_libcamera(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Hardware())
    monkeypatch.setitem(sys.modules, "libcamera", None)
    with pytest.raises(CameraError, match=r"no picamera2 with libcamera .*python3-picamera2.*--system-site-packages$"):
        open_camera(FAST, COLOUR)


@pytest.mark.parametrize(
    "raised",
    [
        "ValueError('numpy.dtype size changed, may indicate binary incompatibility. Expected 96, got 88')",
        "ImportError('numpy.core.multiarray failed to import')",
    ],
)
def test_the_error_says_that_numpy_is_too_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: str) -> None:
    (tmp_path / "picamera2.py").write_text(f"raise {raised}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CameraError, match=r"NumPy is too new for apt's picamera2 \(numpy.*pip install 'numpy<2'"):
        open_camera(FAST, COLOUR)


TWO = (("imx219", IMX219), ("imx708", "/base/soc/i2c0mux/i2c@0/imx708@1a"), ("C270", USB))


@pytest.mark.parametrize(
    ("which", "error", "message"),
    [
        (3, CameraError, "camera.which: 3 fits no camera; there are: 0 imx219 (/base/soc"),
        (-1, CameraError, "camera.which: -1 fits no camera"),
        ("imx477", CameraError, "camera.which: 'imx477' fits no camera"),
        ("i2c0mux", ConfigError, "camera.which: 'i2c0mux' fits several cameras; there are: 0 imx219"),
        ("C270", ConfigError, "camera.which: C270 is a USB camera; set camera.source: usb"),
    ],
)
def test_the_error_names_the_cameras_that_there_are(opened: Any, which: Any, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        opened(Hardware(cameras=TWO), Picamera2Config(which=which))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("which", "name"), [(1, "imx708"), ("708", "imx708"), ("i2c@1/", "imx219")])
def test_a_camera_is_chosen_by_number_name_or_place(opened: Any, which: Any, name: str) -> None:
    hardware = Hardware(cameras=TWO)
    source = opened(hardware, Picamera2Config(which=which))
    assert (source.name, hardware.cameras[hardware.camera.camera_idx][0]) == (name, name)


# --- controls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"ExposurTime": 1}, "ExposurTime: this camera has no such control; did you mean 'ExposureTime'?"),
        ({"Zoom": 1}, "Zoom: this camera has no such control; known: AeEnable, AnalogueGain, AwbEnable"),
        ({"FrameRate": 30}, "FrameRate: set camera.rate_hz instead"),
        ({"FrameDurationLimits": (1, 2)}, "FrameDurationLimits: set camera.rate_hz instead"),
        ({"AnalogueGain": 20}, "AnalogueGain: 20 is not within what this camera offers, 1 to 10.67"),
        ({"ColourGains": (1.5, 99.0)}, "ColourGains: 99.0 is not within what this camera offers, 0 to 32"),
        ({"AwbEnable": 1}, "AwbEnable: 1 is neither true nor false"),
        ({"ExposureTime": True}, "ExposureTime: a number is wanted, not true"),
        ({"ExposureTime": 80.5}, "ExposureTime: 80.5 is not a whole number"),
        ({"ExposureTime": 40000}, "ExposureTime: 40000 us is longer than a frame at camera.rate_hz 30 (33333 us)"),
        ({"ScalerCrop": 5}, "ScalerCrop: four numbers are wanted, [x, y, width, height]"),
        ({"ScalerCrop": (0, 0, 3281, 100)}, "ScalerCrop: [0, 0, 3281, 100] does not lie within what this camera sees"),
        ({"ScalerCrop": (0, 0, 64, 64)}, "ScalerCrop: [0, 0, 64, 64] does not lie within what this camera sees"),
    ],
)
def test_a_control_that_the_camera_does_not_take_is_an_error(opened: Any, controls: Any, message: str) -> None:
    hardware = Hardware()
    with pytest.raises(ConfigError) as caught:
        opened(hardware, Picamera2Config(controls=controls))
    assert str(caught.value).startswith(f"camera.controls.{message}")
    assert not hardware.camera.is_open


@pytest.mark.parametrize(
    ("rate_hz", "message"),
    [
        (200, r"^camera.rate_hz: 200 is more than the sensor gives in this mode, 41.14; lower it, or choose a smaller"),
        (0.01, r"^camera.rate_hz: 0.01 is less than the sensor gives, 0.085; raise it$"),
    ],
)
def test_a_rate_that_the_sensor_does_not_have_is_an_error(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, message: str
) -> None:
    install(monkeypatch, Hardware())
    with pytest.raises(ConfigError, match=message):
        open_camera(Picamera2Config(rate_hz=rate_hz), COLOUR)


def test_a_sensor_mode_that_does_not_exist_is_an_error(opened: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^camera.sensor_wh: imx219 has no such mode, the nearest has \(1640, 1232\)"
    ):
        opened(Hardware(), Picamera2Config(sensor_wh=(1600, 1200)))
    with pytest.raises(ConfigError, match=r"^camera.sensor_bits: imx219 has no such mode, the nearest has 10"):
        opened(Hardware(), Picamera2Config(sensor_bits=12))
    assert opened(Hardware(), Picamera2Config(sensor_wh=(1640, 1232), sensor_bits=10)).name == "imx219"


def test_controls_go_with_every_start_as_libcamera_wants_them(opened: Any) -> None:
    hardware = Hardware(controls={**CONTROLS, "ScalerCrops": CONTROLS["ScalerCrop"]})
    controls = {"AnalogueGain": 2, "ExposureTime": 9000.0, "AeEnable": False, "ScalerCrop": (0, 0, 1640, 1232)}
    source = opened(hardware, Picamera2Config(rate_hz=41, controls={**controls, "ColourGains": (1, 2)}))
    source.restart()
    wanted = {
        **controls,
        "ScalerCrops": [(0, 0, 1640, 1232)] * 2,  # of a Pi 5, where they count for more
        "FrameDurationLimits": (24390, 24390),
        "NoiseReductionMode": 1,  # picamera2's own, for video
        "ColourGains": (1.0, 2.0),
    }
    assert hardware.started_with[0] == wanted
    assert hardware.started_with[1] == {name: value for name, value in wanted.items() if name != "NoiseReductionMode"}
    assert isinstance(hardware.started_with[0]["ExposureTime"], int)
    assert isinstance(hardware.started_with[0]["AnalogueGain"], float)


def test_zero_is_automatic(opened: Any) -> None:
    hardware = Hardware()
    opened(hardware, Picamera2Config(controls={"ExposureTime": 0, "AnalogueGain": 0}))
    assert (hardware.started_with[0]["ExposureTime"], hardware.started_with[0]["AnalogueGain"]) == (0, 0.0)


# --- pictures ------------------------------------------------------------------------------------------------


def scene(_number: int) -> np.ndarray:
    """A smooth picture of 960x720 in all colours, different in each corner."""
    y, x = np.mgrid[0:720, 0:960].astype(np.float32)
    planes = [127 + 120 * np.sin(x / 190 + phase) * np.cos(y / 150 - phase) for phase in (0, 1.3, 2.9)]
    return np.dstack(planes).astype(np.uint8)


SIZES = [
    # main, model's input, what libcamera gives instead
    ((640, 480), (320, 240), {}),
    ((640, 480), (224, 224), {}),  # letterbox: 224x168
    ((640, 480), (448, 336), {}),
    ((640, 480), (1280, 960), {}),  # the stream is never larger than the frame
    ((966, 642), (320, 256), {}),
    ((640, 480), (320, 240), {"lores": (300, 238)}),
    ((640, 480), (320, 240), {"main": (624, 468)}),
    ((102, 66), (96, 96), {}),
]


@pytest.mark.parametrize("pisp", [True, False])
@pytest.mark.parametrize(("size_wh", "input_wh", "adjusted"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_is_the_field_at_the_models_size_without_padding(
    opened: Any, pisp: bool, size_wh: Any, input_wh: Any, adjusted: Any, channels: Any
) -> None:
    hardware, model = Hardware(pisp=pisp, scene=scene, adjusted=adjusted), ModelInput(input_wh, channels, "letterbox")
    source = opened(hardware, Picamera2Config(size_wh=size_wh, rate_hz=500), model)
    frame = read(source)
    main_wh, small_wh = adjusted.get("main", size_wh), adjusted.get("lores", lores_wh(size_wh, model))
    shown = cv2.resize(scene(0), small_wh, interpolation=cv2.INTER_AREA)
    assert (frame.size_wh, frame.full, frame.order) == (main_wh, None, "i420" if channels == 3 else "gray")
    assert frame.image.flags.c_contiguous
    assert frame.image.flags.writeable
    y, u, v = planes_of(shown, full_range=channels == 1)
    if channels == 1:
        np.testing.assert_array_equal(frame.image, y)
        # What a training picture turned grey has in the same place.
        assert np.abs(frame.image.astype(int) - cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)).max() <= 1
    else:
        planes = np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(-1, small_wh[0])
        np.testing.assert_array_equal(frame.image, planes)
        colours = cv2.cvtColor(frame.image, cv2.COLOR_YUV2BGR_I420)
        assert np.abs(colours[2:-2, 2:-2].astype(int) - shown[2:-2, 2:-2]).mean() < 2


def test_the_stream_is_the_part_of_the_input_that_the_letterbox_fills() -> None:
    assert lores_wh((640, 480), ModelInput((224, 224), 3, "letterbox")) == (224, 168)
    assert lores_wh((640, 480), ModelInput((224, 224), 3, "stretch")) == (224, 224)
    assert lores_wh((1000, 310), ModelInput((224, 224), 3, "letterbox")) == (224, 70)  # 69.4, and even
    assert lores_wh((200, 100), ModelInput((224, 224), 3, "letterbox")) == (200, 100)


@pytest.mark.parametrize(("adjusted", "median_px"), [({}, 0.6), ({"lores": (200, 238)}, 1.0)])
def test_keypoints_are_those_of_the_same_picture_read_from_a_file(
    opened: Any, demo_model: Path, adjusted: dict[str, Any], median_px: float
) -> None:
    """This also holds where libcamera gives another size and aspect ratio. Fewer pixels cost a little accuracy."""
    mouse, estimator = Scene(1, (640, 480)), Estimator(demo_model, 1)
    source = opened(Hardware(scene=mouse.render, adjusted=adjusted), FAST, estimator.card.input)
    source.wants_full = True
    errors = []
    for _ in range(8):
        frame = read(source)
        assert frame.full is not None
        whole = estimator.estimate(Frame(frame.full, "bgr", 0, 0, 0))
        small = estimator.estimate(frame)
        sure = np.minimum(whole.score, small.score) > 0.5
        errors += list(np.linalg.norm(whole.xy_px - small.xy_px, axis=1)[sure])
    assert len(errors) > 15
    assert np.median(errors) < median_px
    assert max(errors) < 4


def test_the_full_frame_is_copied_only_while_it_is_wanted(opened: Any) -> None:
    source = opened(Hardware(scene=scene), Picamera2Config(size_wh=(650, 480), rate_hz=500))  # rows padded to 1984
    assert read(source).full is None
    source.wants_full = True
    full = read(source).full
    np.testing.assert_array_equal(full, cv2.resize(scene(0), (650, 480), interpolation=cv2.INTER_AREA))
    source.wants_full = False
    assert read(source).full is None


@pytest.mark.parametrize(("hflip", "vflip"), [(True, False), (False, True)])
def test_the_picture_is_mirrored(opened: Any, hflip: bool, vflip: bool) -> None:
    source = opened(Hardware(scene=scene), Picamera2Config(hflip=hflip, vflip=vflip, rate_hz=500), GRAY)
    mirrored = cv2.flip(scene(0), 1 if hflip else 0)
    shown = planes_of(cv2.resize(mirrored, (320, 240), interpolation=cv2.INTER_AREA), full_range=True)[0]
    np.testing.assert_array_equal(read(source).image, shown)


def test_another_size_than_asked_for_is_logged(opened: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened(Hardware(adjusted={"main": (624, 468)}))
    assert caplog.messages == ["imx219: camera.size_wh 640x480 became 624x468"]


# --- time ----------------------------------------------------------------------------------------------------


def test_a_frames_time_is_the_middle_of_its_exposure(opened: Any) -> None:
    """The stamp is the end of the exposure of the first row, half an exposure after its middle."""
    hardware = Hardware(delay_s=0.05, exposure_us=12_000)
    source = opened(hardware, Picamera2Config(rate_hz=20))
    read(source)
    frame = read(source)
    now_ns, now_us = time.monotonic_ns(), time.time_ns() // 1000
    latency_ms = (now_ns - frame.captured_mono_ns) / 1e6
    assert (
        56 <= latency_ms < 56 + 50 + 200
    )  # delay and half an exposure; up to a period in the queue; and a slow machine
    assert abs((now_us - frame.captured_us) / 1e3 - latency_ms) < 5
    assert frame.exposure_us == 12_000


BOOT_NS = 50_000_000_000_000


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"SensorTimestamp": BOOT_NS - 30_000_000, "ExposureTime": 8000}, (34_000_000, 8000)),
        ({"SensorTimestamp": BOOT_NS - 30_000_000}, (30_000_000, None)),
        # a driver that stamps with the monotonic clock, on a machine that has slept for an hour
        ({"SensorTimestamp": BOOT_NS - 3_600_000_000_000 - 30_000_000}, (30_000_000, None)),
        ({"SensorTimestamp": BOOT_NS + 1, "ExposureTime": 8000}, (0, 8000)),  # not yet
        ({"SensorTimestamp": 0}, (0, None)),
        ({}, (0, None)),
    ],
)
def test_stamps_of_either_clock_are_understood_and_others_ignored(
    monkeypatch: pytest.MonkeyPatch, metadata: dict[str, int], expected: tuple[int, int | None]
) -> None:
    clocks = {time.CLOCK_BOOTTIME: BOOT_NS, time.CLOCK_MONOTONIC: BOOT_NS - 3_600_000_000_000}
    monkeypatch.setattr(time, "clock_gettime_ns", clocks.__getitem__)
    assert age(metadata) == expected


def test_frames_are_counted_as_they_are_read_and_the_newest_comes_first(opened: Any) -> None:
    hardware = Hardware()
    source = opened(hardware, Picamera2Config(rate_hz=200))
    frames = [read(source) for _ in range(5)]
    assert [frame.index for frame in frames] == list(range(5))
    numbers = [number(frame) for frame in frames]
    assert numbers == sorted(set(numbers))
    wait_until(lambda: hardware.camera.frames > numbers[-1] + 20, "frames that nobody read")
    before = hardware.camera.frames
    late = read(source)
    assert late.index == 5
    assert number(late) >= before - 2  # the last one, or the one in work


# --- buffers, threads, trouble -------------------------------------------------------------------------------


def test_what_is_waited_for_after_50_timeouts_costs_no_buffer(opened: Any) -> None:
    hardware = Hardware()
    source = opened(hardware, wait_s=0.005)
    _make_trouble(hardware, "silent")
    waits = 0
    wait = hardware.camera.wait

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal waits
        waits += 1
        return wait(*args, **kwargs)

    hardware.camera.wait = counted  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(source.read)
        wait_until(lambda: waits > 50, "50 timeouts")
        hardware.silent = False
        assert waiting.result(5) is not None
    for _ in range(20):
        read(source)
    assert hardware.camera.held == 0


def test_the_fake_leaks_as_the_real_one_does(opened: Any) -> None:
    """Otherwise the test above would prove nothing: abandoned jobs take the buffers, and the camera stands still."""
    hardware = Hardware(hardware_timeout_s=0.1)
    opened(hardware)
    _make_trouble(hardware, "silent")
    for _ in range(6):
        with pytest.raises(TimeoutError):
            hardware.camera.capture_request(wait=0.01)
    hardware.silent = False
    wait_until(lambda: hardware.camera.timed_out, "all buffers to be lost")
    assert hardware.camera.held == 6


def test_no_buffer_is_held_while_a_slow_model_works(opened: Any) -> None:
    """A pose takes three times as long as libcamera waits for its buffers; here everything is ten times as fast."""
    hardware = Hardware(hardware_timeout_s=0.1)
    source = opened(hardware, Picamera2Config(rate_hz=100))
    held: list[int] = []

    class Slow(FakeEstimator):
        def estimate(self, frame: Frame, region: object = None) -> Pose:
            deadline = time.monotonic() + 0.3
            while time.monotonic() < deadline:
                held.append(hardware.camera.held)
                time.sleep(0.01)
            return super().estimate(frame)

    delivery, stop = ListDelivery(), threading.Event()
    camera = CameraSupervisor(lambda: source, reporter=Reporter())
    pipeline = Pipeline(camera, Slow(), delivery, "cage-07", reporter=Reporter())
    thread = threading.Thread(target=pipeline.run, args=(stop,))
    thread.start()
    wait_until(lambda: len(delivery.messages) >= 5, "poses")
    frames = hardware.camera.frames
    wait_until(lambda: hardware.camera.frames > frames + 10, "the camera to be at work")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not hardware.camera.timed_out
    assert max(held) <= 1  # the one that the capturing thread is copying right now
    assert camera.captured > 3 * pipeline.poses


@pytest.mark.parametrize("trouble", ["silent", "dead loop"])
def test_a_restart_revives_the_stream_and_does_not_hang(opened: Any, trouble: str) -> None:
    hardware = Hardware()
    source = opened(hardware)
    read(source)
    _make_trouble(hardware, trouble)
    with ThreadPoolExecutor(2) as pool:
        left_behind = pool.submit(source.read)
        wait_until(lambda: hardware.camera._job_list, "somebody to wait for a frame")
        pool.submit(source.restart).result(5)
        with pytest.raises(TimeoutError, match="imx219: waiting for a frame was given up"):
            left_behind.result(5)
    assert not hardware.camera.loop_died
    assert [read(source).index for _ in range(3)] == [1, 2, 3]


def test_the_fakes_stop_hangs_as_the_real_one_does(opened: Any) -> None:
    hardware = Hardware()
    opened(hardware)
    _make_trouble(hardware, "dead loop")
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(hardware.camera.stop)
        with pytest.raises(TimeoutError):
            stopping.result(0.3)
        hardware.camera.close()
        hardware.camera.cancel_all_and_flush()


@pytest.mark.parametrize("trouble", ["silent", "dead loop", "none"])
def test_close_ends_a_read_whatever_happened(opened: Any, trouble: str) -> None:
    hardware = Hardware()
    source = opened(hardware)
    read(source)
    _make_trouble(hardware, trouble)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_read_on, source)
        source.close()
        waiting.result(5)
    assert source.read() is None
    assert not hardware.camera.is_open
    source.close()


def _read_on(source: Picamera2Source) -> None:
    while source.read() is not None:
        pass


def _make_trouble(hardware: Hardware, trouble: str) -> None:
    """Waits until no frame is on its way any more."""
    camera = hardware.camera
    if trouble == "silent":
        hardware.silent = True
        turns = camera.silent_turns
        wait_until(lambda: camera.silent_turns > turns, "silence")
    elif trouble == "dead loop":

        def callback(_request: Any) -> None:
            raise ZeroDivisionError

        camera.pre_callback = callback
        wait_until(lambda: camera.loop_died, "the thread to die")
        camera.pre_callback = None
    with camera.lock:
        while camera.completed_requests:
            camera.completed_requests.pop().release()


def test_a_flush_ends_the_waiting_and_the_next_to_read_has_a_frame_of_its_own(opened: Any) -> None:
    """A thread that was left behind in `read` must not get the same request, which would be released twice."""
    hardware = Hardware()
    source = opened(hardware)
    read(source)
    _make_trouble(hardware, "silent")
    with ThreadPoolExecutor(2) as pool:
        left_behind = pool.submit(source.read)
        wait_until(lambda: hardware.camera._job_list, "somebody to wait for a frame")
        reading = pool.submit(lambda: [source.flush(), *(source.read() for _ in range(5))])
        with pytest.raises(TimeoutError, match="given up"):
            left_behind.result(5)
        hardware.silent = False
        assert [frame.index for frame in reading.result(5)[1:]] == [1, 2, 3, 4, 5]
    assert hardware.camera.held == 0


def test_trouble_while_reading_is_a_camera_error(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hardware = Hardware()
    source = opened(hardware)

    def capture_request_() -> Any:
        raise RuntimeError("Failed to queue request: Permission denied")

    hardware.camera.capture_request_ = capture_request_  # type: ignore[method-assign]
    with pytest.raises(CameraError, match=r"^imx219: Failed to queue request: Permission denied; see whether"):
        source.read()


def test_a_failed_start_leaves_the_camera_closed(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hardware = Hardware(adjusted={"lores": (700, 500)})
    monkeypatch.setattr("fake_picamera2.Picamera2.start", _refuse)
    with pytest.raises(CameraError, match=r"^imx219: Failed to start camera: Invalid argument; see whether"):
        opened(hardware)
    assert not hardware.camera.is_open


def _refuse(*_args: Any, **_kwargs: Any) -> None:
    raise RuntimeError("Failed to start camera: Invalid argument")


def _resources() -> tuple[int, int, float]:
    """Returns the number of open descriptors and of threads, and the memory in RAM (MB)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), pages * 4096 / 1e6


@pytest.mark.slow
def test_a_thousand_openings_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    hardware = install(monkeypatch, Hardware(lazy=True, controls=FASTER))
    after: list[tuple[int, int, float]] = []
    for cycle in range(1001):
        source = open_camera(FAST, COLOUR)
        assert isinstance(source, Picamera2Source)
        read(source)
        source.close()
        hardware.made.clear()
        if cycle % 100 == 0:
            after.append(_resources())
    descriptors, threads, rss_mb = zip(*after, strict=True)
    assert set(descriptors[1:]) == {descriptors[0]}
    assert set(threads[1:]) == {threads[0]}
    assert rss_mb[-1] - rss_mb[1] < 3


# --- check ---------------------------------------------------------------------------------------------------


def test_check_names_the_sensor_both_sizes_and_the_first_frame(
    tmp_path: Path,
    demo_model: Path,
    mosquitto: Mosquitto,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mosquitto.start()
    hardware = install(monkeypatch, Hardware())
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"model: {demo_model}\ncamera: {{source: picamera2}}\nmqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n",
        encoding="utf-8",
    )
    assert main(["check", "-c", str(config)]) == 0
    out = capsys.readouterr().out
    assert "camera      ok    imx219, 640x480, 320x240 for the model, first frame after " in out
    hardware.opening = RuntimeError(BUSY)
    assert main(["check", "-c", str(config)]) == 1
    assert "camera      FAIL  imx219: in use by another program; stop that one" in capsys.readouterr().out


def test_check_tries_the_camera_also_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, Hardware())
    config = tmp_path / "edgepose.yaml"
    config.write_text("model: none.tflite\ncamera: {source: picamera2}\nmqtt: {port: 1}\n", encoding="utf-8")
    assert main(["check", "-c", str(config)]) == 78
    assert "camera      ok    imx219, 640x480" in capsys.readouterr().out
