"""Cross-validation: every labelled frame is tested once, by a model that was not trained on it."""

from __future__ import annotations

from pathlib import Path

import keras
import msgspec
import numpy as np

from edgepose.inference.model_card import ModelCard
from edgepose.inference.model_file import read_model, write_model
from edgepose_train.evaluation.metrics import FOLDS, Predictions, summarize
from edgepose_train.labels.dataset import Dataset
from edgepose_train.training.distill import DistillationSet
from edgepose_train.training.fit import fit
from edgepose_train.training.fit_options import FitOptions
from edgepose_train.training.splits import Split


def cross_validate(
    dataset: Dataset, run: Path, options: FitOptions, splits: list[Split], distillation: DistillationSet | None = None
) -> Predictions:
    """Trains a model for each split in `run/fold-1`, `run/fold-2` and so on; an interrupted call continues.

    Returns what their int8 files predict on all frames.
    """
    found = []
    for number, split in enumerate(splits, 1):
        print(f"fold {number} of {len(splits)}", flush=True)
        keras.utils.clear_session()
        found.append(fit(dataset, run / f"fold-{number}", options, split, distillation).in_int8)
    return Predictions(
        np.concatenate([part.labels for part in found]),
        np.concatenate([part.xy_px for part in found]),
        np.concatenate([part.score for part in found]),
    )


def add_folds(model: Path, card: ModelCard, found: Predictions) -> ModelCard:
    """Adds the score of the folds to the card, also on disk."""
    scores = {**card.scores, FOLDS: summarize(found, card.skeleton.keypoints)}
    card = msgspec.structs.replace(card, scores=scores)
    content = read_model(model)
    write_model(model, content.network, card, content.members)
    return card
