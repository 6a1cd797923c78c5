"""Cross-validation: every labelled frame is tested once, by a model that never saw it."""

from __future__ import annotations

from pathlib import Path

import keras
import msgspec
import numpy as np

from edgepose.inference.model_card import ModelCard, write_card
from edgepose_train.evaluation.metrics import Predictions, summarize
from edgepose_train.labels.dataset import Dataset
from edgepose_train.report.report import FOLDS
from edgepose_train.training.distill import DistillationSet
from edgepose_train.training.fit import FitOptions, fit
from edgepose_train.training.splits import Split, fold_splits


def plan_folds(dataset: Dataset, settings: FitOptions, folds: int) -> list[Split]:
    """Raises UsageError when there are fewer frames, or videos, than folds."""
    return fold_splits(dataset, settings.seed, folds, settings.by_video)


def cross_validate(
    dataset: Dataset, run: Path, settings: FitOptions, splits: list[Split], lesson: DistillationSet | None = None
) -> Predictions:
    """Trains a model for each split in `run/fold-1` and so on, and goes on where an interrupted call stopped.
    Returns what their int8 files find on all the frames."""
    found = []
    for number, split in enumerate(splits, 1):
        print(f"fold {number} of {len(splits)}", flush=True)
        keras.utils.clear_session()
        found.append(fit(dataset, run / f"fold-{number}", settings, split, lesson).in_int8)
    return Predictions(
        np.concatenate([part.labels for part in found]),
        np.concatenate([part.xy_px for part in found]),
        np.concatenate([part.score for part in found]),
    )


def add_folds(model: Path, card: ModelCard, found: Predictions) -> ModelCard:
    """The card with the score of the folds in it, also on disk."""
    scores = {**card.scores, FOLDS: summarize(found, card.skeleton.keypoints)}
    card = msgspec.structs.replace(card, scores=scores)
    write_card(card, model)
    return card
