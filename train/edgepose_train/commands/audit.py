"""`edgepose-train audit MODEL`: what a model costs on each board, and whether an Edge TPU runs all of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  edgepose-train audit RUN/model.tflite\n  edgepose-train audit RUN/model.tflite --compile\n\n"
        "Exit status 1 when an operation would run on the CPU beside the Edge TPU."
    )
    parser.add_argument("model", type=Path, help="a .tflite file, or with --compile one with its card beside it")
    parser.add_argument("--compile", action="store_true", help="also run edgetpu_compiler, for a Coral")


def run(args: argparse.Namespace) -> int:
    from edgepose_train.export.edgetpu import audit
    from edgepose_train.export.edgetpu_compile import command_line, compile_model, compiled_path, is_installed
    from edgepose_train.export.tflite_graph import read_bytes, read_graph
    from edgepose_train.network.target_boards import speed, speed_table

    model: Path = args.model
    data = read_bytes(model)
    found = audit(read_graph(data, str(model)))
    cost = speed(data, str(model))
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]{escape(model.name)}[/]: {found.operations} operations, {cost.macs / 1e6:.0f} million "
        f"multiply-accumulates, {cost.parameter_bytes / 1e6:.2f} MB of weights"
    )
    console.print(speed_table(cost))
    style = "bold yellow" if found.refusals else "bold green"
    console.print(f"[{style}]Edge TPU:[/] {escape(found.verdict())}")
    if args.compile:
        console.print(escape(compile_model(model).verdict()))
        console.print(f"wrote {escape(str(compiled_path(model)))}")
    elif not found.refusals:
        has = "" if is_installed() else ", where edgetpu_compiler is installed"
        console.print(f"to compile it{has}: {escape(command_line(model))}")
    return 1 if found.refusals else 0
