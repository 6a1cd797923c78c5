"""`edgepose COMMAND`: the list of commands, and the entry point."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from edgepose import __version__
from edgepose.system.arguments import CommandParser
from edgepose.system.exit_status import exit_status

# Only the chosen command's module is imported: start-up time counts on a Pi.
GROUPS = {
    "first steps": {
        "demo": "run everything on this computer, on a synthetic mouse or your own video",
        "init": "write a configuration file",
        "check": "test whether everything is ready: model, camera, broker, disk, clock",
    },
    "on the device": {
        "run": "the daemon: camera in, keypoints over MQTT out",
        "snapshot": "take one picture with its pose, for framing, focus and light",
        "calibrate": "measure the lens from pictures of a checkerboard",
        "bench": "measure how fast a model runs here, stage by stage",
        "model": "install, list, activate and roll back models",
        "install": "make the daemon a service of this computer",
        "upgrade": "install another version of edgepose, with a way back",
        "uninstall": "remove the service",
    },
    "on the lab computer": {
        "watch": "show the keypoints of devices live in the terminal",
        "collect": "write what devices publish to files, each pose once",
        "analyze": "find keypoints in video files, as tables that DeepLabCut reads",
        "purge": "make a broker, and Home Assistant, forget a device",
    },
    "reference": {
        "config": "show, describe and update configuration files",
        "schema": "print the JSON Schemas or the AsyncAPI document of the topics",
    },
}
COMMANDS = {name: what for group in GROUPS.values() for name, what in group.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status. An error that the operator can mend is one line on stderr."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = make_parser(next((word for word in argv if word in COMMANDS), None))
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    return exit_status("edgepose", lambda: _module(args.command).run(args))


def make_parser(chosen: str | None) -> CommandParser:
    """Returns the parser; only the chosen command knows its own arguments."""
    parser = CommandParser(
        prog="edgepose",
        usage="edgepose COMMAND ...",
        description="Markerless animal pose estimation: camera in, keypoints over MQTT out.\n\n" + _command_list(),
        epilog="`edgepose COMMAND --help` explains a command. Start with `edgepose demo`.",
    )
    parser.add_argument("--version", action="version", version=f"edgepose {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help=argparse.SUPPRESS, prog="edgepose")
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, description=f"{what[0].upper()}{what[1:]}.")
        if name == chosen:
            _module(name).add_arguments(command)
    return parser


def _command_list() -> str:
    """Returns the commands by group, for the help of the program."""
    return "\n".join(
        f"{group}:\n" + "".join(f"  {name:<11}{what}\n" for name, what in commands.items())
        for group, commands in GROUPS.items()
    ).rstrip()


def _module(command: str) -> Any:
    return importlib.import_module(f"edgepose.cli.{command}")
