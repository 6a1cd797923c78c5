"""Which broker, as whom, and whom to trust: the same for all commands that listen. A password on the command line is
seen by everybody on the machine, so there are other ways."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.errors import UsageError

if TYPE_CHECKING:
    from edgepose.config.schema import MqttConfig

SAFER = "--password-file FILE or the variable EDGEPOSE_MQTT_PASSWORD"


def add_broker_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--broker",
        default="mqtt://localhost:1883",
        metavar="URL",
        help="mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS; default: %(default)s",
    )
    parser.add_argument("--ca", type=Path, metavar="FILE", help="for mqtts://: PEM file of the broker's authority")
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="its first line is the password; without it the variable EDGEPOSE_MQTT_PASSWORD",
    )


def broker_of(args: argparse.Namespace) -> tuple[MqttConfig, str | None]:
    """The broker and the password. Raises UsageError, ConfigError."""
    import msgspec

    from edgepose.mqtt.broker import read_password
    from edgepose.mqtt.subscriber import parse_url
    from edgepose.system.secrets import first_line

    mqtt, password = parse_url(args.broker)
    if args.ca is not None:
        if mqtt.tls is None:
            raise UsageError("--ca: give mqtts://HOST as --broker")
        mqtt = msgspec.structs.replace(mqtt, tls=msgspec.structs.replace(mqtt.tls, ca=str(args.ca)))
    if args.password_file is not None:
        password = first_line(args.password_file, "--password-file")
        if mqtt.username is None:
            raise UsageError("--password-file: whose? Give mqtt://USER@HOST as --broker")
        return mqtt, password
    if password is not None:
        print(f"--broker: everybody on this machine can see the password (ps); better {SAFER}", file=sys.stderr)
        return mqtt, password
    return mqtt, read_password(mqtt)
