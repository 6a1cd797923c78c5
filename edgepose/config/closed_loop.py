"""Defines the config's sections for closed loops: `rules`, `gpio` and `processor`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edgepose.system.strict import Section

Point = tuple[float, float]
Pin = Annotated[int, Meta(ge=0, le=27)]
Keypoint = Annotated[str, Meta(min_length=1)]
Amount = Annotated[float, Meta(ge=0)]
RuleName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,40}$")]


class InZoneConfig(Section, frozen=True, kw_only=True):
    """The condition that a keypoint is inside a polygon.

    Attributes:
        keypoint: The keypoint that must be inside.
        zone: The corners [x, y] of the polygon in pixels of the frame.
    """

    keypoint: Annotated[Keypoint, Meta(examples=["snout"])]
    zone: Annotated[tuple[Point, ...], Meta(min_length=3, examples=[[[500, 180], [640, 180], [640, 300], [500, 300]]])]


class RangeConfig(Section, frozen=True, kw_only=True):
    """Bounds for a measured value: a lower one, an upper one, or both.

    Attributes:
        above: The value must be larger than this; null is no bound.
        below: The value must be smaller than this; null is no bound.
    """

    above: Amount | None = None
    below: Amount | None = None

    def __post_init__(self) -> None:
        if self.above is None and self.below is None:
            raise ValueError("give above, below, or both")

    def contains(self, value: float) -> bool:
        return (self.above is None or value > self.above) and (self.below is None or value < self.below)


class DistanceConfig(RangeConfig, frozen=True, kw_only=True):
    """The condition on the distance between two keypoints, in pixels.

    Attributes:
        between: The two keypoints.
    """

    between: Annotated[tuple[Keypoint, Keypoint], Meta(examples=[["snout", "tailbase"]])]


class SpeedConfig(RangeConfig, frozen=True, kw_only=True):
    """The condition on the speed of a keypoint, in pixels per second.

    Attributes:
        keypoint: The keypoint whose speed counts.
    """

    keypoint: Annotated[Keypoint, Meta(examples=["snout"])]


class ScoreBelowConfig(Section, frozen=True, kw_only=True):
    """The condition that the model is not sure of a keypoint.

    Attributes:
        keypoint: The keypoint whose score counts.
        below: The score must be smaller than this, from 0 to 1.
    """

    keypoint: Annotated[Keypoint, Meta(examples=["snout"])]
    below: Annotated[float, Meta(ge=0, le=1, examples=[0.3])]


class ConditionsConfig(Section, frozen=True, kw_only=True):
    """Conditions of a rule. All of those that are given must hold at the same time.

    Attributes:
        in_zone: A keypoint is inside a polygon.
        distance: Two keypoints are far from each other, or near, in pixels.
        speed: A keypoint is fast or slow, in pixels per second.
        score: The model is not sure of a keypoint.
        min_score: A keypoint with a lower score counts as not found, so that no condition on its place holds.
    """

    in_zone: InZoneConfig | None = None
    distance: Annotated[DistanceConfig | None, Meta(examples=[{"between": ["snout", "tailbase"], "above": 140}])] = None
    speed: Annotated[SpeedConfig | None, Meta(examples=[{"keypoint": "snout", "below": 100}])] = None
    score: Annotated[ScoreBelowConfig | None, Meta(examples=[{"keypoint": "snout", "below": 0.3}])] = None
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.5

    def __post_init__(self) -> None:
        if not (self.in_zone or self.distance or self.speed or self.score):
            raise ValueError("give a condition: in_zone, distance, speed or score")


class RuleConfig(Section, frozen=True, kw_only=True):
    """A rule: when poses meet its conditions, there is an event, and a pulse or a level on a pin.

    Attributes:
        when: The conditions: in_zone, distance, speed, score; all that are given must hold.
        for_s: Seconds for which the conditions must hold before the rule begins.
        again_s: The least seconds between two beginnings of the rule.
        event: true sends an event when the rule begins and when it ends.
        pin: The GPIO number (as `pinout` shows it, not the place on the header) that goes high; null uses no pin.
        pulse_ms: Milliseconds for which the pin is high; null is as long as the conditions hold.
    """

    when: Annotated[
        ConditionsConfig,
        Meta(examples=[{"in_zone": {"keypoint": "snout", "zone": [[500, 180], [640, 180], [640, 300]]}}]),
    ]
    for_s: Amount = 0.0
    again_s: Amount = 0.0
    event: bool = True
    pin: Pin | None = None
    pulse_ms: Annotated[float, Meta(gt=0, le=60_000)] | None = None

    def __post_init__(self) -> None:
        if self.pulse_ms is not None and self.pin is None:
            raise ValueError("pulse_ms needs a pin")


class SyncConfig(Section, frozen=True, kw_only=True):
    """Regular pulses, each reported with its frame and time, that align the poses with another recording.

    Attributes:
        pin: The GPIO number that the pulses come out of.
        every_s: Seconds from one pulse to the next.
        pulse_ms: Milliseconds for which a pulse is high.
    """

    pin: Annotated[Pin, Meta(examples=[24])]
    every_s: Annotated[float, Meta(ge=0.01, le=3600)] = 1.0
    pulse_ms: Annotated[float, Meta(gt=0, le=1000)] = 10.0


class GpioConfig(Section, frozen=True, kw_only=True):
    """Signals in and out of the board's pins, such as TTL. The pins take 3.3 V.

    Attributes:
        inputs: Names of the inputs and their GPIO numbers. Each edge is reported with its time.
        pull_up: true is for inputs that a switch connects to ground; they are high when it is open.
        sync: Regular pulses for another recording device; null sends none.
    """

    inputs: Annotated[dict[RuleName, Pin], Meta(examples=[{"recording_trigger": 23}])] = msgspec.field(
        default_factory=dict
    )
    pull_up: bool = False
    sync: Annotated[SyncConfig | None, Meta(examples=[{"pin": 24}])] = None


class ProcessorConfig(Section, frozen=True, kw_only=True):
    """Your own Python class with a method `process(pose, **kwargs)`, as in DeepLabCut-Live, called at each pose.

    Attributes:
        load: The module and the class, as module:Class.
        folder: The folder that the module lies in.
        arguments: Keyword arguments for the class.
    """

    load: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", examples=["processor:Counter"])]
    folder: str = "."
    arguments: Annotated[dict[str, Any], Meta(examples=[{"zone": [500, 180, 640, 300]}])] = msgspec.field(
        default_factory=dict
    )
