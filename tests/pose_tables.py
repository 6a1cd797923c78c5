"""Tables of poses for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd  # noqa: TID251  as users read the files

from edgepose.tables.pose_table import PoseTable
from edgepose.types import F64, Skeleton


def pose_table(values: F64, *keypoints: str, **changes: Any) -> PoseTable:
    """A table of poses (N, K, 3) at 25 frames per second. Without names, the only keypoint is `snout`."""
    given: dict[str, Any] = {
        "values": values,
        "frames": tuple(range(len(values))),
        "skeleton": Skeleton(keypoints or ("snout",)),
        "scorer": "model@123456",
        "video": "mouse.avi",
        "size_wh": (320, 240),
        "time_s": np.arange(len(values)) / 25.0,
    }
    return PoseTable(**{**given, **changes})


def values_of_tidy(frame: pd.DataFrame) -> F64:
    """(N, K, 3) of a table in our layout."""
    names = [name for name in frame.columns[list(frame.columns).index("score") + 1 :] if not name.endswith("_mm")]
    return frame[names].to_numpy(np.float32).reshape(len(frame), -1, 3)
