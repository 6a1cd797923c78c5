"""The /health message, gathered from all parts of the daemon."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgepose.camera.supervisor import CameraSupervisor
from edgepose.daemon.board import SampledBoard
from edgepose.daemon.pipeline import Pipeline
from edgepose.delivery.delivery import MqttDelivery
from edgepose.model_store.hot_swap import HotSwapModel
from edgepose.protocol.messages import HealthMessage
from edgepose.recording.recorder import Recording
from edgepose.system.clock import boot_id, wall_us
from edgepose.system.reporter import Reporter


class Alerting(Protocol):
    @property
    def alerts(self) -> dict[str, str]: ...


class HealthMonitor:
    """Reads the numbers of all parts, and the alerts of the reporter."""

    def __init__(  # noqa: PLR0913, PLR0917  every part has numbers
        self,
        device: str,
        camera: CameraSupervisor,
        pipeline: Pipeline,
        delivery: MqttDelivery,
        recording: Recording,
        board: SampledBoard,
        at_work: HotSwapModel,
        others: Sequence[Alerting],
        *,
        reporter: Reporter,
    ) -> None:
        self._board, self._at_work, self._others, self._reporter = board, at_work, others, reporter
        self._begun: set[str] = set()
        self._device, self._started = device, time.monotonic()
        self._camera, self._pipeline, self._delivery, self._recording = camera, pipeline, delivery, recording

    def alerts(self) -> dict[str, str]:
        """What is wrong now; also from the parts that do not use the reporter yet."""
        parts: list[Alerting] = [*self._others, self._at_work.estimator]
        alerts = {about: text for part in parts for about, text in dict(part.alerts).items()}
        return {**alerts, **self._reporter.alerts}

    def inspect(self) -> None:
        """Sends an event when an alert of such a part begins. To be called about once a second."""
        alerts = {about: text for about, text in self.alerts().items() if about not in self._reporter.alerts}
        for about in alerts.keys() - self._begun:
            self._reporter.event("alert", f"{about}: {alerts[about]}")
        self._begun = set(alerts)

    def line(self) -> str:
        """The state of the daemon in one line, for `systemctl status`."""
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
    """The memory of this process that is in RAM, MB; 0 where /proc does not have the number."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
