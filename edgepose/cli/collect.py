"""`edgepose collect`: writes what devices publish to files, and joins what several collectors wrote."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgepose.cli.broker_arguments import add_broker_arguments, broker_of
from edgepose.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from edgepose.collect.other_formats import ENDINGS

    parser.description = (
        "Writes the poses of every device, each once, to DIR/<device>/<date>T<hour>Z.parquet, until Ctrl-C. Events go "
        "to DIR/<device>/events.csv, and what is missing to DIR/gaps.csv. The broker keeps what comes while the "
        "collector is away.\n\n"
        "`collect merge DIR...` joins what several collectors of a --share group wrote into the first DIR, and settles "
        "repeats, gaps and tags there. With one DIR it makes the files that --also names, and rewrites files of an "
        "earlier edgepose, which have other columns."
    )
    parser.epilog = (
        "examples:\n  edgepose collect --broker mqtt://192.168.1.10 -o recordings --also csv\n"
        "  edgepose collect merge recordings recordings-a recordings-b"
    )
    parser.add_argument("what", nargs="*", metavar="merge DIR", help="join these folders, do not listen")
    add_broker_arguments(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="the folder of the files; they are added to it"
    )
    parser.add_argument(
        "--name",
        default="collector",
        help="the collector's name, another one for each collector of a broker (default: %(default)s)",
    )
    parser.add_argument(
        "--also",
        choices=ENDINGS,
        action="append",
        default=[],
        help="write another file beside each Parquet file: csv and h5 in DeepLabCut's layout, one for each start of "
        "the daemon; tidy.csv with the columns of the Parquet file. May be given several times",
    )
    parser.add_argument(
        "--share",
        metavar="GROUP",
        help="share the work with the other collectors of this group; the share of one that is away waits for it",
    )


def run(args: argparse.Namespace) -> int:
    from edgepose.cli.run import log_to_stderr
    from edgepose.tables.parquet import need_pyarrow
    from edgepose.tables.pose_table import check_format

    need_pyarrow()
    for ending in args.also:
        check_format(Path(f"<hour>.{ending}"))
    log_to_stderr()
    if args.what:
        return _merge(args.what, args.also)
    if args.output is None:
        raise UsageError("collect: the folder for the files is missing; give it with -o DIR")
    return _collect(args)


def _merge(words: list[str], also: list[str]) -> int:
    from edgepose.collect.merge import merge

    if words[0] != "merge" or len(words) < 2:
        raise UsageError(f"collect {' '.join(words)}: not known; give `collect merge DIR...` or `collect -o DIR`")
    print(merge([Path(word) for word in words[1:]], also))
    return 0


def _collect(args: argparse.Namespace) -> int:
    from edgepose.collect.archive import Archive
    from edgepose.collect.collector import Collector
    from edgepose.mqtt.broker import client_id
    from edgepose.system.signals import stop_on_signals

    mqtt, password = broker_of(args)
    archive = Archive(args.output, args.also, shared=args.share is not None)
    collector = Collector(mqtt, password, client_id(args.name), archive, args.share)
    collector.run(stop_on_signals(once=True))
    print(collector.summary(), file=sys.stderr)
    return 0
