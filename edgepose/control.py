"""What each command does to the running device."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import cv2
import msgspec

from edgepose import __version__
from edgepose.core.commands import Health, Mark, Ping, Restart, Set, Snapshot, changed
from edgepose.core.errors import EdgeposeError
from edgepose.core.messages import HealthMessage, Settings
from edgepose.core.overlay import draw_pose
from edgepose.core.picture import as_bgr
from edgepose.core.types import Frame, Pose, Skeleton
from edgepose.settings import SettingsFile

SNAPSHOT_S = 3.0  # longest wait for a frame
JPEG_QUALITY = 85


class Pipeline(Protocol):
    settings: Settings
    skeleton: Skeleton

    def look(self, seconds: float) -> tuple[Frame, Pose] | None:
        """The next frame with its pose; None when none comes in time."""


class Delivery(Protocol):
    def tell(self, kind: str, text: str, count: int = 0) -> None:
        """Delivers an event."""

    def change_info(self, **changes: Any) -> None:
        """Publishes the info anew."""


class Control:
    """restarting: set by the command `restart`, as is `stop`. on_mark: called with the phase of each mark."""

    def __init__(
        self,
        pipeline: Pipeline,
        delivery: Delivery,
        file: SettingsFile,
        health: Callable[[], HealthMessage],
        stop: threading.Event,
    ) -> None:
        self.restarting = False
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
        }

    def _ping(self, _: Ping) -> dict[str, Any]:
        return {"version": __version__}

    def _tell_health(self, _: Health) -> dict[str, Any]:
        return dict(msgspec.to_builtins(self._health()))

    def _snapshot(self, _: Snapshot) -> dict[str, Any]:
        seen = self._pipeline.look(SNAPSHOT_S)
        if seen is None:
            raise EdgeposeError(f"no frame came within {SNAPSHOT_S:g} s; is the camera at work?")
        frame, pose = seen
        picture = as_bgr(frame)
        draw_pose(picture, pose, self._pipeline.skeleton)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        return {"frame": frame.index, "t_us": frame.captured_us, "size_wh": frame.size_wh, "jpeg": jpeg.tobytes()}

    def _set(self, command: Set) -> dict[str, Any]:
        settings = changed(self._pipeline.settings, command)
        if settings.region is not None:
            self._check_region(settings.region)
        self._file.write(settings)
        self._pipeline.settings = settings
        self._delivery.change_info(settings=settings)
        self._delivery.tell("settings", msgspec.json.encode(settings).decode())
        return dict(msgspec.to_builtins(settings))

    def _check_region(self, region: tuple[int, int, int, int]) -> None:
        seen = self._pipeline.look(SNAPSHOT_S)
        if seen is None:
            raise EdgeposeError(f"no frame came within {SNAPSHOT_S:g} s, so nobody knows whether the region fits")
        (w, h), (x, y, width, height) = seen[0].size_wh, region
        if x + width > w or y + height > h:
            raise EdgeposeError(f"region {list(region)} (x, y, w, h) does not lie within the frame, which is {w}x{h}")

    def _mark(self, command: Mark) -> dict[str, Any]:
        self._delivery.tell(f"mark_{command.phase}", command.text)
        self.on_mark(command.phase)
        return {}

    def _restart(self, _: Restart) -> dict[str, Any]:
        self.restarting = True
        self._stop.set()
        return {}
