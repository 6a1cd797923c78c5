"""`edgepose install`: makes the daemon a service of this computer."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from edgepose.errors import UsageError
from edgepose.service.install import install
from edgepose.service.steps import Steps, need_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Makes the daemon a service that starts at boot: user, units, rules for camera, Coral and GPIO, and the\n"
        "configuration with its model. Says what it does; the same again changes nothing."
    )
    parser.epilog = "example:\n  sudo edgepose install --config edgepose.yaml"
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="checked, then copied with its model")
    parser.add_argument("--instance", default="", metavar="NAME", help="one of several cameras: edgepose@NAME")
    parser.add_argument("--no-start", action="store_true", help="do not start the service, or anew")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="a mounted card, not this system")


def run(args: argparse.Namespace) -> int:
    if args.instance and not args.instance.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"--instance {args.instance}: letters, digits, - and _ make a name")
    if not args.root.is_dir():
        raise UsageError(f"--root {args.root}: no such folder; where is the card mounted?")
    if not args.dry_run and os.access(args.root / "etc", os.W_OK) is False:
        need_root("edgepose install")
    print("would do:" if args.dry_run else "doing:")
    install(Steps(args.root.resolve(), dry=args.dry_run), args.config, args.instance, start=not args.no_start)
    return 0
