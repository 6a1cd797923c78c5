"""Labelled frames to a model that ships: split, train, quantize, write the card, measure the shipped file."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

import edgepose
from edgepose.core.card import ModelCard, Training, card_path, sha256_of, write_card
from edgepose.core.errors import DatasetError, UsageError
from edgepose.core.geometry import FrameMap
from edgepose.core.types import F64
from edgepose.inference.estimator import Estimator
from edgepose_train import network
from edgepose_train.augment import Augmentation, turn_range_deg
from edgepose_train.datasets import FEWEST_IMAGES, Dataset, LabelledImage, image_hash, read_image
from edgepose_train.evaluate import measure, summarize
from edgepose_train.loop import Views, train_network
from edgepose_train.quantize import RESIZE, make_card, to_int8
from edgepose_train.recipes import Recipe, input_size
from edgepose_train.training import Plan, Predictor, Sample, Trainer, make_sample

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
CALIBRATION_FRAMES = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides the result, besides the data. epochs: None = as the recipe says."""

    recipe_name: str
    recipe: Recipe
    weights: str
    seed: int
    input_wh: tuple[int, int] | None = None
    epochs: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Images by purpose: `validation` stops the training and chooses the model, `test` is only measured on."""

    train: list[LabelledImage]
    validation: list[LabelledImage]
    test: list[LabelledImage]


def split_images(dataset: Dataset, seed: int) -> Split:
    """By content, so that two copies of a frame stay together and the order of the label file does not matter."""
    by_hash: dict[str, list[LabelledImage]] = {}
    for image in dataset.images:
        by_hash.setdefault(image_hash(image.path), []).append(image)
    if len(by_hash) < FEWEST_IMAGES:
        raise DatasetError(f"{dataset.name}: {len(by_hash)} labelled frames are too few to train on; label 20 or more")
    order = np.random.default_rng(seed).permutation(sorted(by_hash))
    n_test = max(1, round(len(order) * TEST_SHARE))
    n_validation = max(1, round(len(order) * VALIDATION_SHARE))
    pick = [
        [image for key in part for image in by_hash[key]] for part in np.split(order, [n_test, n_test + n_validation])
    ]
    return Split(test=pick[0], validation=pick[1], train=pick[2])


def fit(dataset: Dataset, run: Path, settings: Settings) -> ModelCard:
    """Leaves `model.tflite`, its card `model.json` and `checkpoint.npz` in the folder `run`; goes on where an
    interrupted run of the same settings stopped."""
    split = split_images(dataset, settings.seed)
    _make_folder(run)
    input_wh = settings.input_wh or _input_size(settings.recipe, split.train)
    train, validation = ([_sample(image, input_wh) for image in part] for part in (split.train, split.validation))
    plan = _plan(settings, len(train))
    how = Augmentation(
        crop_wh=(min(settings.recipe.crop, input_wh[0]), min(settings.recipe.crop, input_wh[1])),
        turn_deg=turn_range_deg(np.array([sample.frame_xy for sample in train])),
        flip_order=dataset.skeleton.flip_order() if dataset.skeleton.flip_pairs else None,
    )
    keras.utils.set_random_seed(settings.seed)
    keypoints = len(dataset.skeleton.keypoints)
    trainer = Trainer(_network(settings, how.crop_wh, keypoints, settings.weights), plan)
    predictor = Predictor(_network(settings, input_wh, keypoints, "none"), plan)
    train_network(
        trainer, predictor, Views(train, validation, how), run / "checkpoint.npz", _identity(dataset, settings, split)
    )

    print("quantizing to int8 ...", flush=True)
    pictures = [sample.fitted for sample in train[:CALIBRATION_FRAMES]]
    data = to_int8(predictor.model, pictures)
    card = make_card(dataset, data, pictures[0], plan, _provenance(dataset, settings, split, how, trainer.steps_done))
    float_px = predictor.errors_px([_sample(image, input_wh) for image in split.test])
    return _install(run, data, card, float_px, split.test)


def _install(run: Path, data: bytes, card: ModelCard, float_px: F64, test: list[LabelledImage]) -> ModelCard:
    """Measures the file as the device would run it, and only then puts it, with its scores, into `run`."""
    with tempfile.TemporaryDirectory(dir=run) as folder:
        model = Path(folder) / card.files.cpu.name
        model.write_bytes(data)
        write_card(card, model)
        names = card.skeleton.keypoints
        scores = {"float": summarize(float_px, names), "int8": summarize(measure(Estimator(model), test), names)}
        card = msgspec.structs.replace(card, scores=scores)
        write_card(card, model)
        for file in (model, card_path(model)):
            file.replace(run / file.name)
    return card


def _make_folder(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"-o {run}: cannot make this folder ({exc.strerror}); give another one") from None


def _input_size(recipe: Recipe, images: list[LabelledImage]) -> tuple[int, int]:
    """From the size that most frames have; the others are letterboxed into it."""
    sizes = [read_image(image.path).shape[1::-1] for image in images]
    return input_size(recipe, max(set(sizes), key=sizes.count))


def _sample(image: LabelledImage, input_wh: tuple[int, int]) -> Sample:
    rgb = np.ascontiguousarray(read_image(image.path)[..., ::-1])
    return make_sample(rgb, image.xy_px, FrameMap.fit((rgb.shape[1], rgb.shape[0]), input_wh, RESIZE))


def _plan(settings: Settings, images: int) -> Plan:
    recipe = settings.recipe
    per_epoch = -(-images // recipe.batch)
    steps = settings.epochs * per_epoch if settings.epochs else max(recipe.steps, recipe.min_epochs * per_epoch)
    return Plan(steps, recipe.batch, recipe.learning_rate, recipe.stride, settings.seed)


def _network(settings: Settings, size_wh: tuple[int, int], keypoints: int, weights: str) -> keras.Model:
    recipe = settings.recipe
    backbone = network.parse_backbone(recipe.backbone)
    return network.build(backbone, network.Head(keypoints, recipe.stride, recipe.width), size_wh, weights)


def _identity(dataset: Dataset, settings: Settings, split: Split) -> dict[str, Any]:
    """What must be the same for an interrupted run to go on: corrected labels begin a new one."""
    what = {
        "edgepose": edgepose.__version__,
        "settings": asdict(settings),
        "images": _hashes(split),
        "labels": sha256_of(b"".join(image.xy_px.tobytes() for image in (*split.train, *split.validation))),
        "skeleton": msgspec.to_builtins(dataset.skeleton),
    }
    return json.loads(json.dumps(what))


def _hashes(split: Split) -> dict[str, tuple[str, ...]]:
    return {name: tuple(image_hash(image.path) for image in getattr(split, name)) for name in Split.__slots__}


def _provenance(dataset: Dataset, settings: Settings, split: Split, how: Augmentation, steps: int) -> Training:
    return Training(
        dataset=dataset.name,
        recipe=settings.recipe_name,
        backbone=str(network.parse_backbone(settings.recipe.backbone)),
        weights=settings.weights if settings.weights in {"imagenet", "none"} else Path(settings.weights).name,
        seed=settings.seed,
        epochs=steps * settings.recipe.batch // len(split.train),
        splits=_hashes(split),
        versions={
            "edgepose": edgepose.__version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        },
        settings={"recipe": asdict(settings.recipe), "turn_deg": how.turn_deg, "mirrored": how.flip_order is not None},
    )
