"""Checks whether everything is ready that the daemon needs, and gives each result a name."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgepose.camera import open_camera
from edgepose.camera.supervisor import CameraSupervisor
from edgepose.closed_loop.closed_loop import ClosedLoop
from edgepose.closed_loop.processor import load
from edgepose.config.closed_loop import GpioConfig
from edgepose.config.geometry_files import read_ground
from edgepose.config.schema import Config, ViewConfig
from edgepose.daemon.board import BoardSensors, board_alerts
from edgepose.daemon.device_names import read_names
from edgepose.daemon.metrics import MetricsServer
from edgepose.daemon.model_runtime import running_model
from edgepose.daemon.renamed_device import left_behind
from edgepose.delivery.spool import set_aside_text
from edgepose.delivery.spool_disk import spools_set_aside
from edgepose.delivery.spool_lock import spool_disk_folder, spool_memory_folder
from edgepose.errors import CameraError, ConfigError, EdgeposeError, ModelError
from edgepose.geometry.letterbox import FrameMap, ModelInput
from edgepose.geometry.zones import require_within
from edgepose.inference.accelerated import open_estimator
from edgepose.inference.model_file import read_card
from edgepose.inference.viewer import field_of, window_size, zoom_of
from edgepose.model_store.startup import selection_path
from edgepose.model_store.store import Store
from edgepose.mqtt.connection import probe_broker
from edgepose.protocol.messages import HealthMessage
from edgepose.recording.recorder import require_encoder
from edgepose.recording.retention import usable_bytes
from edgepose.system.arguments import INSTALLED_CONFIG
from edgepose.system.clock_error import ask_clock_error_us
from edgepose.system.reporter import Reporter
from edgepose.system.state_dir import SERVICE_STATE, state_dir
from edgepose.system.state_files import newer_state
from edgepose.system.wording import count
from edgepose.types import Frame, image_size_wh
from edgepose.video import h264

_USUAL_INPUT = ModelInput((320, 240), 3, "letterbox")  # for a camera whose model cannot be read
_USUAL_ZOOM = 1.25  # every model has seen animals this much larger in its training


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: what was checked, such as `camera`.
        verdict: `fail` keeps the daemon from working, `warn` does not.
        text: what was found, and what to do about it.
        exit_code: status of a command that ends because of it; 0 unless the verdict is `fail`.
    """

    name: str
    verdict: Literal["ok", "warn", "fail"]
    text: str
    exit_code: int = 0


def failed_check(name: str, error: EdgeposeError) -> CheckResult:
    return CheckResult(name, "fail", str(error), error.exit_code)


def check_all(config: Config, config_file: Path) -> Iterator[CheckResult]:
    """Tries everything that the daemon needs, one after the other, and changes nothing.

    Model and camera come first, since other checks depend on them.
    """
    checks = _Checks(config)
    yield check_state(config, config_file)
    parts: tuple[tuple[str, bool, Callable[[], Iterator[CheckResult]]], ...] = (
        ("model", True, checks.model),
        ("camera", True, checks.camera),
        ("masks", bool(config.masks), checks.masks),
        ("view", config.view != ViewConfig(), checks.view),
        ("geometry", config.geometry is not None, checks.geometry),
        ("rules", bool(config.rules) or config.gpio != GpioConfig(), checks.rules),
        ("processor", config.processor is not None, checks.processor),
        ("broker", True, checks.broker),
        ("board", True, checks.board),
        ("spool", True, checks.spool),
        ("prometheus", config.prometheus is not None, checks.prometheus),
        ("record", config.record is not None, checks.record),
        ("hard_frames", config.hard_frames is not None, checks.hard_frames),
    )
    for name, wanted, check in parts:
        if wanted:
            try:
                yield from check()
            except EdgeposeError as exc:
                yield failed_check(name, exc)


def check_state(config: Config, config_file: Path) -> CheckResult:
    """Returns the state folder, and what in it does not belong to this version or this device. Nothing is changed."""
    try:
        problems = [problem for problem in _state_problems(config, config_file.resolve()) if problem]
    except OSError as exc:
        problems = [f"cannot be read ({exc.strerror}); use sudo"]
    return CheckResult("state", "warn" if problems else "ok", "; ".join([str(state_dir()), *problems]))


def _state_problems(config: Config, config_file: Path) -> Iterator[str | None]:
    device, store = config.device_name(), Store(state_dir() / "models")
    if config_file.parent == INSTALLED_CONFIG.parent and "STATE_DIRECTORY" not in os.environ:
        hint = f"the service's is {SERVICE_STATE}; use sudo to check what the service runs"
        yield hint if state_dir() != SERVICE_STATE else None
    spool = spool_disk_folder(config.spool, device)
    yield newer_state(selection_path(store, device))
    yield newer_state(spool / "settings.json")
    yield set_aside_text(spools_set_aside(spool / "spool.db"))
    for former in read_names().former(config_file, device):
        if spool_disk_folder(config.spool, former).exists() or selection_path(store, former).exists():
            yield f"this device was {former} before, and `run` takes over what lies under that name"
    for other, poses in left_behind(config).items():
        yield f"{count(poses, 'message')} of device {other} wait here; start it once as `device: {other}`"


