"""Decides which rules of closed loops hold for a pose, and which of them have just begun or ended."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgepose.config.closed_loop import ConditionsConfig, RuleConfig
from edgepose.errors import ConfigError
from edgepose.geometry.zones import inside
from edgepose.types import Pose, Skeleton

Points = dict[str, tuple[float, float, float]]
"""(x, y, score) of each keypoint, by its name; x and y in pixels of the frame."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A rule has begun (`on`) or ended."""

    name: str
    on: bool


class Rules:
    """The rules of a config, and the state of each.

    Raises:
        ConfigError: A rule names a keypoint that the model does not have.
    """

    def __init__(self, rules: dict[str, RuleConfig], skeleton: Skeleton) -> None:
        self._rules, self._names = rules, skeleton.keypoints
        for name, rule in rules.items():
            for keypoint in _keypoints(rule.when):
                if keypoint not in skeleton.keypoints:
                    known = ", ".join(skeleton.keypoints)
                    raise ConfigError(f"rules.{name}: the model has no keypoint {keypoint!r}; it has: {known}")
        self._polygons = {
            name: np.array(rule.when.in_zone.zone, np.float64) for name, rule in rules.items() if rule.when.in_zone
        }
        self._held_since: dict[str, float] = {}
        self._on: set[str] = set()
        self._began: dict[str, float] = {}
        self._last: tuple[float, Points] | None = None

    def judge(self, pose: Pose, time_s: float) -> list[Edge]:
        """Returns the rules that begin or end with this pose.

        time_s: time of the frame, seconds, on a clock that does not jump.
        """
        rows = zip(self._names, pose.xy_px.tolist(), pose.score.tolist(), strict=True)
        points = {name: (x, y, score) for name, (x, y), score in rows}
        edges = []
        for name, rule in self._rules.items():
            holds = self._holds(name, rule.when, points, time_s)
            since = self._held_since.setdefault(name, time_s) if holds else None
            if not holds:
                self._held_since.pop(name, None)
            if name in self._on:
                if not holds:
                    self._on.remove(name)
                    edges.append(Edge(name, on=False))
            elif (
                since is not None
                and time_s - since >= rule.for_s
                and time_s - self._began.get(name, -math.inf) >= rule.again_s
            ):
                self._on.add(name)
                self._began[name] = time_s
                edges.append(Edge(name, on=True))
        self._last = time_s, points
        return edges

    def _holds(self, name: str, when: ConditionsConfig, points: Points, time_s: float) -> bool:
        """Returns True when every condition of the rule is met.

        A keypoint whose score is below `min_score` meets no condition but `score`.
        """
        if when.score and points[when.score.keypoint][2] >= when.score.below:
            return False
        if any(points[keypoint][2] < when.min_score for keypoint in _placed(when)):
            return False
        if when.in_zone:
            xy = np.array([points[when.in_zone.keypoint][:2]])
            if not inside(xy, self._polygons[name])[0]:
                return False
        if when.distance:
            (ax, ay, _), (bx, by, _) = (points[keypoint] for keypoint in when.distance.between)
            if not when.distance.contains(math.hypot(ax - bx, ay - by)):
                return False
        return not when.speed or self._speed_holds(when, points, time_s)

    def _speed_holds(self, when: ConditionsConfig, points: Points, time_s: float) -> bool:
        """Measures the speed from the pose before, and only where the keypoint was above `min_score` in both."""
        assert when.speed is not None
        if self._last is None or time_s <= self._last[0]:
            return False
        (x, y, _), (old_x, old_y, score) = points[when.speed.keypoint], self._last[1][when.speed.keypoint]
        speed = math.hypot(x - old_x, y - old_y) / (time_s - self._last[0])
        return score >= when.min_score and when.speed.contains(speed)


def _placed(when: ConditionsConfig) -> list[str]:
    """Returns the keypoints whose position a condition uses."""
    found = [when.in_zone.keypoint] if when.in_zone else []
    found += when.distance.between if when.distance else ()
    return found + ([when.speed.keypoint] if when.speed else [])


def _keypoints(when: ConditionsConfig) -> list[str]:
    return _placed(when) + ([when.score.keypoint] if when.score else [])
