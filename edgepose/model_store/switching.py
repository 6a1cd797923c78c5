"""Changes the model of the running daemon, and goes back by itself where the new one does not prove itself.

A model is looked at in a process of its own, then tried. Before it is loaded, that is written down, so that whoever
starts after a crash, a hang or a power cut knows of it. It has proved itself with `HEALTHY_POSES`. What fails is not
taken again until somebody activates it anew.
"""

from __future__ import annotations

import functools
import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edgepose.errors import EdgeposeError
from edgepose.model_store.download import download_model
from edgepose.model_store.selection import SelectionFile, Trial, activated, failed, proved
from edgepose.model_store.startup import Loaded, configured_key
from edgepose.model_store.store import Store, key_of
from edgepose.model_store.verification import verify_model

log = logging.getLogger(__name__)

HEALTHY_POSES = 5
HEALTHY_S = 20.0  # with frames coming
STUCK_S = 8.0  # on one frame: that is no speed, but a hang
PROVE_AGAIN_S = 60.0
_LOOK_S = 0.5  # at what somebody may have chosen from a shell


class ModelRuntime(Protocol):
    """The daemon, as seen from here."""

    def load(self, model: Path) -> Loaded:
        """An estimator. Raises EdgeposeError."""

    def swap(self, loaded: Any) -> bool:
        """Puts it to work between two frames; False where that needs a new start. Raises EdgeposeError."""

    def prove(self) -> None:
        """The one before is not needed any more."""

    def back(self) -> None:
        """To the one before, somehow."""

    def poses(self) -> int:
        """Made by the model at work."""

    def trouble(self) -> str:
        """Why the model at work makes no poses; empty while it does."""

    def stuck_s(self) -> float:
        """Seconds that the model has been at work on one frame."""

    def captured(self) -> int:
        """Frames so far."""

    def restart(self) -> None:
        """Starts the daemon anew, at once and by itself."""


