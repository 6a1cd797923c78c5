"""What the config's `rules`, `gpio` and `processor` sections may be: closed loops with what is around the animal."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edgepose.config.section import Section

Point = tuple[float, float]
Pin = Annotated[int, Meta(ge=0, le=27, description="GPIO number, as in `pinout`: not the place on the header")]
Keypoint = Annotated[str, Meta(min_length=1)]
Amount = Annotated[float, Meta(ge=0)]
RuleName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,40}$", description="such as reward")]


class InZoneConfig(Section, frozen=True, kw_only=True):
    """zone: corners of a polygon, pixels of the frame."""

    keypoint: Keypoint
    zone: Annotated[tuple[Point, ...], Meta(min_length=3)]


class RangeConfig(Section, frozen=True, kw_only=True):
    """above, below: bounds; one or both."""

    above: Amount | None = None
    below: Amount | None = None

    def __post_init__(self) -> None:
        if self.above is None and self.below is None:
            raise ValueError("give above, below, or both")

    def contains(self, value: float) -> bool:
        return (self.above is None or value > self.above) and (self.below is None or value < self.below)


class DistanceConfig(RangeConfig, frozen=True, kw_only=True):
    """Between two keypoints, in pixels."""

    between: tuple[Keypoint, Keypoint]


class SpeedConfig(RangeConfig, frozen=True, kw_only=True):
    """Of a keypoint, in pixels a second."""

    keypoint: Keypoint


class ScoreBelowConfig(Section, frozen=True, kw_only=True):
    """A keypoint that the model is not sure of."""

    keypoint: Keypoint
    below: Annotated[float, Meta(ge=0, le=1)]


class ConditionsConfig(Section, frozen=True, kw_only=True):
    """All of what is given must hold. min_score: keypoints that are less sure are nowhere."""

    in_zone: InZoneConfig | None = None
    distance: DistanceConfig | None = None
    speed: SpeedConfig | None = None
    score: ScoreBelowConfig | None = None
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.5

    def __post_init__(self) -> None:
        if not (self.in_zone or self.distance or self.speed or self.score):
            raise ValueError("give a condition: in_zone, distance, speed or score")


class RuleConfig(Section, frozen=True, kw_only=True):
    """for_s: it must hold so long before the rule begins. again_s: at least so long from one beginning to the next.
    event: tell beginning and end. pin: high from the beginning, for pulse_ms, or as long as the rule holds."""

    when: ConditionsConfig
    for_s: Amount = 0.0
    again_s: Amount = 0.0
    event: bool = True
    pin: Pin | None = None
    pulse_ms: Annotated[float, Meta(gt=0, le=60_000)] | None = None

    def __post_init__(self) -> None:
        if self.pulse_ms is not None and self.pin is None:
            raise ValueError("pulse_ms needs a pin")


class SyncConfig(Section, frozen=True, kw_only=True):
    """A pulse at each `every_s`, told with its frame and its time, to find video and electrophysiology together
    again."""

    pin: Pin
    every_s: Annotated[float, Meta(ge=0.01, le=3600)] = 1.0
    pulse_ms: Annotated[float, Meta(gt=0, le=1000)] = 10.0


class GpioConfig(Section, frozen=True, kw_only=True):
    """inputs: name and pin; each edge is told with its time. pull_up: for inputs that are switched to ground."""

    inputs: dict[RuleName, Pin] = msgspec.field(default_factory=dict)
    pull_up: bool = False
    sync: SyncConfig | None = None


class ProcessorConfig(Section, frozen=True, kw_only=True):
    """Your own Python: an object with a method `process(pose, **kwargs)`, as DeepLabCut-Live has it. load: module and
    class, such as feeder:Feeder. folder: of the module. arguments: of the class."""

    load: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="module:Class")]
    folder: str = "."
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
