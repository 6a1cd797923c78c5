"""Which model the daemon begins with: the activated one, or else the config's, or else the last that ran well."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgepose.errors import ConfigError, EdgeposeError, ModelError
from edgepose.inference.estimator import PoseEstimator
from edgepose.inference.model_file import read_model
from edgepose.model_store.selection import (
    ModelSelection,
    SelectionFile,
    failed,
    read_selection,
    reconfigured,
    tried,
)
from edgepose.model_store.store import Store
from edgepose.model_store.verification import VerificationError
from edgepose.system.reporter import Reporter

log = logging.getLogger(__name__)

_MOST_TRIES = 2  # of a model whose first trial was ended by a power cut

E = TypeVar("E", bound=PoseEstimator)


def configured_key(model: Path) -> str:
    """The key of the config's model; empty where the model is missing or damaged."""
    try:
        return read_model(model).key
    except ModelError:
        return ""


def selection_path(store: Store, device: str) -> Path:
    """The file that keeps which model is to run on this device."""
    return store.folder / f"choice-{device}.json"


def candidates(store: Store, selection: ModelSelection, configured: Path) -> list[tuple[str, Path]]:
    """Keys and paths of the models that may run, the first choice first. configured: the config's model."""
    key = configured_key(configured)
    wanted = [selection.wanted] if selection.wanted and selection.wanted != key else []
    first, last = ([(one, store.path_of(one)) for one in keys] for keys in (wanted, selection.good))
    return list(dict.fromkeys([*first, (key, configured), *last]))


def model_that_runs(store: Store, device: str, configured: Path) -> Path:
    """The model that `edgepose run` would begin with, as far as the files of the candidates can be read.

    Nothing is changed, so that other commands may ask. configured: the config's model.
    """
    selection = reconfigured(read_selection(selection_path(store, device)), configured_key(configured))
    paths = [path for _, path in candidates(store, selection, configured)]
    return next((path for path in paths if configured_key(path)), configured)


class ModelStartup:
    """Opens the model that the daemon begins with. configured: the config's model. boot: the kernel's boot id."""

    def __init__(
        self, store: Store, selections: SelectionFile, configured: Path, boot: str, *, reporter: Reporter
    ) -> None:
        self._store, self._selections, self._configured, self._boot = store, selections, configured, boot
        self._reporter = reporter

    def open(self, load: Callable[[Path], E]) -> E:
        """Opens the model that is to run, or the best one that does.

        load: makes an estimator, and raises ModelError, or ConfigError where config and model do not suit each other.

        Raises:
            ModelError: no model can run; the message has every reason.
            EdgeposeError: no model could be opened this time, but a later start may succeed.
        """
        self._inspect_config()
        self._end_trial()
        reasons: list[EdgeposeError] = []
        for key, path in candidates(self._store, self._selections.selection, self._configured):
            try:
                model = self._try(key, path, load)
            except (ModelError, ConfigError, VerificationError) as exc:
                if isinstance(exc, ConfigError) and not self._selections.selection.on_trial(key):
                    raise  # the model has not changed, so it is the config that is wrong
                reasons.append(exc)
                if path != self._configured and not isinstance(exc, VerificationError):
                    self._fail(key, str(exc))
                continue
            if reasons:
                text = f"{reasons[0]}; running {model.model.id} instead"
                self._reporter.event("model_refused", text)
                self._reporter.alert("model", text, event=False)
            return model
        text = "; ".join(dict.fromkeys(map(str, reasons)))
        unsure = any(isinstance(exc, VerificationError) for exc in reasons)
        raise EdgeposeError(text) if unsure else ModelError(text)

    def _inspect_config(self) -> None:
        before, key = self._selections.selection, configured_key(self._configured)
        if self._selections.change(lambda selection: reconfigured(selection, key)) != before:
            text = f"{self._configured}: is another model than before, and taken"
            self._reporter.event("model_configured", text)

    def _end_trial(self) -> None:
        """A model whose trial was ended by a crash or a hang has failed. After a power cut it has another chance."""
        trial = self._selections.selection.trial
        if trial is None or not trial.tries:
            return
        if trial.boot == self._boot or trial.tries >= _MOST_TRIES:
            text = f"{self._store.id_of(trial.key)}: the daemon ended before it had proved itself"
            self._reporter.event("model_rolled_back", f"{text}; going back to the one before")
            log.warning("%s; going back", text)
            self._fail(trial.key, text)

    def _fail(self, key: str, why: str) -> None:
        self._selections.change(lambda selection: failed(selection, key, why))

    def _try(self, key: str, path: Path, load: Callable[[Path], E]) -> E:
        try:
            self._store.verify(path)
        except VerificationError:
            if key not in self._selections.selection.good:
                raise
        self._selections.change(lambda selection: tried(selection, key, self._boot))
        return load(path)
