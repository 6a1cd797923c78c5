"""`edgepose-train`: the commands of the desktop side. Each lives in its own file of `commands` and is imported
only when it is asked for, so that help and `inspect` do not wait for TensorFlow."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import edgepose
from edgepose.system.arguments import CommandParser
from edgepose.system.exit_status import exit_status

COMMANDS = {
    "extract": "frames worth labelling, from videos, as a DeepLabCut project",
    "inspect": "what is in a data set, and what is wrong with it",
    "fit": "train a model on labelled frames and quantize it for the device",
    "evaluate": "pixel error of a shipped model, through the device's own code",
    "audit": "what a model costs on each board, and whether a Coral Edge TPU runs all of it",
    "suggest": "frames worth labelling next, where a model does worst, predictions filled in",
    "merge": "bring corrected labels back into the labelled project",
    "convert": "labels from one program's format into another's: DeepLabCut, SLEAP, COCO",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status. An error that the user can mend is one line on stderr."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = _parser(argv[0] if argv else "").parse_args(argv)
    return exit_status(f"edgepose-train {args.command}", lambda: args.run(args))


def _parser(chosen: str) -> CommandParser:
    """Only the chosen command's module is imported."""
    parser = CommandParser(
        prog="edgepose-train", description="From labelled frames to an int8 pose model for a Raspberry Pi."
    )
    parser.add_argument("--version", action="version", version=f"edgepose {edgepose.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == chosen:
            module = importlib.import_module(f"edgepose_train.commands.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
