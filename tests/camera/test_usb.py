"""USB cameras: what they make of the config, and how they vanish and come back. The driver is a stand-in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from brokers import wait_until

from edgepose.camera import usb
from edgepose.camera.supervisor import CameraSupervisor, SupervisorTiming
from edgepose.camera.usb import UsbSource
from edgepose.config import camera as camera_config
from edgepose.errors import CameraError
from edgepose.system.clock import wall_us
from edgepose.system.reporter import Reporter

NAME = "usb-046d_HD_Webcam_C525-video-index0"


class Webcam:
    """What stands on the table. sizes, formats, controls: that it has; frame_wh: what it really gives, if it lies.

    hang: reads wait for this event, as V4L2 does for select, and then fail. age_ms: of a frame's stamp when it is read;
    None: the driver does not stamp. damaged: frames, counted from 0, that cannot be decoded."""

    def __init__(self) -> None:
        self.sizes = [(640, 480), (1280, 720)]
        self.formats = ["MJPG", "YUYV"]
        self.rate = 30.0
        self.frame_wh: tuple[int, int] | None = None
        self.controls: dict[int, float] = {
            cv2.CAP_PROP_EXPOSURE: 250,
            cv2.CAP_PROP_AUTO_EXPOSURE: 3,
            cv2.CAP_PROP_GAIN: 0,
        }
        self.steps: dict[int, float] = {}
        self.busy = self.gone = False
        self.hang: threading.Event | None = None
        self.age_ms: float | None = 20.0
        self.damaged: set[int] = set()
        self.opened: list[str] = []
        self.asked: dict[int, float] = {}
        self.open_now = 0


class FakeCapture:
    """A cv2.VideoCapture that behaves as the one for V4L2."""

    webcam: Webcam

    def __init__(self, name: str, backend: int, parameters: Any) -> None:
        assert backend == cv2.CAP_V4L2
        self._cam = self.webcam
        self._cam.opened.append(name)
        self._open = not self._cam.busy and self._cam.open_now == 0 and Path(name).exists()
        self._cam.open_now += self._open
        self._wh, self._format = (640, 480), "YUYV"
        self._frames = 0
        self._asked = self._cam.asked

    def isOpened(self) -> bool:
        return self._open

    def set(self, what: int, value: float) -> bool:
        self._asked[what] = value
        if what == cv2.CAP_PROP_FOURCC:
            word = int(value).to_bytes(4, "little").decode()
            if word not in self._cam.formats:
                return False
            self._format = word
        elif what in {cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT}:
            wanted = self._asked[cv2.CAP_PROP_FRAME_WIDTH]
            self._wh = min(self._cam.sizes, key=lambda size: abs(size[0] - wanted))
        elif what in self._cam.controls:
            step = self._cam.steps.get(what, 1)
            self._cam.controls[what] = round(value / step) * step
        else:
            return False
        return True

    def get(self, what: int) -> float:
        age = self._cam.age_ms
        return {
            cv2.CAP_PROP_FOURCC: float(int.from_bytes(self._format.encode(), "little")),
            cv2.CAP_PROP_FPS: self._cam.rate,
            cv2.CAP_PROP_POS_MSEC: 0.0 if age is None else time.monotonic() * 1e3 - age,
        }.get(what, self._cam.controls.get(what, -1.0))

    def grab(self) -> bool:
        hang = self._cam.hang
        if hang is not None:
            hang.wait(30)
            return False
        time.sleep(0.002)
        self._frames += 1
        return self._open and not self._cam.gone

    def retrieve(self) -> tuple[bool, Any]:
        if self._frames - 1 in self._cam.damaged:
            return False, None
        w, h = self._cam.frame_wh or self._wh
        return True, np.full((h, w, 3), self._frames % 256, np.uint8)

    def release(self) -> None:
        self._cam.open_now -= self._open
        self._open = False


def open_usb(tmp_path: Path, config: camera_config.UsbCameraConfig) -> UsbSource:
    return UsbSource(config, dev=tmp_path / "dev")


@pytest.fixture
def webcam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webcam]:
    """A webcam at /dev/video0, in a /dev of the test's own, with a name that lasts."""
    cam = Webcam()
    monkeypatch.setattr(FakeCapture, "webcam", cam, raising=False)
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    (tmp_path / "dev" / "v4l" / "by-id").mkdir(parents=True)
    plug(tmp_path, 0)
    yield cam
    if cam.hang is not None:
        cam.hang.set()


