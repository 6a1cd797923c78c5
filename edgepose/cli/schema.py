"""`edgepose schema`: what is on the topics, for programs that read them."""

from __future__ import annotations

import argparse
import json

from edgepose.core.schemas import schemas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Prints one JSON object: the JSON Schema of each topic's payload, by what follows edgepose/<device>/."
    )
    parser.epilog = "example:\n  edgepose schema > edgepose-topics.json"


def run(args: argparse.Namespace) -> int:  # noqa: ARG001
    print(json.dumps(schemas(), indent=2))
    return 0
