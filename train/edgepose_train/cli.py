"""`edgepose-train`: the commands of the desktop side.

Each command is a file in `commands`, which is imported only when the command is given, so that help and `inspect` do
not wait for TensorFlow.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import edgepose
from edgepose.system.arguments import CommandParser
from edgepose.system.exit_status import exit_status

COMMANDS = {
    "extract": "picks frames worth labelling from videos, as a DeepLabCut project",
    "inspect": "shows what is in a data set, and what is wrong with it",
    "fit": "trains a model on labelled frames and quantizes it for the device",
    "evaluate": "measures the pixel error of a shipped model, with the device's own code",
    "audit": "shows what a model costs on each board, and whether a Coral Edge TPU runs all of it",
    "suggest": "picks the frames to label next, where a model does worst, with its predictions filled in",
    "merge": "adds corrected labels to the labelled project",
    "convert": "converts labels from one program's format into another's: DeepLabCut, SLEAP, COCO",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status. An error that the user can correct is one line on stderr."""
    argv = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in argv if word in COMMANDS), None)
    parser = _parser(chosen)
    if not argv:
        parser.print_help()
        return 0
    args = parser.parse_args(argv)
    command = importlib.import_module(f"edgepose_train.commands.{args.command}")
    return exit_status(f"edgepose-train {args.command}", lambda: command.run(args))


def _parser(chosen: str | None) -> CommandParser:
    """Builds the parser. Only the chosen command's module is imported."""
    parser = CommandParser(
        prog="edgepose-train",
        description="From labelled frames to an int8 pose model for a Raspberry Pi.",
        epilog="Start with `edgepose-train extract VIDEO -o PROJECT`, or `edgepose-train inspect PROJECT`.",
    )
    parser.add_argument("--version", action="version", version=f"edgepose-train {edgepose.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == chosen:
            importlib.import_module(f"edgepose_train.commands.{name}").add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
