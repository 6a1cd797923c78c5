"""A network of a few hundred weights and random frames, to train for a few steps."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
from keras import layers

from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.training.augment import Augmentation
from edgepose_train.training.samples import PictureCache, TrainingSample
from edgepose_train.training.trainer import TrainingPlan, TrainingViews

KEYPOINTS = 3
PLAN = TrainingPlan(steps=7, batch=4, learning_rate=1e-3, stride=8, seed=5)
AUGMENTATION = Augmentation((64, 48), 180.0, None)
FRAME_WH = (80, 60)


def network(size_wh=AUGMENTATION.crop_wh, keypoints=KEYPOINTS) -> keras.Model:
    """Returns a network with inputs and outputs like those of `network.build`."""
    picture = keras.Input((size_wh[1], size_wh[0], 3))
    x = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(8, 8, strides=8, activation="relu")(picture))
    heatmap, offset = layers.Conv2D(keypoints, 1)(x), layers.Conv2D(2 * keypoints, 1)(x)
    return keras.Model(picture, {"heatmap": heatmap, "offset": offset})


def samples(folder: Path, pictures: PictureCache, labels: np.ndarray) -> list[TrainingSample]:
    """Writes N frames of noise, always the same, and returns their samples; labels: (N, K, 2)."""
    rng, found = np.random.default_rng(0), []
    folder.mkdir(exist_ok=True)
    for i, xy in enumerate(labels):
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (FRAME_WH[1], FRAME_WH[0], 3), np.uint8))
        found.append(pictures.sample(LabelledImage(path, xy, ""), AUGMENTATION.crop_wh))
    return found


def some_labels(count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (count, KEYPOINTS, 2)) * FRAME_WH


def views(folder: Path) -> TrainingViews:
    pictures = PictureCache()
    train = samples(folder / "train", pictures, some_labels(6))
    return TrainingViews(train, samples(folder / "validation", pictures, some_labels(2)), AUGMENTATION, pictures)
