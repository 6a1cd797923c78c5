"""Holds the data that a report shows beside the card, and computes numbers that several of its sections need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepose.types import F64
from edgepose_train.evaluation.metrics import Predictions
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.training.splits import Split

if TYPE_CHECKING:  # these files load TensorFlow, which a report does not need
    from edgepose_train.evaluation.score_calibration import Reliability
    from edgepose_train.export.layer_attribution import LayerAttribution
    from edgepose_train.export.model_speed import ModelSpeed
    from edgepose_train.training.training_logs import CurvePoint


@dataclass(frozen=True)
class ReportData:
    """The data that a report shows beside the card. It leaves out what is None or empty.

    Attributes:
        split: the images by purpose.
        in_int8: what the int8 file predicts on `split.test`.
        in_float: what the float network predicts on `split.test`.
        max_int8_loss: pixels that int8 may add to the mean error.
        one_frame_excused: as for `int8_loss_px`.
        curve: the learning curves.
        reliability: how often predictions of a score are right.
        speed: what the model costs.
        attribution: the layers in which int8 loses accuracy.
        project: the labelled folder.
        command: the command that made the model.
        model_id: the model's id.
        sha256: of the model's file.
    """

    split: Split
    in_int8: Predictions
    in_float: Predictions
    max_int8_loss: float
    one_frame_excused: bool = False
    curve: Sequence[CurvePoint] = ()
    reliability: Reliability | None = None
    speed: ModelSpeed | None = None
    attribution: LayerAttribution | None = None
    project: Path | None = None
    command: str = ""
    model_id: str = ""
    sha256: str = ""


def mean_of_columns(values: F64) -> F64:
    """Returns the means (K,) of values (N, K) without NaN; NaN where a column has no value."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=0) / known.sum(axis=0))


def worst_first(errors_px: F64) -> NDArray[np.intp]:
    """Returns the places of the frames in falling order of their mean error; errors_px: (N, K).

    Frames without labels come last.
    """
    return np.argsort(-mean_of_columns(errors_px.T), kind="stable")


def frame_names(images: Sequence[LabelledImage]) -> list[str]:
    """Returns the names of the frames, with their videos where there are several."""
    several = len({image.video for image in images}) > 1
    return [f"{image.video}/{image.path.name}" if several else image.path.name for image in images]


def labels_learnt(split: Split) -> list[int]:
    """Returns how many labels each keypoint has in training."""
    known = np.isfinite([image.xy_px for image in split.train]).all(axis=2)
    return [int(number) for number in known.sum(axis=0)]
