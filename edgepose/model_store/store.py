"""Versions of models side by side on the device: <state>/models/<first digits of the sha256>/model.tflite, model.json.

A version is complete or absent, whatever happens while it is written; nothing in it ever changes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose.errors import EdgeposeError, ModelError
from edgepose.inference.model_card import ModelCard, card_path, read_card, read_model
from edgepose.model_store.verification import verify_model
from edgepose.system.atomic_files import sync_file, sync_folder

MOST_VERSIONS = 8
_DIGITS = 12  # of the sha256


@dataclass(frozen=True, slots=True)
class Version:
    """key: of the store. path: of its .tflite."""

    key: str
    path: Path
    card: ModelCard

    @property
    def id(self) -> str:
        return self.card.model_id()


def key_of(card: ModelCard) -> str:
    return card.files.cpu.sha256[:_DIGITS]


class Store:
    """folder: made with the first model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self) -> list[Version]:
        """Newest first; what cannot be read is left out."""
        found = []
        for path in self.folder.glob("[!.]*/model.tflite"):
            try:
                found.append((path.stat().st_mtime_ns, Version(path.parent.name, path, read_card(path))))
            except (OSError, ModelError):
                continue
        return [version for _, version in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def find(self, name: str) -> Version:
        """By its id, its key, or the beginning of its key. Raises ModelError."""
        versions = self.versions()
        found = [one for one in versions if name == one.id or (name and one.key.startswith(name))]
        if len(found) != 1:
            known = ", ".join(one.id for one in versions) or "none"
            raise ModelError(f"{name}: {'more than one' if found else 'no such'} model in the store; it has: {known}")
        return found[0]

    def table(self, running: str, good: Sequence[str], bad: Mapping[str, str]) -> list[dict[str, Any]]:
        """For people and commands, newest first. running, good, bad: keys, as in `choice`."""
        return [
            {
                "model": version.id,
                "created": version.card.created,
                "running": version.key == running,
                "good": version.key in good,
                "refused": bad.get(version.key, ""),
            }
            for version in self.versions()
        ]

    def earlier(self, running: str, good: Sequence[str]) -> str:
        """The key of the model that ran well before this one. Raises ModelError where there is none."""
        found = next((key for key in good if key != running and self.get(key)), None)
        if found is None:
            raise ModelError("there is no earlier model that ran well here; activate one by its name")
        return found

    def path_of(self, key: str) -> Path:
        return self.folder / key / "model.tflite"

    def id_of(self, key: str) -> str:
        """For people."""
        version = self.get(key)
        return version.id if version else key

    def get(self, key: str) -> Version | None:
        path = self.path_of(key)
        try:
            return Version(key, path, read_card(path))
        except ModelError:
            return None

    def install(self, model: Path) -> Version:
        """Copies a model with its card into the store, after it has proved fit to run here. Raises ModelError, and
        EdgeposeError where the store cannot be written."""
        read_model(model)  # what can be said at once
        verify_model(model)
        return self.keep(model)

    def keep(self, model: Path) -> Version:
        """The same, of a model that runs already."""
        data, card = read_model(model)
        key = key_of(card)
        try:
            self._put(key, data, model, card)
        except OSError as exc:
            why = exc.strerror or exc
            hint = "; use sudo" if isinstance(exc, PermissionError) else "; make room" if exc.errno == 28 else ""
            raise EdgeposeError(f"{self.folder}: cannot keep the model ({why}){hint}") from None
        version = self.get(key)
        assert version is not None
        return version

    def prune(self, keep: Collection[str]) -> None:
        """Removes the oldest versions beyond `MOST_VERSIONS`, but none of `keep`."""
        for version in self.versions()[MOST_VERSIONS:]:
            if version.key not in keep:
                shutil.rmtree(version.path.parent, ignore_errors=True)

    def _put(self, key: str, data: bytes, model: Path, card: ModelCard) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            _give_to_owner_of(self.folder.parent, self.folder)
        for left in self.folder.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)
        if (self.folder / key).exists():
            if self.get(key) and (self.folder / key / "model.tflite").read_bytes() == data:
                return
            shutil.rmtree(self.folder / key)  # damaged on the disk
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        (new / "model.tflite").write_bytes(data)
        (new / "model.json").write_bytes(card_path(model).read_bytes())
        if compiled := card.files.edgetpu:
            _copy_beside(model.with_name(compiled.name), new)
        new.chmod(0o755)
        for path in (*new.iterdir(), new):
            path.chmod(0o755 if path.is_dir() else 0o644)
            _give_to_owner_of(self.folder, path)
            (sync_folder if path.is_dir() else sync_file)(path)
        new.rename(self.folder / key)
        sync_folder(self.folder)


def _give_to_owner_of(folder: Path, path: Path) -> None:
    """An administrator's work must be the service's to change."""
    if os.getuid() == 0:
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _copy_beside(source: Path, folder: Path) -> None:
    """The model compiled for an accelerator, where it is there: without it the CPU does the work."""
    if source.is_file():
        shutil.copyfile(source, folder / source.name)
