"""`edgepose watch`: shows devices live in the terminal."""

from __future__ import annotations

import argparse

from edgepose.cli.broker_arguments import add_broker_arguments, broker_of
from edgepose.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows keypoints, rate and latency of the devices on a broker, until Ctrl-C. Outside a terminal it prints one "
        "line per second for each device."
    )
    parser.epilog = "example:\n  edgepose watch --broker mqtt://192.168.1.10 --device cage-07"
    add_broker_arguments(parser)
    parser.add_argument("--device", metavar="NAME", help="show this device only (default: every device)")


def run(args: argparse.Namespace) -> int:
    from edgepose.cli.terminal_view import TerminalView, follow
    from edgepose.mqtt.subscriber import Subscriber
    from edgepose.system.signals import stop_on_signals

    device = args.device or "+"
    if args.device and any(mark in args.device for mark in "/+#"):
        raise UsageError(f"--device {args.device}: not a device's name; leave it out to show every device")
    stop = stop_on_signals(once=False)
    subscriber = Subscriber(broker_of(args), device)
    try:
        follow(TerminalView(subscriber, ("Ctrl-C ends",)), lambda: not stop.is_set())
    finally:
        subscriber.close()
    return 0
