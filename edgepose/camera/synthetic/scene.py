"""Paints the synthetic mouse into its arena. Every `seed` has its own floor, light, fur and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edgepose.camera.synthetic.mouse import FLOOR_INSET, Mouse, Shape
from edgepose.geometry.coordinates import px_to_cell
from edgepose.types import F32, F64, U8

_SHIFT = 6  # fraction bits that cv2's polygons take: 1/64 pixel
_THIN_ROWS = 4
_NOISE_LIFT = 24  # noise tiles hold noise + this number, so that one saturating uint8 pass adds them
_NOISE_TILE = 256
_NOISE_JUMP = 64  # for each frame the tile is shifted by up to so many pixels
_FUR_TILE = 192


@dataclass(frozen=True, slots=True)
class _Style:
    """The look of a scene, which its seed decides.

    Attributes:
        floor: colour (3,), BGR 0..255; so are `wall`, `fur` and `skin`.
        light: unit vector (2,) towards the light.
    """

    floor: F64
    wall: F64
    fur: F64
    skin: F64
    light: F64
    vignette: float
    slope: float
    shadow: float
    noise: float
    blur_px: float


class Scene:
    """The pictures of one seed: `render(index)` is always the same for the same seed, size and index."""

    def __init__(self, seed: int, size_wh: tuple[int, int]) -> None:
        rng = np.random.default_rng([seed % 2**32, 1])
        self.mouse = Mouse(seed, size_wh)
        self._style = _style(rng, min(size_wh))
        self._floor = np.clip(_arena(rng, self._style, size_wh) - _NOISE_LIFT, 0, 255).astype(np.uint8)
        self._noise = _noise(rng, self._style.noise, size_wh)
        self._fur = _fur(rng)
        self._seed = seed

    def render(self, index: int) -> U8:
        """Returns frame `index`, uint8 (H, W, 3) in BGR order, in memory of its own."""
        image = self._floor.copy()
        self._paint(image, index)
        x, y = np.random.default_rng([self._seed % 2**32, 2, index]).integers(0, _NOISE_JUMP, 2)
        height, width = image.shape[:2]
        return cv2.add(image, self._noise[y : y + height, x : x + width], dst=image)  # type: ignore[return-value]

    def _paint(self, image: U8, index: int) -> None:
        """Draws into a patch around the mouse only, since the rest of the picture never changes."""
        shape, style, length = self.mouse.shape(index), self._style, self.mouse.length_px
        drop = -style.light * 0.09 * length
        low, high = _bounds(shape, drop, 0.17 * length + 4, image)
        patch = image[low[1] : high[1], low[0] : high[0]]
        planes = np.array(cv2.split(patch), np.float32)  # colours first: masks broadcast fast
        planes *= self._shadow(shape, drop, low, patch.shape)
        for part in (shape.tail, *shape.paws):
            _stamp(planes, part - low, style.skin, style.blur_px)
        self._paint_body(planes, shape, index, low)
        for ear in shape.ears:
            _stamp(planes, ear - low, 0.35 * style.skin + 0.5 * style.fur, style.blur_px + 0.008 * length, 0.85)
            inner = ear.mean(axis=0) + 0.55 * (ear - ear.mean(axis=0))
            _stamp(planes, inner - low, 0.85 * style.skin, style.blur_px + 0.016 * length, 0.7)
        _stamp(planes, _square(shape.spine[1], 0.02 * length) - low, style.skin, 0.016 * length, 0.5)
        np.clip(planes, 0, 255, out=planes)
        patch[...] = cv2.merge(list(planes.astype(np.uint8)))

    def _shadow(self, shape: Shape, drop: F64, low: F64, shape_hw: tuple[int, ...]) -> F32:
        """Returns factors (h, w): a soft shadow away from the light, and a hard one under the mouse."""
        length, coarse = self.mouse.length_px, _coarse(self.mouse.length_px)
        small_hw = (-(-shape_hw[0] // coarse), -(-shape_hw[1] // coarse))
        thrown = [px_to_cell(part - low + drop, coarse) for part in (shape.body, shape.tail)]
        touching = [px_to_cell(part - low, coarse) for part in (shape.body, *shape.paws)]
        factor = 1 - self._style.shadow * coverage(thrown, small_hw, 0.055 * length / coarse)
        factor *= 1 - 0.35 * coverage(touching, small_hw, 0.03 * length / coarse)
        return _enlarge(factor, coarse, shape_hw)

    def _paint_body(self, planes: F32, shape: Shape, index: int, low: F64) -> None:
        """Paints the fur: a rounded back, lit from one side, with hairs that turn with the mouse."""
        length, style, coarse = self.mouse.length_px, self._style, _coarse(self.mouse.length_px)
        box = _box(shape.body - low, 3 * style.blur_px + 2, planes.shape[1:])
        corner = low + np.array([box[1].start, box[0].start])
        view = planes[:, box[0], box[1]]
        hw = view.shape[1:]
        small_hw = (-(-hw[0] // coarse), -(-hw[1] // coarse))
        back = coverage([px_to_cell(shape.body - corner, coarse)], small_hw, 0.07 * length / coarse)
        slope_x, slope_y = cv2.Scharr(back, cv2.CV_32F, 1, 0), cv2.Scharr(back, cv2.CV_32F, 0, 1)
        # The back falls away towards the light on the lit side: its slope is negative there.
        side = -(slope_x * style.light[0] + slope_y * style.light[1]) * (length / coarse / 190)
        tone = _enlarge(np.maximum(0.78 + 0.38 * back + 0.9 * side, 0.25), coarse, hw)
        tone *= 1 + 0.17 * self._hairs(shape, index, corner, hw)
        coat = tone * style.fur.astype(np.float32)[:, None, None]
        view += coverage([shape.body - corner], hw, style.blur_px) * (coat - view)

    def _hairs(self, shape: Shape, index: int, corner: F64, shape_hw: tuple[int, ...]) -> F32:
        middle = shape.spine[len(shape.spine) // 2] - corner
        zoom = self.mouse.length_px / (0.6 * _FUR_TILE)
        turn = cv2.getRotationMatrix2D((0, 0), -np.degrees(self.mouse.heading(index)), zoom)
        turn[:, 2] = middle - turn[:, :2] @ np.full(2, _FUR_TILE / 2)
        return np.asarray(
            cv2.warpAffine(self._fur, turn, shape_hw[::-1], borderMode=cv2.BORDER_REFLECT_101), np.float32
        )


def _style(rng: np.random.Generator, short_side: int) -> _Style:
    angle = rng.uniform(0, 2 * np.pi)
    tint = 1 + rng.uniform(-0.018, 0.018, 3)
    floor = rng.uniform(180, 240)
    fur = rng.uniform(26, 88)
    return _Style(
        floor=floor * tint,
        wall=floor * rng.uniform(0.42, 0.72) * tint,
        fur=fur * np.array([0.86, 0.95, 1.0]) * tint,
        skin=np.clip(fur + rng.uniform(62, 105), 95, 175) * np.array([0.88, 0.90, 1.0]),
        light=np.array([np.cos(angle), np.sin(angle)]),
        vignette=rng.uniform(0.08, 0.28),
        slope=rng.uniform(0.03, 0.13),
        shadow=rng.uniform(0.22, 0.5),
        noise=rng.uniform(1.5, 4.5),
        blur_px=rng.uniform(0.5, 0.9) * max(1.0, short_side / 480),
    )


def _arena(rng: np.random.Generator, style: _Style, size_wh: tuple[int, int]) -> F32:
    """Returns the empty arena, float (H, W, 3): walls, floor, smudges, droppings, uneven light."""
    w, h = size_wh
    inset = FLOOR_INSET * min(size_wh)
    inner = np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]]) + inset * np.array(
        [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    )
    inner += rng.uniform(-0.12, 0.12, inner.shape) * inset  # the camera never hangs quite straight
    outer = np.array([[-1, -1], [w, -1], [w, h], [-1, h]], np.float64)
    picture = np.empty((3, h, w), np.float32)
    picture[...] = style.floor[:, None, None]
    inward = np.array([[0, 1], [-1, 0], [0, -1], [1, 0]])
    for i in range(4):
        wall = np.array([outer[i], outer[i - 3], inner[i - 3], inner[i]])
        # A wall that faces the light is the brightest.
        _stamp(picture, wall, style.wall * (1 + 0.22 * inward[i] @ style.light), 0.0)
    picture *= 1 - 0.35 * _outline(inner, (h, w), max(1.2, 0.006 * min(size_wh)))
    for _ in range(rng.integers(0, 12)):
        place = rng.uniform(inner.min(axis=0) + inset, inner.max(axis=0) - inset)
        _stamp(picture, _speck(rng, place, 0.007 * min(size_wh)), 0.3 * style.floor, 0.6, 0.7)
    picture *= _light(rng, style, size_wh)
    return np.asarray(cv2.GaussianBlur(picture.transpose(1, 2, 0), (0, 0), style.blur_px), np.float32)


def _light(rng: np.random.Generator, style: _Style, size_wh: tuple[int, int]) -> F32:
    """Returns the brightness (H, W), higher towards the light, lower towards the corners, with smudges on the floor."""
    w, h = size_wh
    x, y = np.linspace(-1, 1, w, dtype=np.float32), np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    light = 1 + style.slope * (x * style.light[0] + y * style.light[1]) - style.vignette * (x**2 + y**2) / 2
    for cells, strength in ((5, 0.020), (24, 0.012)):
        cloud = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        light = light + cv2.resize(cloud, (w, h), interpolation=cv2.INTER_CUBIC)
    return np.asarray(light, np.float32)


def _noise(rng: np.random.Generator, sigma: float, size_wh: tuple[int, int]) -> U8:
    """Returns sensor noise, larger than the picture so that each frame can take another part of it."""
    luma = rng.normal(0, sigma, (_NOISE_TILE, _NOISE_TILE, 1)) + rng.normal(
        0, 0.4 * sigma, (_NOISE_TILE, _NOISE_TILE, 3)
    )
    tile = np.clip(np.round(luma) + _NOISE_LIFT, 0, 2 * _NOISE_LIFT).astype(np.uint8)
    repeats = [-(-(side + _NOISE_JUMP) // _NOISE_TILE) for side in (size_wh[1], size_wh[0])]
    return np.tile(tile, (*repeats, 1))


def _fur(rng: np.random.Generator) -> F32:
    """Returns the texture of hairs along x, about -1..1."""
    strands = rng.normal(0, 1, (_FUR_TILE, _FUR_TILE)).astype(np.float32)
    hairs = cv2.GaussianBlur(strands, (0, 0), sigmaX=5, sigmaY=1.0)
    patches = cv2.GaussianBlur(strands, (0, 0), 9)
    return np.asarray(hairs / hairs.std() * 0.6 + patches / patches.std() * 0.5, np.float32)


def _speck(rng: np.random.Generator, centre: F64, size: float) -> F64:
    angle = rng.uniform(0, np.pi)
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)[:, None]
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(centre + size * (np.cos(turn) * axes[0] + 0.45 * np.sin(turn) * axes[1]), np.float64)


def _bounds(shape: Shape, drop: F64, margin: float, image: U8) -> tuple[Any, Any]:
    """Corners (x, y) of the patch that holds the mouse and its shadow, within the image."""
    points = np.vstack([shape.body, shape.tail, shape.body + drop, shape.tail + drop, *shape.paws])
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(points.min(axis=0) - margin), 0, limit).astype(int)
    return low, np.clip(np.ceil(points.max(axis=0) + margin), 0, limit).astype(int)


def _fixed(polygon: F64) -> Any:
    return np.round(polygon * 2**_SHIFT).astype(np.int32)


def coverage(polygons: list[F64], shape_hw: tuple[int, ...], blur: float) -> F32:
    """Returns the share 0..1 (h, w) of each pixel that the polygons cover, blurred by a Gaussian of `blur` pixels."""
    # cv2 fills whole rows, up to a quarter of a row off. Thinner rows make this error small.
    tall = np.zeros((shape_hw[0] * _THIN_ROWS, shape_hw[1]), np.uint8)
    for polygon in polygons:
        stretched = (polygon + 0.5) * [1, _THIN_ROWS] - 0.5
        # One call for each polygon, since cv2 leaves out what two polygons of one call have in common.
        cv2.fillPoly(tall, [_fixed(stretched)], (255,), cv2.LINE_AA, _SHIFT)
    mask = cv2.resize(tall, (shape_hw[1], shape_hw[0]), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(mask, (0, 0), blur) if blur > 0 else mask
    return np.asarray(soft, np.float32) / np.float32(255)


def _outline(polygon: F64, shape_hw: tuple[int, int], blur: float) -> F32:
    mask = np.zeros(shape_hw, np.uint8)
    cv2.polylines(mask, [_fixed(polygon)], True, (255,), max(1, round(blur)), cv2.LINE_AA, _SHIFT)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), blur), np.float32) / np.float32(255)


def _stamp(planes: F32, polygon: F64, colour: F64, blur: float, strength: float = 1.0) -> None:
    """Blends one polygon into planes (3, h, w), and touches only the box that it covers."""
    box = _box(polygon, 3 * blur + 1, planes.shape[1:])
    view = planes[:, box[0], box[1]]
    if view.size:
        corner = np.array([box[1].start, box[0].start])
        mask = np.float32(strength) * coverage([polygon - corner], view.shape[1:], blur)
        view += mask * (colour.astype(np.float32)[:, None, None] - view)


def _box(polygon: F64, margin: float, shape_hw: tuple[int, ...]) -> tuple[slice, slice]:
    limit = np.array(shape_hw[::-1])
    low = np.clip(np.floor(polygon.min(axis=0) - margin), 0, limit).astype(int)
    high = np.clip(np.ceil(polygon.max(axis=0) + margin) + 1, 0, limit).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _coarse(length_px: float) -> int:
    """Returns how many times smaller those parts are painted that are blurred by several pixels anyway."""
    return max(1, round(length_px / 32))


def _enlarge(small: F32, factor: int, shape_hw: tuple[int, ...]) -> F32:
    size = (small.shape[1] * factor, small.shape[0] * factor)
    big = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(big[: shape_hw[0], : shape_hw[1]], np.float32)


def _square(centre: F64, half: float) -> F64:
    corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    return np.asarray(centre + corners, np.float64)
