"""What /health says, gathered from everybody who has something to tell."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgepose.camera.supervisor import CameraSupervisor
from edgepose.daemon.board import SampledBoard, board_alerts
from edgepose.daemon.pipeline import Pipeline
from edgepose.delivery.delivery import MqttDelivery
from edgepose.model_store.hot_swap import HotSwapModel
from edgepose.protocol.messages import HealthMessage
from edgepose.recording.recorder import Recording
from edgepose.system.clock import boot_id, wall_us

QUIET_S = 60.0  # what comes and goes is told once


class Alerting(Protocol):
    @property
    def alerts(self) -> dict[str, str]: ...


class HealthMonitor:
    def __init__(  # noqa: PLR0913, PLR0917  everybody who has something to tell
        self,
        device: str,
        camera: CameraSupervisor,
        pipeline: Pipeline,
        delivery: MqttDelivery,
        recording: Recording,
        board: SampledBoard,
        at_work: HotSwapModel,
        others: Sequence[Alerting],
    ) -> None:
        self._board, self._at_work, self._others = board, at_work, others
        self._told_s: dict[str, float] = {}  # monotonic clock of when each alert was there last
        self._device, self._started = device, time.monotonic()
        self._camera, self._pipeline, self._delivery, self._recording = camera, pipeline, delivery, recording

    def alerts(self) -> dict[str, str]:
        """What is wrong now, in words, by what it is about."""
        parts: list[Alerting] = [self._pipeline, self._camera, *self._others]
        parts.append(self._at_work.estimator)
        ours = {about: text for part in parts for about, text in part.alerts.items()}
        return {**ours, **self._delivery.reporter.alerts, **board_alerts(self._board.now())}

    def news(self) -> dict[str, str]:
        """Alerts that were not there before, or not for `QUIET_S`."""
        reported = self._delivery.reporter.alerts  # which sends the events of its own alerts
        now, alerts = time.monotonic(), {k: v for k, v in self.alerts().items() if k not in reported}
        new = {about: text for about, text in alerts.items() if now - self._told_s.get(about, -QUIET_S) >= QUIET_S}
        self._told_s.update(dict.fromkeys(alerts, now))
        return new

    def line(self) -> str:
        """In one line."""
        waiting = self._delivery.waiting + self._delivery.spooled
        alerts = "; ".join(self.alerts().values())
        return f"{self._pipeline.fps():.1f} poses/s, {waiting} waiting{f'; {alerts}' if alerts else ''}"

    def message(self) -> HealthMessage:
        camera, pipeline, delivery = self._camera, self._pipeline, self._delivery
        displaced, skipped = camera.displaced, pipeline.skipped
        return HealthMessage(
            device=self._device,
            boot=boot_id(),
            t_us=wall_us(),
            uptime_s=round(time.monotonic() - self._started, 1),
            fps=pipeline.fps(),
            captured=pipeline.captured + displaced,
            poses=pipeline.poses,
            delivered=delivery.delivered,
            waiting=delivery.waiting,
            spooled=delivery.spooled,
            spool_mb=delivery.spool_mb,
            connects=delivery.connects,
            alerts=self.alerts(),
            skipped={**skipped, "newer_frame": skipped["newer_frame"] + displaced},
            dropped={**pipeline.dropped, **delivery.given_up},
            rejected=delivery.rejected,
            camera=dict(camera.counts),
            stage_ms={name: stage.percentiles() for name, stage in pipeline.stages.items()},
            rss_mb=rss_mb(),
            runtime=self._at_work.estimator.describe(),
            delegate=self._at_work.estimator.delegate,
            recorded=self._recording.recorded(),
            board=self._board.now(),
        )


def rss_mb() -> float:
    """Memory of this process that is in RAM, MB; 0 where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
