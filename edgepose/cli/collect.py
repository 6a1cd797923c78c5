"""`edgepose collect`: writes what devices publish to files. `edgepose collect merge`: joins what several collectors
wrote."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from edgepose.core.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes the poses of every device, each once, to DIR/<device>/<date>T<hour>Z.parquet, until Ctrl-C,\n"
        "and what is missing to DIR/gaps.csv. The broker keeps what comes while the collector is away.\n\n"
        "collect merge DIR...  joins what several collectors of a --share group wrote into the first DIR."
    )
    parser.epilog = (
        "example:\n  edgepose collect --broker mqtt://192.168.1.10 -o recordings\n"
        "  edgepose collect merge recordings-a recordings-b"
    )
    parser.add_argument("what", nargs="*", metavar="merge DIR", help="join folders instead of listening")
    parser.add_argument(
        "--broker", default="mqtt://localhost:1883", metavar="URL", help="default: %(default)s; mqtts:// for TLS"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="where the files go")
    parser.add_argument(
        "--name", default="collector", help="of this collector, another for each on a broker; default: %(default)s"
    )
    parser.add_argument("--share", metavar="GROUP", help="split the load with the other collectors of this group")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="for mqtts://: PEM file of the broker's authority")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="its first line is the password")


def run(args: argparse.Namespace) -> int:
    from edgepose.collect.hours import need_pyarrow

    need_pyarrow()
    if args.what:
        return _merge(args.what)
    if args.output is None:
        raise UsageError("collect: where to? Give a folder with -o DIR")
    return _collect(args)


def _merge(words: list[str]) -> int:
    from edgepose.collect.merge import merge

    if words[0] != "merge" or len(words) < 2:
        raise UsageError(f"collect {' '.join(words)}: give `collect merge DIR...`, or `collect -o DIR`")
    print(merge([Path(word) for word in words[1:]]))
    return 0


def _collect(args: argparse.Namespace) -> int:
    from edgepose.cli.run import log_to_stderr
    from edgepose.cli.signals import stop_on_signals
    from edgepose.cli.subscriber import parse_url
    from edgepose.collect.collector import Collector
    from edgepose.delivery.broker import client_id
    from edgepose.passwords import first_line

    log_to_stderr()
    mqtt, password = parse_url(args.broker)
    if args.ca is not None:
        if mqtt.tls is None:
            raise UsageError("--ca: give mqtts://HOST as --broker")
        mqtt = msgspec.structs.replace(mqtt, tls=msgspec.structs.replace(mqtt.tls, ca=str(args.ca)))
    if args.password_file is not None:
        password = first_line(args.password_file, "--password-file")
    collector = Collector(
        mqtt, password or os.environ.get("EDGEPOSE_MQTT_PASSWORD"), client_id(args.name), args.output, args.share
    )
    collector.run(stop_on_signals(once=True))
    print(collector.summary(), file=sys.stderr)
    return 0
