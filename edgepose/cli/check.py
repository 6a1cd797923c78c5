"""`edgepose check`: is everything that `run` needs ready? One line each, and what to do where it is not."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgepose.camera import open_camera
from edgepose.camera.supervisor import CameraSupervisor
from edgepose.closed_loop.closed_loop import ClosedLoop
from edgepose.closed_loop.processor import load
from edgepose.config.closed_loop import GpioConfig
from edgepose.config.geometry_files import read_ground
from edgepose.config.loading import read_config
from edgepose.config.schema import Config, MqttConfig, ViewConfig
from edgepose.daemon.board import BoardSensors, board_alerts
from edgepose.errors import CameraError, ConfigError, EdgeposeError, ModelError
from edgepose.geometry.letterbox import FrameMap, ModelInput
from edgepose.inference.accelerated import open_estimator
from edgepose.inference.model_card import read_card
from edgepose.inference.viewer import field_of, window_size, zoom_of
from edgepose.mqtt.connection import probe_broker
from edgepose.recording.recorder import require_encoder
from edgepose.recording.retention import usable_bytes
from edgepose.system.clock import SyncFlag
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, image_size_wh
from edgepose.video import h264

LOW_DISK_BYTES = 200e6
USUAL_ZOOM = 1.25  # that any model has seen in training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Tries everything that `run` needs. FAIL keeps it from working, warn does not.\n"
        "Exit status: 0 ready, 78 configuration or model, 1 camera or broker."
    )
    parser.epilog = "example:\n  edgepose check -c edgepose.yaml"
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """The exit status of the first failure: config and model come before camera and broker."""
    try:
        settings = read_config(args.config)
    except EdgeposeError as exc:
        return _tell_failure("config", exc)
    _tell("config", "ok", f"{args.config}, device {settings.device_name()}")
    seen: list[tuple[int, int]] = []  # the size of the camera's frames, where it gave one
    checks: tuple[tuple[str, Callable[[], None]], ...] = (
        ("model", lambda: _model(settings)),
        ("camera", lambda: seen.append(_camera(settings))),
        ("view", lambda: _view(settings, seen)),
        ("geometry", lambda: _geometry(settings, seen)),
        *((("rules", lambda: _rules(settings)),) if settings.rules or settings.gpio != GpioConfig() else ()),
        *((("processor", lambda: _processor(settings)),) if settings.processor else ()),
        ("broker", lambda: _broker(settings.mqtt)),
        ("disk", lambda: _disk(args.config.resolve().parent)),
        ("clock", _clock),
        ("board", _board),
        *((("record", lambda: _record(settings)),) if settings.record else ()),
        *((("hard_frames", lambda: _hard_frames(settings)),) if settings.hard_frames else ()),
    )
    statuses = [_attempt(name, check) for name, check in checks]
    return next((status for status in statuses if status), 0)


def _attempt(name: str, check: Callable[[], None]) -> int:
    try:
        check()
    except EdgeposeError as exc:
        return _tell_failure(name, exc)
    return 0


def _model(settings: Config) -> None:
    estimator = open_estimator(Path(settings.model), settings.inference, reporter=Reporter())
    card, runtime = estimator.card, estimator.runtime
    w, h = card.input.size_wh
    _tell("model", "ok", f"{card.model_id()}, {len(card.skeleton.keypoints)} keypoints, input {w}x{h}")
    where = "CPU, " if estimator.delegate == "cpu" else ""
    trouble = estimator.trouble
    well = runtime.xnnpack and not trouble
    _tell("delegate", "ok" if well else "warn", trouble or f"{where}{estimator.describe()}")
    estimator.close()


def _camera(settings: Config) -> tuple[int, int]:
    """The size of its frames."""
    start, model = time.monotonic(), _model_input(Path(settings.model))
    opened = CameraSupervisor(lambda: open_camera(settings.camera, model), reporter=Reporter())
    seconds = time.monotonic() - start
    try:
        frame = opened.read()
    finally:
        opened.close()
    if frame is None:
        raise CameraError("the camera ends before its first frame; correct the camera section")
    name = f"{opened.name}, " if opened.name else ""
    _tell("camera", "ok", f"{name}{_sizes(frame)}, first frame after {seconds * 1e3:.0f} ms")
    return frame.size_wh


def _model_input(model: Path) -> ModelInput:
    """Where the model's card cannot be read, a usual one: its camera can be tried all the same."""
    try:
        return read_card(model).input
    except ModelError:
        return ModelInput((320, 240), 3, "letterbox")


def _sizes(frame: Frame) -> str:
    w, h = frame.size_wh
    if frame.field_wh is None:
        return f"{w}x{h}"
    small_w, small_h = image_size_wh(frame.image, frame.order)
    return f"{w}x{h}, {small_w}x{small_h} for the model"


