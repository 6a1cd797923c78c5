"""Network cameras: RTSP and HTTP streams, through OpenCV's FFmpeg."""

from __future__ import annotations

import socket
import time
from urllib.parse import SplitResult, quote, urlsplit

import cv2

from edgepose.errors import CameraError
from edgepose.system.clock import wall_us
from edgepose.types import Frame
from edgepose.video.capture import Capture

CONNECT_S = 3.0
OPEN_S = 8.0  # with two connections less than `watched` allows
READ_S = 3.5  # less than a stall: FFmpeg gives up by itself, and its thread is free again
BACKLOG_S = 3.0  # longest search for the present
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


class RtspSource:
    """A stream over TCP. The time of a frame is that of its arrival: what camera and network took before is not known.

    rate_hz: of streams slower than one frame a second. Raises CameraError, with the reason if the server tells it."""

    live = True

    def __init__(self, url: str, username: str | None, password: str | None, rate_hz: float | None = None) -> None:
        self.rate_hz = rate_hz
        self._url = url
        self._index = 0
        self._patience_s = max(READ_S, 3 / rate_hz if rate_hz else 0)
        parts = urlsplit(url)
        _connect(parts).close()
        parameters = {
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: round(OPEN_S * 1e3),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: round(self._patience_s * 1e3),
            cv2.CAP_PROP_N_THREADS: 1,  # each more would hold one frame back
        }
        flat = [number for pair in parameters.items() for number in pair]
        self._capture = Capture(_with_password(parts, username, password), cv2.CAP_FFMPEG, flat)
        if not self._capture.opened:
            raise CameraError(f"{url}: {_why_not(parts, username is not None)}")
        self._skip_backlog()

    def read(self) -> Frame | None:
        """The next frame, BGR; None after `close`. Raises CameraError when the stream ends or stands still."""
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
        """False after `close`. At a timeout OpenCV first empties the decoder: that frame is as old as the silence."""
        start = time.monotonic()
        found = self._capture.grab()
        seconds = time.monotonic() - start
        if found and seconds < self._patience_s:
            return True
        if self._capture.closed:
            return False
        what = f"no frame for {seconds:.1f} s" if seconds >= self._patience_s else "the stream has ended"
        raise CameraError(f"{self._url}: {what}; check the camera and the network")

    def _skip_backlog(self) -> None:
        """What came while FFmpeg looked into the stream is old, a second or more: up to the first frame to wait for."""
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        period_s = 1 / fps if 1 <= fps <= 120 else 1 / 30
        begin = start = time.monotonic()
        while self._grab():
            start, before = time.monotonic(), start
            if start - before > period_s / 2 or start - begin > BACKLOG_S:
                return


def _with_password(parts: SplitResult, username: str | None, password: str | None) -> str:
    """The URL for FFmpeg, and for nobody else."""
    if username is None:
        return parts.geturl()
    user = f"{quote(username, safe='')}:{quote(password or '', safe='')}"
    return parts._replace(netloc=f"{user}@{parts.netloc}").geturl()


def _connect(parts: SplitResult) -> socket.socket:
    """Raises CameraError with the reason, which FFmpeg does not tell; nor does it give up on a name server in time."""
    try:
        return socket.create_connection((parts.hostname, parts.port or _PORTS[parts.scheme]), CONNECT_S)
    except ConnectionRefusedError:
        why = "connection refused; is the camera on, and the port right?"
    except (socket.gaierror, UnicodeError):
        why = "host name not found; correct camera.url"
    except TimeoutError:
        why = "no answer; check the network and camera.url"
    except OSError as exc:
        why = f"cannot be reached ({exc.strerror or exc}); check the network and camera.url"
    raise CameraError(f"{parts.geturl()}: {why}")


def _why_not(parts: SplitResult, named: bool) -> str:
    """Asks the server itself. named: whether a user name is configured."""
    if parts.scheme not in {"rtsp", "http"}:
        return "cannot be opened; check camera.url"
    match _status(parts):
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


def _status(parts: SplitResult) -> str:
    """Of the answer to a request without a password; empty where there is none."""
    path = parts._replace(scheme="", netloc="").geturl() or "/"
    if parts.scheme == "rtsp":
        request = f"DESCRIBE {parts.geturl()} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    else:
        request = f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n"
    try:
        with _connect(parts) as connection:
            connection.sendall(request.encode())
            words = connection.recv(200).decode("latin-1").split()
    except (OSError, CameraError):
        return ""
    return words[1] if len(words) > 1 else ""
