"""A camera whose privacy masks are burned in before anybody else has the picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from numpy.typing import ArrayLike

from edgepose.geometry.masks import Masks
from edgepose.types import Frame


class MaskableCamera(Protocol):
    live: bool

    def read(self) -> Frame | None: ...

    def close(self) -> None: ...


class MaskedCamera:
    """polygons: the corners of each mask."""

    def __init__(self, camera: MaskableCamera, polygons: Iterable[ArrayLike]) -> None:
        self.live = camera.live
        self.close = camera.close
        self._camera, self._masks = camera, Masks(polygons)

    def read(self) -> Frame | None:
        frame = self._camera.read()
        if frame is not None:
            self._masks.burn(frame)
        return frame