def _view(settings: Config, seen: list[tuple[int, int]]) -> None:
    """Told where the config has one."""
    view = settings.view
    if view == ViewConfig() or not seen:
        return
    card = read_card(Path(settings.model))
    zoom, (x, y, w, h) = zoom_of(view, card), field_of(view, seen[0])
    whole, part = (FrameMap.fit(wh, card.input.size_wh, card.input.resize).scale_xy.max() for wh in (seen[0], (w, h)))
    if part > USUAL_ZOOM * whole * (zoom if view.follow else 1):
        larger = f"region {w}x{h} shows the animal {part / whole:.1f} times as large as the whole frame does"
        _tell("view", "warn", f"{larger}; a model that was trained on whole frames needs `fit --follow` for that")
    elif view.follow:
        follows = "{}x{}".format(*window_size(card, seen[0], zoom))
        _tell("view", "ok", f"follows the animal through {follows} of {w}x{h}, {zoom:g} times as large")
    else:
        _tell("view", "ok", f"looks at {w}x{h} from ({x}, {y}) on")


def _geometry(settings: Config, seen: list[tuple[int, int]]) -> None:
    """Told where the config has one."""
    if settings.geometry is None or not seen:
        return
    ground, (w, h) = read_ground(settings.geometry, seen[0]), seen[0]
    left, right = ground.to_mm([(w / 2 - 1, h / 2), (w / 2, h / 2)])
    fits = f", its points fit within {ground.worst_mm:.2g} mm" if len(settings.geometry.points) > 4 else ""
    _tell("geometry", "ok", f"{np.linalg.norm(right - left):.3g} mm a pixel in the middle{fits}")


def _broker(mqtt: MqttConfig) -> None:
    probe_broker(mqtt)
    _tell("broker", "ok", f"{mqtt.host}:{mqtt.port} accepts us, MQTT {mqtt.protocol}")


def _disk(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    enough = free >= LOW_DISK_BYTES
    _tell("disk", "ok" if enough else "warn", f"{free / 1e9:.1f} GB free{'' if enough else '; make room'}")


def _rules(settings: Config) -> None:
    skeleton = read_card(Path(settings.model)).skeleton
    ClosedLoop(settings.rules, settings.gpio, skeleton, reporter=Reporter()).close()
    pins = [f"pin {rule.pin}" for rule in settings.rules.values() if rule.pin is not None]
    _tell("rules", "ok", ", ".join([*settings.rules, *settings.gpio.inputs, *pins]) or "sync pulses")


def _processor(settings: Config) -> None:
    assert settings.processor is not None
    try:
        load(settings.processor)
    except Exception as exc:  # somebody else's code
        why = f"{type(exc).__name__}: {' '.join(str(exc).split())}"
        raise ConfigError(f"{settings.processor.load} in {settings.processor.folder}: {why}") from None
    _tell("processor", "ok", f"{settings.processor.load} is loaded")


def _record(settings: Config) -> None:
    assert settings.record is not None
    there = sum(path.stat().st_size for path in Path(settings.record.folder).rglob("*") if path.is_file())
    free_gb = (_writable(settings.record.folder) + there) / 1e9
    require_encoder()
    if free_gb < settings.record.max_gb:
        _tell("record", "warn", f"room for {free_gb:.1f} of max_gb {settings.record.max_gb:g}; old segments go earlier")
    else:
        encoder = "hardware" if h264.has_hardware() else "software"
        _tell("record", "ok", f"H.264 by {encoder}, to {settings.record.folder}")


def _hard_frames(settings: Config) -> None:
    assert settings.hard_frames is not None
    enough = _writable(settings.hard_frames.folder) >= settings.hard_frames.max_mb * 1e6
    text = settings.hard_frames.folder if enough else f"{settings.hard_frames.folder}: less than max_mb free"
    _tell("hard_frames", "ok" if enough else "warn", text)


def _writable(folder: str) -> float:
    """Bytes that may be written there. Raises EdgeposeError where nothing may."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return usable_bytes(Path(folder))
    except OSError as exc:
        raise EdgeposeError(f"{folder}: cannot write there ({exc.strerror}); correct the folder or its owner") from None


def _clock() -> None:
    if SyncFlag().synced():
        _tell("clock", "ok", "synchronised")
    else:
        _tell("clock", "warn", "not synchronised: poses say so; enable NTP (timedatectl set-ntp true)")


def _board() -> None:
    """Told where it says anything of itself, as a Pi does."""
    board = BoardSensors(Path.cwd()).read()
    alerts = {about: text for about, text in board_alerts(board).items() if about != "disk"}
    earlier = [name for name, ever in board.throttled_since_boot.items() if ever]
    since = f"; since boot: {', '.join(earlier)}" if earlier else ""
    if alerts or since:
        _tell("board", "warn", "; ".join(alerts.values()) + (since if alerts else since[2:]))
    elif board.temperature_c is not None:
        _tell("board", "ok", f"{board.temperature_c:.0f} °C, not throttled")


def _tell_failure(name: str, exc: EdgeposeError) -> int:
    _tell(name, "FAIL", str(exc))
    return exc.exit_code


def _tell(name: str, verdict: str, text: str) -> None:
    print(f"{name:<9} {verdict:<5} {text}", flush=True)
