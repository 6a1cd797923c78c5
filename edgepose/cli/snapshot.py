"""`edgepose snapshot`: one picture from the configured camera with its pose, for framing, focus and light."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import cv2

from edgepose.camera import open_camera
from edgepose.camera.supervisor import CameraSupervisor
from edgepose.config.loading import read_config
from edgepose.config.schema import Config
from edgepose.errors import CameraError, EdgeposeError
from edgepose.geometry.letterbox import ModelInput
from edgepose.geometry.masks import Masks
from edgepose.geometry.pixels import as_bgr, light, sharpness
from edgepose.inference.estimator import Estimator
from edgepose.pose.drawing import draw_pose
from edgepose.system.reporter import Reporter
from edgepose.types import U8, Frame, Pose

SETTLE_S = 1.5  # a camera's automatic exposure and white balance need about so long
_TOO_MUCH = 0.05  # of the pixels, nearly black or nearly white, is worth a word


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Takes one picture with the configured camera, draws the pose, and tells how sharp and how bright it is.\n"
        "Needs no broker. Turn the lens and take another: the sharpness number should become as large as it gets."
    )
    parser.epilog = "example:\n  edgepose snapshot -c edgepose.yaml -o view.jpg"
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.jpg", help="JPEG or PNG")


def run(args: argparse.Namespace) -> int:
    config = read_config(args.config)
    if args.output.suffix.lower() not in {".jpg", ".jpeg", ".png"}:
        raise EdgeposeError(f"{args.output}: give a name that ends with .jpg or .png")
    estimator = Estimator(Path(config.model), config.inference.threads)
    frame = _settled_frame(config, estimator.card.input)
    pose = estimator.estimate(frame)
    picture, names = as_bgr(frame), estimator.card.skeleton.keypoints
    lines = [f"size       {frame.size_wh[0]}x{frame.size_wh[1]}", *_light_and_focus(picture), _found(pose, names)]
    draw_pose(picture, pose, estimator.card.skeleton)
    if not cv2.imwrite(str(args.output), picture):
        raise EdgeposeError(f"{args.output}: cannot write; check the folder and its permissions")
    print("\n".join([str(args.output), *lines]))
    return 0


def _settled_frame(config: Config, model: ModelInput) -> Frame:
    """What the camera gives once it has set itself to the light; of a recording the first frame."""
    camera = CameraSupervisor(
        lambda: open_camera(config.camera, model, wants_full=True),
        reporter=Reporter(),
        masks=Masks(config.masks.values()),
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


def _light_and_focus(picture: U8) -> list[str]:
    mean, dark, bright = light(picture)
    notes = [f"{share:.0%} {name}" for share, name in ((dark, "black"), (bright, "white")) if share > _TOO_MUCH]
    return [
        f"sharpness  {sharpness(picture):.0f} (larger is sharper; compare pictures of the same scene only)",
        f"light      mean {mean:.0f} of 255{', ' if notes else ''}{' and '.join(notes)}",
    ]


def _found(pose: Pose, names: Sequence[str]) -> str:
    scores = ", ".join(f"{name} {score:.2f}" for name, score in zip(names, pose.score.tolist(), strict=True))
    return f"scores     {scores}"
