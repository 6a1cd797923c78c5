"""Where frames come from: one file per source."""

from __future__ import annotations

from typing import assert_never

from edgepose.camera.images import ImageFolder
from edgepose.camera.picamera2 import PiCamera
from edgepose.camera.rtsp import RtspCamera
from edgepose.camera.source import Source
from edgepose.camera.synthetic import SyntheticCamera
from edgepose.camera.usb import UsbCamera
from edgepose.camera.video import VideoFile
from edgepose.core import camera_config
from edgepose.core.card import ModelInput
from edgepose.passwords import find_password


def open_camera(camera: camera_config.Camera, model: ModelInput, *, wants_full: bool = False) -> Source:
    """The source that the `camera` section of the config describes; model: what its frames are for. wants_full: also
    the whole frame is used, where the model gets a smaller one. Raises CameraError, and ConfigError where the camera
    cannot do what the config says, or its password cannot be read."""
    match camera:
        case camera_config.UsbCamera():
            return UsbCamera(camera)
        case camera_config.RtspCamera():
            password = find_password("camera", camera.username, camera.password_file)
            return RtspCamera(camera.url, camera.username, password, camera.rate_hz)
        case camera_config.VideoCamera():
            return VideoFile(camera.path, realtime=camera.realtime, loop=camera.loop)
        case camera_config.ImageFolder():
            return ImageFolder(camera.path, camera.rate_hz, loop=camera.loop)
        case camera_config.SyntheticCamera():
            return SyntheticCamera(camera.seed, camera.size_wh, camera.rate_hz)
        case camera_config.Picamera2Camera():
            opened = PiCamera(camera, model)
            opened.wants_full = wants_full
            return opened
        case _:
            assert_never(camera)
