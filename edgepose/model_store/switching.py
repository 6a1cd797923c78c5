"""Changes the model of the running daemon, and goes back by itself where the new one does not prove itself.

Whoever activates a model, by a command or from a shell, writes it into the selection, and a thread here follows that.
It has the model verified in a process of its own and then tries it. Before the model is loaded, the try is written
down, so that whoever starts after a crash, a hang or a power cut knows of it. A model has proved itself when it has
made `HEALTHY_POSES`. One that fails is not taken again until somebody activates it anew.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgepose.errors import EdgeposeError
from edgepose.inference.estimator import PoseEstimator
from edgepose.model_store.download import install_from
from edgepose.model_store.selection import SelectionFile, accepted, activated, failed, proved, tried, untried
from edgepose.model_store.startup import configured_key
from edgepose.model_store.store import Store
from edgepose.model_store.verification import VerificationError
from edgepose.system.reporter import Reporter

log = logging.getLogger(__name__)

HEALTHY_POSES = 5


@dataclass(frozen=True, slots=True)
class SwitchTiming:
    """Times of a switch, seconds.

    Attributes:
        healthy_s: within this time of frames that come, a model must make `HEALTHY_POSES`.
        stuck_s: a model that is busy with one frame for longer hangs.
        prove_again_s: until a model that could not be kept in the store is kept.
        verify_again_s: until a model that could not be verified is verified again.
        poll_s: between two inspections of the selection.
    """

    healthy_s: float = 20.0
    stuck_s: float = 8.0
    prove_again_s: float = 60.0
    verify_again_s: float = 60.0
    poll_s: float = 0.5


class ModelRuntime(Protocol):
    """What a switch does to the daemon."""

    def load(self, model: Path) -> PoseEstimator:
        """Opens an estimator. Raises ModelError, and ConfigError where it does not suit the config."""

    def swap(self, estimator: PoseEstimator) -> bool:
        """Uses it from the next frame on; returns False where that needs a new start. Raises ConfigError."""

    def prove(self) -> None:
        """The trial has ended well."""

    def go_back(self, *, hung: bool) -> None:
        """Uses the model before again, if need be by a new start. hung: the present one does not return."""

    def poses(self) -> int:
        """How many poses the present model has made."""

    def trouble(self) -> str:
        """Why the present model makes no poses; empty while it does."""

    def stuck_s(self) -> float:
        """How long the present model has been busy with one frame, seconds."""

    def captured(self) -> int:
        """How many frames there were so far."""

    def restart(self) -> None:
        """Starts the daemon anew, at once and by itself."""


class ModelSwitch:
    """Follows the selection. configured: the config's model. boot: the kernel's boot id. running: the present model."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        selections: SelectionFile,
        configured: Path,
        boot: str,
        running: PoseEstimator,
        *,
        reporter: Reporter,
        timing: SwitchTiming = SwitchTiming(),
    ) -> None:
        self._store, self._selections, self._configured, self._boot = store, selections, configured, boot
        self._reporter, self._timing = reporter, timing
        self._running = running.model.key
        self._runtime: ModelRuntime | None = None
        self._prove_due_s = 0.0  # monotonic clock
        self._verify_due = "", 0.0  # key, monotonic clock
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ending, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    def start(self, runtime: ModelRuntime) -> None:
        self._runtime = runtime
        self._thread.start()

    def close(self, seconds: float = 2.0) -> None:
        """Also to be called where `start` never was: a trial does not count that ended for another reason."""
        if self._closed:
            return
        self._closed = True
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        if self._runtime is None or not self._runtime.trouble():
            self._selections.change(untried)

    # --- requests, by any thread -----------------------------------------------------------------------------

    def versions(self) -> list[dict[str, Any]]:
        """What is in the store, newest first, for people and commands."""
        selection = self._selections.selection
        return self._store.table(self._running, selection.good, selection.bad)

    def activate(self, name: str) -> str:
        """Activates a model; events report what becomes of it. Returns its id. Raises ModelError where the store has
        no such model."""
        version = self._store.find(name)
        self._work.put(lambda: self._activate(version.key))
        return version.id

    def roll_back(self) -> str:
        """Activates the model that ran well before this one. Raises ModelError where there is none."""
        return self.activate(self._store.earlier(self._running, self._selections.selection.good))

    def fetch(self, url: str, sha256: str, *, activate: bool) -> None:
        """Downloads a model into the store; events report what becomes of it."""
        self._work.put(lambda: self._fetch(url, sha256, activate=activate))

    # --- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._runtime is not None
        runtime = self._runtime
        if self._selections.selection.on_trial(self._running):
            self._attempt(lambda: self._settle(runtime, self._running))
        while not self._ending.is_set():
            try:
                work = self._work.get(timeout=self._timing.poll_s)
            except queue.Empty:
                self._attempt(lambda: self._follow(runtime))
            else:
                self._attempt(work)

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except EdgeposeError as exc:
            self._reporter.alert("model", str(exc), event=False)
            self._reporter.event("model_refused", str(exc))
        except Exception as exc:  # a bug here must not end poses
            log.exception("models")
            self._reporter.alert("model", f"failed: {exc!r}")

    def _follow(self, runtime: ModelRuntime) -> None:
        """Has the model proved itself? Has somebody activated another one?"""
        unproved = self._running not in self._selections.selection.good and runtime.poses() >= HEALTHY_POSES
        if unproved and time.monotonic() >= self._prove_due_s:
            self._prove_running(runtime)
        trial, (key, due_s) = self._selections.read().trial, self._verify_due
        if trial and not trial.tries and (trial.key != key or time.monotonic() >= due_s):
            self._try(runtime, trial.key)

    def _prove_running(self, runtime: ModelRuntime) -> None:
        """On a disk that takes no copy of it the model runs all the same: that is an alert, and tried again later."""
        self._prove_due_s = time.monotonic() + self._timing.prove_again_s
        try:
            self._prove(runtime, self._running)
            self._reporter.alert("model", None)
        except EdgeposeError as exc:
            self._reporter.alert("model", str(exc))

    def _activate(self, key: str) -> None:
        configured = configured_key(self._configured)
        self._selections.change(lambda selection: activated(selection, key, configured))

    def _try(self, runtime: ModelRuntime, key: str) -> None:
        if key == self._running:
            self._selections.change(lambda selection: accepted(selection, key))
            return
        path = self._store.path_of(key)
        try:
            self._store.verify(path)
            if self._ending.is_set():
                return  # the verification took longer than the stop: the next start tries the model
            if not self._selections.change(lambda selection: tried(selection, key, self._boot)).on_trial(key):
                return  # somebody has activated another one meanwhile
            log.info("trying %s", self._store.id_of(key))
            swapped = runtime.swap(runtime.load(path))
        except VerificationError as exc:
            self._verify_due = key, time.monotonic() + self._timing.verify_again_s
            self._reporter.alert("model", str(exc))
        except EdgeposeError as exc:
            self._give_up(key, str(exc))
        else:
            self._verify_due = "", 0.0
            if swapped:
                self._settle(runtime, key)
            else:
                self._start_anew(runtime, key)

    def _start_anew(self, runtime: ModelRuntime, key: str) -> None:
        self._selections.change(untried)
        text = "has other keypoints or another input, so the daemon starts anew with it"
        self._reporter.event("model_switching", f"{self._store.id_of(key)}: {text}")
        self._ending.set()
        runtime.restart()

    def _settle(self, runtime: ModelRuntime, key: str) -> None:
        """Waits until the model that is on trial has proved itself, or goes back."""
        before, self._running = self._running, key
        healthy_s, stuck_s = self._timing.healthy_s, self._timing.stuck_s
        deadline, frames = time.monotonic() + healthy_s, runtime.captured()
        while (poses := runtime.poses()) < HEALTHY_POSES and not self._ending.wait(0.05):
            why, hung = runtime.trouble(), runtime.stuck_s() > stuck_s
            if hung:
                why = f"hangs: no pose of a frame within {stuck_s:g} s"
            if runtime.captured() == frames:  # a camera that gives no frames says nothing about the model
                deadline = time.monotonic() + healthy_s
            elif time.monotonic() > deadline:
                why = why or f"gave {poses} of {HEALTHY_POSES} poses within {healthy_s:g} s"
            if why:
                self._give_up(key, f"{self._store.id_of(key)}: {why}")
                self._running = before
                runtime.go_back(hung=hung)
                return
        if not self._ending.is_set():
            self._prove(runtime, key)
            self._reporter.alert("model", None)
            self._reporter.event("model_activated", f"{self._store.id_of(key)} is running")

    def _prove(self, runtime: ModelRuntime, key: str) -> None:
        """The config's model is kept in the store too: its file may be damaged one day."""
        if self._store.get(key) is None and key == configured_key(self._configured):
            self._store.keep(self._configured)
        selection = self._selections.change(lambda selection: proved(selection, key))
        runtime.prove()
        self._store.prune({selection.wanted or "", *selection.good})

    def _give_up(self, key: str, why: str) -> None:
        self._selections.change(lambda selection: failed(selection, key, why))
        self._reporter.alert("model", why, event=False)
        self._reporter.event("model_rolled_back", f"{why}; going back to the one before")

    def _fetch(self, url: str, sha256: str, *, activate: bool) -> None:
        version = install_from(url, sha256, self._store, self._ending.is_set)
        self._reporter.event("model_installed", f"{version.id} from {url}")
        if activate:
            self._activate(version.key)
