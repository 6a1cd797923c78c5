"""Keeps versions of models side by side on the device, in the store.

Each version is a folder, `<state>/models/<key>/` with `model.tflite`; its key is the first digits of the SHA-256 of
that file. It is complete or absent, whatever happens while it is written, and nothing in it ever changes.

edgepose 0.1 wrote models of two files into the store, with the card beside the network. They are still read, under the
same key.
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
from edgepose.inference.model_card import ModelCard
from edgepose.inference.model_file import NETWORK, ModelFile, model_id, read_card, read_model
from edgepose.model_store.verification import verify_once
from edgepose.system.atomic_files import sync_file, sync_folder
from edgepose.system.state_files import locked

MOST_VERSIONS = 8


@dataclass(frozen=True, slots=True)
class Version:
    """A model in the store: its key, the path of its `.tflite`, and its card."""

    key: str
    path: Path
    card: ModelCard

    @property
    def id(self) -> str:
        return model_id(self.card, self.key)


class Store:
    """The store in a folder, which is made when something is put into it."""

    def __init__(self, folder: Path, most_versions: int = MOST_VERSIONS) -> None:
        self.folder, self._most_versions = folder, most_versions

    def versions(self) -> list[Version]:
        """All versions that can be read, the newest first."""
        found = []
        for path in self.folder.glob(f"[!.]*/{NETWORK}"):
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
        return self.folder / key / NETWORK

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
            self.make_folder()
        verify_once(model, self.folder / "passed.json")

    def install(self, model: Path) -> Version:
        """Copies a model into the store, as one file, once it is verified.

        Raises ModelError and VerificationError, and EdgeposeError where the store cannot be written.
        """
        self.verify(model)
        return self.keep(model)

    def keep(self, model: Path) -> Version:
        """Copies a model that runs already into the store. Raises ModelError and EdgeposeError."""
        content = read_model(model)
        try:
            self.make_folder()
            with locked(self.folder / ".store"):  # another process may install a model too
                content = self._put(content)
        except OSError as exc:
            why = exc.strerror or exc
            hint = "; use sudo" if isinstance(exc, PermissionError) else "; make room" if exc.errno == 28 else ""
            raise EdgeposeError(f"{self.folder}: cannot keep the model ({why}){hint}") from None
        return Version(content.key, self.path_of(content.key), content.card)

    def prune(self, keep: Collection[str]) -> None:
        """Removes the oldest versions beyond `most_versions`, but none whose key is in `keep`."""
        for version in self.versions()[self._most_versions :]:
            if version.key not in keep:
                shutil.rmtree(version.path.parent, ignore_errors=True)

    def _put(self, model: ModelFile) -> ModelFile:
        """Writes a version, and returns it with the id and the key that it has in the store."""
        for left in self.folder.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = self.folder / model.key
        if folder.exists():
            with contextlib.suppress(ModelError):
                there = read_model(self.path_of(model.key))
                if there.is_same(model):
                    return there
                if there.key == model.key:
                    # The same network of edgepose 0.1 with a corrected card is another model, with another id.
                    return self._put(model.with_own_id())
            shutil.rmtree(folder)  # damaged, or exchanged by hand
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        (new / NETWORK).write_bytes(model.packed())
        for path, mode, sync in ((new / NETWORK, 0o644, sync_file), (new, 0o755, sync_folder)):
            path.chmod(mode)
            _give_to_owner_of(self.folder, path)
            sync(path)
        new.rename(folder)
        sync_folder(self.folder)
        return model

    def make_folder(self) -> None:
        """Makes the folder of the store, which belongs to the owner of the state folder. Raises OSError."""
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            _give_to_owner_of(self.folder.parent, self.folder)


def _give_to_owner_of(folder: Path, path: Path) -> None:
    """The service must be able to change what an administrator makes."""
    if os.getuid() == 0:
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
