"""`edgepose uninstall`: removes the service."""

from __future__ import annotations

import argparse

from edgepose.service.install import uninstall
from edgepose.service.steps import Steps, need_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Stops the service and removes what `edgepose install` has added. Configuration, models, recordings and poses "
        "that are not delivered yet stay, unless --purge is given."
    )
    parser.epilog = "example:\n  sudo edgepose uninstall"
    parser.add_argument("--purge", action="store_true", help="remove this data too")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")


def run(args: argparse.Namespace) -> int:
    if not args.dry_run:
        need_root("edgepose uninstall")
    print("would do:" if args.dry_run else "doing:")
    uninstall(Steps(dry=args.dry_run), purge=args.purge)
    return 0
