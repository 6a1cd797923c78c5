"""Computes how the synthetic mouse moves and what its outline is, with numpy only and without pixels.

The walk is a closed curve that takes `LOOP_FRAMES` frames, and everything that moves (speed, head, tail, paws)
repeats with it. So the keypoints of any frame are a table look-up by its number, in this process or another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepose.types import F64, Skeleton

SKELETON = Skeleton(
    keypoints=("snout", "leftear", "rightear", "tailbase"),
    edges=(("snout", "leftear"), ("snout", "rightear"), ("leftear", "tailbase"), ("rightear", "tailbase")),
    flip_pairs=(("leftear", "rightear"),),
)
LOOP_FRAMES = 1800  # a minute at 30 frames per second
FLOOR_INSET = 0.075  # width of the arena's walls in the picture, in parts of its shorter side

_BODY_PARTS = 0.24  # length from snout to tail base, in parts of the picture's shorter side
_TAIL_STEPS = 14
_SAMPLES = 6  # outline points per piece of the spine
_MAX_BEND = 0.5  # radians by which each half of the body may turn away from its middle
# Half widths along the spine (see `_spine`), in body lengths. Its two ends are keypoints.
_HALF_WIDTH = np.array([0.020, 0.050, 0.086, 0.112, 0.155, 0.180, 0.135, 0.038])
_HEAD, _CHEST, _RUMP = 2, 3, 5
# Half axes of two ears, two fore and two hind paws, in body lengths.
_ROUND_SIZE = np.array([[0.074, 0.055]] * 2 + [[0.034, 0.022]] * 2 + [[0.050, 0.022]] * 2)


@dataclass(frozen=True, slots=True)
class Shape:
    """The mouse of one frame, in pixels: closed polygons (n, 2), two ears (2, n, 2), four paws (4, n, 2).

    Attributes:
        spine: the line from snout to tail base, (n, 2).
    """

    body: F64
    tail: F64
    ears: F64
    paws: F64
    spine: F64


class Mouse:
    """The mouse of one `seed` in a picture of `size_wh`.

    Attributes:
        length_px: length from snout to tail base of a stretched mouse.
    """

    def __init__(self, seed: int, size_wh: tuple[int, int]) -> None:
        rng = np.random.default_rng([seed % 2**32, 0])
        self.length_px = _BODY_PARTS * min(size_wh) * rng.uniform(0.85, 1.2)
        centre, heading, bend, gait = _walk(rng, size_wh, self.length_px)
        self._head = bend + _sway(rng, 0.45, (7, 19, 31))
        self._tail_bend = _sway(rng, 1.3, (5, 11, 17)) - bend
        self._tail_phase = 2 * np.pi * (rng.random() + 23 * _clock())
        self._heading, self._rump_heading = heading, heading - bend
        self._spine = _spine(centre, heading, heading + self._head, self._rump_heading, self.length_px)
        self._truth = _keypoints(self._spine, heading + self._head, self.length_px)
        self._paws = _paws(self._spine, heading, self._rump_heading, gait, self.length_px)
        self._widths = _smooth(_HALF_WIDTH[:, None])[:, 0] * self.length_px

    def truth(self, index: int) -> F64:
        """Returns the keypoints of frame `index` in the order of `SKELETON`, (4, 2) pixels."""
        return np.array(self._truth[index % LOOP_FRAMES])

    def heading(self, index: int) -> float:
        """Returns the direction of the body, radians from the x axis of the picture towards its y axis."""
        return float(self._heading[index % LOOP_FRAMES])

    def shape(self, index: int) -> Shape:
        i = index % LOOP_FRAMES
        body, head, rump = self._heading[i], self._heading[i] + self._head[i], self._rump_heading[i]
        round_parts = _ellipses(
            np.vstack([self._truth[i, 1:3], self._paws[i]]),
            _ROUND_SIZE * self.length_px,
            np.array([head - 1.1, head + 1.1, body - 0.4, body + 0.4, rump - 0.4, rump + 0.4]),
        )
        spine = _smooth(self._spine[i])
        return Shape(_ribbon(spine, self._widths), self._tail(i), round_parts[:2], round_parts[2:], spine)

    def _tail(self, i: int) -> F64:
        """Returns the tail, which bends more and more towards its tip, and along which a wave runs."""
        along = np.linspace(0, 1, _TAIL_STEPS)
        angle = self._rump_heading[i] + np.pi + self._tail_bend[i] * along**1.5
        angle = angle + 0.35 * along * np.sin(2 * np.pi * along * 0.9 - self._tail_phase[i])
        steps = _direction(angle) * (0.9 * self.length_px / _TAIL_STEPS)
        # Starts inside the body, so that no gap opens at the joint.
        start = self._spine[i, -1] - 0.06 * self.length_px * _direction(angle[:1])[0]
        points = np.vstack([start, start + np.cumsum(steps, axis=0)])
        return _ribbon(points, np.linspace(0.030, 0.008, len(points)) * self.length_px)


def _clock() -> F64:
    """Returns the position within the loop, 0..1, (N,)."""
    return np.arange(LOOP_FRAMES, dtype=np.float64) / LOOP_FRAMES


def _sway(rng: np.random.Generator, reach: float, turns: tuple[int, ...]) -> F64:
    """Returns a smooth swing within about -reach..reach that repeats with the loop, (N,)."""
    phase = rng.random(len(turns))
    weight = rng.dirichlet(np.full(len(turns), 4.0))
    waves = np.sin(2 * np.pi * (np.outer(_clock(), turns) + phase))
    return np.asarray(reach * 1.3 * waves @ weight, np.float64)


def _walk(rng: np.random.Generator, size_wh: tuple[int, int], length_px: float) -> tuple[F64, F64, F64, F64]:
    """Body centre (N, 2), heading (N,), bend of the body (N,) and gait phase (N,): the gentlest of many curves."""
    inset = FLOOR_INSET * min(size_wh) + 0.42 * length_px
    low, high = np.full(2, inset), np.array(size_wh) - 1 - inset
    curves = [_closed_curve(rng, low, high) for _ in range(48)]
    curve = min(curves, key=lambda points: float(np.abs(_turning(points)).max()))
    step = np.linalg.norm(np.roll(curve, -1, axis=0) - curve, axis=1)
    length = np.concatenate([[0.0], np.cumsum(step)])
    # Runs and pauses: the speed swings between nearly nothing and twice the mean.
    speed = np.clip(1 + _sway(rng, 1.1, (9, 14, 23)), 0.04, None)
    walked = (np.cumsum(speed) - speed[0]) / speed.sum() * length[-1]
    closed = np.vstack([curve, curve[:1]])

    def at(distance: F64) -> F64:
        wrapped = distance % length[-1]
        return np.stack([np.interp(wrapped, length, closed[:, axis]) for axis in (0, 1)], axis=1)

    reach = 0.35 * length_px
    ahead, behind = at(walked + reach) - at(walked), at(walked) - at(walked - reach)
    angle_ahead, angle_behind = np.arctan2(ahead[:, 1], ahead[:, 0]), np.arctan2(behind[:, 1], behind[:, 0])
    half_turn = np.angle(np.exp(1j * (angle_ahead - angle_behind))) / 2
    bend = _MAX_BEND * np.tanh(half_turn / _MAX_BEND)
    strides = round(length[-1] / (0.55 * length_px))
    return at(walked), angle_behind + half_turn, bend, 2 * np.pi * strides * walked / length[-1]


def _closed_curve(rng: np.random.Generator, low: F64, high: F64) -> F64:
    """Returns points of a smooth closed curve that touches all four sides of the box low..high."""
    turns = np.array([1, 2, 3])
    phase = 2 * np.pi * np.linspace(0, 1, 3000, endpoint=False)
    waves = np.sin(phase[:, None, None] * turns + 2 * np.pi * rng.random((2, 3)))
    points = (waves * rng.uniform(0.35, 1.0, (2, 3)) / turns**0.5).sum(axis=2)
    points -= points.min(axis=0)
    return np.asarray(low + points / points.max(axis=0) * (high - low), np.float64)


def _turning(points: F64) -> F64:
    """Returns the curvature along a closed curve, radians per pixel."""
    step = np.roll(points, -1, axis=0) - points
    angle = np.arctan2(step[:, 1], step[:, 0])
    turn = np.angle(np.exp(1j * (np.roll(angle, -1) - angle)))
    return np.asarray(turn / np.linalg.norm(step, axis=1), np.float64)


def _direction(angle: F64 | float) -> F64:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _spine(centre: F64, heading: F64, head: F64, rump: F64, length_px: float) -> F64:
    """Returns points from snout to tail base, (N, 8, 2): the head turns at the chest, the rump at the middle."""
    body, front, back = (length_px * _direction(angle) for angle in (heading, head, rump))
    chest = centre + 0.15 * body
    before = [chest + part * front for part in (0.35, 0.285, 0.16, 0.0)]
    return np.stack([*before, centre, *(centre - part * back for part in (0.22, 0.41, 0.5))], axis=1)


def _paws(spine: F64, heading: F64, rump: F64, gait: F64, length_px: float) -> F64:
    """Returns four paws that swing with the distance walked, diagonal pairs together, (N, 4, 2)."""
    found = []
    for part, side, phase in ((_CHEST, -1, 0.0), (_CHEST, 1, np.pi), (_RUMP, -1, np.pi), (_RUMP, 1, 0.0)):
        angle = heading if part == _CHEST else rump
        out = side * (_HALF_WIDTH[part] + 0.012) * _direction(angle + np.pi / 2)
        forward = (0.02 + 0.07 * np.sin(gait + phase))[:, None] * _direction(angle)
        found.append(spine[:, part] + length_px * (forward + out))
    return np.stack(found, axis=1)


def _keypoints(spine: F64, head: F64, length_px: float) -> F64:
    """Returns the keypoints, (N, 4, 2). Image y points down, so the left ear lies at minus a quarter turn."""
    base = spine[:, _HEAD] - 0.01 * length_px * _direction(head)
    across = 0.104 * length_px * _direction(head + np.pi / 2)
    return np.stack([spine[:, 0], base - across, base + across, spine[:, -1]], axis=1)


def _catmull_rom(count: int) -> F64:
    """Returns the weights of `count` points in a smooth curve through all of them, (samples, count)."""
    ends = np.eye(count)
    padded = np.vstack([2 * ends[0] - ends[1], ends, 2 * ends[-1] - ends[-2]])
    t = np.linspace(0, 1, _SAMPLES, endpoint=False)[:, None]
    pieces = [
        b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.vstack([*pieces, ends[-1:]])


_CURVE = _catmull_rom(len(_HALF_WIDTH))
_CIRCLE = np.linspace(0, 2 * np.pi, 16, endpoint=False)


def _smooth(points: F64) -> F64:
    """Returns a smooth curve through the spine's points (8, d), both ends included."""
    return np.asarray(_CURVE @ points, np.float64)


def _ribbon(line: F64, half_width: F64) -> F64:
    """Returns the outline of a line with a width: down one side, back on the other."""
    along = np.gradient(line, axis=0)
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * half_width[:, None]
    return np.vstack([line + across, (line - across)[::-1]])


def _ellipses(centre: F64, size: F64, angle: F64) -> F64:
    """Returns the outlines (n, 16, 2) of n ellipses; size (n, 2): half axes along and across `angle`."""
    x, y = np.cos(_CIRCLE) * size[:, :1], np.sin(_CIRCLE) * size[:, 1:]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.asarray(centre[:, None] + np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1), np.float64)
