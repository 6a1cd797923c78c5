"""A camera whose privacy masks are burned in before anybody else has the picture."""

from __future__ import annotations

from typing import Protocol

from edgepose.core.masks import Masks
from edgepose.core.types import Frame


class Camera(Protocol):
    live: bool

    def read(self) -> Frame | None: ...

    def close(self) -> None: ...


class MaskedCamera:
    def __init__(self, camera: Camera, masks: Masks) -> None:
        self.live = camera.live
        self.close = camera.close
        self._camera, self._masks = camera, masks

    def read(self) -> Frame | None:
        frame = self._camera.read()
        if frame is not None:
            self._masks.burn(frame)
        return frame
