"""Samples, batches, losses, and a trainer whose state comes back exactly."""

from __future__ import annotations

import signal

import keras
import numpy as np
import pytest
import tensorflow as tf  # noqa: TID251
from keras import layers

from edgepose.core.geometry import FrameMap
from edgepose.core.heatmap import render
from edgepose_train.augment import Augmentation
from edgepose_train.datasets import read_dataset
from edgepose_train.evaluate import summarize
from edgepose_train.fit import Settings, _plan, _sample, split_images
from edgepose_train.loop import Best, Views, train_network
from edgepose_train.recipes import RECIPES
from edgepose_train.training import Plan, Predictor, Trainer, batches, losses, make_sample

pytestmark = pytest.mark.usefixtures("eagerly")
KEYPOINTS = 3
PLAN = Plan(steps=7, batch=4, learning_rate=1e-3, stride=8, seed=5)
HOW = Augmentation((64, 48), 180.0, None)


def tiny_network(size_wh=HOW.crop_wh, keypoints=KEYPOINTS) -> keras.Model:
    """Of the shape that `network.build` has."""
    picture = keras.Input((size_wh[1], size_wh[0], 3))
    x = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(8, 8, strides=8, activation="relu")(picture))
    heatmap, offset = layers.Conv2D(keypoints, 1)(x), layers.Conv2D(2 * keypoints, 1)(x)
    return keras.Model(picture, {"heatmap": heatmap, "offset": offset})


def samples(count=6, frame_wh=(80, 60), keypoints=KEYPOINTS):
    random, found = np.random.default_rng(0), []
    for _ in range(count):
        image = random.integers(0, 256, (frame_wh[1], frame_wh[0], 3), np.uint8)
        xy = random.uniform(0, 1, (keypoints, 2)) * frame_wh
        found.append(make_sample(image, xy, FrameMap.fit(frame_wh, HOW.crop_wh, "letterbox")))
    return found


# --- losses ------------------------------------------------------------------------------------------------


def targets(xy):
    found = render(xy, (6, 8), PLAN.stride, PLAN.offset_scale, PLAN.sigma_px)
    return [array[None] for array in (found.heatmap, found.offset, found.offset_mask, found.known)]


def gradients(out, *wanted):
    out = {name: tf.Variable(value) for name, value in out.items()}
    with tf.GradientTape() as tape:
        heat, offset = losses(out, *wanted)
        loss = heat + offset
    return float(loss), {name: value.numpy() for name, value in tape.gradient(loss, out).items()}


def test_an_unlabelled_keypoint_is_unknown_not_absent():
    """Whatever the network says about it costs nothing and teaches nothing; the others do."""
    wanted = targets([[20.0, 20], [np.nan, np.nan], [40, 30]])
    random = np.random.default_rng(0)
    out = {"heatmap": random.normal(0, 3, (1, 6, 8, 3)), "offset": random.normal(0, 1, (1, 6, 8, 6))}
    out = {name: value.astype(np.float32) for name, value in out.items()}
    loss, gradient = gradients(out, *wanted)
    assert np.isfinite(loss)
    assert not gradient["heatmap"][..., 1].any()
    assert not gradient["offset"][..., 2:4].any()
    assert all(gradient["heatmap"][..., k].any() for k in (0, 2))
    out["heatmap"][..., 1] = 50
    out["offset"][..., 2:4] = -50
    assert gradients(out, *wanted)[0] == loss


def test_a_keypoint_outside_the_view_is_known_absent():
    wanted = targets([[20.0, 20], [-500, -500], [40, 30]])
    _, gradient = gradients({"heatmap": np.zeros((1, 6, 8, 3), "f4"), "offset": np.zeros((1, 6, 8, 6), "f4")}, *wanted)
    assert (gradient["heatmap"][..., 1] > 0).all()
    assert not gradient["offset"][..., 2:4].any()


def test_a_view_without_any_label_costs_nothing():
    wanted = targets(np.full((3, 2), np.nan))
    loss, gradient = gradients({"heatmap": np.ones((1, 6, 8, 3), "f4"), "offset": np.ones((1, 6, 8, 6), "f4")}, *wanted)
    assert loss == 0
    assert not any(value.any() for value in gradient.values())


def test_a_perfect_network_has_no_loss():
    heatmap, offset, near, known = targets([[20.0, 20], [31.5, 12], [40, 30]])
    p = np.clip(heatmap.astype(np.float64), 1e-6, 1 - 1e-6)
    perfect = {"heatmap": np.log(p / (1 - p)).astype(np.float32), "offset": offset}
    heat, off = (float(loss) for loss in losses(perfect, heatmap, offset, near, known))
    worse, _ = losses(perfect | {"heatmap": perfect["heatmap"] + 1}, heatmap, offset, near, known)
    assert abs(heat) < 1e-3
    assert off == 0
    assert float(worse) > 0.01


# --- batches and state -------------------------------------------------------------------------------------


