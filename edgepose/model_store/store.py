"""The store: versions of models side by side on the device.

Each version is a folder, `<state>/models/<first digits of the sha256>/` with `model.tflite` and `model.json`. It is
complete or absent, whatever happens while it is written, and nothing in it ever changes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose.errors import EdgeposeError, ModelError
from edgepose.inference.model_card import ModelCard, card_path, read_card, read_model
from edgepose.model_store.verification import verify_once
from edgepose.system.atomic_files import sync_file, sync_folder

MOST_VERSIONS = 8
_DIGITS = 12  # of the sha256


@dataclass(frozen=True, slots=True)
class Version:
    """A model in the store: its key, the path of its `.tflite`, and its card."""

    key: str
    path: Path
    card: ModelCard

    @property
    def id(self) -> str:
        return self.card.model_id()


def key_of(card: ModelCard) -> str:
    """The key that a model has in every store."""
    return card.files.cpu.sha256[:_DIGITS]


class Store:
    """The store in a folder, which is made when something is put into it."""

    def __init__(self, folder: Path, most_versions: int = MOST_VERSIONS) -> None:
        self.folder, self._most_versions = folder, most_versions

    def versions(self) -> list[Version]:
        """All versions that can be read, the newest first."""
        found = []
        for path in self.folder.glob("[!.]*/model.tflite"):
            try:
                found.append((path.stat().st_mtime_ns, Version(path.parent.name, path, read_card(path))))
            except (OSError, ModelError):
                continue
        return [version for _, version in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def find(self, name: str) -> Version:
        """Finds a version by its id, its key, or the beginning of its key. Raises ModelError."""
        versions = self.versions()
        found = [one for one in versions if name == one.id or (name and one.key.startswith(name))]
        if len(found) != 1:
            known = ", ".join(one.id for one in versions) or "none"
            raise ModelError(f"{name}: {'more than one' if found else 'no such'} model in the store; it has: {known}")
        return found[0]

    def table(self, running: str, good: Sequence[str], bad: Mapping[str, str]) -> list[dict[str, Any]]:
        """All versions for people and commands, the newest first.

        running, good, bad: keys, as in `ModelSelection`.
        """
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
        """The `.tflite` of that version, whether it is there or not."""
        return self.folder / key / "model.tflite"

    def id_of(self, key: str) -> str:
        """The model's id, for people; the key where the store does not have the model."""
        version = self.get(key)
        return version.id if version else key

    def get(self, key: str) -> Version | None:
        path = self.path_of(key)
        try:
            return Version(key, path, read_card(path))
        except ModelError:
            return None

    def verify(self, model: Path) -> None:
        """Verifies a model, in the store or elsewhere, unless it passed before with the same runtimes.

        Raises ModelError and VerificationError, see `verification`.
        """
        with contextlib.suppress(OSError):  # then nothing is remembered
            self._make_folder()
        verify_once(model, self.folder / "passed.json")

    def install(self, model: Path) -> Version:
        """Copies a model with its card into the store, once it is verified.

        Raises ModelError and VerificationError, and EdgeposeError where the store cannot be written.
        """
        self.verify(model)
        return self.keep(model)

    def keep(self, model: Path) -> Version:
        """Copies a model that runs already into the store. Raises ModelError and EdgeposeError."""
        data, card = read_model(model)
        key = key_of(card)
        try:
            self._put(key, data, model, card)
        except OSError as exc:
            why = exc.strerror or exc
            hint = "; use sudo" if isinstance(exc, PermissionError) else "; make room" if exc.errno == 28 else ""
            raise EdgeposeError(f"{self.folder}: cannot keep the model ({why}){hint}") from None
        return Version(key, self.path_of(key), card)

    def prune(self, keep: Collection[str]) -> None:
        """Removes the oldest versions beyond `most_versions`, but none whose key is in `keep`."""
        for version in self.versions()[self._most_versions :]:
            if version.key not in keep:
                shutil.rmtree(version.path.parent, ignore_errors=True)

    def _put(self, key: str, data: bytes, model: Path, card: ModelCard) -> None:
        self._make_folder()
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

    def _make_folder(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            _give_to_owner_of(self.folder.parent, self.folder)


def _give_to_owner_of(folder: Path, path: Path) -> None:
    """The service must be able to change what an administrator makes."""
    if os.getuid() == 0:
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _copy_beside(source: Path, folder: Path) -> None:
    """Copies the file compiled for an accelerator. Where it is missing, the CPU does the work."""
    if source.is_file():
        shutil.copyfile(source, folder / source.name)
