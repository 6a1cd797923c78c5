"""An estimator on an accelerator, and on the CPU while the accelerator cannot be used: no frame waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgepose.config.schema import InferenceConfig
from edgepose.errors import ModelError
from edgepose.inference.coral import LIBRARY, find_coral, why_not
from edgepose.inference.estimator import Estimator, Fitter, PoseEstimator
from edgepose.inference.model_card import EDGETPU_MEMBER, ModelCard
from edgepose.inference.model_file import ModelFile
from edgepose.inference.network import Network
from edgepose.inference.runtime import DelegateLibrary, Runtime
from edgepose.inference.worker import Worker, WorkerError
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AcceleratorTiming:
    """Times of opening an accelerator, seconds.

    Attributes:
        open_s: the first opening is waited for so long; then the CPU begins.
        retry_s: until the next attempt after a failure; twice as long after each more.
        longest_retry_s: the longest time until the next attempt.
        held_s: after the accelerator has worked for so long, a failure counts as the first one again.
    """

    open_s: float = 8.0
    retry_s: float = 60.0
    longest_retry_s: float = 3600.0
    held_s: float = 600.0


def open_estimator(
    model: Path,
    settings: InferenceConfig,
    *,
    reporter: Reporter,
    timing: AcceleratorTiming = AcceleratorTiming(),
    find: Callable[[], str] = find_coral,
) -> PoseEstimator:
    """Opens a model on what the config asks for.

    `auto` takes an accelerator where there is one and the model is compiled for it.

    Args:
        find: returns which accelerator there is, in words, or an empty text.

    Raises:
        ModelError: the CPU cannot run the model either.
    """
    cpu = Estimator(model, settings.threads)
    if settings.delegate == "cpu":
        return cpu
    compiled = cpu.model.members.get(EDGETPU_MEMBER)
    if settings.delegate == "auto" and (compiled is None or not find()):
        return cpu
    if compiled is None:
        cpu.trouble = f"{cpu.model.id} holds no {EDGETPU_MEMBER}; train with `fit --target coral`"
        return cpu
    return AcceleratedEstimator(cpu, compiled, settings, reporter=reporter, timing=timing)


class AcceleratedEstimator:
    """A `PoseEstimator` on an accelerator. cpu: an estimator of the same model. compiled: the accelerator's network.

    A thread of its own opens the device, and opens it again after a failure; until then the CPU works.
    """

    def __init__(
        self,
        cpu: Estimator,
        compiled: bytes,
        settings: InferenceConfig,
        *,
        reporter: Reporter,
        timing: AcceleratorTiming,
    ) -> None:
        self.card: ModelCard = cpu.card
        self.model: ModelFile = cpu.model
        self.trouble = ""
        self._cpu, self._compiled = cpu, compiled
        self._reporter, self._timing = reporter, timing
        options = {"device": settings.device} if settings.device else {}
        self._library = DelegateLibrary(settings.library or LIBRARY, options)
        self._fitter = Fitter(self.card.input)
        self._worker: Worker | None = None
        self._network: Network | None = None
        self._failed, self._ending = threading.Event(), threading.Event()
        self._opened = threading.Event()
        threading.Thread(target=self._keep_open, name="accelerator", daemon=True).start()
        self._opened.wait(timing.open_s)

    @property
    def runtime(self) -> Runtime:
        """The runtime of the CPU."""
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
        self._report_lost(why)
        self._failed.set()

    def _report_lost(self, why: str) -> None:
        text = f"{why}; the CPU makes the poses"
        if text != self.trouble and not self._ending.is_set():
            self.trouble = text
            self._reporter.event("delegate_lost", text)
            self._reporter.alert("delegate", text, event=False)

    def _report_live(self) -> None:
        self.trouble = ""
        if not self._ending.is_set():
            self._reporter.event("delegate_live", self.describe())
            self._reporter.alert("delegate", None)

    def _keep_open(self) -> None:
        timing = self._timing
        pause_s = timing.retry_s
        while not self._ending.is_set():
            self._failed.clear()
            opened_s = time.monotonic()
            try:
                self._open()
            except WorkerError as exc:
                self._report_lost(str(exc))
            except Exception as exc:  # a bug here must leave the CPU at work
                log.exception("accelerator")
                self._report_lost(f"the accelerator cannot be used ({exc!r})")
            else:
                self._report_live()
                self._opened.set()
                self._failed.wait()
                pause_s = timing.retry_s if time.monotonic() - opened_s > timing.held_s else pause_s
            self._opened.set()
            if self._worker is not None:
                self._worker.close()
                self._worker = None
            if self._ending.wait(pause_s):
                return
            pause_s = min(2 * pause_s, timing.longest_retry_s)

    def _open(self) -> None:
        """Opens the device, which must compute what the CPU does before it gets a frame."""
        if self._library.path == LIBRARY and not find_coral():
            raise WorkerError("no Edge TPU is plugged in (lsusb: 1a6e:089a or 18d1:9302)")
        where = f"{self.model.id}, {EDGETPU_MEMBER}"
        try:
            self._worker = Worker(self._library, self._compiled, where)
        except WorkerError as exc:
            raise WorkerError(f"Edge TPU: {why_not(str(exc))}") from None
        try:
            network = Network(self._worker, self.card, where)
            network.check_golden(where)
        except ModelError as exc:
            raise WorkerError(str(exc)) from None
        self._network = network
