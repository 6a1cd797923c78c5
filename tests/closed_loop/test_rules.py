"""Conditions on poses: zones, distances, speeds, scores, over time."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from edgepose.closed_loop.rules import Edge, Rules
from edgepose.config.closed_loop import RuleConfig
from edgepose.config.loading import parse_config
from edgepose.errors import ConfigError
from edgepose.types import Pose, Skeleton

SKELETON = Skeleton(("snout", "tail"))
ZONE = [[10, 10], [30, 10], [30, 30], [10, 30]]


def rules(**given: Any) -> Rules:
    return Rules({"r": msgspec.convert(given, RuleConfig)}, SKELETON)


def pose(snout: tuple[float, float], tail: tuple[float, float] = (0, 0), score: float = 1.0) -> Pose:
    return Pose(np.array([snout, tail], np.float32), np.array([score, 1.0], np.float32))


def edges(judge: Rules, poses: list[Pose], period_s: float = 0.1) -> list[tuple[int, bool]]:
    """Returns (number of the pose, True where the rule begins) of each edge."""
    return [(number, edge.on) for number, one in enumerate(poses) for edge in judge.judge(one, number * period_s)]


def test_a_zone_begins_and_ends_and_its_border_is_inside() -> None:
    judge = rules(when={"in_zone": {"keypoint": "snout", "zone": ZONE}})
    places = [(0, 0), (10, 20), (20, 20), (30.1, 20), (29, 20)]
    assert edges(judge, [pose(xy) for xy in places]) == [(1, True), (3, False), (4, True)]


def test_a_keypoint_that_is_not_sure_is_nowhere() -> None:
    when = {"in_zone": {"keypoint": "snout", "zone": ZONE}, "min_score": 0.6}
    assert edges(rules(when=when), [pose((20, 20), score=0.59), pose((20, 20), score=0.61)]) == [(1, True)]


def test_distance_speed_and_score() -> None:
    near = rules(when={"distance": {"between": ["snout", "tail"], "below": 5}})
    assert edges(near, [pose((6, 0)), pose((3, 3.9)), pose((5, 0))]) == [(1, True), (2, False)]
    fast = rules(when={"speed": {"keypoint": "snout", "above": 50, "below": 150}})
    assert edges(fast, [pose((x, 0)) for x in (0, 4, 14, 34)]) == [(2, True), (3, False)]
    unsure = rules(when={"score": {"keypoint": "snout", "below": 0.3}})
    assert edges(unsure, [pose((0, 0), score=s) for s in (0.9, 0.2, 0.3)]) == [(1, True), (2, False)]


def test_all_conditions_of_a_rule_must_hold() -> None:
    when = {"in_zone": {"keypoint": "snout", "zone": ZONE}, "speed": {"keypoint": "snout", "below": 10}}
    assert edges(rules(when=when), [pose((0, 20)), pose((20, 20)), pose((20.5, 20))]) == [(2, True)]


def test_it_must_hold_long_enough_and_rests_between() -> None:
    when = {"in_zone": {"keypoint": "snout", "zone": ZONE}}
    inside, outside = pose((20, 20)), pose((0, 0))
    held = rules(when=when, for_s=0.25)
    assert edges(held, [inside, inside, outside, inside, inside, inside, inside, outside]) == [(6, True), (7, False)]
    rested = rules(when=when, again_s=0.45)
    assert edges(rested, [inside, outside, inside, inside, inside, inside]) == [(0, True), (1, False), (5, True)]


def test_a_keypoint_that_the_model_does_not_have_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"rules.r: the model has no keypoint 'nose'; it has: snout, tail"):
        rules(when={"score": {"keypoint": "nose", "below": 0.3}})


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("rules: {r: {when: {}}}", "give a condition: in_zone, distance, speed or score"),
        ("rules: {r: {when: {speed: {keypoint: a}}}}", "give above, below, or both"),
        ("rules: {r: {when: {score: {keypoint: a, below: 0.5}}, pulse_ms: 5}}", "pulse_ms needs a pin"),
        ("rules: {r: {when: {in_zone: {keypoint: a, zone: [[0, 0], [1, 1]]}}}}", "length >= 3"),
        ("rules: {r: {when: {score: {keypoint: a, below: 0.5}}, pin: 28}}", "<= 27"),
        ("gpio: {inputs: {a: 5, b: 5}}", "rules and gpio: pin 5 is used twice"),
        ("gpio: {imputs: {a: 5}}", "did you mean 'inputs'"),
        ("processor: {load: feeder}", "fits the pattern"),
    ],
)
def test_mistakes_in_the_config_are_named(lines: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse_config(f"model: m.tflite\ncamera: {{source: synthetic}}\n{lines}\n", "edgepose.yaml")


def test_edges_name_their_rule() -> None:
    judge = rules(when={"score": {"keypoint": "snout", "below": 0.3}})
    assert judge.judge(pose((0, 0), score=0.1), 0.0) == [Edge("r", on=True)]
