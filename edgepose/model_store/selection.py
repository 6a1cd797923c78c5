"""Decides which model is to run: the state, its transitions, and the file that keeps it.

The daemon and the shell both change the file. Each change reads it, applies one transition and writes it, under a lock,
so that neither undoes what the other has done. The transitions are pure functions of the state.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from edgepose.errors import EdgeposeError
from edgepose.system.reporter import Reporter
from edgepose.system.state_files import locked, newer_state, read_state, state_stamp, write_state

MOST_GOOD = 5
MOST_BAD = 20


class Trial(msgspec.Struct, frozen=True):
    """A model that has not proved itself yet.

    Attributes:
        tries: how often the daemon has begun to run it; 0 means that nobody has taken it so far.
        boot: the kernel's boot id of the last try.
    """

    key: str
    tries: int = 0
    boot: str = ""


class ModelSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which model is to run. Models are named by their keys in the store.

    Attributes:
        wanted: the model that somebody has activated; None means the config's.
        good: models that have run well, the last one first.
        trial: the model that is on trial.
        bad: why a model is not taken, by its key, until somebody activates it again.
        configured: the config's model when `wanted` was activated. Another one in the config ends that activation.
    """

    v: int = 1
    wanted: str | None = None
    good: tuple[str, ...] = ()
    trial: Trial | None = None
    bad: dict[str, str] = {}
    configured: str = ""

    def on_trial(self, key: str) -> bool:
        return self.trial is not None and self.trial.key == key


Transition = Callable[[ModelSelection], ModelSelection]

# --- transitions -----------------------------------------------------------------------------------------------------


def activated(selection: ModelSelection, key: str, configured: str) -> ModelSelection:
    """Returns the state in which somebody has activated this model."""
    bad = {name: why for name, why in selection.bad.items() if name != key}
    return msgspec.structs.replace(selection, wanted=key, bad=bad, configured=configured, trial=Trial(key))


def reconfigured(selection: ModelSelection, configured: str) -> ModelSelection:
    """Returns the state in which the config names this model.

    Another one than before is the newer choice; one that cannot be read ("") is not.
    """
    if not selection.wanted or configured in {"", selection.configured}:
        return selection
    return msgspec.structs.replace(selection, wanted=None, trial=None)


def tried(selection: ModelSelection, key: str, boot: str) -> ModelSelection:
    """Returns the state in which the daemon begins to run this model; only a model on trial changes it."""
    if selection.trial is None or selection.trial.key != key:
        return selection
    return msgspec.structs.replace(selection, trial=Trial(key, selection.trial.tries + 1, boot))


def untried(selection: ModelSelection) -> ModelSelection:
    """Returns the state without the last try, which ended for a reason that is not the model's."""
    trial = selection.trial
    if trial is None or not trial.tries:
        return selection
    return msgspec.structs.replace(selection, trial=Trial(trial.key, trial.tries - 1, trial.boot))


def accepted(selection: ModelSelection, key: str) -> ModelSelection:
    """Returns the state in which this model needs no trial any more."""
    return msgspec.structs.replace(selection, trial=None) if selection.on_trial(key) else selection


def proved(selection: ModelSelection, key: str) -> ModelSelection:
    """Returns the state in which this model has run well."""
    good = (key, *(one for one in selection.good if one != key))[:MOST_GOOD]
    return msgspec.structs.replace(accepted(selection, key), good=good)


def failed(selection: ModelSelection, key: str, why: str) -> ModelSelection:
    """Returns the state in which this model does not run. It is not taken again until somebody activates it."""
    bad = dict(list({**selection.bad, key: why[:500]}.items())[-MOST_BAD:])
    good = tuple(one for one in selection.good if one != key)
    wanted = selection.wanted
    if wanted == key:
        wanted = good[0] if good else None
    return msgspec.structs.replace(accepted(selection, key), wanted=wanted, bad=bad, good=good)


# --- the file --------------------------------------------------------------------------------------------------------


def read_selection(path: Path) -> ModelSelection:
    """Reads the file; a damaged one is set aside, and then the config's model runs. Never raises.

    Of a file of a newer version, which stays as it is, everything counts that this version understands.
    """
    return read_state(path, ModelSelection, "which model was activated is forgotten") or ModelSelection()


def change_selection(path: Path, transition: Transition) -> ModelSelection:
    """Applies a transition to what the file has now, and returns the result. Raises EdgeposeError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            before = read_selection(path)
            after = transition(before)
            if after != before:
                write_state(path, after)
    except OSError as exc:
        hint = "; use sudo" if isinstance(exc, PermissionError) else ""
        raise EdgeposeError(f"{path}: cannot keep which model is to run ({exc.strerror}){hint}") from None
    return after


class SelectionFile:
    """The file as the daemon uses it: a disk that cannot be written is an alert, and poses go on.

    Attributes:
        selection: what the file had when it was last read or changed here, and what could not be written.
    """

    def __init__(self, path: Path, reporter: Reporter) -> None:
        self._path, self._reporter = path, reporter
        self._unwritten: list[Transition] = []
        self._stamp: tuple[tuple[int, int], ...] | None = None  # of the file when it was read
        self.selection = self.read()
        reporter.alert("models_newer", newer_state(path))

    def read(self) -> ModelSelection:
        """Reads the file again where another process has changed it."""
        stamp = state_stamp(self._path)
        if stamp != self._stamp:
            self._stamp, self.selection = stamp, self._with_unwritten(read_selection(self._path))
        return self.selection

    def change(self, transition: Transition) -> ModelSelection:
        """Applies a transition, and returns the result."""
        self._unwritten.append(transition)
        try:
            self.selection = change_selection(self._path, self._with_unwritten)
        except EdgeposeError as exc:
            self.selection = transition(self.selection)
            self._reporter.alert("models", str(exc))
        else:
            self._unwritten.clear()
            self._reporter.alert("models", None)
        self._stamp = None  # another process may have changed it since
        return self.selection

    def _with_unwritten(self, selection: ModelSelection) -> ModelSelection:
        for transition in self._unwritten:
            selection = transition(selection)
        return selection
