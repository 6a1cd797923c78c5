"""Adds the options that name the broker, its user and its authority, for all commands that listen.

Everybody on the computer can see a password on the command line, so there are other ways to give it.
"""

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
    """Adds `--broker`, `--ca` and `--password-file`."""
    parser.add_argument(
        "--broker",
        default="mqtt://localhost:1883",
        metavar="URL",
        help="mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS (default: %(default)s)",
    )
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="for mqtts://: PEM file of the authority that signed the certificate"
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="a file whose first line is the password (default: the variable EDGEPOSE_MQTT_PASSWORD)",
    )


def broker_of(args: argparse.Namespace) -> tuple[MqttConfig, str | None]:
    """Returns the broker and the password. Raises UsageError, ConfigError."""
    import msgspec

    from edgepose.mqtt.broker import read_password
    from edgepose.mqtt.subscriber import parse_url
    from edgepose.system.secrets import first_line

    mqtt, password = parse_url(args.broker)
    if args.ca is not None:
        if mqtt.tls is None:
            raise UsageError("--ca: is for TLS; give mqtts://HOST as --broker")
        mqtt = msgspec.structs.replace(mqtt, tls=msgspec.structs.replace(mqtt.tls, ca=str(args.ca)))
    if args.password_file is not None:
        password = first_line(args.password_file, "--password-file")
        if mqtt.username is None:
            raise UsageError("--password-file: the user is missing; give mqtt://USER@HOST as --broker")
        return mqtt, password
    if password is not None:
        print(f"--broker: everybody on this computer can see the password; safer is {SAFER}", file=sys.stderr)
        return mqtt, password
    return mqtt, read_password(mqtt)
