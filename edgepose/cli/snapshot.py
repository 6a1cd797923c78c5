"""`edgepose snapshot`: one picture from the configured camera with its pose, for framing, focus and light."""

from __future__ import annotations

import argparse

import cv2

from edgepose.config.loading import read_config
from edgepose.daemon.snapshot import take_snapshot
from edgepose.errors import EdgeposeError, UsageError
from edgepose.system.arguments import add_config_argument, add_output_argument, check_output, config_path

_NOTABLE = 0.05  # a larger share of pixels that are nearly black or white is worth a word


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Takes one picture with the configured camera, draws the pose that the daemon would find, and prints how "
        "sharp and how bright the picture is. It needs no broker.\n\n"
        "Turn the lens and take another one (--force replaces the picture): the sharpness number should become "
        "as large as it gets."
    )
    parser.epilog = "example:\n  edgepose snapshot -c edgepose.yaml -o view.jpg"
    add_config_argument(parser)
    add_output_argument(parser, "OUT.jpg", "the picture to write, JPEG or PNG")


def run(args: argparse.Namespace) -> int:
    if args.output.suffix.lower() not in {".jpg", ".jpeg", ".png"}:
        raise UsageError(f"{args.output}: give a name that ends with .jpg or .png")
    check_output(args.output, force=args.force)
    snapshot = take_snapshot(read_config(config_path(args.config)))
    if not cv2.imwrite(str(args.output), snapshot.picture):
        raise EdgeposeError(f"{args.output}: cannot write; check the folder and its permissions")
    h, w = snapshot.picture.shape[:2]
    shares = ((snapshot.dark, "black"), (snapshot.bright, "white"))
    notes = " and ".join(f"{share:.0%} {name}" for share, name in shares if share > _NOTABLE)
    print(args.output)
    print(f"size       {w}x{h}")
    print(f"sharpness  {snapshot.sharpness:.0f} (larger is sharper; compare pictures of the same scene only)")
    print(f"light      mean {snapshot.mean:.0f} of 255{', ' if notes else ''}{notes}")
    print(f"scores     {', '.join(f'{name} {score:.2f}' for name, score in snapshot.scores.items())}")
    return 0
