"""`edgepose model`: the device's model store, from a shell. A running daemon takes what is activated."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from edgepose.config.loading import read_config
from edgepose.config.schema import Config
from edgepose.errors import EdgeposeError, UsageError
from edgepose.model_store.selection import SelectionFile, activated, write_selection
from edgepose.model_store.startup import configured_key, selection_path
from edgepose.model_store.store import Store
from edgepose.service.steps import need_root
from edgepose.system.state_dir import state_dir

_NOBODY_S = 5.0  # without a daemon that begins with it
ANSWER_S = 60.0  # for a running daemon to take a model, or to go back
_SERVICE_CONFIG = Path("/etc/edgepose/edgepose.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "install FILE   checks a model and keeps it on this device, beside the others\n"
        "list           what is kept, and what ran well here\n"
        "activate NAME  takes it; a running daemon does so at once, and goes back by itself where it makes no poses\n"
        "rollback       takes the one that ran well before"
    )
    parser.epilog = (
        "example:\n  sudo edgepose model install model.tflite\n  sudo edgepose model activate openfield@3fa2c1"
    )
    parser.add_argument("action", choices=("install", "list", "activate", "rollback"))
    parser.add_argument(
        "name", nargs="?", metavar="FILE|NAME", help="the .tflite, or a model's name as `list` tells it"
    )
    parser.add_argument(
        "-c", "--config", type=Path, default=_SERVICE_CONFIG, metavar="FILE", help=f"default: {_SERVICE_CONFIG}"
    )


def run(args: argparse.Namespace) -> int:
    if args.name is None and args.action in {"install", "activate"}:
        what = "which file? Give the .tflite" if args.action == "install" else "which one? `edgepose model list` tells"
        raise UsageError(f"model {args.action}: {what}")
    if args.config == _SERVICE_CONFIG and args.config.exists() and "STATE_DIRECTORY" not in os.environ:
        need_root(f"edgepose model {args.action}")  # else a store of the user's own would be meant
    store = Store(state_dir() / "models")
    if args.action == "install":
        version = store.install(Path(args.name))
        print(f"{version.id} is in {store.folder}; activate it with: edgepose model activate {version.id}")
        return 0
    config = read_config(args.config)
    path = selection_path(store, config.device_name())
    if args.action == "list":
        _list(store, SelectionFile(path), config)
        return 0
    ledger = SelectionFile(path)
    running = ledger.choice.wanted or configured_key(Path(config.model))
    key = store.find(args.name).key if args.action == "activate" else store.earlier(running, ledger.choice.good)
    choice = activated(ledger.choice, key, configured_key(Path(config.model)))
    write_selection(path, choice)
    return _wait(store, path, key)


def _wait(store: Store, path: Path, key: str) -> int:
    """For a running daemon to take it. Raises EdgeposeError where it goes back."""
    name, deadline = store.id_of(key), time.monotonic() + ANSWER_S
    ledger, touched = SelectionFile(path), False
    while time.monotonic() < deadline:
        choice = ledger.read()
        if key in choice.bad:
            raise EdgeposeError(f"{name}: was tried and given up: {choice.bad[key]}")
        if choice.wanted == key and choice.trial is None:
            print(f"{name} is at work")
            return 0
        touched = touched or (choice.trial is not None and choice.trial.tries > 0)
        if not touched and time.monotonic() > deadline - ANSWER_S + _NOBODY_S:
            print(f"{name} is activated; no daemon has taken it yet, the next start will")
            return 0
        time.sleep(0.2)
    raise EdgeposeError(f"{name}: is activated, but the daemon has not said within {ANSWER_S:g} s whether it runs")


def _list(store: Store, ledger: SelectionFile, config: Config) -> None:
    running = ledger.choice.wanted or configured_key(Path(config.model))
    rows = store.table(running, ledger.choice.good, ledger.choice.bad)
    if not rows:
        print(f"{store.folder}: no models yet; the config's {config.model} is what runs")
    for row in rows:
        notes = [word for word, said in (("active", row["running"]), ("ran well", row["good"])) if said]
        notes += [f"given up: {row['refused']}"] if row["refused"] else []
        print(f"{row['model']:<30} {row['created']:<22} {', '.join(notes)}")
