"""`edgepose model`: models as files, and the device's model store. A running daemon follows what is activated here."""

from __future__ import annotations

import argparse
import os
import re
import time
from pathlib import Path
from typing import Any

from edgepose.cli import model_files
from edgepose.config.loading import read_config
from edgepose.errors import EdgeposeError, ModelError, UsageError
from edgepose.inference.model_file import read_model
from edgepose.model_store.download import install_from
from edgepose.model_store.selection import activated, change_selection, read_selection
from edgepose.model_store.startup import configured_key, selection_path
from edgepose.model_store.store import Store, Version
from edgepose.service.steps import need_root
from edgepose.system.arguments import (
    INSTALLED_CONFIG,
    STDOUT,
    add_config_argument,
    add_json_argument,
    check_output,
    config_path,
    model_path,
    write_json,
)
from edgepose.system.state_dir import state_dir

TAKEN_S = 5.0  # within this time a running daemon begins with a model
ANSWER_S = 60.0  # within this time it has proved the model, or gone back


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows a model, and manages the models that this device keeps. A running daemon follows what is activated here."
    )
    parser.epilog = (
        "examples:\n  edgepose model show model.tflite\n  sudo edgepose model install model.tflite\n"
        "  sudo edgepose model activate openfield@3fa2c1"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    model_files.add_actions(actions)
    install = actions.add_parser("install", help="verify a model and copy it into the store of this device")
    source = "a .tflite file, the folder of a fit, demo, or an http(s) address that ends with .tflite"
    install.add_argument("model", type=_file_or_url, metavar="MODEL", help=source)
    install.add_argument(
        "--sha256", type=_sha256, metavar="HEX", help="the SHA-256 of the file at an address, which must be given"
    )
    shown = actions.add_parser("list", help="show the models of the store, and which ones ran well here")
    add_json_argument(shown)
    activate = actions.add_parser(
        "activate", help="change to a model; a daemon goes back by itself where the model makes no poses"
    )
    activate.add_argument("name", metavar="NAME", help="the model's name, as `edgepose model list` shows it")
    rollback = actions.add_parser("rollback", help="activate the model that ran well before")
    for action, example in (
        (install, "install model.tflite"),
        (shown, "list --json -"),
        (activate, "activate openfield@3fa2c1"),
        (rollback, "rollback"),
    ):
        action.epilog = f"example:\n  sudo edgepose model {example}"
        add_config_argument(action)


def _file_or_url(text: str) -> Path | str:
    return text if text.startswith(("http://", "https://")) else model_path(text)


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text}: give 64 hexadecimal digits, as sha256sum prints them")
    return text


def run(args: argparse.Namespace) -> int:
    if args.action in model_files.ACTIONS:
        return model_files.ACTIONS[args.action](args)
    check_user(args.config, args.action)
    store = Store(state_dir() / "models")
    if args.action == "install":
        version = _install(args.model, args.sha256, store)
        print(f"{version.id} is in {store.folder}; activate it with: edgepose model activate {version.id}")
        return 0
    config = read_config(config_path(args.config))
    path, configured = selection_path(store, config.device_name()), configured_key(Path(config.model))
    selection = read_selection(path)
    running = selection.wanted or configured
    if args.action == "list":
        check_output(args.json, force=args.force, option="--json")
        rows = store.table(running, selection.good, selection.bad)
        if args.json != STDOUT:
            _print_table(rows, f"{store.folder}: the store is empty; the config's {config.model} is what runs")
        write_json(args.json, {"models": rows})
        return 0
    key = store.find(args.name).key if args.action == "activate" else store.earlier(running, selection.good)
    change_selection(path, lambda selection: activated(selection, key, configured))
    print(_answer(path, key, store.id_of(key)))
    return 0


def _install(model: Path | str, sha256: str | None, store: Store) -> Version:
    if isinstance(model, Path):
        if sha256 and read_model(model).sha256 != sha256.lower():
            raise ModelError(f"{model}: has another sha256 than the one that was given; copy the model again")
        return store.install(model)
    if sha256 is None:
        raise UsageError(f"{model}: give the file's --sha256 too; `sha256sum model.tflite` prints it where it was made")
    return install_from(model, sha256, store, lambda: False)


def check_user(config: Path | None, action: str, installed: Path = INSTALLED_CONFIG) -> None:
    """Raises EdgeposeError for a user who would get a store of his own, and not the service's."""
    if config in {None, installed} and installed.exists() and "STATE_DIRECTORY" not in os.environ:
        need_root(f"edgepose model {action}")


def _answer(path: Path, key: str, name: str) -> str:
    """Waits for what a running daemon makes of an activation. Raises EdgeposeError where it goes back."""
    begin_s, taken = time.monotonic(), False
    while (waited_s := time.monotonic() - begin_s) < ANSWER_S:
        selection = read_selection(path)
        if key in selection.bad:
            raise EdgeposeError(f"{name}: was tried and given up: {selection.bad[key]}")
        if selection.wanted != key:
            raise EdgeposeError(f"{name}: another model was activated meanwhile; see `edgepose model list`")
        if selection.trial is None:
            return f"{name} is running"
        taken = taken or selection.trial.tries > 0
        if not taken and waited_s > TAKEN_S:
            return f"{name} is activated; no daemon has taken it yet, the next start will"
        time.sleep(0.2)
    raise EdgeposeError(
        f"{name}: is activated, but the daemon has not reported within {ANSWER_S:g} s whether it runs; "
        "see `edgepose model list`"
    )


def _print_table(rows: list[dict[str, Any]], empty: str) -> None:
    if not rows:
        print(empty)
    for row in rows:
        notes = [word for word, said in (("active", row["running"]), ("ran well", row["good"])) if said]
        notes += [f"given up: {row['refused']}"] if row["refused"] else []
        print(f"{row['model']:<30} {row['created']:<22} {', '.join(notes)}")
