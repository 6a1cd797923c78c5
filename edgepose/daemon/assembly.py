"""Opens the parts of the daemon, connects them, runs them, and closes them in the reverse order."""

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
from edgepose.camera import is_live, open_camera
from edgepose.camera.rtsp import StreamTiming
from edgepose.camera.supervisor import CameraSupervisor, SupervisorTiming
from edgepose.closed_loop.closed_loop import ClosedLoop
from edgepose.closed_loop.processor import Processor
from edgepose.config.closed_loop import GpioConfig
from edgepose.config.schema import Config
from edgepose.daemon.board import ROOT, BoardSensors, report_board
from edgepose.daemon.command_handlers import CommandHandlers
from edgepose.daemon.dispatcher import CommandDispatcher
from edgepose.daemon.health import HealthMonitor
from edgepose.daemon.metrics import MetricsServer
from edgepose.daemon.model_runtime import DaemonModelRuntime, open_suitable
from edgepose.daemon.observers import Observers
from edgepose.daemon.pipeline import Pipeline, PipelineTiming
from edgepose.daemon.renamed_device import take_over_former_names
from edgepose.daemon.settings import read_settings
from edgepose.daemon.temperature_limit import STEP_S, TemperatureLimit
from edgepose.daemon.watchdog import SystemdNotifier
from edgepose.delivery.delivery import MqttDelivery
from edgepose.delivery.spool_lock import SpoolLock, spool_disk_folder
from edgepose.errors import CameraError, ConfigError, EdgeposeError
from edgepose.geometry.coordinates import lies_within
from edgepose.geometry.masks import Masks
from edgepose.inference.estimator import PoseEstimator
from edgepose.inference.runtime import Runtime
from edgepose.model_store.hot_swap import HotSwapModel
from edgepose.model_store.selection import SelectionFile
from edgepose.model_store.startup import ModelStartup, selection_path
from edgepose.model_store.store import Store
from edgepose.model_store.switching import ModelSwitch, SwitchTiming
from edgepose.protocol.messages import InfoMessage, Settings, StatusMessage
from edgepose.recording.recorder import Recording
from edgepose.system.clock import boot_id
from edgepose.system.clock_error import ClockErrorReader
from edgepose.system.reporter import Reporter
from edgepose.system.state_dir import state_dir
from edgepose.system.state_files import newer_state
from edgepose.types import Skeleton

log = logging.getLogger("edgepose")


@dataclass(frozen=True, slots=True)
class DaemonTiming:
    """Sets how long the parts wait.

    Attributes:
        board_s: time between two readings of the board's sensors, seconds.
        thermal_step_s: time between two changes of the rate because of the temperature, seconds.
    """

    supervisor: SupervisorTiming = SupervisorTiming()
    stream: StreamTiming = StreamTiming()
    pipeline: PipelineTiming = PipelineTiming()
    switch: SwitchTiming = SwitchTiming()
    board_s: float = 5.0
    thermal_step_s: float = STEP_S