class _Checks:
    """Each method is one check. It raises EdgeposeError where the check fails."""

    def __init__(self, config: Config) -> None:
        self._config, self._model = config, running_model(config)
        self._frame_wh: tuple[int, int] | None = None  # of the camera, once it has given a frame

    def model(self) -> Iterator[CheckResult]:
        estimator = open_estimator(self._model, self._config.inference, reporter=Reporter())
        card, (w, h) = estimator.card, estimator.card.input.size_wh
        instead = "" if self._model == Path(self._config.model) else f", activated in place of {self._config.model}"
        yield CheckResult(
            "model", "ok", f"{estimator.model.id}, {len(card.skeleton.keypoints)} keypoints, input {w}x{h}{instead}"
        )
        where = "CPU, " if estimator.delegate == "cpu" else ""
        fast = estimator.runtime.xnnpack and not estimator.trouble
        yield CheckResult("delegate", "ok" if fast else "warn", estimator.trouble or f"{where}{estimator.describe()}")
        estimator.close()

    def camera(self) -> Iterator[CheckResult]:
        begin = time.monotonic()
        try:
            model_input = read_card(self._model).input
        except ModelError:
            model_input = _USUAL_INPUT
        camera = CameraSupervisor(lambda: open_camera(self._config.camera, model_input), reporter=Reporter())
        seconds = time.monotonic() - begin
        try:
            frame = camera.read()
        finally:
            camera.close()
        if frame is None:
            raise CameraError("the camera ends before its first frame; correct the camera section")
        self._frame_wh = frame.size_wh
        name = f"{camera.name}, " if camera.name else ""
        yield CheckResult("camera", "ok", f"{name}{_sizes(frame)}, first frame after {seconds * 1e3:.0f} ms")

    def masks(self) -> Iterator[CheckResult]:
        if self._frame_wh is not None:
            require_within(self._config.masks, self._frame_wh, "masks")
            yield CheckResult("masks", "ok", ", ".join(self._config.masks))

    def view(self) -> Iterator[CheckResult]:
        if self._frame_wh is None:
            return
        view, card = self._config.view, read_card(self._model)
        zoom, (x, y, w, h) = zoom_of(view, card), field_of(view, self._frame_wh)
        whole, part = (
            FrameMap.fit(size_wh, card.input.size_wh, card.input.resize).scale_xy.max()
            for size_wh in (self._frame_wh, (w, h))
        )
        if part > _USUAL_ZOOM * whole * (zoom if view.follow else 1):
            larger = f"region {w}x{h} shows the animal {part / whole:.1f} times as large as the whole frame does"
            text = f"{larger}; a model that was trained on whole frames needs `fit --follow` for that"
            yield CheckResult("view", "warn", text)
        elif view.follow:
            window_w, window_h = window_size(card, self._frame_wh, zoom)
            text = f"follows the animal through {window_w}x{window_h} of {w}x{h}, {zoom:g} times as large"
            yield CheckResult("view", "ok", text)
        else:
            yield CheckResult("view", "ok", f"looks at {w}x{h} from ({x}, {y}) on")

    def geometry(self) -> Iterator[CheckResult]:
        geometry = self._config.geometry
        if geometry is None or self._frame_wh is None:
            return
        ground, (w, h) = read_ground(geometry, self._frame_wh), self._frame_wh
        left, right = ground.to_mm([(w / 2 - 1, h / 2), (w / 2, h / 2)])
        fits = f", its points fit within {ground.worst_mm:.2g} mm" if len(geometry.points) > 4 else ""
        mm = float(np.linalg.norm(right - left))
        yield CheckResult("geometry", "ok", f"{mm:.3g} mm a pixel in the middle{fits}")

    def rules(self) -> Iterator[CheckResult]:
        config, skeleton = self._config, read_card(self._model).skeleton
        loop = ClosedLoop(config.rules, config.gpio, skeleton, reporter=Reporter())
        loop.close()
        if self._frame_wh is not None:
            loop.require_zones_within(self._frame_wh)
        pins = [f"pin {rule.pin}" for rule in config.rules.values() if rule.pin is not None]
        yield CheckResult("rules", "ok", ", ".join([*config.rules, *config.gpio.inputs, *pins]) or "sync pulses")

    def processor(self) -> Iterator[CheckResult]:
        processor = self._config.processor
        assert processor is not None
        try:
            load(processor)
        except Exception as exc:  # somebody else's code
            why = f"{type(exc).__name__}: {' '.join(str(exc).split())}"
            raise ConfigError(f"{processor.load} in {processor.folder}: {why}") from None
        yield CheckResult("processor", "ok", f"{processor.load} is loaded")

    def broker(self) -> Iterator[CheckResult]:
        mqtt = self._config.mqtt
        probe_broker(mqtt)
        yield CheckResult("broker", "ok", f"{mqtt.host}:{mqtt.port} accepts us, MQTT {mqtt.protocol}")

    def board(self) -> Iterator[CheckResult]:
        """Gives disk and clock, and `board` where the board says anything of itself, as a Pi does."""
        board = BoardSensors(spool_disk_folder(self._config.spool, self._config.device_name())).read()
        alerts = board_alerts(board)
        if low := alerts.pop("disk", None):
            yield CheckResult("disk", "warn", low)
        elif board.disk_free_mb is not None:
            yield CheckResult("disk", "ok", f"{board.disk_free_mb / 1e3:.1f} GB free")
        if board.clock_synced:
            error_us = ask_clock_error_us()
            bound = "" if error_us is None else f", within {math.ceil(error_us / 100) / 10:g} ms"
            yield CheckResult("clock", "ok", f"synchronised{bound}")
        else:
            text = "not synchronised: poses say so; enable NTP (timedatectl set-ntp true)"
            yield CheckResult("clock", "warn", text)
        earlier = [name for name, ever in board.throttled_since_boot.items() if ever]
        problems = [*alerts.values(), *([f"since boot: {', '.join(earlier)}"] if earlier else [])]
        if problems:
            yield CheckResult("board", "warn", "; ".join(problems))
        elif board.temperature_c is not None:
            yield CheckResult("board", "ok", f"{board.temperature_c:.0f} °C, not throttled")

    def spool(self) -> Iterator[CheckResult]:
        """Gives nothing where poses can be kept. Missing folders are made by `run`, so nothing is made here."""
        for find in (spool_disk_folder, spool_memory_folder):
            folder = find(self._config.spool, self._config.device_name())
            try:
                nearest = next(path for path in (folder, *folder.parents) if path.exists())
                needed = (nearest, *(folder.glob("*") if nearest == folder else ()))
            except OSError as exc:
                raise EdgeposeError(f"{folder}: cannot be read ({exc.strerror}); correct its owner") from None
            for path in needed:
                if not nearest.is_dir() or not os.access(path, os.W_OK):
                    raise EdgeposeError(f"{path}: poses cannot be kept there; correct the folder or its owner")
        yield from ()

    def prometheus(self) -> Iterator[CheckResult]:
        config = self._config.prometheus
        assert config is not None
        MetricsServer(config, _no_health).close()
        yield CheckResult("prometheus", "ok", f"http://{config.host}:{config.port}/metrics")

    def record(self) -> Iterator[CheckResult]:
        record = self._config.record
        assert record is not None
        recorded = sum(path.stat().st_size for path in Path(record.folder).rglob("*") if path.is_file())
        free_gb = (_usable_bytes(record.folder) + recorded) / 1e9
        require_encoder()
        if free_gb < record.max_gb:
            text = f"room for {free_gb:.1f} of max_gb {record.max_gb:g}; old segments go earlier"
            yield CheckResult("record", "warn", text)
        else:
            encoder = "hardware" if h264.has_hardware() else "software"
            yield CheckResult("record", "ok", f"H.264 by {encoder}, to {record.folder}")

    def hard_frames(self) -> Iterator[CheckResult]:
        hard_frames = self._config.hard_frames
        assert hard_frames is not None
        if _usable_bytes(hard_frames.folder) >= hard_frames.max_mb * 1e6:
            yield CheckResult("hard_frames", "ok", hard_frames.folder)
        else:
            yield CheckResult("hard_frames", "warn", f"{hard_frames.folder}: less than max_mb free")


def _no_health() -> HealthMessage:
    raise EdgeposeError("there is no daemon, only its check")


def _sizes(frame: Frame) -> str:
    w, h = frame.size_wh
    if frame.field_wh is None:
        return f"{w}x{h}"
    small_w, small_h = image_size_wh(frame.image, frame.order)
    return f"{w}x{h}, {small_w}x{small_h} for the model"


def _usable_bytes(folder: str) -> float:
    """Returns the number of bytes that may be written there. Raises EdgeposeError where nothing may be written."""
    try:
        # Nothing is made here: the service could not write into a folder that an administrator's check has made.
        there = next(path for path in (Path(folder), *Path(folder).parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            return usable_bytes(there)
    except OSError as exc:
        raise EdgeposeError(f"{folder}: cannot write there ({exc.strerror}); correct the folder or its owner") from None
