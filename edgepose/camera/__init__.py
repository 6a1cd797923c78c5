"""Where frames come from: one file per source."""

from __future__ import annotations

from typing import assert_never

from edgepose.camera.picamera2 import PiCamera
from edgepose.camera.synthetic import SyntheticCamera
from edgepose.camera.video import VideoFile
from edgepose.core import config
from edgepose.core.card import ModelInput


def open_camera(camera: config.Camera, model: ModelInput) -> VideoFile | SyntheticCamera | PiCamera:
    """The camera that the `camera` section of the config describes; model: what its frames are for. Raises
    CameraError, and ConfigError where the camera cannot do what the config says."""
    match camera:
        case config.VideoCamera():
            return VideoFile(camera.path, realtime=camera.realtime, loop=camera.loop)
        case config.SyntheticCamera():
            return SyntheticCamera(camera.seed, camera.size_wh, camera.rate_hz)
        case config.Picamera2Camera():
            return PiCamera(camera, model)
        case _:
            assert_never(camera)
