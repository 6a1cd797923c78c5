"""Carries out each command on the running device."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec

from edgepose import __version__
from edgepose.daemon.pipeline import Pipeline
from edgepose.daemon.settings import write_settings
from edgepose.delivery.delivery import MqttDelivery
from edgepose.errors import EdgeposeError
from edgepose.geometry.coordinates import lies_within
from edgepose.geometry.pixels import as_bgr
from edgepose.model_store.download import check_url
from edgepose.model_store.switching import ModelSwitch
from edgepose.pose.drawing import draw_pose
from edgepose.protocol.commands import Health, Mark, Model, Ping, Restart, Set, Snapshot, changed
from edgepose.protocol.messages import HealthMessage, Region
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose

JPEG_QUALITY = 85


class CommandHandlers:
    """Carries out the commands.

    Args:
        pipeline: has the settings, and gives a frame with its pose.
        delivery: publishes the info when the settings change.
        models: the models of the device.
        settings_file: keeps the settings over restarts.
        health: gives the /health message.
        stop: ends the daemon.
        on_mark: called with the phase of each mark.
        reporter: gets the events `settings` and `mark_...`.
        frame_s: longest wait for a frame, seconds.

    Attributes:
        restarting: True after the command `restart`.
    """

    def __init__(  # noqa: PLR0913, PLR0917  everything that can be commanded
        self,
        pipeline: Pipeline,
        delivery: MqttDelivery,
        models: ModelSwitch,
        settings_file: Path,
        health: Callable[[], HealthMessage],
        stop: threading.Event,
        *,
        on_mark: Callable[[str], None],
        reporter: Reporter,
        frame_s: float = 3.0,
    ) -> None:
        self.restarting = False
        self._models, self._reporter = models, reporter
        self._pipeline, self._delivery = pipeline, delivery
        self._settings_file, self._health, self._stop = settings_file, health, stop
        self._on_mark, self._frame_s = on_mark, frame_s

    def by_name(self) -> Mapping[str, Callable[[Any], dict[str, Any]]]:
        """Returns the function that carries out each command, by the name of the command."""
        return {
            "ping": self._ping,
            "health": self._send_health,
            "snapshot": self._snapshot,
            "set": self._set,
            "mark": self._mark,
            "restart": self._restart,
            "model": self._model,
        }

    def _ping(self, _: Ping) -> dict[str, Any]:
        return {"version": __version__}

    def _send_health(self, _: Health) -> dict[str, Any]:
        return dict(msgspec.to_builtins(self._health()))

    def _snapshot(self, _: Snapshot) -> dict[str, Any]:
        frame, pose = self._next_frame()
        picture = as_bgr(frame)
        draw_pose(picture, pose, self._pipeline.skeleton)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        return {"frame": frame.index, "t_us": frame.captured_us, "size_wh": frame.size_wh, "jpeg": jpeg.tobytes()}

    def _set(self, command: Set) -> dict[str, Any]:
        """Returns the settings, also where nothing is to change."""
        settings = changed(self._pipeline.settings, command)
        if settings != self._pipeline.settings:
            if command.region:
                self._check_region(command.region)
            write_settings(self._settings_file, settings)
            self._pipeline.settings = settings
            self._delivery.change_info(settings=settings)
            self._reporter.event("settings", msgspec.json.encode(settings).decode())
        return dict(msgspec.to_builtins(settings))

    def _check_region(self, region: Region) -> None:
        frame, _ = self._next_frame()
        if not lies_within(region, frame.size_wh):
            w, h = frame.size_wh
            raise EdgeposeError(f"region {list(region)} (x, y, w, h) does not lie within the frame, which is {w}x{h}")

    def _next_frame(self) -> tuple[Frame, Pose]:
        found = self._pipeline.preview.wait(self._frame_s)
        if found is None:
            raise EdgeposeError(f"no frame came within {self._frame_s:g} s; does the camera give frames?")
        return found

    def _mark(self, command: Mark) -> dict[str, Any]:
        self._reporter.event(f"mark_{command.phase}", command.text)
        self._on_mark(command.phase)
        return {}

    def _model(self, command: Model) -> dict[str, Any]:
        if command.action == "activate":
            return {"model": self._models.activate(command.model)}
        if command.action == "rollback":
            return {"model": self._models.roll_back()}
        if command.action == "install":
            if not command.sha256:
                raise EdgeposeError("sha256: missing; give that of the .tflite, so that nothing else is taken")
            check_url(command.url)
            self._models.fetch(command.url, command.sha256, activate=command.activate)
            return {"url": command.url}
        return {"models": self._models.versions()}

    def _restart(self, _: Restart) -> dict[str, Any]:
        self.restarting = True
        self._stop.set()
        return {}