def test_batches_are_a_function_of_seed_and_step():
    data = samples()
    whole = list(batches(data, HOW, PLAN, 0))
    assert len(whole) == PLAN.steps
    assert [array.shape for array in whole[0]] == [(4, 48, 64, 3), (4, 6, 8, 3), (4, 6, 8, 6), (4, 6, 8, 3), (4, 3)]
    for start in (3, 6):
        for ours, theirs in zip(batches(data, HOW, PLAN, start), whole[start:], strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)
    assert list(batches(data, HOW, PLAN, PLAN.steps)) == []
    other_seed = next(batches(data, HOW, Plan(7, 4, 1e-3, 8, 6), 0))
    assert not np.array_equal(other_seed[0], whole[0][0])


def test_every_frame_is_seen_once_an_epoch():
    """Told by its keypoint count: a view keeps which keypoints are labelled."""
    data = []
    for i in range(6):
        xy = np.full((6, 2), np.nan)
        xy[i] = 30
        data.append(make_sample(np.zeros((60, 80, 3), np.uint8), xy, FrameMap.fit((80, 60), HOW.crop_wh, "letterbox")))
    plan = Plan(steps=6, batch=2, learning_rate=1e-3, stride=8, seed=0)
    seen = np.concatenate([known for *_, known in batches(data, HOW, plan, 0)]).argmax(axis=1)
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6].tolist() != seen[6:].tolist()


def test_a_restored_trainer_goes_on_identically():
    data = samples()
    trainer = Trainer(tiny_network(), PLAN)
    for batch in batches(data, HOW, Plan(3, 4, 1e-3, 8, 5), 0):
        trainer.step(*batch)
    state = {name: [array.copy() for array in group] for name, group in trainer.state().items()}
    restored = Trainer(tiny_network(), PLAN)
    restored.restore(state)
    assert restored.steps_done == 3
    for ours, theirs in zip(batches(data, HOW, PLAN, 3), batches(data, HOW, PLAN, restored.steps_done), strict=True):
        assert [float(loss) for loss in trainer.step(*ours)] == [float(loss) for loss in restored.step(*theirs)]
    for one, other in zip(trainer.averaged_weights(), restored.averaged_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_average_follows_the_weights_and_keeps_the_statistics():
    trainer = Trainer(tiny_network(), PLAN)
    before = trainer.model.get_weights()
    for batch in batches(samples(), HOW, PLAN, 0):
        trainer.step(*batch)
    norm = next(layer for layer in trainer.model.layers if isinstance(layer, layers.BatchNormalization))
    statistics = {id(v) for v in norm.non_trainable_variables}
    for variable, average, first in zip(trainer.model.weights, trainer.averaged_weights(), before, strict=True):
        if id(variable) in statistics:
            np.testing.assert_array_equal(average, variable.numpy())
        else:
            assert (np.abs(average - variable.numpy()) <= np.abs(first - variable.numpy()) + 1e-3).all()


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, monkeypatch, capsys):
    """The same weights, bit for bit: what Ctrl-C costs is the start-up alone."""
    views = Views(samples(6), samples(2), HOW)
    keras.utils.set_random_seed(0)
    first = tiny_network().get_weights()

    def run(folder, stop=None) -> list[np.ndarray]:
        network = tiny_network()
        network.set_weights(first)
        trainer, predictor = Trainer(network, PLAN), Predictor(tiny_network(), PLAN)
        step = trainer.step

        def step_or_stop(*batch):
            if trainer.steps_done == stop:
                signal.raise_signal(signal.SIGINT)
            return step(*batch)

        monkeypatch.setattr(trainer, "step", step_or_stop)
        train_network(trainer, predictor, views, folder / "checkpoint.npz", {"seed": 0})
        return predictor.model.get_weights()

    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 4)
    for one, other in zip(whole, run(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)
    assert f"going on from step 5 of {PLAN.steps}" in capsys.readouterr().out


def test_the_best_weights_are_the_latest_of_equals():
    best = Best()
    for step, px in enumerate([5.0, 3.0, 3.0, 4.0]):
        best.see(px, step, [step])
    assert (best.step, best.validation_px, best.weights, best.checks_since) == (2, 3.0, [2], 1)


# --- real labels -------------------------------------------------------------------------------------------


def test_two_image_sizes_and_missing_labels_train_and_are_scored(reaching):
    dataset = read_dataset(reaching)
    assert np.isnan(np.stack([image.xy_px for image in dataset.images])).any()
    split = split_images(dataset, 0)
    input_wh = (96, 64)
    plan = _plan(Settings("fast", RECIPES["fast"], "none", 0, input_wh, epochs=1), len(split.train))
    train, test = ([_sample(image, input_wh) for image in part] for part in (split.train, split.test))
    assert len({sample.frame_map.frame_wh for sample in train}) == 2
    k = len(dataset.skeleton.keypoints)
    trainer, predictor = (factory(tiny_network(input_wh, k), plan) for factory in (Trainer, Predictor))
    for batch in batches(train, Augmentation(input_wh, 25.0, None), plan, 0):
        assert np.isfinite([float(loss) for loss in trainer.step(*batch)]).all()
    assert trainer.steps_done == plan.steps
    predictor.model.set_weights(trainer.averaged_weights())
    score = summarize(predictor.errors_px(test), dataset.skeleton.keypoints)
    labels = np.isfinite(np.stack([image.xy_px for image in split.test])).all(axis=2)
    assert score.n_points == labels.sum() < labels.size
    assert [px is not None for px in score.per_keypoint.values()] == labels.any(axis=0).tolist()
