"""`edgepose install`: makes the daemon a service of this computer."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from edgepose.config.loading import read_config
from edgepose.errors import UsageError
from edgepose.service.install import install
from edgepose.service.steps import Steps, need_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Makes the daemon a service that starts at boot: it adds the user, the units, the rules for camera, Coral and "
        "GPIO, and the configuration with its model. It prints each step; a second run changes nothing."
    )
    parser.epilog = "example:\n  sudo edgepose install --config edgepose.yaml"
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="a configuration to check and to copy")
    parser.add_argument("--instance", default="", metavar="NAME", help="the service edgepose@NAME, for several cameras")
    parser.add_argument("--no-start", action="store_true", help="neither start nor restart the service")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="a mounted card in place of this system"
    )


def run(args: argparse.Namespace) -> int:
    if args.instance and not args.instance.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"--instance {args.instance}: give a name of letters, digits, - and _")
    if not args.root.is_dir():
        raise UsageError(f"--root {args.root}: no such folder; give the folder that the card is mounted at")
    if not args.dry_run and os.access(args.root / "etc", os.W_OK) is False:
        need_root("edgepose install")
    if args.config:
        read_config(args.config)  # a mistake in it is reported before the first step
    print("would do:" if args.dry_run else "doing:")
    install(Steps(args.root.resolve(), dry=args.dry_run), args.config, args.instance, start=not args.no_start)
    return 0
