"""An estimator on an accelerator, with the CPU behind it: whatever happens to the device, the next frame has a pose."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgepose.config.schema import InferenceConfig
from edgepose.errors import ModelError
from edgepose.inference.coral import LIBRARY, find_coral, why_not
from edgepose.inference.estimator import Estimator, Fitter
from edgepose.inference.model_card import ModelCard, sha256_of
from edgepose.inference.network import Network
from edgepose.inference.runtime import DelegateLibrary, Runtime
from edgepose.inference.worker import Worker, WorkerError
from edgepose.types import Frame, Pose

log = logging.getLogger(__name__)

OPEN_S = 8.0  # longer than that nobody waits for it: the CPU begins
RETRY_S = 60.0  # after the first failure, twice as long after each more
LONGEST_RETRY_S = 3600.0
HELD_S = 600.0  # at work so long: the next failure is a first one again


def open_estimator(model: Path, settings: InferenceConfig) -> Estimator | Accelerated:
    """On what the config says. `auto`: an accelerator that is there, where the model was compiled for it. Raises
    ModelError when the CPU cannot run the model either."""
    cpu = Estimator(model, settings.threads)
    if settings.delegate == "cpu":
        return cpu
    compiled = cpu.card.files.edgetpu
    if settings.delegate == "auto" and (compiled is None or not find_coral()):
        return cpu
    if compiled is None:
        cpu.alerts["delegate"] = f"{cpu.card.model_id()} is not compiled for it; train with `fit --target coral`"
        return cpu
    return Accelerated(cpu, model.with_name(compiled.name), compiled.sha256, settings)


class Accelerated:
    """As an Estimator. cpu: has the same model. tell(kind, text): events.

    The device is opened, and again after a failure, by a thread of its own; until then the CPU works."""

    def __init__(self, cpu: Estimator, model: Path, sha256: str, settings: InferenceConfig) -> None:
        self.card: ModelCard = cpu.card
        self.alerts: dict[str, str] = {}
        self.tell: Callable[[str, str], None] = lambda _kind, _text: None
        self._cpu, self._model, self._sha256 = cpu, model, sha256
        options = {"device": settings.device} if settings.device else {}
        self._library = DelegateLibrary(settings.library or LIBRARY, options)
        self._fitter = Fitter(self.card.input)
        self._worker: Worker | None = None
        self._network: Network | None = None
        self._failed, self._ending = threading.Event(), threading.Event()
        self._opened = threading.Event()
        threading.Thread(target=self._keep_open, name="accelerator", daemon=True).start()
        self._opened.wait(OPEN_S)

    @property
    def runtime(self) -> Runtime:
        """The CPU's."""
        return self._cpu.runtime

    @property
    def delegate(self) -> str:
        return "cpu" if self._network is None else "edgetpu"

    def describe(self) -> str:
        worker = self._worker
        return self._cpu.describe() if self._network is None or worker is None else f"{worker.name}, Edge TPU"

    def estimate(self, frame: Frame) -> Pose:
        network = self._network
        if network is not None:
            try:
                self._fitter.write(frame, network.input_view())
                network.invoke()
                return self._fitter.pose(*network.decode(), self.card)
            except WorkerError as exc:
                self._lose(str(exc))
        return self._cpu.estimate(frame)

    def close(self) -> None:
        self._ending.set()
        self._failed.set()
        if self._worker is not None:
            self._worker.close()

    def _lose(self, why: str) -> None:
        self._network = None
        self._say_lost(why)
        self._failed.set()

    def _say_lost(self, why: str) -> None:
        text = f"{why}; the CPU makes the poses"
        if self.alerts.get("delegate") != text:
            log.warning("%s", text)
            self.tell("delegate_lost", text)
        self.alerts["delegate"] = text

    def _keep_open(self) -> None:
        pause_s = RETRY_S
        while not self._ending.is_set():
            self._failed.clear()
            opened_s = time.monotonic()
            try:
                self._open()
            except WorkerError as exc:
                self._say_lost(str(exc))
            except Exception as exc:  # a bug here must leave the CPU at work
                log.exception("accelerator")
                self._say_lost(f"the accelerator cannot be used ({exc!r})")
            else:
                self.alerts.pop("delegate", None)
                self.tell("delegate_live", self.describe())
                self._opened.set()
                self._failed.wait()
                pause_s = RETRY_S if time.monotonic() - opened_s > HELD_S else pause_s
            self._opened.set()
            if self._worker is not None:
                self._worker.close()
                self._worker = None
            if self._ending.wait(pause_s):
                return
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)

    def _open(self) -> None:
        """The device must compute what the CPU does, before a frame goes there."""
        if self._library.path == LIBRARY and not find_coral():
            raise WorkerError("no Edge TPU is plugged in (lsusb: 1a6e:089a or 18d1:9302)")
        try:
            data = self._model.read_bytes()
        except OSError as exc:
            raise WorkerError(f"{self._model}: cannot read the compiled model ({exc.strerror}); copy it") from None
        if sha256_of(data) != self._sha256:
            raise WorkerError(f"{self._model}: damaged or not the file its card describes; copy it again")
        try:
            self._worker = Worker(self._library, self._model)
        except WorkerError as exc:
            raise WorkerError(f"Edge TPU: {why_not(str(exc))}") from None
        try:
            network = Network(self._worker, self.card, str(self._model))
            network.check_golden(str(self._model))
        except ModelError as exc:
            raise WorkerError(str(exc)) from None
        self._network = network
