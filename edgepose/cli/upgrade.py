"""`edgepose upgrade`: another version of edgepose on this device, with a way back."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgepose.errors import UsageError
from edgepose.service.steps import need_root
from edgepose.service.upgrade import settle, upgrade


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Installs another version, migrates the configuration (it shows the changes and keeps the old file), and "
        "restarts the service. It goes back by itself where the new version gives no poses. The earlier version stays "
        "beside the new one."
    )
    parser.epilog = "example:\n  sudo edgepose upgrade edgepose-0.2.0-py3-none-any.whl"
    parser.add_argument("package", nargs="?", type=Path, metavar="WHEEL|DEB", help="the package of edgepose")
    parser.add_argument("--settle", action="store_true", help="finish an interrupted upgrade, as at boot")


def run(args: argparse.Namespace) -> int:
    need_root("edgepose upgrade")
    if args.settle:
        settle()
    elif args.package is None:
        raise UsageError("the package is missing; give a wheel (.whl) or a Debian package (.deb) of edgepose")
    else:
        upgrade(args.package.resolve())
    return 0