def plug(tmp_path: Path, number: int) -> None:
    (tmp_path / "dev" / f"video{number}").touch()
    (by_id(tmp_path)).symlink_to(Path("..") / ".." / f"video{number}")


def unplug(tmp_path: Path, number: int) -> None:
    (tmp_path / "dev" / f"video{number}").unlink()
    by_id(tmp_path).unlink()


def by_id(tmp_path: Path) -> Path:
    return tmp_path / "dev" / "v4l" / "by-id" / NAME


def settings(tmp_path: Path, **more: Any) -> camera_config.UsbCameraConfig:
    return camera_config.UsbCameraConfig(device=str(by_id(tmp_path)), **more)


def test_frames_have_the_size_that_was_asked_for(webcam, tmp_path, caplog):
    camera = open_usb(tmp_path, settings(tmp_path, size_wh=(1280, 720)))
    frames = [camera.read() for _ in range(3)]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert {(frame.size_wh, frame.order) for frame in frames} == {((1280, 720), "bgr")}
    assert webcam.asked[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    assert webcam.asked[cv2.CAP_PROP_BUFFERSIZE] == usb.BUFFERS
    assert caplog.messages == []
    camera.close()
    assert camera.read() is None
    assert webcam.open_now == 0


@pytest.mark.parametrize("device", [0, "/dev/video0"])
def test_a_number_is_a_device_too(webcam, tmp_path, device):
    if device == "/dev/video0":
        device = str(tmp_path / "dev" / "video0")
    open_usb(tmp_path, camera_config.UsbCameraConfig(device=device)).close()
    assert webcam.opened == [str(tmp_path / "dev" / "video0")]


def test_what_the_camera_gives_instead_is_used_with_a_warning(webcam, tmp_path, caplog):
    webcam.frame_wh, webcam.rate, webcam.formats = (800, 600), 15.0, ["YUYV"]
    camera = open_usb(tmp_path, settings(tmp_path, size_wh=(1280, 720)))
    for _ in range(3):
        assert camera.read().size_wh == (800, 600)
    name = str(by_id(tmp_path))
    assert caplog.messages == [
        f"{name}: gives 800x600, not 1280x720; coordinates are those of its frames",
        f"{name}: rate_hz is 15, not 30",
        f"{name}: gives the format YUYV, not mjpg",
    ]


def test_controls_are_set_by_hand_and_verified(webcam, tmp_path, caplog):
    webcam.steps = {cv2.CAP_PROP_GAIN: 50}
    open_usb(tmp_path, settings(tmp_path, exposure_us=5000, gain=120, focus=30))
    assert webcam.controls == {cv2.CAP_PROP_EXPOSURE: 50, cv2.CAP_PROP_AUTO_EXPOSURE: 1, cv2.CAP_PROP_GAIN: 100}
    name = str(by_id(tmp_path))
    assert caplog.messages == [f"{name}: gain is 100, not 120", f"{name}: has no focus to set"]


def test_without_controls_the_camera_is_set_back_to_automatic(webcam, tmp_path, caplog):
    webcam.controls[cv2.CAP_PROP_AUTO_EXPOSURE] = 1  # as an earlier run may have left it
    open_usb(tmp_path, settings(tmp_path))
    assert webcam.controls[cv2.CAP_PROP_AUTO_EXPOSURE] == 3
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("age_ms", "low_ms", "high_ms"), [(20.0, 20, 1000), (None, 0, 20), (5000.0, 0, 20), (-50.0, 0, 20)]
)
def test_a_frame_has_the_drivers_time_where_that_can_be(webcam, tmp_path, age_ms, low_ms, high_ms, monkeypatch):
    webcam.age_ms = age_ms
    frozen = time.monotonic_ns()
    monkeypatch.setattr(time, "monotonic_ns", lambda: frozen)
    monkeypatch.setattr(time, "monotonic", lambda: frozen / 1e9)
    frame = open_usb(tmp_path, settings(tmp_path)).read()
    age = (frozen - frame.captured_mono_ns) / 1e6
    assert age == pytest.approx(age_ms if low_ms else 0, abs=0.01)
    monkeypatch.undo()
    assert frame.captured_us == pytest.approx(wall_us() - age * 1e3, abs=30e6)


