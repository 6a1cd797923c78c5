"""Network cameras: RTSP and HTTP streams, read by OpenCV's FFmpeg."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

import cv2

from edgepose.errors import CameraError
from edgepose.system.clock import wall_us
from edgepose.types import Frame
from edgepose.video.capture import Capture

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class StreamTiming:
    """Sets how long a network camera is waited for, in seconds.

    Attributes:
        connect_s: time for a connection to the server.
        open_s: time for FFmpeg to open the stream. Together with two connections it is less than the time that the
            supervisor gives to an opening.
        read_s: time without a frame after which FFmpeg gives up. It is less than a stall, so that FFmpeg gives up by
            itself and its thread is free again.
        backlog_s: longest time spent on skipping frames that are old when the stream has just been opened.
    """

    connect_s: float = 3.0
    open_s: float = 8.0
    read_s: float = 3.5
    backlog_s: float = 3.0


class RtspSource:
    """A stream over TCP.

    The time of a frame is the time of its arrival, since the delay in the camera and the network is not known.

    Args:
        url: rtsp, rtsps, http or https, without user name and password.
        username: None for a server that asks for none.
        password: of `username`.
        rate_hz: rate of a stream that is slower than one frame a second; else None.
        timing: how long to wait.

    Raises:
        CameraError: The stream cannot be opened. The error gives the reason where the server does.
    """

    live = True

    def __init__(
        self,
        url: str,
        username: str | None,
        password: str | None,
        rate_hz: float | None = None,
        *,
        timing: StreamTiming = StreamTiming(),
    ) -> None:
        self.rate_hz = rate_hz
        self._url, self._timing = url, timing
        self._index = 0
        self._read_s = max(timing.read_s, 3 / rate_hz if rate_hz else 0)
        parts = urlsplit(url)
        _connect(parts, timing.connect_s).close()
        parameters = {
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: round(timing.open_s * 1e3),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: round(self._read_s * 1e3),
            cv2.CAP_PROP_N_THREADS: 1,  # each additional thread would hold one frame back
        }
        flat = [number for pair in parameters.items() for number in pair]
        self._capture = Capture(_with_password(parts, username, password), cv2.CAP_FFMPEG, flat)
        if not self._capture.opened:
            raise CameraError(f"{url}: {_why_not(parts, username is not None, timing.connect_s)}")
        self._skip_backlog()

    def read(self) -> Frame | None:
        """Returns the next frame, BGR; None after `close`. Raises CameraError when the stream ends or stands still."""
        while self._grab():
            captured_mono_ns, captured_us = time.monotonic_ns(), wall_us()
            image = self._capture.retrieve()
            if image is not None:
                self._index += 1
                return Frame(image, "bgr", self._index - 1, captured_mono_ns, captured_us)
        return None

    def close(self) -> None:
        self._capture.close()

    def _grab(self) -> bool:
        """Returns False after `close`.

        At a timeout OpenCV first empties its decoder. Such a frame is as old as the silence, so it is not used.
        """
        start = time.monotonic()
        found = self._capture.grab()
        seconds = time.monotonic() - start
        if found and seconds < self._read_s:
            return True
        if self._capture.closed:
            return False
        what = f"no frame for {seconds:.1f} s" if seconds >= self._read_s else "the stream has ended"
        raise CameraError(f"{self._url}: {what}; check the camera and the network")

    def _skip_backlog(self) -> None:
        """Skips the frames that came while FFmpeg analysed the stream: they are a second old, or more.

        The first frame that has to be waited for is a fresh one.
        """
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        period_s = 1 / fps if 1 <= fps <= 120 else 1 / 30
        begin = start = time.monotonic()
        while self._grab():
            start, before = time.monotonic(), start
            if start - before > period_s / 2 or start - begin > self._timing.backlog_s:
                return


def _with_password(parts: SplitResult, username: str | None, password: str | None) -> str:
    """Returns the URL for FFmpeg. It must not appear anywhere else."""
    if username is None:
        return parts.geturl()
    user = f"{quote(username, safe='')}:{quote(password or '', safe='')}"
    return parts._replace(netloc=f"{user}@{parts.netloc}").geturl()


def _connect(parts: SplitResult, connect_s: float) -> socket.socket:
    """Connects to the server. Raises CameraError with the reason.

    FFmpeg does not give the reason, and waits too long for a name server.
    """
    try:
        return socket.create_connection((parts.hostname, parts.port or _PORTS[parts.scheme]), connect_s)
    except ConnectionRefusedError:
        why = "connection refused; is the camera on, and the port right?"
    except (socket.gaierror, UnicodeError):
        why = "host name not found; correct camera.url"
    except TimeoutError:
        why = "no answer; check the network and camera.url"
    except OSError as exc:
        why = f"cannot be reached ({exc.strerror or exc}); check the network and camera.url"
    raise CameraError(f"{parts.geturl()}: {why}")


def _why_not(parts: SplitResult, named: bool, connect_s: float) -> str:
    """Returns why the stream cannot be opened, which the server knows. named: True when a user name is configured."""
    if parts.scheme not in {"rtsp", "http"}:
        return "cannot be opened; check camera.url"
    match _status(parts, connect_s):
        case "":
            return "no answer; is the camera busy or still starting?"
        case "200":
            return "gives nothing that FFmpeg can read; check camera.url"
        case "401" | "403" if named:
            return "refuses the user; correct camera.username and its password"
        case "401" | "403":
            return "asks for a password; set camera.username and camera.password_file"
        case status:
            return f"no such stream (status {status}); correct the path in camera.url"


def _status(parts: SplitResult, connect_s: float) -> str:
    """Returns the status of the answer to a request without a password; empty where no answer comes."""
    path = parts._replace(scheme="", netloc="").geturl() or "/"
    if parts.scheme == "rtsp":
        request = f"DESCRIBE {parts.geturl()} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    else:
        request = f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n"
    try:
        with _connect(parts, connect_s) as connection:
            connection.sendall(request.encode())
            words = connection.recv(200).decode("latin-1").split()
    except (OSError, CameraError):
        return ""
    return words[1] if len(words) > 1 else ""
