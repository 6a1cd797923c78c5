"""`edgepose check`: is everything ready that `run` needs? One line each, with what to do where it is not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from edgepose.config.loading import read_config
from edgepose.daemon.checks import CheckResult, check_all, failed_check
from edgepose.errors import EdgeposeError
from edgepose.system.arguments import (
    STDOUT,
    add_config_argument,
    add_json_argument,
    check_output,
    config_path,
    write_json,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Tries everything that `run` needs. FAIL keeps the daemon from working, warn does not.\n\n"
        "Exit status: 0 ready, 78 configuration or model, 1 camera or broker."
    )
    parser.epilog = "example:\n  edgepose check -c edgepose.yaml"
    add_config_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Returns the exit status of the first failure: config and model come before camera and broker."""
    check_output(args.json, force=args.force, option="--json")
    results = []
    for result in _results(config_path(args.config)):
        results.append(result)
        if args.json != STDOUT:
            verdict = "FAIL" if result.verdict == "fail" else result.verdict
            print(f"{result.name:<11} {verdict:<5} {result.text}", flush=True)
    status = next((result.exit_code for result in results if result.exit_code), 0)
    rows = [{"name": result.name, "verdict": result.verdict, "text": result.text} for result in results]
    write_json(args.json, {"ready": status == 0, "checks": rows})
    return status


def _results(path: Path) -> Iterator[CheckResult]:
    try:
        config = read_config(path)
    except EdgeposeError as exc:
        yield failed_check("config", exc)
        return
    yield CheckResult("config", "ok", f"{path}, device {config.device_name()}")
    yield from check_all(config, path)
