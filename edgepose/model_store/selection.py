"""Which model is to run: a small file that a power cut leaves whole, written by whoever chooses and by the daemon."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgepose.errors import EdgeposeError
from edgepose.system.atomic_files import read_state, write_durably

MOST_GOOD = 5
MOST_BAD = 20


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model that has not proved itself yet. tries: how often it was loaded; boot: at the last one."""

    key: str
    tries: int = 0
    boot: str = ""


class ModelSelection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Models by the keys of their store. wanted: what somebody has activated; None: the config's. good: those that have
    run well, the last one first. trial: the one that is being tried. bad: why a model is not taken, until somebody
    activates it again. configured: the config's model when `wanted` was chosen; another one there ends that choice."""

    v: int = 1
    wanted: str | None = None
    good: tuple[str, ...] = ()
    trial: Trial | None = None
    bad: dict[str, str] = {}
    configured: str = ""


def read_selection(path: Path) -> ModelSelection:
    """A damaged file is set aside: the config's model, or one that ran well, is better than none. Never raises."""
    return read_state(path, ModelSelection, "which model was activated is forgotten") or ModelSelection()


def write_selection(path: Path, choice: ModelSelection) -> None:
    """Raises EdgeposeError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, msgspec.json.encode(choice))
    except OSError as exc:
        hint = "; use sudo" if isinstance(exc, PermissionError) else ""
        raise EdgeposeError(f"{path}: cannot keep which model is to run ({exc.strerror}){hint}") from None


def activated(choice: ModelSelection, key: str, configured: str) -> ModelSelection:
    """Somebody wants it. One that has run well before needs no trial."""
    bad = {name: why for name, why in choice.bad.items() if name != key}
    return msgspec.structs.replace(choice, wanted=key, bad=bad, configured=configured, trial=Trial(key))


def proved(choice: ModelSelection, key: str) -> ModelSelection:
    """It has run well."""
    good = (key, *(one for one in choice.good if one != key))[:MOST_GOOD]
    trial = None if choice.trial and choice.trial.key == key else choice.trial
    return msgspec.structs.replace(choice, good=good, trial=trial)


def failed(choice: ModelSelection, key: str, why: str) -> ModelSelection:
    """It is not taken again by itself."""
    bad = dict(list({**choice.bad, key: why[:500]}.items())[-MOST_BAD:])
    wanted = None if choice.wanted == key else choice.wanted
    if choice.wanted == key and choice.good:
        wanted = next((one for one in choice.good if one != key), None)
    good = tuple(one for one in choice.good if one != key)
    return msgspec.structs.replace(choice, wanted=wanted, bad=bad, good=good, trial=None)


class SelectionFile:
    """The choice on the disk, as this daemon sees it. alerts: what is wrong with the file."""

    def __init__(self, path: Path) -> None:
        self.alerts: dict[str, str] = {}
        self._path = path
        self.read()

    def read(self) -> ModelSelection:
        self._stamp = self._look()
        self.choice = read_selection(self._path)
        return self.choice

    def changed(self) -> bool:
        """Whether somebody else has written it."""
        return self._look() != self._stamp

    def keep(self, choice: ModelSelection) -> None:
        """On a disk that cannot be written poses go on, and the choice is that of before at the next start."""
        self.choice = choice
        try:
            write_selection(self._path, choice)
        except EdgeposeError as exc:
            self.alerts["models"] = str(exc)
        else:
            self.alerts.pop("models", None)
        self._stamp = self._look()

    def _look(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0
        return status.st_ino, status.st_mtime_ns
