"""Batches, and a trainer whose state is restored exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
from keras import layers
from tiny import AUGMENTATION, PLAN

from edgepose_train.evaluation.metrics import summarize
from edgepose_train.labels.reading import read_dataset
from edgepose_train.training.augment import Augmentation
from edgepose_train.training.samples import PictureCache
from edgepose_train.training.splits import split_images
from edgepose_train.training.trainer import Predictor, Trainer, TrainingPlan, TrainingViews, batches

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def views(tmp_path) -> TrainingViews:
    return tiny.views(tmp_path)


def test_batches_are_a_function_of_seed_and_step(views):
    whole = list(batches(views, PLAN, 0))
    assert len(whole) == PLAN.steps
    assert [array.shape for array in whole[0]] == [(4, 48, 64, 3), (4, 6, 8, 3), (4, 6, 8, 6), (4, 6, 8, 3), (4, 3)]
    for start in (3, 6):
        for ours, theirs in zip(batches(views, PLAN, start), whole[start:], strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)
    assert list(batches(views, PLAN, PLAN.steps)) == []
    other_seed = next(batches(views, replace(PLAN, seed=6), 0))
    assert not np.array_equal(other_seed[0], whole[0][0])


def labels_by_frame(first: int, count: int, keypoints: int) -> np.ndarray:
    """Returns labels that identify the frame of a view: frame i has only keypoint first + i."""
    labels = np.full((count, keypoints, 2), np.nan)
    labels[range(count), range(first, first + count)] = 30
    return labels


def test_every_frame_is_used_once_in_an_epoch(tmp_path):
    pictures = PictureCache()
    views = TrainingViews(tiny.samples(tmp_path, pictures, labels_by_frame(0, 6, 6)), [], AUGMENTATION, pictures)
    plan = TrainingPlan(steps=6, batch=2, learning_rate=1e-3, stride=8, seed=0)
    seen = np.concatenate([known for *_, known in batches(views, plan, 0)]).argmax(axis=1)
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6].tolist() != seen[6:].tolist()


def test_every_second_view_is_of_a_teachers_frame(tmp_path):
    pictures = PictureCache()
    labelled = tiny.samples(tmp_path / "own", pictures, labels_by_frame(0, 2, 6))
    pseudo_labelled = tiny.samples(tmp_path / "pseudo", pictures, labels_by_frame(2, 4, 6))
    plan = TrainingPlan(steps=4, batch=4, learning_rate=1e-3, stride=8, seed=0)
    found = batches(TrainingViews(labelled, [], AUGMENTATION, pictures, pseudo_labelled), plan, 0)
    seen = np.concatenate([known for *_, known in found]).argmax(axis=1)
    assert sorted(seen[0::2]) == [0] * 4 + [1] * 4
    assert sorted(seen[1::2]) == sorted([2, 3, 4, 5] * 2)


def test_a_restored_trainer_continues_identically(views):
    trainer = Trainer(tiny.network(), PLAN)
    for batch in batches(views, replace(PLAN, steps=3), 0):
        trainer.step(*batch)
    state = {name: [array.copy() for array in group] for name, group in trainer.state().items()}
    restored = Trainer(tiny.network(), PLAN)
    restored.restore(state)
    assert restored.steps_done == 3
    for ours, theirs in zip(batches(views, PLAN, 3), batches(views, PLAN, restored.steps_done), strict=True):
        np.testing.assert_array_equal(trainer.step(*ours), restored.step(*theirs))
    for one, other in zip(trainer.averaged_weights(), restored.averaged_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_average_follows_the_weights_and_keeps_the_statistics(views):
    trainer = Trainer(tiny.network(), PLAN)
    before = trainer.model.get_weights()
    for batch in batches(views, PLAN, 0):
        trainer.step(*batch)
    norm = next(layer for layer in trainer.model.layers if isinstance(layer, layers.BatchNormalization))
    statistics = {id(v) for v in norm.non_trainable_variables}
    for variable, average, first in zip(trainer.model.weights, trainer.averaged_weights(), before, strict=True):
        if id(variable) in statistics:
            np.testing.assert_array_equal(average, variable.numpy())
        else:
            assert (np.abs(average - variable.numpy()) <= np.abs(first - variable.numpy()) + 1e-3).all()


# --- real labels -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_image_sizes_and_missing_labels_train_and_are_scored(reaching):
    dataset = read_dataset(reaching)
    assert np.isnan(np.stack([image.xy_px for image in dataset.images])).any()
    split, pictures = split_images(dataset, 0), PictureCache()
    train, test = ([pictures.sample(image, (96, 64)) for image in part] for part in (split.train, split.test))
    assert len({sample.frame_map.frame_wh for sample in train}) == 2
    k = len(dataset.skeleton.keypoints)
    trainer, predictor = (factory(tiny.network((96, 64), k), PLAN) for factory in (Trainer, Predictor))
    for batch in batches(TrainingViews(train, [], Augmentation((96, 64), 25.0, None), pictures), PLAN, 0):
        assert np.isfinite(trainer.step(*batch)).all()
    assert trainer.steps_done == PLAN.steps
    predictor.model.set_weights(trainer.averaged_weights())
    score = summarize(predictor.predict(test), dataset.skeleton.keypoints)
    labels = np.isfinite(np.stack([image.xy_px for image in split.test])).all(axis=2)
    assert score.n_points == labels.sum() < labels.size
    assert [px is not None for px in score.per_keypoint.values()] == labels.any(axis=0).tolist()
