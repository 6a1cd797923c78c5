"""Privacy masks: no picture of a frame has a pixel of what is masked."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepose.errors import ConfigError
from edgepose.geometry.masks import Masks
from edgepose.geometry.zones import inside
from edgepose.types import Frame, PixelOrder

corner = st.tuples(st.integers(-36, 416), st.integers(-24, 280)).map(
    lambda quarters: (quarters[0] / 4, quarters[1] / 4)
)
polygons = st.lists(st.lists(corner, min_size=3, max_size=6), min_size=1, max_size=3)
FIELD_WH = (96, 64)
SECRET = 200


def frame(order: PixelOrder, size_wh: tuple[int, int], full: bool = False) -> Frame:
    w, h = size_wh
    shape = {"gray": (h, w), "i420": (h * 3 // 2, w)}.get(order, (h, w, 3))
    field = np.full((FIELD_WH[1], FIELD_WH[0], 3), SECRET, np.uint8) if full else None
    return Frame(np.full(shape, SECRET, np.uint8), order, 0, 0, 0, field_wh=FIELD_WH, full=field)


def covered(polygon: list[tuple[float, float]], size_wh: tuple[int, int]) -> np.ndarray:
    """Which pixels have their centre in the polygon, (H, W), in a picture of that size that shows the field."""
    scale = np.array(size_wh) / FIELD_WH
    y, x = np.mgrid[: size_wh[1], : size_wh[0]]
    centres = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) / scale - 0.5
    return inside(centres.astype(np.float64), np.array(polygon, np.float64)).reshape(size_wh[1], size_wh[0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(polygons, st.sampled_from(["bgr", "rgb", "gray", "i420"]), st.sampled_from([FIELD_WH, (48, 32), (40, 20)]))
def test_nothing_inside_a_mask_is_left_in_any_picture(polygons, order, size_wh):
    one = frame(order, size_wh, full=True)
    Masks(dict(enumerate(polygons))).burn(one)
    w, h = size_wh
    for polygon in polygons:
        here = covered(polygon, size_wh)
        if order == "i420":
            assert (one.image[:h][here] == 16).all()
            for plane in one.image[h:].reshape(2, h // 2, w // 2):
                assert (plane.repeat(2, axis=0).repeat(2, axis=1)[here] == 128).all()
        else:
            assert (one.image[here] == 0).all()
        assert (one.full[covered(polygon, FIELD_WH)] == 0).all()


def test_what_is_not_masked_stays():
    one = frame("bgr", FIELD_WH, full=True)
    Masks({"door": [(10, 10), (30, 10), (30, 30), (10, 30)]}).burn(one)
    assert (one.image[10:31, 10:31] == 0).all()
    one.image[9:32, 9:32] = SECRET
    assert (one.image == SECRET).all()


@pytest.mark.parametrize("order", ["bgr", "i420"])
def test_a_smaller_picture_shows_nothing_of_the_masks_edge(order):
    """An ISP that makes a picture smaller mixes neighbours: what shows any of the masked part must be black."""
    large = np.zeros((FIELD_WH[1], FIELD_WH[0], 3), np.uint8)
    large[20:40, 31:50] = 255  # what is masked, bright; all else is dark
    small = cv2.resize(large, (41, 27), interpolation=cv2.INTER_CUBIC)[:26, :40].copy()
    image = cv2.cvtColor(small, cv2.COLOR_BGR2YUV_I420) if order == "i420" else small
    one = Frame(image, order, 0, 0, 0, field_wh=FIELD_WH)
    Masks({"door": [(31, 20), (49, 20), (49, 39), (31, 39)]}).burn(one)
    shown = cv2.cvtColor(one.image, cv2.COLOR_YUV2BGR_I420) if order == "i420" else one.image
    assert shown.max() <= 40  # an edge filter's ringing, not what was masked


@pytest.mark.parametrize("corner", [(200, 60), (60, 200), (-40, 10), (float("nan"), 10)])
def test_a_mask_for_another_size_of_frame_is_refused(corner):
    with pytest.raises(ConfigError, match=r"masks\.door: reaches beyond the frame, which is \d+x\d+"):
        Masks({"door": [(0, 0), corner, (20, 20)]}).burn(frame("bgr", FIELD_WH))
