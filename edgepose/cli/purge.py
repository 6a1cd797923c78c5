"""`edgepose purge`: makes a broker, and with it Home Assistant, forget a device."""

from __future__ import annotations

import argparse
import secrets

from edgepose.cli.broker_arguments import add_broker_arguments, broker_of
from edgepose.errors import BrokerError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Removes everything that a broker keeps of a device: /info, /status, /health, and what Home Assistant got. It "
        "refuses while the device runs, which would publish it again. Recorded poses are not touched."
    )
    parser.epilog = "example:\n  edgepose purge --broker mqtt://192.168.1.10 cage-07"
    parser.add_argument("device", metavar="DEVICE", help="the device's name in the topics")
    add_broker_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from edgepose.mqtt.broker import where
    from edgepose.mqtt.connection import Connection, ConnectionLostError
    from edgepose.mqtt.purge import Purge

    if not args.device or any(mark in args.device for mark in "/+#"):
        raise UsageError(f"purge {args.device}: not a device's name; give it as in edgepose/<device>/status")
    mqtt, password = broker_of(args)
    connection = Connection(mqtt, f"edgepose-purge-{secrets.token_hex(4)}", password)
    try:
        Purge(connection, args.device, lambda line: print(line, flush=True)).run()
        connection.goodbye()
    except ConnectionLostError as exc:
        raise BrokerError(f"{where(mqtt)}: connection lost ({exc}); try again") from None
    finally:
        connection.cut()
    return 0
