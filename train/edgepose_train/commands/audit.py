"""`edgepose-train audit MODEL`: what a model costs on each board, and whether an Edge TPU runs all of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from edgepose.inference.model_file import read_model
from edgepose.system.arguments import STDOUT, add_json_argument, check_output, model_path, write_json
from edgepose.system.wording import count
from edgepose_train.export.edgetpu import EdgeTpuAudit, audit_graph
from edgepose_train.export.edgetpu_compile import command_line, compile_model, is_installed
from edgepose_train.export.model_speed import ModelSpeed, measure_speed, speed_table
from edgepose_train.export.tflite_graph import read_bytes, read_graph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Measures how fast a model is on this machine, estimates it for each board, and checks whether the Edge TPU "
        "runs all of its operations. The exit status is 1 when an operation would run on the CPU beside the Edge TPU."
    )
    parser.epilog = "examples:\n  edgepose-train audit RUN\n  edgepose-train audit RUN --compile"
    parser.add_argument("model", type=model_path, help="a .tflite file, the folder of a fit, or demo")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also run edgetpu_compiler, and put its result into the model",
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the costs and the result of the audit; returns the exit status."""
    model: Path = args.model
    check_output(args.json, force=args.force, option="--json")
    data = read_bytes(model)
    audit, speed = audit_graph(read_graph(data, str(model))), measure_speed(data, str(model))
    log = compile_model(model) if args.compile else None
    write_json(args.json, _report(audit, speed))
    if args.json != STDOUT:
        _print(model, audit, speed)
        if log is not None:
            print(log.verdict())
            print(f"{model} holds the compiled network now, so it has another id: {read_model(model).id}")
    return 1 if audit.refusals else 0


def _print(model: Path, audit: EdgeTpuAudit, speed: ModelSpeed) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]{escape(model.name)}[/]: {count(audit.operations, 'operation')}, {speed.macs / 1e6:.0f} million "
        f"multiply-accumulates, {speed.parameter_bytes / 1e6:.2f} MB of weights"
    )
    console.print(speed_table(speed))
    style = "bold yellow" if audit.refusals else "bold green"
    console.print(f"[{style}]Edge TPU:[/] {escape(audit.verdict())}")
    if not audit.refusals:
        where = "" if is_installed() else ", where edgetpu_compiler is installed"
        console.print(f"to compile it{where}: {escape(command_line(model))}")


def _report(audit: EdgeTpuAudit, speed: ModelSpeed) -> dict[str, object]:
    return {
        "operations": audit.operations,
        "macs": speed.macs,
        "parameter_bytes": speed.parameter_bytes,
        "runtime": speed.runtime,
        "measured_ms": round(speed.here_ms, 3),
        "boards": {board.board: {"estimate_ms": board.ms, "basis": board.basis} for board in speed.boards},
        "edge_tpu": {"operations": audit.mapped, "verdict": audit.verdict()},
    }
