"""`edgepose schema`: what is on the topics, for programs that read them."""

from __future__ import annotations

import argparse
import json
from typing import Any

import yaml

from edgepose.protocol.asyncapi import asyncapi
from edgepose.protocol.schemas import schemas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Prints one JSON object: the JSON Schema of each topic's payload, by what follows edgepose/<device>/.\n"
        "With --asyncapi, who sends what on which topic as well, for documentation and code generators."
    )
    parser.epilog = "example:\n  edgepose schema > edgepose-topics.json\n  edgepose schema --asyncapi > asyncapi.yaml"
    parser.add_argument("--asyncapi", action="store_true", help="an AsyncAPI 3.0 document instead, as YAML")


def run(args: argparse.Namespace) -> int:
    print(as_yaml(asyncapi()) if args.asyncapi else json.dumps(schemas(), indent=2))
    return 0


def as_yaml(document: dict[str, Any]) -> str:
    """Without anchors, which few readers of AsyncAPI know: what is the same object twice is written twice."""
    return yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, width=118).rstrip()
