"""Which model the daemon begins with: the one that was activated, or the config's, or the last that ran well."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from edgepose.errors import EdgeposeError, ModelError
from edgepose.inference.model_card import ModelCard, read_card
from edgepose.model_store.selection import ModelSelection, SelectionFile, Trial, failed
from edgepose.model_store.store import Store, key_of
from edgepose.model_store.verification import verify_model

log = logging.getLogger(__name__)

_MOST_TRIES = 2  # of a model whose trial a power cut ended


class Loaded(Protocol):
    @property
    def card(self) -> ModelCard: ...


L = TypeVar("L", bound=Loaded)


def configured_key(model: Path) -> str:
    """The key of the config's model, as its card says; empty where that cannot be read."""
    try:
        return key_of(read_card(model))
    except ModelError:
        return ""


def selection_path(store: Store, device: str) -> Path:
    return store.folder / f"choice-{device}.json"


def give_up_trial(path: Path, why: str) -> bool:
    """The daemon cannot even begin with the model that is on trial. path: of the choice. False where there is none."""
    ledger = SelectionFile(path)
    trial = ledger.choice.trial
    if trial is None or not trial.tries:
        return False
    ledger.keep(failed(ledger.choice, trial.key, why))
    return True


class ModelStartup:
    """configured: the config's model. boot: the kernel's id. events: (kind, text) of what happened. trouble: why it is
    not the first choice that runs."""

    def __init__(self, store: Store, ledger: SelectionFile, configured: Path, boot: str) -> None:
        self.events: list[tuple[str, str]] = []
        self.trouble = ""
        self._store, self._ledger, self._configured, self._boot = store, ledger, configured, boot

    def open(self, load: Callable[[Path], L]) -> L:
        """The model that is to run, or the best that does. Raises ModelError when none loads, with every reason."""
        self._look_at_config()
        self._end_trial()
        reasons = []
        for key, path in self._candidates():
            try:
                loaded = self._try(key, path, load)
            except EdgeposeError as exc:
                reasons.append(str(exc))
                if path != self._configured:  # which somebody may mend
                    self._ledger.keep(failed(self._ledger.choice, key, str(exc)))
                continue
            if reasons:
                self.trouble = f"{reasons[0]}; running {loaded.card.model_id()} instead"
                self.events.append(("model_refused", self.trouble))
                log.warning("%s", self.trouble)
            return loaded
        raise ModelError("; ".join(dict.fromkeys(reasons)))

    def _look_at_config(self) -> None:
        """Another model there is the newer choice; a damaged file is none."""
        choice, key = self._ledger.choice, configured_key(self._configured)
        if choice.wanted and key and choice.configured != key:
            self.events.append(("model_configured", f"{self._configured}: is another model than before, and taken"))
            self._ledger.keep(msgspec.structs.replace(choice, wanted=None, trial=None))

    def _end_trial(self) -> None:
        """One that a crash or a hang ended has failed; one that a power cut ended has another chance."""
        trial = self._ledger.choice.trial
        if trial is None or not trial.tries:
            return
        if trial.boot == self._boot or trial.tries >= _MOST_TRIES:
            text = f"{self._store.id_of(trial.key)}: the daemon ended before it had proved itself"
            self.events.append(("model_rolled_back", f"{text}; going back to the one before"))
            log.warning("%s; going back", text)
            self._ledger.keep(failed(self._ledger.choice, trial.key, text))

    def _candidates(self) -> list[tuple[str, Path]]:
        """(key, path): the wanted one, the config's, those that ran well."""
        choice: ModelSelection = self._ledger.choice
        configured = configured_key(self._configured)
        found = [(key, self._store.path_of(key)) for key in (choice.wanted,) if key and key != configured]
        found.append((configured, self._configured))
        return list(dict.fromkeys([*found, *((key, self._store.path_of(key)) for key in choice.good)]))

    def _try(self, key: str, path: Path, load: Callable[[Path], L]) -> L:
        choice = self._ledger.choice
        if key not in choice.good:
            verify_model(path)
        if choice.trial and choice.trial.key == key:
            trial = Trial(key, choice.trial.tries + 1, self._boot)
            self._ledger.keep(msgspec.structs.replace(choice, trial=trial))
        return load(path)
