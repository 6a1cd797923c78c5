"""Makes random views of a labelled image, with their keypoints.

A training view is a crop of the model's input near the animal, not the whole input. The network is convolutional, so it
learns the same from a crop at a quarter of the cost, and sees four times as many different views in the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.geometry.letterbox import PAD_VALUE, FrameMap
from edgepose.types import F64, U8

SMALL_TURN_DEG = 25.0
Matrix = NDArray[np.float64]  # 3 x 3, for coordinates (x, y, 1) of pixel centres


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The bounds within which views may differ.

    Attributes:
        crop_wh: width and height of a view in model pixels.
        turn_deg: views are turned by up to this angle; 180 is any orientation.
        flip_order: the keypoints' places in a mirrored view; None where views are never mirrored.
        zoom: how much larger the animal is in a window that follows it than in the whole frame; 1 without such a
            window.
        followed: the share of views that are enlarged like such a window.
        scale: every view is also enlarged or reduced by up to this share.
        near_animal: the share of crops near the animal. With fewer crops elsewhere, the network sees ghosts in the
            background.
    """

    crop_wh: tuple[int, int]
    turn_deg: float
    flip_order: list[int] | None
    zoom: float = 1.0
    followed: float = 0.5
    scale: float = 0.25
    near_animal: float = 0.7


def turn_range_deg(frame_xy: F64) -> float:
    """Returns how far views may be turned, in degrees, from the labels (N, K, 2) in frame pixels.

    An animal seen from above has every orientation, so every turn is natural. An animal that always has the same
    orientation must not be turned upside down.
    """
    spans = np.linalg.norm(frame_xy[:, :, None] - frame_xy[:, None], axis=-1)
    known = np.isfinite(spans).sum(axis=0) >= 3
    if not known[~np.eye(len(known), dtype=bool)].any():
        return SMALL_TURN_DEG
    median = np.nanmedian(np.where(known, spans, 0.0), axis=0)
    a, b = np.unravel_index(int(median.argmax()), median.shape)
    direction = frame_xy[:, b] - frame_xy[:, a]
    direction = direction[np.isfinite(direction).all(axis=1)]
    direction = direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    return 180.0 if np.linalg.norm(direction.mean(axis=0)) < 0.6 else SMALL_TURN_DEG


def source_of(image: U8, frame_map: FrameMap, zoom: float) -> tuple[U8, Matrix]:
    """Returns the picture that views are cut from, and the matrix from the frame's pixels to it.

    The picture is the image (H, W, 3), reduced by averaging areas to at most 1.5 times the largest scale of a view. A
    warp samples points, so it would alias a larger picture.
    """
    shrink = float(min(1.0, 1.5 * frame_map.scale_xy.max() * zoom))
    if shrink > 0.7:
        return image, np.eye(3)
    size = (round(image.shape[1] * shrink), round(image.shape[0] * shrink))
    reduced = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return reduced, FrameMap.fit((image.shape[1], image.shape[0]), size, "stretch").matrix()


def random_view(
    image: U8, xy_px: F64, to_model: Matrix, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[U8, F64]:
    """Returns a random crop (h, w, 3) and its keypoints (K, 2) in pixels of the crop.

    Args:
        image: the picture that views are cut from, (H, W, 3).
        xy_px: its keypoints (K, 2), NaN where not labelled.
        to_model: the matrix from its pixels to the model's input.
        augmentation: how much views may differ.
        rng: the random numbers; the view is a function of their state.
    """
    w, h = augmentation.crop_wh
    angle = rng.uniform(-augmentation.turn_deg, augmentation.turn_deg)
    zoom = np.exp(rng.uniform(-1, 1) * np.log1p(augmentation.scale))
    if augmentation.zoom > 1 and rng.random() < augmentation.followed:
        zoom *= augmentation.zoom
    mirror = augmentation.flip_order is not None and rng.random() < 0.5
    centre = _centre(image, xy_px, augmentation, rng)
    m = _linear(angle, zoom, mirror) @ to_model
    at = m @ np.array([*centre, 1.0])
    jitter = rng.uniform(-0.3, 0.3, 2) * (w, h)
    m[:2, 2] += np.array([w - 1, h - 1]) / 2 + jitter - at[:2]
    view = cv2.warpAffine(
        image, m[:2], (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(PAD_VALUE,) * 3
    )
    xy = xy_px @ m[:2, :2].T + m[:2, 2]
    if mirror:
        xy = xy[augmentation.flip_order]
    return photometric(np.asarray(view, np.uint8), rng), xy


def _centre(image: U8, xy_px: F64, augmentation: Augmentation, rng: np.random.Generator) -> F64:
    known = xy_px[np.isfinite(xy_px).all(axis=1)]
    if len(known) and rng.random() < augmentation.near_animal:
        return np.asarray(known.mean(axis=0) if rng.random() < 0.5 else known[rng.integers(len(known))])
    return rng.uniform((0, 0), (image.shape[1] - 1, image.shape[0] - 1))


def _linear(angle_deg: float, zoom: float, mirror: bool) -> Matrix:
    c, s = np.cos(np.deg2rad(angle_deg)) * zoom, np.sin(np.deg2rad(angle_deg)) * zoom
    flip = -1.0 if mirror else 1.0
    return np.array([[c * flip, -s, 0], [s * flip, c, 0], [0, 0, 1]])


def photometric(view: U8, rng: np.random.Generator) -> U8:
    """Changes light, contrast, colour cast, gamma, blur and noise as much as cameras do; view: RGB (h, w, 3)."""
    gain = np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.05, 3))
    bias = rng.normal(0, 12)
    gamma = np.exp(rng.normal(0, 0.2))
    ramp = np.arange(256) / 255
    table = np.clip((ramp[:, None] ** gamma) * 255 * gain + bias, 0, 255).astype(np.uint8)
    out: Any = cv2.LUT(view, table[:, None, :])
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.3:
        sigma = rng.uniform(1, 8)
        noise = rng.standard_normal(out.shape, np.float32) * sigma
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(out, np.uint8)
