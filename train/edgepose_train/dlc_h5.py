"""Poses as DeepLabCut's own H5: what its plotting, filtering and video tools read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tables  # noqa: F401  pandas imports it late; missing, it must be told before an hour's analysis
from numpy.typing import NDArray

from edgepose_train.label_table import H5_KEY


def write_h5(path: Path, values: NDArray[np.float64], frames: Sequence[int], names: Sequence[str], scorer: str) -> None:
    """values: (N, K, 3) of x, y, likelihood; frames: (N,) row numbers."""
    header = pd.MultiIndex.from_product(
        [[scorer], list(names), ["x", "y", "likelihood"]], names=["scorer", "bodyparts", "coords"]
    )
    frame = pd.DataFrame(values.reshape(len(values), -1), columns=header, index=list(frames))
    frame.to_hdf(path, key=H5_KEY, format="table", mode="w")
