"""How large the animal is in the picture, by two measures that are not interchangeable.

Training and evaluation measure labels by the longer side of their box. Jumps of a pose are measured by the diagonal of
its sure keypoints, which is not zero for an animal that lies along one axis.
"""

from __future__ import annotations

import numpy as np

from edgepose.pose.drawing import SURE
from edgepose.types import F64


def animal_side_px(xy: F64, percentile: float = 50) -> float:
    """How long the animal is, in pixels; NaN where no frame shows two keypoints.

    In each frame that is the longer side of the box round the keypoints; over the frames, a percentile of it.

    Args:
        xy: (N, K, 2), keypoints of N frames.
    """
    several = xy[np.isfinite(xy).all(axis=2).sum(axis=1) >= 2]
    if not len(several):
        return float("nan")
    lengths = (np.nanmax(several, axis=1) - np.nanmin(several, axis=1)).max(axis=1)
    return float(np.percentile(lengths, percentile))


def animal_diagonal_px(xy: F64, score: F64, size_wh: tuple[int, int]) -> float:
    """Returns the length of the animal in pixels: the median diagonal of the box round its sure keypoints.

    It is a tenth of the frame's diagonal where no frame has two sure keypoints. xy: (N, K, 2), score: (N, K).
    """
    sure = np.where(score[..., None] >= SURE, xy, np.nan)
    sure = sure[np.isfinite(sure).all(axis=2).sum(axis=1) >= 2]
    if len(sure):
        length = float(np.median(np.linalg.norm(np.nanmax(sure, axis=1) - np.nanmin(sure, axis=1), axis=1)))
        if length > 1:
            return length
    return float(np.hypot(*size_wh)) / 10
