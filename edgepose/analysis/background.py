"""The picture of the empty scene: what a fixed camera sees where the animal is not."""

from __future__ import annotations

import cv2
import numpy as np

from edgepose.types import F64, U8

_MOST_FRAMES = 80
_LONGEST_PX = 800  # of a stored frame; 80 of them then take at most 51 MB
_ROWS_AT_ONCE = 64


class Background:
    """Collects grey frames that are spread evenly over a video of any length, and takes the median of each pixel.

    A pixel of a frame is left out where it lies near that frame's animal. So an animal that sleeps in one place for
    most of the video leaves no ghost, provided that it was seen somewhere else in a few of the collected frames. What
    cannot be helped: an animal that never leaves a place, in a short clip or because it does not move, stays in the
    picture, and so does one that the model does not find.
    """

    def __init__(self) -> None:
        self._step = 1
        self._frames: dict[int, U8] = {}

    def add(self, index: int, image: U8) -> None:
        """Keeps the frame number `index`, BGR (H, W, 3), if it is one of those that the picture is made of."""
        if index % self._step:
            return
        shrink = min(1.0, _LONGEST_PX / max(image.shape[:2]))
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if shrink < 1:
            grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        self._frames[index] = np.asarray(grey, np.uint8)
        if len(self._frames) > _MOST_FRAMES:
            self._step *= 2
            self._frames = {i: frame for i, frame in self._frames.items() if i % self._step == 0}

    def picture(self, xy_px: F64, size_wh: tuple[int, int], margin_px: float) -> U8:
        """Returns the grey picture (h, w), at most 800 pixels long.

        Args:
            xy_px: (N, K, 2), the keypoints in each of the video's frames; NaN where one is not known.
            size_wh: size of the frames.
            margin_px: how far the animal may reach beyond the box round its keypoints, in pixels of the frame.
        """
        frames = np.stack(list(self._frames.values()))
        h, w = frames.shape[1:]
        scale = w / size_wh[0]
        # 256 marks a pixel near the animal. It sorts behind all others, so that the median of the first ones is known.
        marked = frames.astype(np.int16)
        for frame, index in zip(marked, self._frames, strict=True):
            seen = xy_px[index][np.isfinite(xy_px[index]).all(axis=1)]
            if len(seen):
                low = np.clip((seen.min(axis=0) - margin_px) * scale, 0, (w, h)).astype(int)
                high = np.clip((seen.max(axis=0) + margin_px) * scale + 1, 0, (w, h)).astype(int)
                frame[low[1] : high[1], low[0] : high[0]] = 256
        found = np.empty((h, w), np.uint8)
        for top in range(0, h, _ROWS_AT_ONCE):  # in strips, because sorting copies
            rows = slice(top, top + _ROWS_AT_ONCE)
            ordered, plain = np.sort(marked[:, rows], axis=0), np.sort(frames[:, rows], axis=0)
            count = (ordered < 256).sum(axis=0)
            middle = np.take_along_axis(ordered, np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
            found[rows] = np.where(count > 0, middle, plain[(len(plain) - 1) // 2])
        return found