class Daemon:
    """All parts of the daemon.

    The constructor opens model, spool, pins and camera. What it has opened is closed when a later part fails, and in
    any case at the end of `run`.

    Args:
        config: the config.
        stop: ends `run`.
        timing: the times of the parts.
        board_root: the folder that holds `sys` and `proc`.
        config_file: the config's file, by which a renamed device is recognised; None where there is none.

    Raises:
        EdgeposeError: A part cannot be opened.
    """

    def __init__(
        self,
        config: Config,
        stop: threading.Event,
        timing: DaemonTiming = DaemonTiming(),
        board_root: Path = ROOT,
        *,
        config_file: Path | None = None,
    ) -> None:
        self._stop, self._reporter, self._notifier = stop, Reporter(), SystemdNotifier()
        self._config, self._timing = config, timing
        self._device = config.device_name()
        self._settings_file = spool_disk_folder(config.spool, self._device) / "settings.json"
        with contextlib.ExitStack() as parts:
            self._open_spool(parts, config_file)
            self._open_model(parts)
            self._open_delivery(parts)
            self._open_camera(parts)
            self._open_control(parts, board_root)
            self._parts = parts.pop_all()
        log.info("%s with %s on %s", self._device, self._info.model, self._estimator.describe())

    def _open_spool(self, parts: contextlib.ExitStack, config_file: Path | None) -> None:
        """Comes first: from here on no other daemon has this device's name, and nothing under it has been read."""
        config, reporter = self._config, self._reporter
        self._spool = SpoolLock(config.spool, self._device, wait=not is_live(config.camera), reporter=reporter)
        parts.callback(self._spool.close)
        if config_file is not None:
            take_over_former_names(config, config_file, reporter)

    def _open_model(self, parts: contextlib.ExitStack) -> None:
        config, reporter, store = self._config, self._reporter, Store(state_dir() / "models")
        selections = SelectionFile(selection_path(store, self._device), reporter)
        configured, boot = Path(config.model), boot_id()
        startup = ModelStartup(store, selections, configured, boot, reporter=reporter)
        self._estimator = startup.open(lambda model: open_suitable(model, config, reporter))
        self._model = HotSwapModel(self._estimator, config.view, reporter=reporter)
        parts.callback(self._model.close)
        self._switch = ModelSwitch(
            store, selections, configured, boot, self._estimator, reporter=reporter, timing=self._timing.switch
        )
        parts.callback(self._switch.close)
        warn_if_slow(self._estimator.runtime)

    def _open_delivery(self, parts: contextlib.ExitStack) -> None:
        config, reporter = self._config, self._reporter
        self._info = info_message(config, self._estimator, read_settings(self._settings_file))
        reporter.alert("settings_newer", newer_state(self._settings_file))
        status = StatusMessage(device=self._device, boot=boot_id(), state="online", run=uuid.uuid4().hex)
        self._delivery = MqttDelivery(config.mqtt, self._spool, status, self._info, self._stop, reporter=reporter)
        parts.callback(self._delivery.close)

    def _open_camera(self, parts: contextlib.ExitStack) -> None:
        """Opens the camera, and before it everything that sees its frames."""
        config, reporter, timing, card = self._config, self._reporter, self._timing, self._model.card
        self._recording = Recording(config, card.skeleton, self._model.model_id, reporter=reporter)
        parts.callback(self._recording.close)
        self._loops = _open_loops(config, card.skeleton, reporter, parts)
        on_pose = [*(part.posed for part in self._loops.values()), *self._recording.on_pose]
        observers = Observers(on_pose, self._recording.on_frame, reporter=reporter)
        self._camera = CameraSupervisor(
            partial(
                open_camera, config.camera, card.input, wants_full=config.wants_full(), stream_timing=timing.stream
            ),
            reporter=reporter,
            masks=Masks(config.masks),
            on_frame=observers.captured,
            timing=timing.supervisor,
        )
        parts.callback(self._camera.close)
        self._notifier.allow_slow_frames(self._camera.slow_s)
        clock_error = ClockErrorReader()
        parts.callback(clock_error.close)
        self._pipeline = Pipeline(
            self._camera,
            self._model,
            self._delivery,
            self._device,
            observers,
            reporter=reporter,
            settings=self._info.settings,
            geometry=config.geometry,
            min_animal_score=config.inference.min_animal_score,
            clock_error_us=clock_error.now_us,
            timing=timing.pipeline,
        )

    def _open_control(self, parts: contextlib.ExitStack, board_root: Path) -> None:
        """Opens what watches over the parts, and what changes them."""
        config, reporter = self._config, self._reporter
        self._board = BoardSensors(self._settings_file.parent, board_root, self._timing.board_s)
        self._inspected_s = 0.0  # monotonic clock
        limit_c = config.inference.soft_limit_c
        self._thermal = TemperatureLimit(limit_c, self._timing.thermal_step_s) if limit_c is not None else None
        self._health = HealthMonitor(
            self._device,
            self._camera,
            self._pipeline,
            self._delivery,
            self._recording,
            self._board,
            self._model,
            stages={name: part.latency for name, part in self._loops.items()},
            reporter=reporter,
        )
        if config.prometheus:
            parts.callback(MetricsServer(config.prometheus, self._health.message).close)
        self._runtime = DaemonModelRuntime(
            config, self._model, self._camera, self._delivery, self._recording, self._stop
        )
        self._handlers = CommandHandlers(
            self._pipeline,
            self._delivery,
            self._switch,
            self._settings_file,
            self._health.message,
            self._stop,
            on_mark=self._recording.mark,
            reporter=reporter,
        )
        by_name = self._handlers.by_name()
        self._dispatcher = CommandDispatcher(self._device, boot_id(), config.commands, by_name)

    def run(self) -> None:
        """Returns when the camera ends and all is delivered, or at a stop.

        Where a new model needs it, the daemon starts itself anew, in the same process. Raises EdgeposeError when a part
        fails, and after the command `restart`: systemd starts again what has failed.
        """
        began_s = time.monotonic()
        with self._parts:
            try:
                self._start()
                self._run_pipeline()
                seconds = time.monotonic() - began_s
                self._recording.close()  # before a wait for the broker that may take days
                self._delivery.wait_delivered(self._on_wait)
            finally:
                self._switch.close()  # before the parts that it may change
                if not self._runtime.anew:
                    self._notifier.stopping()
        log_summary(self._pipeline, self._delivery, self._camera.displaced, seconds)
        if self._runtime.anew:
            start_anew()
        if self._handlers.restarting:
            raise EdgeposeError("stopped by the command `restart`, to be started again")

    def _run_pipeline(self) -> None:
        """Raises CameraError, after which systemd starts the daemon again, where frames have another size than those
        that the config was right for: another opening of the camera may help."""
        try:
            self._pipeline.run(self._stop, self._on_tick)
        except ConfigError as exc:
            region, size_wh = self._config.view.region, getattr(self._config.camera, "size_wh", None)
            meant = region is not None and size_wh is not None and lies_within(region, size_wh)
            if self._pipeline.processed or meant:
                raise CameraError(f"the camera gives frames of another size than before: {exc}") from None
            raise

    def _start(self) -> None:
        self._delivery.start(self._health.message, self._dispatcher, self._pipeline.first_seq)
        self._reporter.event("started", f"edgepose {__version__}, model {self._info.model}")
        self._switch.start(self._runtime)
        self._recording.start()
        for part in self._loops.values():
            part.start()

    def _on_tick(self) -> None:
        """Each step that revives the camera counts as progress, since the supervisor takes only so many of them."""
        pipeline, delivery = self._pipeline, self._delivery
        processed = pipeline.processed + sum(self._camera.counts.values())
        # A video rightly waits while the spool has no room; then only the link can make progress.
        signs = (delivery.beats,) if delivery.full else (delivery.beats, pipeline.beats, processed)
        self._notifier.progress(pipeline.handed_over, signs)
        self._notifier.status(self._health.line())
        if time.monotonic() - self._inspected_s >= 1.0:
            self._inspected_s = time.monotonic()
            self._inspect_board()

    def _inspect_board(self) -> None:
        report_board(self._board.latest(), self._reporter)
        if self._thermal is None:
            return
        before_hz, temperature_c = self._thermal.rate_hz, self._board.latest().temperature_c
        self._thermal.update(temperature_c, self._pipeline.fps(), time.monotonic())
        rate_hz = self._thermal.rate_hz
        if rate_hz != before_hz:
            self._pipeline.cool_hz = rate_hz
            pace = "as many poses as before" if rate_hz is None else f"at most {rate_hz:.1f} poses a second"
            self._reporter.event("heat", f"{temperature_c:.0f} °C: {pace}")

    def _on_wait(self) -> None:
        self._notifier.progress(1, (self._delivery.beats,))
        waiting = self._delivery.waiting + self._delivery.spooled
        self._notifier.status(f"the camera has ended; poses that wait for the broker: {waiting}")