class ModelSwitch:
    """configured: the config's model. boot: the kernel's id. running: the model at work. tell(kind, text): events; to
    be set before `start`. alerts: what is wrong, by what it is about."""

    def __init__(self, store: Store, ledger: SelectionFile, configured: Path, boot: str, running: Loaded) -> None:
        self.tell: Callable[[str, str], None] = lambda _kind, _text: None
        self._store, self._ledger, self._configured, self._boot = store, ledger, configured, boot
        self._running = key_of(running.card)
        self._trouble = ""
        self._prove_due_s = 0.0  # monotonic clock
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    @property
    def alerts(self) -> dict[str, str]:
        return {**self._ledger.alerts, **({"model": self._trouble} if self._trouble else {})}

    def start(self, host: ModelRuntime, trouble: str = "") -> None:
        """trouble: from before."""
        self._host, self._trouble = host, trouble
        self._thread.start()

    def close(self, seconds: float = 2.0) -> None:
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)

    # --- what may be asked, by any thread --------------------------------------------------------------------

    def versions(self) -> list[dict[str, Any]]:
        """What is in the store, newest first, for people and commands."""
        return self._store.table(self._running, self._ledger.choice.good, self._ledger.choice.bad)

    def activate(self, name: str) -> str:
        """Its id; what becomes of it is told by events. Raises ModelError where there is no such model."""
        version = self._store.find(name)
        self._work.put(lambda: self._want(version.key))
        return version.id

    def roll_back(self) -> str:
        """To the model that ran well before this one. Raises ModelError where there is none."""
        return self.activate(self._store.earlier(self._running, self._ledger.choice.good))

    def fetch(self, url: str, sha256: str, *, activate: bool) -> None:
        """Downloads into the store; what becomes of it is told by events."""
        self._work.put(lambda: self._fetch(url, sha256, activate=activate))

    # --- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        trial = self._ledger.choice.trial
        if trial and trial.key == self._running:
            self._attempt(functools.partial(self._settle, trial.key))
        while not self._ending.is_set():
            try:
                work = self._work.get(timeout=_LOOK_S)
            except queue.Empty:
                work = self._look
            self._attempt(work)

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except EdgeposeError as exc:
            self._trouble = str(exc)
            log.warning("%s", exc)
            self.tell("model_refused", str(exc))
        except Exception as exc:  # a bug here must not end poses
            log.exception("models")
            self._trouble = f"failed: {exc!r}"

    def _look(self) -> None:
        """Has the model proved itself? Has somebody chosen another from a shell?"""
        unproved = self._running not in self._ledger.choice.good and self._host.poses() >= HEALTHY_POSES
        if unproved and time.monotonic() >= self._prove_due_s:
            self._prove_running()
        if self._ledger.changed():
            before, choice = self._ledger.choice, self._ledger.read()
            wanted = choice.wanted or configured_key(self._configured)
            if choice.trial and not choice.trial.tries and wanted and choice != before:
                self._want(wanted)

    def _prove_running(self) -> None:
        """On a disk that takes no copy of it the model runs all the same: an alert, and another try later."""
        self._prove_due_s = time.monotonic() + PROVE_AGAIN_S
        try:
            self._prove(self._running)
            self._trouble = ""
        except EdgeposeError as exc:
            self._trouble = str(exc)

    def _want(self, key: str) -> None:
        path = self._store.path_of(key)
        if key == self._running:
            choice = activated(self._ledger.choice, key, configured_key(self._configured))
            self._ledger.keep(msgspec.structs.replace(choice, trial=None))
            return
        try:
            verify_model(path)
            self._ledger.keep(activated(self._ledger.choice, key, configured_key(self._configured)))
            self._try(key, path)
        except EdgeposeError as exc:
            self._give_up(key, str(exc))

    def _try(self, key: str, path: Path) -> None:
        self._ledger.keep(msgspec.structs.replace(self._ledger.choice, trial=Trial(key, 1, self._boot)))
        log.info("trying %s", self._store.id_of(key))
        if not self._host.swap(self._host.load(path)):
            self._ledger.keep(msgspec.structs.replace(self._ledger.choice, trial=Trial(key)))
            text = "has other keypoints or another input, so the daemon starts anew with it"
            self.tell("model_switching", f"{self._store.id_of(key)}: {text}")
            self._host.restart()
            return
        before, self._running = self._running, key
        if not self._settle(key):
            self._running = before

    def _settle(self, key: str) -> bool:
        """Waits until the model at work has proved itself, or goes back."""
        deadline, frames = time.monotonic() + HEALTHY_S, self._host.captured()
        while (poses := self._host.poses()) < HEALTHY_POSES and not self._ending.wait(0.05):
            why = self._host.trouble()
            if self._host.stuck_s() > STUCK_S:
                why = f"hangs: no pose of a frame within {STUCK_S:g} s"
            if self._host.captured() == frames:  # a camera that gives none says nothing of the model
                deadline = time.monotonic() + HEALTHY_S
            elif time.monotonic() > deadline:
                why = why or f"gave {poses} of {HEALTHY_POSES} poses within {HEALTHY_S:g} s"
            if why:
                self._give_up(key, f"{self._store.id_of(key)}: {why}")
                self._host.back()
                return False
        if not self._ending.is_set():
            self._prove(key)
            self._trouble = ""
            self.tell("model_activated", f"{self._store.id_of(key)} is at work")
        return True

    def _prove(self, key: str) -> None:
        """The config's model is kept too: its file may be damaged one day."""
        if self._store.get(key) is None and key == configured_key(self._configured):
            self._store.keep(self._configured)
        self._ledger.keep(proved(self._ledger.choice, key))
        self._host.prove()
        self._store.prune({self._ledger.choice.wanted or "", *self._ledger.choice.good})

    def _give_up(self, key: str, why: str) -> None:
        self._ledger.keep(failed(self._ledger.choice, key, why))
        self._trouble = why
        log.warning("%s; going back", why)
        self.tell("model_rolled_back", f"{why}; going back to the one before")

    def _fetch(self, url: str, sha256: str, *, activate: bool) -> None:
        folder = self._store.folder / f".download-{sha256[:12].lower()}"
        for left in self._store.folder.glob(".download-*"):
            if left != folder:  # the same one is gone on with
                shutil.rmtree(left, ignore_errors=True)
        model = download_model(url, sha256, folder, self._ending.is_set)
        try:
            version = self._store.install(model)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.tell("model_installed", f"{version.id} from {url}")
        if activate:
            self._want(version.key)
