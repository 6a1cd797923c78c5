"""Wires camera, estimator, pipeline and delivery together; everything else is theirs."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from edgepose import __version__
from edgepose.camera import open_camera
from edgepose.camera.masked import MaskedCamera
from edgepose.camera.rtsp import StreamTiming
from edgepose.camera.supervisor import CameraSupervisor, SupervisorTiming
from edgepose.closed_loop.closed_loop import ClosedLoop
from edgepose.closed_loop.processor import Processor
from edgepose.config.closed_loop import GpioConfig
from edgepose.config.schema import Config
from edgepose.daemon.board import BoardSensors, SampledBoard, report_board
from edgepose.daemon.dispatcher import CommandDispatcher
from edgepose.daemon.health import HealthMonitor
from edgepose.daemon.metrics import MetricsServer
from edgepose.daemon.model_runtime import DaemonModelRuntime, open_suitable
from edgepose.daemon.pipeline import Observer, Pipeline
from edgepose.daemon.settings import read_settings
from edgepose.daemon.thermal import ThermalLimit
from edgepose.daemon.watchdog import Notifier
from edgepose.delivery.delivery import MqttDelivery
from edgepose.delivery.spool_lock import SpoolLock, spool_disk_folder
from edgepose.errors import EdgeposeError
from edgepose.inference.estimator import PoseEstimator
from edgepose.inference.runtime import Runtime
from edgepose.model_store.hot_swap import HotSwapModel
from edgepose.model_store.selection import SelectionFile
from edgepose.model_store.startup import ModelStartup, selection_path
from edgepose.model_store.store import Store
from edgepose.model_store.switching import ModelSwitch
from edgepose.protocol.messages import InfoMessage, Settings, StatusMessage
from edgepose.recording.recorder import Recording
from edgepose.system.clock import boot_id
from edgepose.system.reporter import Reporter
from edgepose.system.state_dir import state_dir

log = logging.getLogger("edgepose")

INSPECTION_S = 1.0  # between two inspections of the board


@dataclass(frozen=True, slots=True)
class DaemonTiming:
    """The times of the parts, so that a test can shorten them."""

    supervisor: SupervisorTiming = SupervisorTiming()
    stream: StreamTiming = StreamTiming()


class Daemon:
    """Reads the model and opens camera and spool when it is made. stop: ends `run`. Raises EdgeposeError."""

    def __init__(self, config: Config, stop: threading.Event, timing: DaemonTiming = DaemonTiming()) -> None:
        self._reporter, self._timing = Reporter(), timing
        self._config, self._stop, self._notifier = config, stop, Notifier()
        self._inspected_s = 0.0  # monotonic clock
        self._settings_file = spool_disk_folder(config.spool, config.device_name()) / "settings.json"
        self._begin_with_model()
        try:
            self._begin_with_poses()
            self._begin_with_control()
        except BaseException:
            self._switch.close()
            raise
        log.info("%s with %s on %s", config.device_name(), self._info.model, self._at_work.estimator.describe())

    def _begin_with_model(self) -> None:
        config, store = self._config, Store(state_dir() / "models")
        reporter, configured, boot = self._reporter, Path(config.model), boot_id()
        selections = SelectionFile(selection_path(store, config.device_name()), reporter)
        startup = ModelStartup(store, selections, configured, boot, reporter=reporter)
        self._estimator = startup.open(lambda model: open_suitable(model, config, reporter))
        self._switch = ModelSwitch(store, selections, configured, boot, self._estimator, reporter=reporter)
        self._at_work = HotSwapModel(self._estimator, config.view, reporter=reporter)
        warn_if_slow(self._estimator.runtime)

    def _begin_with_poses(self) -> None:
        """From the camera to the delivery."""
        config, card, device = self._config, self._estimator.card, self._config.device_name()
        settings = read_settings(self._settings_file)
        self._info = info_message(device, boot_id(), self._estimator, config.tags, settings)
        open_source = partial(
            open_camera,
            config.camera,
            card.input,
            wants_full=config.wants_full(),
            stream_timing=self._timing.stream,
        )
        self._camera = CameraSupervisor(open_source, reporter=self._reporter, timing=self._timing.supervisor)
        self._notifier.be_patient(self._camera.slow_s)
        place = SpoolLock(config.spool, device, wait=not self._camera.live, reporter=self._reporter)
        status = StatusMessage(device=device, boot=boot_id(), state="online", run=uuid.uuid4().hex)
        self._delivery = MqttDelivery(
            config.mqtt, place, status, self._info, self._stop, reporter=self._reporter, commands=config.commands
        )
        self._recording = Recording(config, card.skeleton, card.model_id(), reporter=self._reporter)
        masked = MaskedCamera(self._camera, config.masks.values())
        observers = [*self._begin_with_loop(), *self._recording.observers]
        self._pipeline = Pipeline(masked, self._at_work, self._delivery, device, observers, reporter=self._reporter)
        self._pipeline.settings, self._pipeline.geometry = settings, config.geometry
        self._pipeline.stages |= {name: part.latency for name, part in self._loops.items()}

    def _begin_with_loop(self) -> list[Observer]:
        """Rules and own code, where the config has any. They see a pose first: somebody waits for what they do."""
        config, skeleton = self._config, self._estimator.card.skeleton
        self._loops: dict[str, ClosedLoop | Processor] = {}
        if config.rules or config.gpio != GpioConfig():
            self._loops["rules"] = ClosedLoop(config.rules, config.gpio, skeleton, reporter=self._reporter)
        if config.processor:
            self._loops["processor"] = Processor(config.processor, skeleton, reporter=self._reporter)
        return list(self._loops.values())

    def _begin_with_control(self) -> None:
        """What watches over the poses, and what may change them."""
        config, pipeline, delivery = self._config, self._pipeline, self._delivery
        self._board = SampledBoard(BoardSensors(self._settings_file.parent))
        limit_c = config.inference.soft_limit_c
        self._heat = ThermalLimit(limit_c) if limit_c is not None else None
        parts = (self._camera, pipeline, delivery, self._recording, self._board, self._at_work)
        self._health = HealthMonitor(config.device_name(), *parts, reporter=self._reporter)
        self._metrics = MetricsServer(config.prometheus, self._health.message) if config.prometheus else None
        self._host = DaemonModelRuntime(config, self._at_work, pipeline, delivery, self._recording, self._stop)
        self._dispatcher = CommandDispatcher(
            pipeline,
            delivery,
            self._switch,
            self._settings_file,
            self._health.message,
            self._stop,
            reporter=self._reporter,
        )
        self._dispatcher.on_mark = self._recording.mark

    def run(self) -> None:
        """Returns when the camera ends and all is delivered, or at a stop. Raises EdgeposeError also when a command
        asked for a restart: systemd starts again what has failed."""
        delivery, pipeline = self._delivery, self._pipeline
        started = time.monotonic()
        delivery.start(self._health.message, self._dispatcher.handlers(), pipeline.first_seq)
        self._reporter.event("started", f"edgepose {__version__}, model {self._info.model}")
        self._switch.start(self._host)
        self._recording.start()
        for part in self._loops.values():
            part.start()
        try:
            with contextlib.closing(self._recording):
                pipeline.run(self._stop, self._on_tick)
            seconds = time.monotonic() - started
            delivery.wait_delivered(self._on_wait)
        finally:
            self._switch.close()
            for part in self._loops.values():
                part.close()
            if not self._host.anew:
                self._notifier.stopping()
            if self._metrics is not None:
                self._metrics.close()
            self._at_work.estimator.close()
            self._camera.close()  # also when it is being revived while everybody else has stopped
            delivery.close()
        log_summary(pipeline, delivery, self._camera.displaced, seconds)
        if self._host.anew:
            start_anew()
        if self._dispatcher.restarting:
            raise EdgeposeError("stopped by the command `restart`, to be started again")

    def _on_tick(self) -> None:
        """A camera in trouble is watched by itself, and each step of that counts as progress."""
        pipeline, delivery = self._pipeline, self._delivery
        looked_at = pipeline.looked_at + sum(self._camera.counts.values())
        # A video waits, rightly, while the spool has no room; then only the link can make progress.
        signs = (delivery.beats,) if delivery.full else (delivery.beats, pipeline.beats, looked_at)
        self._notifier.progress(pipeline.handed_over, signs)
        self._notifier.status(self._health.line())
        if time.monotonic() - self._inspected_s >= INSPECTION_S:
            self._inspected_s = time.monotonic()
            self._inspect_board()

    def _inspect_board(self) -> None:
        report_board(self._board.now(), self._reporter)
        if self._heat is None:
            return
        before, temperature_c = self._heat.hz, self._board.now().temperature_c
        self._heat.judge(temperature_c, self._pipeline.fps(), time.monotonic())
        if self._heat.hz != before:
            self._pipeline.cool_hz = self._heat.hz
            pace = "as many poses as before" if self._heat.hz is None else f"at most {self._heat.hz:.1f} poses a second"
            self._reporter.event("heat", f"{temperature_c:.0f} °C: {pace}")

    def _on_wait(self) -> None:
        self._notifier.progress(1, (self._delivery.beats,))
        self._notifier.status(f"the camera has ended; {self._delivery.waiting + self._delivery.spooled} poses wait")


def start_anew() -> NoReturn:
    """The same command once more, in the same process."""
    logging.shutdown()
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606


def log_summary(pipeline: Pipeline, delivery: MqttDelivery, displaced: int, seconds: float) -> None:
    """displaced: frames that nobody took from the camera."""
    skipped, fps = displaced + sum(pipeline.skipped.values()), pipeline.poses / seconds
    left = delivery.waiting + delivery.spooled
    fate = f"{left} not delivered yet" if left else "all delivered"
    log.info("%d poses, %s, %d frames skipped, %.1f fps", pipeline.poses, fate, skipped, fps)


def warn_if_slow(runtime: Runtime) -> None:
    """Not an error: 32-bit runtimes have no XNNPACK, and still give poses."""
    if not runtime.xnnpack:
        log.warning("%s: XNNPACK did not take the model over, expect a fraction of the frames", runtime.name)


def info_message(
    device: str, boot: str, estimator: PoseEstimator, tags: dict[str, str], settings: Settings
) -> InfoMessage:
    versions = {"edgepose": __version__, "python": platform.python_version(), "runtime": estimator.runtime.name}
    card = estimator.card
    return InfoMessage(
        device=device,
        boot=boot,
        model=card.model_id(),
        skeleton=card.skeleton,
        size_wh=None,
        versions=versions,
        tags=tags,
        settings=settings,
    )
