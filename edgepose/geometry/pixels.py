"""Pixel formats of frames, a frame as a picture for people, and its focus and light."""

from __future__ import annotations

import cv2
import numpy as np

from edgepose.types import U8, Frame, image_size_wh

_DARK, _BRIGHT = 8, 247  # grey values up to which, and from which on, a pixel counts as black or white


def i420_planes(image: U8) -> tuple[U8, U8, U8]:
    """The planes Y (H, W), U and V (H / 2, W / 2) of an I420 image (H * 3 / 2, W), as views into it."""
    w, h = image_size_wh(image, "i420")
    u, v = image[h:].reshape(2, h // 2, w // 2)
    return image[:h], u, v


def as_bgr(frame: Frame) -> U8:
    """Returns a copy to draw on, (H, W, 3): the full picture where the frame has one, else the model's, enlarged."""
    if frame.full is not None:
        return frame.full.copy()
    conversion = {
        "gray": cv2.COLOR_GRAY2BGR,
        "rgb": cv2.COLOR_RGB2BGR,
        "i420": cv2.COLOR_YUV2BGR_I420,
    }.get(frame.order)
    picture = frame.image.copy() if conversion is None else cv2.cvtColor(frame.image, conversion)
    if (picture.shape[1], picture.shape[0]) != frame.size_wh:
        picture = cv2.resize(picture, frame.size_wh)
    return picture  # type: ignore[return-value]


def sharpness(picture: U8) -> float:
    """How much fine detail a BGR picture shows: the variance of its Laplacian (Pech-Pacheco et al., ICPR 2000).

    Only pictures of the same scene and size can be compared. In focus, the number is largest.
    """
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(gray, cv2.CV_64F).var())


def light(picture: U8) -> tuple[float, float, float]:
    """Returns a BGR picture's mean grey value 0..255, and its shares of nearly black and of nearly white pixels."""
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return float(gray.mean()), float(np.mean(gray <= _DARK)), float(np.mean(gray >= _BRIGHT))
