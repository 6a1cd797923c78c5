"""`edgepose schema`: prints the schemas of the topics, for programs that read them."""

from __future__ import annotations

import argparse
import json
from typing import Any

import yaml

from edgepose.protocol.asyncapi import asyncapi
from edgepose.protocol.schemas import schemas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Prints one JSON object with the JSON Schema of each topic's payload, by the part of the topic that follows "
        "edgepose/<device>/. With --asyncapi, the document also says who sends what on which topic, for documentation "
        "and code generators."
    )
    parser.epilog = "examples:\n  edgepose schema > edgepose-topics.json\n  edgepose schema --asyncapi > asyncapi.yaml"
    parser.add_argument("--asyncapi", action="store_true", help="print an AsyncAPI 3.0 document as YAML instead")


def run(args: argparse.Namespace) -> int:
    print(as_yaml(asyncapi()) if args.asyncapi else json.dumps(schemas(), indent=2))
    return 0


def as_yaml(document: dict[str, Any]) -> str:
    """Returns YAML without anchors, which few readers of AsyncAPI support: a repeated object is written again."""
    return yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, width=118).rstrip()
