"""`edgepose COMMAND`: the table of commands, and the one place where an error becomes a line and an exit status."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from edgepose import __version__
from edgepose.core.errors import EdgeposeError

# Only the chosen command's module is imported: start-up time counts on a Pi.
COMMANDS = {
    "run": ("edgepose.cli.run", "the daemon: camera in, keypoints over MQTT out"),
    "check": ("edgepose.cli.check", "is everything ready? config, model, camera, broker, disk, clock"),
    "demo": ("edgepose.cli.demo", "the whole device side on a synthetic mouse and its own broker"),
    "watch": ("edgepose.cli.watch", "live terminal view of a device's keypoints"),
    "analyze": ("edgepose.cli.analyze", "keypoints of video files, as tables DeepLabCut reads"),
    "bench": ("edgepose.cli.bench", "how fast a model runs here, stage by stage"),
    "config": ("edgepose.cli.config", "starter config file, its schema, the effective config"),
    "schema": ("edgepose.cli.schema", "JSON Schemas of every MQTT topic"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed, 2 usage, 78 configuration or model, 130 Ctrl-C, 141 broken pipe."""
    argv = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in argv if word in COMMANDS), None)
    args = _parser(chosen).parse_args(argv)
    try:
        status = int(importlib.import_module(COMMANDS[args.command][0]).run(args))
        sys.stdout.flush()
    except EdgeposeError as exc:
        print(f"edgepose: {' '.join(str(exc).splitlines())}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has left. The interpreter flushes stdout once more at exit: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgepose",
        description="Markerless animal pose estimation: camera in, keypoints over MQTT out.",
        epilog="Start with `edgepose demo`, or `edgepose config init > edgepose.yaml`.",
    )
    parser.add_argument("--version", action="version", version=f"edgepose {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(
            name, help=what, description=what, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == chosen:
            importlib.import_module(module).add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
