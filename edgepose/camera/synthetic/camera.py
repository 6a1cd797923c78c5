"""Plays a live camera over an arena that does not exist: the keypoints of its mouse are known."""

from __future__ import annotations

import time

from edgepose.camera.pacer import Pacer
from edgepose.camera.synthetic.scene import Scene
from edgepose.system.clock import wall_us
from edgepose.types import Frame


class SyntheticSource:
    """Gives frames at `rate_hz` until `close`. The keypoints of frame i are `truth(i)` of the seed's `Mouse`."""

    live = True

    def __init__(self, seed: int, size_wh: tuple[int, int], rate_hz: float) -> None:
        self._scene = Scene(seed, size_wh)
        self._pacer = Pacer(rate_hz)
        self.rate_hz = rate_hz
        self._index = 0

    def read(self) -> Frame | None:
        if not self._pacer.wait():
            return None
        captured_mono_ns, captured_us = time.monotonic_ns(), wall_us()
        frame = Frame(self._scene.render(self._index), "bgr", self._index, captured_mono_ns, captured_us)
        self._index += 1
        return frame

    def close(self) -> None:
        """Another thread may call it: a waiting `read` then returns None."""
        self._pacer.stop()
