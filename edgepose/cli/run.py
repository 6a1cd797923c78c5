"""`edgepose run`: the daemon."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from edgepose.config.loading import read_config
from edgepose.daemon.assembly import Daemon
from edgepose.system.arguments import add_config_argument, config_path
from edgepose.system.signals import stop_on_signals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Reads frames, finds keypoints and publishes them until SIGTERM or Ctrl-C, or until a video ends. "
        "Without a broker it keeps the poses, and keeps trying to connect."
    )
    parser.epilog = "example:\n  edgepose run -c edgepose.yaml\n  mosquitto_sub -v -t 'edgepose/#'"
    add_config_argument(parser)


def run(args: argparse.Namespace) -> int:
    log_to_stderr()
    path = config_path(args.config)
    Daemon(read_config(path), stop_on_signals(once=True), config_file=path).run()
    return 0


def log_to_stderr() -> None:
    """Writes each message to stderr as one line, with the time unless systemd's journal adds it."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=f"{stamp}%(levelname)s %(message)s")
    logging.getLogger("edgepose").setLevel(logging.INFO)
