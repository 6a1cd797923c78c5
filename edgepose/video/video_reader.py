"""Reads a video file from its start, frame after frame: everything that OpenCV can read."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgepose.errors import CameraError
from edgepose.types import U8
from edgepose.video.capture import Capture

_FALLBACK_FPS = 30.0


class VideoReader:
    """The frames of a file in order. Raises CameraError, with one line, when the file gives not a single frame.

    Attributes:
        size_wh: width and height of the frames, pixels.
        fps: frames a second as the file says; 30 where it does not.
        frame_count: number of frames as the file's header says, 0 where it does not. It can be a few off, so count
            the frames that come.
        position_ms: time of the frame that was read last, as the container has it; counted by `fps` where it has none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._capture = _open(self.path)
        self._first: U8 | None = self._capture.read()
        if self._first is None:
            self._capture.close()
            raise CameraError(f"{self.path}: no frame in it can be decoded; it is empty, cut off or of unknown codec")
        self.size_wh = (self._first.shape[1], self._first.shape[0])
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0.1 <= fps <= 1000 else _FALLBACK_FPS
        self.frame_count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.position_ms = -1000 / self.fps

    def read(self) -> U8 | None:
        """Returns the next frame, (H, W, 3) BGR; None at the end and after `close`."""
        image = self._capture.read() if self._first is None else self._first
        self._first = None
        if image is not None:
            stated_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            self.position_ms = stated_ms if stated_ms > self.position_ms else self.position_ms + 1000 / self.fps
        return image

    def restart(self) -> None:
        """Goes back to the first frame. The file is opened again, because seeking to the start fails for some
        containers."""
        self._capture.close()
        self._capture, self._first = _open(self.path), None
        self.position_ms = -1000 / self.fps

    def close(self) -> None:
        """Releases the file. Another thread may call it while `read` waits."""
        self._capture.close()


def _open(path: Path) -> Capture:
    try:
        is_file = path.is_file()
        if is_file:
            path.open("rb").close()  # OpenCV would not say why it may not be read
    except OSError as exc:
        raise CameraError(f"{path}: cannot read ({exc.strerror}); check the path and its permissions") from None
    if path.is_dir():
        raise CameraError(f"{path}: this is a folder; give a video file in it")
    if not is_file:
        raise CameraError(f"{path}: no such video file; check the path")
    capture = Capture(str(path))
    if not capture.opened:
        raise CameraError(f"{path}: not a video that OpenCV can read; convert it, for example to H.264 in .mp4")
    return capture