def _open_loops(
    config: Config, skeleton: Skeleton, reporter: Reporter, parts: contextlib.ExitStack
) -> dict[str, ClosedLoop | Processor]:
    """Returns the rules and the user's code, where the config has any, by the name of their stage.

    As observers they come first: somebody waits for what they do.
    """
    loops: dict[str, ClosedLoop | Processor] = {}
    if config.rules or config.gpio != GpioConfig():
        loops["rules"] = ClosedLoop(config.rules, config.gpio, skeleton, reporter=reporter)
        parts.callback(loops["rules"].close)
    if config.processor:
        loops["processor"] = Processor(config.processor, skeleton, reporter=reporter)
        parts.callback(loops["processor"].close)
    return loops


def start_anew() -> NoReturn:
    """Runs the same command once more, in the same process.

    No descriptor is handed on: a thread that hangs in a driver may still hold the camera's.
    """
    logging.shutdown()
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  numbers, not files
        if descriptor > 2:
            with contextlib.suppress(OSError):  # the one that listed them is closed by now
                os.set_inheritable(descriptor, False)
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606


def log_summary(pipeline: Pipeline, delivery: MqttDelivery, displaced: int, seconds: float) -> None:
    """displaced: number of frames that made way for a newer one."""
    skipped, fps = displaced + sum(pipeline.skipped.values()), pipeline.poses / seconds
    left = delivery.waiting + delivery.spooled
    fate = f"{left} not delivered yet" if left else "all delivered"
    log.info("%d poses, %s, %d frames skipped, %.1f fps", pipeline.poses, fate, skipped, fps)


def warn_if_slow(runtime: Runtime) -> None:
    """It is no error: 32-bit runtimes have no XNNPACK, and still give poses."""
    if not runtime.xnnpack:
        log.warning("%s: XNNPACK did not take the model over, expect a fraction of the frames", runtime.name)


def info_message(config: Config, estimator: PoseEstimator, settings: Settings) -> InfoMessage:
    card = estimator.card
    return InfoMessage(
        device=config.device_name(),
        boot=boot_id(),
        model=estimator.model.id,
        skeleton=card.skeleton,
        size_wh=None,
        versions={"edgepose": __version__, "python": platform.python_version(), "runtime": estimator.runtime.name},
        tags=config.tags,
        settings=settings,
    )