def test_a_damaged_frame_is_left_out(webcam, tmp_path):
    webcam.damaged = {0, 2, 3}
    camera = open_usb(tmp_path, settings(tmp_path))
    frames = [camera.read() for _ in range(3)]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [2, 5, 6]


# --- errors ------------------------------------------------------------------------------------------------


def test_the_error_names_the_cameras_that_are_plugged_in(webcam, tmp_path):
    with pytest.raises(CameraError) as error:
        open_usb(tmp_path, camera_config.UsbCameraConfig(device="/dev/v4l/by-id/other"))
    assert str(error.value) == f"/dev/v4l/by-id/other: no such camera; there is {by_id(tmp_path)}"
    by_id(tmp_path).unlink()
    with pytest.raises(CameraError, match=r"no such camera; there is .*/dev/video0$"):
        open_usb(tmp_path, camera_config.UsbCameraConfig(device=7))
    (tmp_path / "dev" / "video0").unlink()
    with pytest.raises(CameraError, match=r"video7: no such camera; no camera is plugged in$"):
        open_usb(tmp_path, camera_config.UsbCameraConfig(device=7))


def test_a_camera_that_another_program_uses_is_an_error(webcam, tmp_path):
    webcam.busy = True
    with pytest.raises(CameraError, match="another program uses it, or it gives no pictures; there is"):
        open_usb(tmp_path, settings(tmp_path))


def test_a_camera_without_permission_is_an_error(webcam, tmp_path, lock):
    (tmp_path / "dev" / "video0").chmod(0)
    if os.getuid() == 0:  # who is never refused, but in a stranger's home
        other = tmp_path / "other"
        other.mkdir()
        lock(other)
    with pytest.raises(CameraError, match=r"no permission; `sudo usermod -aG video \$USER`, then log in again"):
        open_usb(tmp_path, camera_config.UsbCameraConfig(device=str(tmp_path / "dev" / "video0")))


# --- supervised --------------------------------------------------------------------------------------------


FAST = SupervisorTiming(stall_s=0.2, close_s=0.1, longest_pause_s=0.05)


def test_a_camera_is_found_again_under_another_number(webcam, tmp_path):
    reporter = Reporter()
    camera = CameraSupervisor(lambda: open_usb(tmp_path, settings(tmp_path)), reporter=reporter, timing=FAST)
    first = camera.read()
    webcam.gone = True
    unplug(tmp_path, 0)
    frames = []
    thread = threading.Thread(target=lambda: frames.append([camera.read() for _ in range(5)]))
    thread.start()
    wait_until(lambda: camera.counts["reopens"] >= 3, "some attempts")
    assert reporter.alerts["camera"].endswith("no such camera; no camera is plugged in")
    webcam.gone = False
    plug(tmp_path, 1)
    thread.join(10)
    assert [Path(name).name for name in webcam.opened] == ["video0", "video1"]
    assert frames[0][-1].index > first.index
    assert reporter.alerts == {}
    camera.close()


def test_a_read_that_hangs_after_unplugging_is_left_behind_until_the_driver_lets_go(webcam, tmp_path):
    reporter = Reporter()
    camera = CameraSupervisor(lambda: open_usb(tmp_path, settings(tmp_path)), reporter=reporter, timing=FAST)
    camera.read()
    webcam.hang = hang = threading.Event()
    thread = threading.Thread(target=lambda: [camera.read() for _ in range(5)])
    thread.start()
    wait_until(lambda: camera.counts["reopens"] >= 2, "the ladder to reach the reopening")
    assert "another program uses it" in reporter.alerts["camera"]  # it is the thread that was left behind
    webcam.hang = None
    hang.set()
    thread.join(10)
    assert not thread.is_alive()
    assert camera.counts["abandoned"] == 1
    assert (camera.counts["flushes"], camera.counts["restarts"]) == (0, 0)  # neither could free the device
    camera.close()
    wait_until(lambda: webcam.open_now == 0, "both captures to be released")


REAL = sorted(Path("/dev/v4l/by-id").glob("*-index0"))


@pytest.mark.skipif(not REAL, reason="needs a USB camera")
def test_a_real_camera_gives_frames():
    camera = CameraSupervisor(
        lambda: UsbSource(camera_config.UsbCameraConfig(device=str(REAL[0]))), reporter=Reporter()
    )
    frames = [camera.read() for _ in range(10)]
    assert frames[-1].captured_mono_ns > frames[0].captured_mono_ns
    camera.close()
