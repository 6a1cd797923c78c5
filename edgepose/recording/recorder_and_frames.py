"""What the config asks to be kept on this device: the recording, the uncertain frames, both or neither."""

from __future__ import annotations

from collections.abc import Callable

from edgepose.config.schema import Config
from edgepose.protocol.messages import Recorded
from edgepose.recording.hard_frames import HardFrames
from edgepose.recording.recorder import Recorder
from edgepose.types import Skeleton


class Recording:
    """observers: of the pipeline. scorer: of the tables, the model. tell(kind, text, count): events."""

    def __init__(self, config: Config, skeleton: Skeleton, scorer: str, tell: Callable[[str, str, int], None]) -> None:
        device = config.device_name()
        self._recorder = Recorder(config.record, device, skeleton, scorer, tell) if config.record else None
        self._uncertain = HardFrames(config.uncertain, device, skeleton, scorer) if config.uncertain else None
        self.observers = [part for part in (self._recorder, self._uncertain) if part is not None]

    def start(self) -> None:
        for part in self.observers:
            part.start()

    def close(self) -> None:
        """In bounded time."""
        for part in self.observers:
            part.close()

    def use_model(self, scorer: str) -> None:
        """From the next segment on. Its keypoints are those of the one before."""
        for part in self.observers:
            part.scorer = scorer

    def mark(self, phase: str) -> None:
        """An experiment begins (`start`) or ends (`stop`)."""
        if self._recorder is not None:
            self._recorder.when.mark(phase)

    @property
    def alerts(self) -> dict[str, str]:
        """What is wrong now, in words, by what it is about."""
        return {about: text for part in self.observers for about, text in part.alerts.items()}

    def recorded(self) -> Recorded | None:
        """The numbers for /health."""
        if not self.observers:
            return None
        recorder, keeper = self._recorder, self._recorder.keeper if self._recorder is not None else None
        return Recorded(
            on=recorder is not None and recorder.on,
            segments=keeper.segments if keeper is not None else 0,
            mb=keeper.mb if keeper is not None else 0.0,
            frames=recorder.frames if recorder is not None else 0,
            dropped=dict(recorder.dropped) if recorder is not None else {},
            uncertain=self._uncertain.saved if self._uncertain is not None else 0,
        )
