"""Network cameras on real servers: for RTSP that of GStreamer, where it is installed, and our own for HTTP."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rtsp_server
from brokers import free_port, wait_until
from fakes import card
from mjpeg_server import MjpegServer

from edgepose.camera import open_camera
from edgepose.camera.rtsp import RtspSource, StreamTiming
from edgepose.camera.supervisor import CameraSupervisor, SupervisorTiming
from edgepose.config import camera as camera_config
from edgepose.errors import CameraError, ConfigError
from edgepose.system.clock import wall_us
from edgepose.system.reporter import Reporter
from edgepose.types import Frame

PASSWORD = "p@ss:w/rd %41?#é"


@pytest.fixture(scope="session")
def gstreamer() -> None:
    if not rtsp_server.usable():
        pytest.skip(f"needs GStreamer's RTSP server (apt install python3-gi {rtsp_server.PACKAGES})")


class RtspServer:
    """A server process that can be stopped, killed, and started again on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def start(self, *user: str) -> None:
        words = [rtsp_server.PYTHON, rtsp_server.__file__, str(self.port), *user]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def rtsp_camera(gstreamer: None) -> Iterator[RtspServer]:
    server = RtspServer()
    yield server
    server.kill()


@pytest.fixture
def mjpeg() -> Iterator[Callable[..., MjpegServer]]:
    made: list[MjpegServer] = []

    def start(password: str | None = None) -> MjpegServer:
        made.append(MjpegServer(password))
        made[-1].start()
        return made[-1]

    yield start
    for server in made:
        server.cut()


FAST = SupervisorTiming(longest_pause_s=0.2)
FAST_STREAM = StreamTiming(read_s=0.7, open_s=5.0)


def supervise(url: str) -> CameraSupervisor:
    return CameraSupervisor(lambda: RtspSource(url, None, None, timing=FAST_STREAM), reporter=Reporter(), timing=FAST)


def frames_of(url: str, count: int, username: str | None = None, password: str | None = None) -> list[Frame]:
    camera = RtspSource(url, username, password)
    with contextlib.closing(camera):
        frames = [camera.read() for _ in range(count)]
    assert camera.read() is None
    return [frame for frame in frames if frame is not None]


# --- RTSP --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rtsp_gives_frames_at_the_cameras_pace_stamped_at_arrival(rtsp_camera: RtspServer) -> None:
    rtsp_camera.start()
    before = wall_us()
    frames = frames_of(rtsp_camera.url, 30)
    assert [frame.index for frame in frames] == list(range(30))
    assert {(frame.size_wh, frame.order) for frame in frames} == {(rtsp_server.SIZE_WH, "bgr")}
    assert len({frame.image.tobytes() for frame in frames}) > 20  # the ball moves
    assert before <= frames[0].captured_us <= frames[-1].captured_us <= wall_us()
    # What had gathered while the stream was opened is left out: from the first frame on they keep the camera's pace.
    assert frames[-1].captured_mono_ns - frames[0].captured_mono_ns > 25 / rtsp_server.FPS * 1e9


