"""`make rig-test`: a machine like a Pi, from a blank system to a service, through every fault that we can make.

    python tests/rig/unattended.py [--only walk,faults,...] [--keep] [--cuts N]

Prints a table, and writes it to benchmarks/README.md where every step was run. --keep: goes on with the disk of the
last run. Steps are in walk, faults, models and cuts; each gives rows (what, result, met).
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Iterable

from camera import ROOT
from cuts import step_cuts
from faults import step_clock, step_disk, step_faults, step_outage
from models import step_delegates, step_models
from rig import FOLDER, Rig, Row
from walk import step_boot, step_upgrade, step_walk

REPORT, TITLE = ROOT / "benchmarks" / "README.md", "## Rig: unattended"
STEPS: dict[str, Callable[[Rig], Iterable[Row]]] = {
    "walk": step_walk,
    "boot": step_boot,
    "faults": step_faults,
    "outage": step_outage,
    "disk": step_disk,
    "clock": step_clock,
    "models": step_models,
    "delegates": step_delegates,
    "cuts": step_cuts,
    "upgrade": step_upgrade,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"of {','.join(STEPS)}")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--cuts", type=int, default=20)
    args = parser.parse_args()
    chosen = args.only.split(",") if args.only else list(STEPS)
    rig = Rig(args.keep)
    rows: list[Row] = []
    if "walk" not in chosen:
        rig.machine.boot()
        rig.listener.live(240)
    try:
        for name in chosen:
            step = functools.partial(STEPS[name], count=args.cuts) if name == "cuts" else STEPS[name]
            rows += attempt(name, step, rig)
    finally:
        rig.machine.stop()
        rig.web.shutdown()
    if not args.only and all(met for _, _, met in rows):
        write_report(rows)
    return int(not all(met for _, _, met in rows))


def attempt(name: str, step: Callable[[Rig], Iterable[Row]], rig: Rig) -> list[Row]:
    rows: list[Row] = []
    try:
        rows.extend(map(note, step(rig)))
    except Exception as exc:  # the other steps are worth their time all the same
        rows.append(note((name, f"failed: {type(exc).__name__}: {str(exc)[-500:]}", False)))
    return rows


def note(row: Row) -> Row:
    what, result, met = row
    print(f"| {what} | {result} | {'' if met else 'NOT MET'}", flush=True)
    with (FOLDER / "rows.json").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    return row


def write_report(rows: list[Row]) -> None:
    """Its own section of the benchmarks."""
    text = REPORT.read_text(encoding="utf-8")
    table = "\n".join(f"| {what} | {result} |" for what, result, _ in rows)
    section = (
        f"{TITLE}\n\n    make rig-test\n\nDebian 13 with systemd in QEMU ([how](../tests/rig/README.md)), a hundred "
        f"times slower than the host: times are\nthat machine's.\n\n| what | result |\n|---|---|\n{table}\n\n"
    )
    before, _, rest = text.partition(f"{TITLE}\n")
    after = rest[rest.index("\n## ") + 1 :] if "\n## " in rest else ""
    if not rest:
        before, mark, after = text.partition("## Rig: camera\n")
        after = mark + after
    REPORT.write_text(before + section + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
