"""`edgepose COMMAND`: the table of commands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from edgepose import __version__
from edgepose.system.arguments import CommandParser
from edgepose.system.exit_status import exit_status

# Only the chosen command's module is imported: start-up time counts on a Pi.
COMMANDS = {
    "run": ("edgepose.cli.run", "the daemon: camera in, keypoints over MQTT out"),
    "check": ("edgepose.cli.check", "is everything ready? config, model, camera, broker, disk, clock"),
    "install": ("edgepose.cli.install", "makes the daemon a service of this computer"),
    "uninstall": ("edgepose.cli.uninstall", "the daemon is no service any more"),
    "upgrade": ("edgepose.cli.upgrade", "another version of edgepose on this device, with a way back"),
    "model": ("edgepose.cli.model", "the device's models: install, list, activate, rollback"),
    "snapshot": ("edgepose.cli.snapshot", "one picture from the camera, pose drawn: framing, focus, light"),
    "demo": ("edgepose.cli.demo", "the whole device side on a synthetic mouse and its own broker"),
    "watch": ("edgepose.cli.watch", "live terminal view of a device's keypoints"),
    "collect": ("edgepose.cli.collect", "writes what devices publish to files, each pose once"),
    "purge": ("edgepose.cli.purge", "makes a broker, and Home Assistant, forget a device"),
    "analyze": ("edgepose.cli.analyze", "keypoints of video files, as tables DeepLabCut reads"),
    "calibrate": ("edgepose.cli.calibrate", "the lens, from pictures of a checkerboard"),
    "bench": ("edgepose.cli.bench", "how fast a model runs here, stage by stage"),
    "config": ("edgepose.cli.config", "starter config file, its schema, the effective config"),
    "schema": ("edgepose.cli.schema", "JSON Schemas and AsyncAPI document of the MQTT topics"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status. An error that the operator can mend is one line on stderr."""
    argv = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in argv if word in COMMANDS), None)
    args = _parser(chosen).parse_args(argv)
    return exit_status("edgepose", lambda: importlib.import_module(COMMANDS[args.command][0]).run(args))


def _parser(chosen: str | None) -> CommandParser:
    parser = CommandParser(
        prog="edgepose",
        description="Markerless animal pose estimation: camera in, keypoints over MQTT out.",
        epilog="Start with `edgepose demo`, or `edgepose config init > edgepose.yaml`.",
    )
    parser.add_argument("--version", action="version", version=f"edgepose {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        if name == chosen:
            importlib.import_module(module).add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
