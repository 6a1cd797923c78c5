"""Gathers the numbers of all parts of the daemon in the /health message."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgepose.camera.supervisor import CameraSupervisor
from edgepose.daemon.board import BoardSensors
from edgepose.daemon.pipeline import Pipeline
from edgepose.delivery.delivery import MqttDelivery
from edgepose.model_store.hot_swap import HotSwapModel
from edgepose.protocol.messages import HealthMessage
from edgepose.recording.recorder import Recording
from edgepose.system.clock import boot_id, wall_us
from edgepose.system.reporter import Reporter
from edgepose.system.rolling_stats import RollingStats


class HealthMonitor:
    """Reads the numbers of all parts, and the alerts of the reporter.

    stages: time that each pose spent in further stages, milliseconds, by name.
    """

    def __init__(  # noqa: PLR0913, PLR0917  every part has numbers
        self,
        device: str,
        camera: CameraSupervisor,
        pipeline: Pipeline,
        delivery: MqttDelivery,
        recording: Recording,
        board: BoardSensors,
        model: HotSwapModel,
        *,
        stages: dict[str, RollingStats],
        reporter: Reporter,
    ) -> None:
        self._board, self._model, self._reporter = board, model, reporter
        self._device, self._started = device, time.monotonic()
        self._camera, self._pipeline, self._delivery, self._recording = camera, pipeline, delivery, recording
        self._stages = {"capture": camera.latency, **pipeline.stages, **stages}

    def line(self) -> str:
        """Returns the state of the daemon in one line, for `systemctl status`."""
        waiting = self._delivery.waiting + self._delivery.spooled
        alerts = "; ".join(self._reporter.alerts.values())
        return f"{self._pipeline.fps():.1f} poses/s, {waiting} waiting{f'; {alerts}' if alerts else ''}"

    def message(self) -> HealthMessage:
        camera, pipeline, delivery = self._camera, self._pipeline, self._delivery
        return HealthMessage(
            device=self._device,
            boot=boot_id(),
            t_us=wall_us(),
            uptime_s=round(time.monotonic() - self._started, 1),
            fps=pipeline.fps(),
            captured=camera.captured,
            poses=pipeline.poses,
            delivered=delivery.delivered,
            waiting=delivery.waiting,
            spooled=delivery.spooled,
            spool_mb=delivery.spool_mb,
            connects=delivery.connects,
            alerts=dict(self._reporter.alerts),
            skipped={"newer_frame": camera.displaced, **pipeline.skipped},
            dropped={**pipeline.dropped, **delivery.given_up},
            rejected=delivery.rejected,
            camera=dict(camera.counts),
            stage_ms={name: stage.percentiles() for name, stage in self._stages.items()},
            rss_mb=rss_mb(),
            runtime=self._model.estimator.describe(),
            delegate=self._model.estimator.delegate,
            recorded=self._recording.recorded(),
            board=self._board.latest(),
        )


def rss_mb() -> float:
    """Returns the memory of this process that is in RAM, MB; 0 where /proc does not have the number."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
