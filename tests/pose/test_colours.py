"""One palette: fixed by keypoint, and told apart also by colour-blind people."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgepose.pose.colours import PALETTE, SHAPES, keypoint_colours, keypoint_hex, keypoint_shapes
from edgepose.types import F64

# Linear RGB as people with full dichromacy see it: Machado, Oliveira and Fernandes, IEEE TVCG 15 (6), 2009, table 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def test_a_keypoint_has_its_colour_however_many_there_are():
    np.testing.assert_array_equal(keypoint_colours(4), keypoint_colours(17)[:4])
    assert keypoint_colours(3).dtype == np.uint8
    assert tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in keypoint_colours(30).tolist()) == keypoint_hex(30)


def test_a_colour_that_returns_has_another_shape():
    count = len(PALETTE) * len(SHAPES)
    assert len(set(zip(keypoint_hex(count), keypoint_shapes(count), strict=True))) == count
    assert set(keypoint_shapes(len(PALETTE))) == {"circle"}
    assert len(keypoint_shapes(200)) == len(keypoint_hex(200)) == len(keypoint_colours(200)) == 200


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart(vision):
    seen = lab(keypoint_colours(len(PALETTE)) / 255.0, np.array(VISION[vision]))
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - other) > 11  # CIE 1976; 2.3 is a just noticeable difference


def test_colours_are_seen_on_a_dark_ground():
    assert lab(keypoint_colours(len(PALETTE)) / 255.0, np.eye(3))[:, 0].min() > 44


def lab(rgb: F64, vision: F64) -> F64:
    """CIE L*a*b* under D65, (N, 3), of sRGB (N, 3) in 0..1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.clip(linear @ vision.T, 0, 1) @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
