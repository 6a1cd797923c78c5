"""Labels and predictions are drawn at their places in the frame, and the texts can be read."""

from __future__ import annotations

import base64
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest

from edgepose.pose.colours import keypoint_hex
from edgepose_train.report.pictures import crop, picture_svg, short

NAMES = ("a", "b", "c", "d", "e", "f")


def drawn(svg: str) -> tuple[ET.Element, np.ndarray]:
    """Returns the picture and the pixels in it."""
    root = ET.fromstring(svg)
    data = base64.b64decode(root.find("image").get("href").split(",")[1])
    return root, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)


def circles(root: ET.Element, kind: str) -> np.ndarray:
    """Returns the centres (n, 2) in frame pixels."""
    if kind == "dot":
        corners = [dot.get("points").replace(",", " ").split() for dot in root.iterfind(".//polygon[@class='dot']")]
        return np.array([np.array(each, float).reshape(-1, 2).mean(axis=0) for each in corners])
    path = f".//g[@class='{kind}']/circle"
    return np.array([[float(c.get("cx")), float(c.get("cy"))] for c in root.iterfind(path)])


def brightest(picture: np.ndarray, around_xy: np.ndarray, radius: float) -> np.ndarray:
    """Returns the centre of the bright pixels near a place."""
    ys, xs = np.indices(picture.shape)
    weight = np.where(np.hypot(xs - around_xy[0], ys - around_xy[1]) < radius, picture.astype(float), 0)
    weight[weight < 40] = 0
    return np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()


@pytest.mark.parametrize(
    ("size_wh", "points"),
    [
        ((640, 480), [(300, 200), (340, 230), (310, 250)]),  # enlarged
        ((1600, 1200), [(100, 60), (1500, 1100), (800, 300)]),  # made smaller
        ((300, 900), [(30, 40), (280, 700), (150, 820)]),  # upright
        ((64, 48), [(1, 1), (60, 5), (30, 45)]),  # smaller than a picture
    ],
)
def test_marks_lie_on_what_they_mark(size_wh, points):
    """A disc is painted at every label and prediction; the marks must be where the discs are in the JPEG."""
    label_px = np.array(points, float)
    xy_px = label_px[::-1] * 0.4 + label_px * 0.6
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    radius = max(2, size_wh[0] // 100)
    for x, y in np.round([*label_px, *xy_px]).astype(int).tolist():
        cv2.circle(image, (x, y), radius, (255, 255, 255), cv2.FILLED)
    xy_px = np.round(xy_px)
    root, picture = drawn(picture_svg(image, label_px, xy_px, NAMES[:3], "alt"))
    np.testing.assert_allclose(circles(root, "label"), label_px, atol=0.006)
    np.testing.assert_allclose(circles(root, "dot"), xy_px, atol=0.006)
    x, y, w, h = (float(number) for number in root.get("viewBox").split())
    frame = root.find("image")
    assert [float(frame.get(name)) for name in ("x", "y", "width", "height")] == [x, y, w, h]
    scale = picture.shape[1] / w
    assert picture.shape[0] == pytest.approx(h * scale, abs=1)
    inner = label_px[((label_px > radius + 1) & (label_px < np.array(size_wh) - radius - 2)).all(axis=1)]
    for point in inner:
        place = (point - [x, y]) * scale - 0.5  # the centre of a JPEG's pixel is half a pixel from its edge
        np.testing.assert_allclose(brightest(picture, place, 1.5 * radius * scale), place, atol=0.3)


def test_dots_have_the_colour_and_shape_of_their_keypoints():
    names = [f"k{k}" for k in range(12)]
    xy_px = np.array([[20.0 + 30 * k, 100] for k in range(12)])
    root, _ = drawn(picture_svg(np.zeros((240, 400, 3), np.uint8), xy_px + 2, xy_px, names, "alt"))
    dots = list(root.iterfind(".//polygon[@class='dot']"))
    assert tuple(dot.get("fill") for dot in dots) == keypoint_hex(12)
    assert [len(dot.get("points").split()) for dot in dots] == [24] * 9 + [4] * 3  # circles, then squares


def test_the_part_shown_holds_every_mark_and_little_else():
    points = np.array([[300.0, 200], [340, 260], [np.nan, np.nan]])
    x, y, w, h = crop((480, 640), points)
    assert x <= 300
    assert x + w >= 340
    assert y <= 200
    assert y + h >= 260
    assert h < 120
    assert w / h == pytest.approx(4 / 3, abs=0.05)


@pytest.mark.parametrize("size_wh", [(640, 480), (300, 900), (20, 20), (1000, 100)])
@pytest.mark.parametrize("points", [[(5, 5)], [(0, 0), (19, 19)], [(-50, 10), (5000, 12)]])
def test_the_part_shown_lies_in_the_frame(size_wh, points):
    x, y, w, h = crop(size_wh[::-1], np.array(points, float))
    assert min(x, y) >= 0
    assert min(w, h) >= 1
    assert x + w <= size_wh[0]
    assert y + h <= size_wh[1]


def test_a_keypoint_without_a_label_is_a_dot_alone():
    image = np.zeros((480, 640, 3), np.uint8)
    label_px = np.array([[300.0, 200], [np.nan, np.nan]])
    xy_px = np.array([[310.0, 200], [340, 260]])
    root, _ = drawn(picture_svg(image, label_px, xy_px, NAMES[:2], "alt"))
    assert len(circles(root, "label")) == 1
    assert len(circles(root, "dot")) == 2
    assert [text.text for text in root.iterfind("text")] == ["a 10.0"]
    assert [title.text for title in root.iterfind(".//title")] == ["a", "b, not labelled"]


def test_the_largest_errors_are_named_and_no_name_covers_another():
    image = np.zeros((480, 640, 3), np.uint8)
    label_px = np.array([[300.0 + 6 * k, 200] for k in range(6)])
    xy_px = label_px + np.array([[0.0, k] for k in range(6)])
    root, _ = drawn(picture_svg(image, label_px, xy_px, NAMES, "alt"))
    texts = list(root.iterfind("text"))
    assert [text.text for text in texts] == ["f 5.0", "e 4.0", "d 3.0", "c 2.0"]
    size = float(texts[0].get("font-size"))
    boxes = []
    for text in texts:
        width = size * 0.6 * len(text.text)
        left = float(text.get("x")) - {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")] * width
        boxes.append((left, float(text.get("y")) - 0.8 * size, left + width, float(text.get("y"))))
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


def test_long_names_are_cut_where_they_differ_least():
    assert short("leftforepawdigit02") == "leftforepawdigit02"
    a, b = short("left_fore_paw_digit_02"), short("left_hind_paw_digit_02")
    assert a == "left_fore_…igit_02"
    assert a != b
    assert len({len(a), len(b)} | {18}) == 1
