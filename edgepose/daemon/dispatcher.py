"""What each command does to the running device."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import cv2
import msgspec

from edgepose import __version__
from edgepose.daemon.settings import write_settings
from edgepose.errors import EdgeposeError
from edgepose.geometry.coordinates import lies_within
from edgepose.geometry.pixels import as_bgr
from edgepose.model_store.download import check_url
from edgepose.pose.drawing import draw_pose
from edgepose.protocol.commands import Health, Mark, Model, Ping, Restart, Set, Snapshot, changed
from edgepose.protocol.messages import HealthMessage, Region, Settings
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose, Skeleton

SNAPSHOT_S = 3.0  # longest wait for a frame
JPEG_QUALITY = 85


class Pipeline(Protocol):
    settings: Settings
    skeleton: Skeleton

    def look(self, seconds: float) -> tuple[Frame, Pose] | None:
        """The next frame with its pose; None when none comes in time, or no more at all."""


class Delivery(Protocol):
    def change_info(self, **changes: Any) -> None:
        """Publishes the info anew."""


class Models(Protocol):
    def versions(self) -> list[dict[str, Any]]: ...

    def activate(self, name: str) -> str:
        """The model's id. Raises EdgeposeError."""

    def roll_back(self) -> str:
        """The model's id. Raises EdgeposeError."""

    def fetch(self, url: str, sha256: str, *, activate: bool) -> None: ...


class CommandDispatcher:
    """file: of the settings. restarting: set by the command `restart`, as is `stop`. on_mark: called with the phase of
    each mark."""

    def __init__(  # noqa: PLR0913, PLR0917  everything that can be commanded
        self,
        pipeline: Pipeline,
        delivery: Delivery,
        models: Models,
        file: Path,
        health: Callable[[], HealthMessage],
        stop: threading.Event,
        *,
        reporter: Reporter,
    ) -> None:
        self.restarting = False
        self._models, self._reporter = models, reporter
        self._pipeline, self._delivery = pipeline, delivery
        self._file, self._health, self._stop = file, health, stop
        self.on_mark: Callable[[str], None] = lambda _: None

    def handlers(self) -> Mapping[str, Callable[[Any], dict[str, Any]]]:
        """What carries each command out, by its name."""
        return {
            "ping": self._ping,
            "health": self._tell_health,
            "snapshot": self._snapshot,
            "set": self._set,
            "mark": self._mark,
            "restart": self._restart,
            "model": self._model,
        }

    def _ping(self, _: Ping) -> dict[str, Any]:
        return {"version": __version__}

    def _tell_health(self, _: Health) -> dict[str, Any]:
        return dict(msgspec.to_builtins(self._health()))

    def _snapshot(self, _: Snapshot) -> dict[str, Any]:
        frame, pose = self._look()
        picture = as_bgr(frame)
        draw_pose(picture, pose, self._pipeline.skeleton)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        return {"frame": frame.index, "t_us": frame.captured_us, "size_wh": frame.size_wh, "jpeg": jpeg.tobytes()}

    def _set(self, command: Set) -> dict[str, Any]:
        """Also tells them, where nothing is to change."""
        settings = changed(self._pipeline.settings, command)
        if settings != self._pipeline.settings:
            if command.region:
                self._check_region(command.region)
            write_settings(self._file, settings)
            self._pipeline.settings = settings
            self._delivery.change_info(settings=settings)
            self._reporter.event("settings", msgspec.json.encode(settings).decode())
        return dict(msgspec.to_builtins(settings))

    def _check_region(self, region: Region) -> None:
        frame, _ = self._look()
        if not lies_within(region, frame.size_wh):
            w, h = frame.size_wh
            raise EdgeposeError(f"region {list(region)} (x, y, w, h) does not lie within the frame, which is {w}x{h}")

    def _look(self) -> tuple[Frame, Pose]:
        seen = self._pipeline.look(SNAPSHOT_S)
        if seen is None:
            raise EdgeposeError(f"no frame came within {SNAPSHOT_S:g} s; is the camera at work?")
        return seen

    def _mark(self, command: Mark) -> dict[str, Any]:
        self._reporter.event(f"mark_{command.phase}", command.text)
        self.on_mark(command.phase)
        return {}

    def _model(self, command: Model) -> dict[str, Any]:
        if command.action == "activate":
            return {"model": self._models.activate(command.model)}
        if command.action == "rollback":
            return {"model": self._models.roll_back()}
        if command.action == "install":
            if not command.sha256:
                raise EdgeposeError("sha256: missing; tell that of the .tflite, so that nothing else is taken")
            check_url(command.url)
            self._models.fetch(command.url, command.sha256, activate=command.activate)
            return {"url": command.url}
        return {"models": self._models.versions()}

    def _restart(self, _: Restart) -> dict[str, Any]:
        self.restarting = True
        self._stop.set()
        return {}
