"""Takes one picture from the configured camera and draws its pose, as the daemon would find it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edgepose.camera import open_camera
from edgepose.camera.supervisor import CameraSupervisor
from edgepose.config.schema import Config
from edgepose.daemon.model_runtime import open_suitable, running_model
from edgepose.errors import CameraError
from edgepose.geometry.letterbox import ModelInput
from edgepose.geometry.masks import Masks
from edgepose.geometry.pixels import as_bgr, light, sharpness
from edgepose.inference.viewer import Viewer
from edgepose.pose.drawing import draw_pose
from edgepose.system.reporter import Reporter
from edgepose.types import U8, Frame

SETTLE_S = 1.5  # the automatic exposure and white balance of a camera need about this long


@dataclass(frozen=True, slots=True)
class DrawnSnapshot:
    """A picture and numbers about it.

    Attributes:
        picture: (H, W, 3) BGR, with the pose drawn.
        sharpness: larger is sharper, for pictures of the same scene.
        mean: mean grey value, 0 to 255.
        dark: share of the pixels that are nearly black.
        bright: share of the pixels that are nearly white.
        scores: score of each keypoint, by its name.
    """

    picture: U8
    sharpness: float
    mean: float
    dark: float
    bright: float
    scores: dict[str, float]


def take_snapshot(config: Config) -> DrawnSnapshot:
    """Takes one picture with the camera, view and masks of the config, and with the model that `run` would run.

    It changes nothing. Raises EdgeposeError.
    """
    estimator = open_suitable(running_model(config), config, Reporter())
    try:
        frame, viewer = _settled_frame(config, estimator.card.input), Viewer(estimator, config.view)
        pose = viewer.estimate(frame)
        if config.view.follow:  # the first pose only says where the animal is
            pose = viewer.estimate(frame)
    finally:
        estimator.close()
    picture, skeleton = as_bgr(frame), estimator.card.skeleton
    numbers = sharpness(picture), *light(picture)
    draw_pose(picture, pose, skeleton)
    return DrawnSnapshot(picture, *numbers, dict(zip(skeleton.keypoints, pose.score.tolist(), strict=True)))


def _settled_frame(config: Config, model: ModelInput) -> Frame:
    """Returns the frame of a live camera once it has adapted to the light; else the first frame."""
    camera = CameraSupervisor(
        lambda: open_camera(config.camera, model, wants_full=True),
        reporter=Reporter(),
        masks=Masks(config.masks),
    )
    try:
        frame, begin = camera.read(), time.monotonic()
        while camera.live and frame is not None and time.monotonic() - begin < SETTLE_S:
            frame = camera.read() or frame
    finally:
        camera.close()
    if frame is None:
        raise CameraError("the camera ends before its first frame; correct the camera section")
    return frame
