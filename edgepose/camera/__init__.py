"""Where frames come from: one file per source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from edgepose.camera.masked import Camera, MaskedCamera
from edgepose.camera.synthetic import SyntheticCamera
from edgepose.camera.video import VideoFile
from edgepose.core import config
from edgepose.core.masks import Masks

_NO_MASKS: Mapping[str, config.Polygon] = {}


def open_camera(camera: config.Camera, masks: Mapping[str, config.Polygon] = _NO_MASKS) -> Camera:
    """The camera that the config describes, its masks burned in. Raises CameraError."""
    opened = _open(camera)
    return MaskedCamera(opened, Masks(masks.values())) if masks else opened


def _open(camera: config.Camera) -> VideoFile | SyntheticCamera:
    match camera:
        case config.VideoCamera():
            return VideoFile(camera.path, realtime=camera.realtime, loop=camera.loop)
        case config.SyntheticCamera():
            return SyntheticCamera(camera.seed, camera.size_wh, camera.rate_hz)
        case _:
            assert_never(camera)