def test_rtsp_with_a_password_that_nobody_sees(
    rtsp_camera: RtspServer,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rtsp_camera.start("ann", PASSWORD)
    monkeypatch.setenv("EDGEPOSE_CAMERA_PASSWORD", PASSWORD)
    camera = open_camera(camera_config.RtspCameraConfig(url=rtsp_camera.url, username="ann"), card().input)
    assert camera.read() is not None
    camera.close()
    told = []
    for username, password, message in (
        ("ann", "wrong", "refuses the user; correct camera.username and its password"),
        (None, None, "asks for a password; set camera.username and camera.password_file"),
    ):
        with pytest.raises(CameraError) as error:
            RtspSource(rtsp_camera.url, username, password)
        told.append(str(error.value))
        assert told[-1] == f"{rtsp_camera.url}: {message}"
    rtsp_camera.kill()
    with pytest.raises(CameraError) as error:
        RtspSource(rtsp_camera.url, "ann", PASSWORD)
    assert str(error.value) == f"{rtsp_camera.url}: connection refused; is the camera on, and the port right?"
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_rtsp_the_error_names_a_wrong_path(rtsp_camera: RtspServer) -> None:
    rtsp_camera.start()
    with pytest.raises(CameraError, match=r"/camera: no such stream \(status 404\); correct the path in camera.url$"):
        RtspSource(f"{rtsp_camera.url}era", None, None)


def test_rtsp_the_last_frame_that_opencv_finds_after_a_silence_is_none(rtsp_camera: RtspServer) -> None:
    rtsp_camera.start()
    camera = RtspSource(rtsp_camera.url, None, None, timing=FAST_STREAM)
    assert camera.read() is not None
    rtsp_camera.send(signal.SIGSTOP)
    stamps: list[int] = []
    with pytest.raises(CameraError, match=r"cam: no frame for \d\.\d s; check the camera and the network$"):
        stamps.extend(frame.captured_mono_ns for frame in iter(camera.read, None))
    assert np.all(np.diff(stamps) < FAST_STREAM.read_s * 1e9)
    camera.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_rtsp_comes_back_after_a_cut(how: str, rtsp_camera: RtspServer) -> None:
    rtsp_camera.start()
    camera = supervise(rtsp_camera.url)
    indices: list[int] = []
    thread = threading.Thread(target=lambda: indices.extend(frame.index for frame in iter(camera.read, None)))
    thread.start()
    if how == "stopped":
        rtsp_camera.send(signal.SIGSTOP)
    else:
        rtsp_camera.kill()
    wait_until(lambda: camera.counts["reopens"] > 1, "some attempts", 30)
    if how == "stopped":
        rtsp_camera.send(signal.SIGCONT)
    else:
        rtsp_camera.start()
    wait_until(lambda: camera.counts["recovered"] == 1, "frames again", 30)
    camera.close()
    thread.join(5)
    assert not thread.is_alive()
    assert indices == sorted(set(indices))
    assert camera.counts["abandoned"] == 0  # FFmpeg gave up by itself


# --- HTTP --------------------------------------------------------------------------------------------------


def test_http_gives_frames(mjpeg: Callable[..., MjpegServer]) -> None:
    frames = frames_of(mjpeg().url, 20)
    assert {frame.size_wh for frame in frames} == {(160, 120)}
    assert len({frame.image.tobytes() for frame in frames}) > 10


def test_http_asks_for_a_password(mjpeg: Callable[..., MjpegServer]) -> None:
    server = mjpeg(PASSWORD)
    assert len(frames_of(server.url, 3, "ann", PASSWORD)) == 3
    with pytest.raises(CameraError, match="refuses the user"):
        frames_of(server.url, 3, "ann", "wrong")
    with pytest.raises(CameraError, match="asks for a password"):
        frames_of(server.url, 3)


@pytest.mark.parametrize("how", ["frozen", "cut"])
def test_http_comes_back_after_a_cut(how: str, mjpeg: Callable[..., MjpegServer]) -> None:
    server = mjpeg()
    camera = supervise(server.url)
    indices: list[int] = []
    thread = threading.Thread(target=lambda: indices.extend(frame.index for frame in iter(camera.read, None)))
    thread.start()
    if how == "frozen":
        server.frozen = True
    else:
        server.cut()
    wait_until(lambda: camera.counts["reopens"] > 0, "an attempt", 30)
    if how == "frozen":
        server.frozen = False
    else:
        server.start()
    wait_until(lambda: camera.counts["recovered"] == 1, "frames again", 30)
    last = indices[-1]
    wait_until(lambda: indices[-1] > last, "more of them")
    camera.close()
    thread.join(5)
    assert indices == sorted(set(indices))


# --- errors ------------------------------------------------------------------------------------------------


def test_the_error_says_why_a_server_cannot_be_reached() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        port = mute.getsockname()[1]
        for url, message in (
            (f"rtsp://127.0.0.1:{free_port()}/cam", "connection refused; is the camera on, and the port right?"),
            ("rtsp://no-such-host.invalid/cam", "host name not found; correct camera.url"),
            (f"rtsp://{'a' * 70}.local/cam", "host name not found; correct camera.url"),
            (f"rtsp://127.0.0.1:{port}/cam", "no answer; is the camera busy or still starting?"),
            (f"https://127.0.0.1:{port}/cam", "cannot be opened; check camera.url"),
        ):
            with pytest.raises(CameraError) as error:
                RtspSource(url, None, None, timing=StreamTiming(connect_s=0.2, open_s=0.5))
            assert str(error.value) == f"{url}: {message}"


def test_the_error_says_why_there_is_no_stream(mjpeg: Callable[..., MjpegServer]) -> None:
    server = mjpeg()
    with pytest.raises(CameraError, match=r"no such stream \(status 404\)"):
        RtspSource(f"{server.url}x", None, None)
    server.frozen = True
    with pytest.raises(CameraError, match="gives nothing that FFmpeg can read"):
        RtspSource(server.url, None, None, timing=StreamTiming(open_s=0.5))


def test_a_password_that_cannot_be_read_is_an_error_of_the_config() -> None:
    for camera, message in (
        (
            camera_config.RtspCameraConfig(url="rtsp://host/", username="ann", password_file="none"),
            "camera.password_file: cannot read",
        ),
        (
            camera_config.RtspCameraConfig(url="rtsp://host/", password_file="none"),
            "camera.password_file: needs camera.username",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            open_camera(camera, card().input)
