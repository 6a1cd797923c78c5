"""`edgepose bench`: how fast a model runs here, stage by stage, against the bare interpreter in the same run."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from edgepose.daemon.benchmark import PRELOADED, run_benchmark
from edgepose.system.arguments import STDOUT, above_zero, add_json_argument, check_output, model_path, write_json

_STAGES = {
    "copy": "out of the camera's buffer",
    "load": "resize, colours, input tensor",
    "invoke": "the interpreter",
    "decode": "heatmaps to keypoints",
    "hand_over": "waiting between threads",
    "encode": "pose to JSON bytes",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs the daemon's pipeline on frames that lie in memory, so that no camera or video decoder slows it down, "
        "and in turn with it the bare interpreter. Prints the time of each stage, and what the pipeline costs in all."
    )
    parser.epilog = (
        "examples:\n  edgepose bench model.tflite\n  edgepose bench model.tflite --source mouse.mp4 --json bench.json"
    )
    parser.add_argument("model", type=model_path, metavar="MODEL", help="a .tflite file, the folder of a fit, or demo")
    parser.add_argument(
        "--source",
        default="synthetic",
        metavar="S",
        help=f"a video file, of which the first {PRELOADED} frames are used, or synthetic (default: a 640x480 mouse)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        choices=range(17),
        metavar="N",
        help="number of threads of the interpreter (default: 1); 0 measures which number is fastest",
    )
    parser.add_argument("--seconds", type=above_zero, default=10.0, metavar="S", help="time to measure (default: 10)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    check_output(args.json, force=args.force, option="--json")
    report = run_benchmark(args.model, args.threads, args.source, args.seconds)
    if args.json != STDOUT:
        _print(report)
    write_json(args.json, report)
    return 0


def _print(report: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    w, h = report["frame_wh"]
    console.print(f"{report['model']} on {report['runtime']}, {report['machine']}", markup=False)
    console.print(f"{report['frames']} frames of {w}x{h} ({report['source']})", markup=False)
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("stage")
    for heading in ("p50 ms", "p95 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    table.add_column(style="dim")
    for name, what in _STAGES.items():
        table.add_row(name, *(f"{value:.3f}" for value in report["stages_ms"][name].values()), what)
    console.print(table)
    console.print(
        f"[bold]{report['fps']:.1f} fps[/], {report['ratio']:.3f} of the bare interpreter's {report['raw_fps']}"
    )
    console.print(f"{report['outside_invoke_ms']:.2f} ms a frame outside invoke (medians, also what runs beside it)")
    console.print(f"{report['rss_mb']:.0f} MB in RAM, {report['preloaded_mb']:.0f} MB of it frames held for this run")
