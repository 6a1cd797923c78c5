"""Frames come from here: one file for each source, and a supervisor that revives a camera which has stopped.

To add a camera, write a file whose class follows `base.Source`, add its struct to `config/camera.py`, and add a case to
`open_camera`. For `edgepose init` add it to `config/init_answers.py`; where it has a path, name that in
`config/loading.py`. A frame has 8 bits a channel: a camera with more scales its pictures itself.
"""

from __future__ import annotations

from typing import assert_never

from edgepose.camera.base import Source
from edgepose.camera.image_folder import ImageFolderSource
from edgepose.camera.picamera2.camera import Picamera2Source
from edgepose.camera.rtsp import RtspSource, StreamTiming
from edgepose.camera.synthetic.camera import SyntheticSource
from edgepose.camera.usb import UsbSource
from edgepose.camera.video_file import VideoFileSource
from edgepose.config import camera as camera_config
from edgepose.geometry.letterbox import ModelInput
from edgepose.system.secrets import find_password


def is_live(camera: camera_config.CameraConfig) -> bool:
    """Returns True where the source that the config describes will be live, as `base.Camera` says."""
    if isinstance(camera, camera_config.VideoFileConfig):
        return camera.realtime
    return not isinstance(camera, camera_config.ImageFolderConfig) or camera.rate_hz is not None


def open_camera(
    camera: camera_config.CameraConfig,
    model: ModelInput,
    *,
    wants_full: bool = False,
    stream_timing: StreamTiming = StreamTiming(),
) -> Source:
    """Opens the source that the `camera` section of the config describes.

    Args:
        camera: the section.
        model: the input of the model that the frames are for.
        wants_full: True where the full frame is used too, and not only the smaller picture for the model.
        stream_timing: how long a network camera waits.

    Raises:
        CameraError: The camera cannot be opened.
        ConfigError: The camera cannot do what the config says, or its password cannot be read.
    """
    match camera:
        case camera_config.UsbCameraConfig():
            return UsbSource(camera)
        case camera_config.RtspCameraConfig():
            password = find_password("camera", camera.username, camera.password_file)
            return RtspSource(camera.url, camera.username, password, camera.rate_hz, timing=stream_timing)
        case camera_config.VideoFileConfig():
            return VideoFileSource(camera.path, realtime=camera.realtime, loop=camera.loop, rate_hz=camera.rate_hz)
        case camera_config.ImageFolderConfig():
            return ImageFolderSource(camera.path, camera.rate_hz, loop=camera.loop)
        case camera_config.SyntheticCameraConfig():
            return SyntheticSource(camera.seed, camera.size_wh, camera.rate_hz)
        case camera_config.Picamera2Config():
            return Picamera2Source(camera, model, wants_full=wants_full)
        case _:
            assert_never(camera)
