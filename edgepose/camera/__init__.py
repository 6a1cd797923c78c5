"""Where frames come from: one file per source."""

from __future__ import annotations

from typing import assert_never

from edgepose.camera.synthetic import SyntheticCamera
from edgepose.camera.video import VideoFile
from edgepose.core import config


def open_camera(camera: config.Camera) -> VideoFile | SyntheticCamera:
    """The camera that the `camera` section of the config describes. Raises CameraError."""
    match camera:
        case config.VideoCamera():
            return VideoFile(camera.path, realtime=camera.realtime, loop=camera.loop)
        case config.SyntheticCamera():
            return SyntheticCamera(camera.seed, camera.size_wh, camera.rate_hz)
        case _:
            assert_never(camera)
