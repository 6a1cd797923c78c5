"""Models for tests of the store: the demo's, under other names, and ways to damage or misuse them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from edgepose.inference.model_card import sha256_of
from edgepose.inference.model_file import read_model, write_model
from edgepose.model_store.selection import activated, change_selection
from edgepose.model_store.startup import configured_key, selection_path
from edgepose.model_store.store import Store
from edgepose.system.shipped_files import DEMO_MODEL
from edgepose.system.state_dir import state_dir
from edgepose.types import Skeleton


def variant(source: Path, folder: Path, name: str, *, keypoints: tuple[str, ...] = (), data: bytes = b"") -> Path:
    """Makes another model that works as `source` does, with a hash of its own.

    keypoints: other names. data: the content of the network, to which the card then agrees.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = read_model(source)
    card = msgspec.structs.replace(content.card, name=name)
    if keypoints:
        card = msgspec.structs.replace(card, skeleton=Skeleton(keypoints))
    model = folder / f"{name}.tflite"
    write_model(model, data or content.network, card)
    return model


def rewrite(model: Path, network: bytes | None = None, **changes: object) -> None:
    """Writes another network, or other entries of the card, into a model; the card's hashes then agree."""
    content = read_model(model)
    card = msgspec.structs.replace(content.card, **changes)
    write_model(model, content.network if network is None else network, card, content.members)


def two_files(model: Path, folder: Path, *, compiled: bytes = b"", compiled_name: str = "model_edgetpu.tflite") -> Path:
    """Writes a model in the files of edgepose 0.1: network, card of version 1, and a network compiled for a Coral."""
    folder.mkdir()
    content = read_model(model)
    card = msgspec.json.decode(content.card_json)
    for name in ("sha256", "members", "unchanged_since_v1"):
        card.pop(name, None)
    output = card.pop("outputs")[0]
    del output["kind"]
    files = {"cpu": {"name": "model.tflite", "sha256": sha256_of(content.network)}, "edgetpu": None}
    if compiled:
        (folder / "model_edgetpu.tflite").write_bytes(compiled)
        files["edgetpu"] = {"name": compiled_name, "sha256": sha256_of(compiled)}
    path = folder / "model.tflite"
    path.write_bytes(content.network)
    path.with_suffix(".json").write_bytes(msgspec.json.encode(card | {"v": 1, "output": output, "files": files}))
    return path


MISBEHAVING = """
import os, pathlib, signal, time
import edgepose.inference.estimator as estimator
real = estimator.Estimator.estimate
def estimate(self, frame):
    name = self.card.name
    if name == "raises": raise ValueError("not today")
    if name == "hangs": time.sleep(3600)
    if name == "crashes": os.kill(os.getpid(), signal.SIGSEGV)
    return real(self, frame)
estimator.Estimator.estimate = estimate
"""


def misbehaving(folder: Path) -> dict[str, str]:
    """The environment of a daemon in which models called `raises`, `hangs` and `crashes` do so at their first frame.

    The golden picture does not show it.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(MISBEHAVING, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def interpreter(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """In processes that are started from here on, opening an interpreter does this; `real` is the real function."""
    site = folder / "site-interpreter"
    site.mkdir()
    text = [
        "import edgepose.inference.runtime as runtime, os, signal, sys, time",
        "real = runtime.open_runtime",
        "def open_runtime(model, *rest):",
        *(f"    {line}" for line in lines),
        "    time.sleep(60)",
        "runtime.open_runtime = open_runtime",
    ]
    (site / "sitecustomize.py").write_text("\n".join(text) + "\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))


def activate(model: Path, device: str = "cage-07") -> str:
    """Installs a model and activates it for a device whose config names the demo's model. Returns its id.

    The store is in the state folder of the test.
    """
    store = Store(state_dir() / "models")
    version = store.install(model)
    configured = configured_key(DEMO_MODEL)
    change_selection(selection_path(store, device), lambda selection: activated(selection, version.key, configured))
    return version.id


def stored() -> dict[Path, bytes]:
    """Every file of the store, with its content."""
    return {path: path.read_bytes() for path in state_dir().rglob("*") if path.is_file()}
