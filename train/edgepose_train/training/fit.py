"""Labelled frames to a model that ships: train, quantize, write the card, measure the shipped file."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

import edgepose
from edgepose.errors import UsageError
from edgepose.geometry.coordinates import animal_px
from edgepose.geometry.letterbox import FrameMap
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import ModelCard, Training, card_path, read_card, sha256_of, write_card
from edgepose.types import F64
from edgepose_train.evaluation.evaluate import FOLLOWED, measure, measure_followed
from edgepose_train.evaluation.metrics import Predictions, summarize
from edgepose_train.evaluation.score_calibration import Reliability, fit_score_map, reliability
from edgepose_train.export.quantize import make_card, to_int8
from edgepose_train.labels.dataset import Dataset, LabelledImage
from edgepose_train.labels.images import image_hash, read_image
from edgepose_train.network import network
from edgepose_train.network.recipes import Recipe, input_size
from edgepose_train.training import checkpoint
from edgepose_train.training import warm_start as earlier_run
from edgepose_train.training.augment import Augmentation, turn_range_deg
from edgepose_train.training.distill import DistillationSet
from edgepose_train.training.samples import RESIZE, Pictures, Sample
from edgepose_train.training.splits import Split, split_images
from edgepose_train.training.trainer import Plan, Predictor, Trainer, Views
from edgepose_train.training.training_loop import Check, train_network

CALIBRATION_FRAMES = 100
FILLED = 0.5  # of the input's shorter side by a long animal, in a window that follows it
LEAST_ZOOM, MOST_ZOOM = 1.2, 4.0
_LONGEST = 95  # percentile of the animal's lengths
_LOOKED_AT = 200  # frames that tell the size of all


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Everything that decides the result, besides the data. weights: as `--weights`. epochs: None = as the recipe
    says. by_video: test on whole videos. follow: learn also from views that are as large as in a window that follows
    the animal."""

    recipe_name: str
    recipe: Recipe
    weights: str
    seed: int
    input_wh: tuple[int, int] | None = None
    epochs: int | None = None
    by_video: bool = False
    follow: bool = False


@dataclass(frozen=True, slots=True)
class Fitted:
    """A finished run. in_int8: what the shipped file finds on the test frames; in_float: what the network found there
    before quantization. reliability: None where the scores have no map. network: in float, at the model's size."""

    card: ModelCard
    split: Split
    curve: list[Check]
    in_int8: Predictions
    in_float: Predictions
    reliability: Reliability | None
    network: keras.Model


def fit(
    dataset: Dataset, run: Path, settings: FitOptions, split: Split | None = None, lesson: DistillationSet | None = None
) -> Fitted:
    """Leaves `model.tflite`, its card `model.json` and `checkpoint.npz` in the folder `run`; goes on where an
    interrupted run of the same settings stopped. split: instead of the one that the settings say."""
    split = split or split_images(dataset, settings.seed, settings.by_video, _learnt(settings, lesson))
    _make_folder(run)
    input_wh = settings.input_wh or input_size(settings.recipe, frame_size(split.train), animal_size(split.train))
    views = _views(dataset, split, input_wh, settings, lesson)
    plan = _plan(settings, len(views.train))
    keras.utils.set_random_seed(settings.seed)
    keypoints = len(dataset.skeleton.keypoints)
    trainer = Trainer(_network(settings, views.how.crop_wh, keypoints, settings.weights), plan)
    predictor = Predictor(_network(settings, input_wh, keypoints, "none"), plan)
    curve = train_network(trainer, predictor, views, run, _identity(dataset, settings, split, lesson))

    print("quantizing to int8 ...", flush=True)
    shown = views.train[: CALIBRATION_FRAMES // (2 if settings.follow else 1)]
    pictures = [sample.fitted() for sample in (*shown, *_followed(shown, views.how.zoom))]
    data = to_int8(predictor.model, pictures)
    training = _provenance(dataset, settings, split, trainer.steps_done, _found(views, lesson))
    card = make_card(dataset, data, pictures[0], plan, training)
    card = msgspec.structs.replace(card, input=msgspec.structs.replace(card.input, zoom=views.how.zoom))
    in_float = predictor.predict([views.pictures.sample(image, input_wh) for image in split.test])
    card, in_int8, reliable = _install(run, data, card, in_float, split)
    return Fitted(card, split, curve, in_int8, in_float, reliable, predictor.model)


def _learnt(settings: FitOptions, lesson: DistillationSet | None) -> set[str]:
    """Frames that whatever this run starts from has learnt."""
    cards = [lesson.teacher] if lesson else []
    if checkpoint.is_run(settings.weights):
        cards.append(read_card(Path(settings.weights) / "model.tflite"))
    return {digest for card in cards for digest in card.training.learnt_frames()}


def follow_zoom(images: Sequence[LabelledImage], input_wh: tuple[int, int]) -> float:
    """How much larger than in the whole frame the animal is in the window that follows it: so that all but the longest
    fill half of it, which leaves room to move, and no pixel of a frame is enlarged. Raises UsageError."""
    scale = float(FrameMap.fit(frame_size(images), input_wh, RESIZE).scale_xy.max())
    longest = animal_px(np.stack([image.xy_px for image in images]), _LONGEST)
    zoom = round(min(FILLED * min(input_wh) / (longest * scale), 1 / scale, MOST_ZOOM), 2)
    if not zoom >= LEAST_ZOOM:
        raise UsageError(
            "--follow: no window smaller than the frame holds the animal with room to move, or shows more of it "
            "than the frame does; leave it out, or give a smaller --input"
        )
    return zoom


def _followed(samples: list[Sample], zoom: float) -> list[Sample]:
    return [sample.followed(zoom) for sample in samples] if zoom > 1 else []


def _views(
    dataset: Dataset, split: Split, input_wh: tuple[int, int], settings: FitOptions, lesson: DistillationSet | None
) -> Views:
    zoom = follow_zoom(split.train, input_wh) if settings.follow else 1.0
    recipe, pictures = settings.recipe, Pictures(zoom=zoom)
    train, validation, taught = (
        [pictures.sample(image, input_wh) for image in part]
        for part in (split.train, split.validation, lesson.images if lesson else [])
    )
    how = Augmentation(
        crop_wh=(min(recipe.crop, input_wh[0]), min(recipe.crop, input_wh[1])),
        turn_deg=turn_range_deg(_labels(train)),
        flip_order=dataset.skeleton.flip_order() if dataset.skeleton.flip_pairs else None,
        zoom=zoom,
    )
    return Views(train, [*validation, *_followed(validation, zoom)], how, pictures, taught)


def _labels(samples: list[Sample]) -> F64:
    return np.array([sample.frame_xy for sample in samples])


def _install(
    run: Path, data: bytes, card: ModelCard, in_float: Predictions, split: Split
) -> tuple[ModelCard, Predictions, Reliability | None]:
    """Measures the file as the device would run it, and only then puts it, with its scores, into `run`."""
    with tempfile.TemporaryDirectory(dir=run) as folder:
        model = Path(folder) / card.files.cpu.name
        model.write_bytes(data)
        write_card(card, model)
        estimator = Estimator(model)
        score_map = fit_score_map(estimator, split.validation)
        raw = in_int8 = measure(estimator, split.test)
        reliable = None
        if score_map is not None:
            in_int8 = replace(raw, score=score_map.apply(raw.score))
            in_float = replace(in_float, score=score_map.apply(in_float.score))
            reliable = reliability(in_int8, raw.score, score_map.right_px)
        names = card.skeleton.keypoints
        scores = {"float": summarize(in_float, names), "int8": summarize(in_int8, names)}
        if card.input.zoom > 1:
            scores[FOLLOWED] = summarize(measure_followed(estimator, split.test), names)
        card = msgspec.structs.replace(card, score_map=score_map, scores=scores)
        write_card(card, model)
        for file in (model, card_path(model)):
            file.replace(run / file.name)
    return card, in_int8, reliable


def _make_folder(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"-o {run}: cannot make this folder ({exc.strerror}); give another one") from None


def frame_size(images: Sequence[LabelledImage]) -> tuple[int, int]:
    """(w, h) that most frames have; those of others are letterboxed into the same input."""
    some = images[:: -(-len(images) // _LOOKED_AT)]
    sizes = [read_image(image.path).shape[1::-1] for image in some]
    w, h = max(sorted(set(sizes)), key=sizes.count)
    return w, h


def animal_size(images: Sequence[LabelledImage]) -> float:
    """See `animal_px`."""
    return animal_px(np.stack([image.xy_px for image in images]))


def _plan(settings: FitOptions, images: int) -> Plan:
    recipe = settings.recipe
    per_epoch = -(-images // recipe.batch)
    steps = settings.epochs * per_epoch if settings.epochs else max(recipe.steps, recipe.min_epochs * per_epoch)
    if settings.follow and not settings.epochs:
        steps = steps * 3 // 2  # two sizes of the animal to learn
    return Plan(steps, recipe.batch, recipe.learning_rate, recipe.stride, settings.seed)


def _network(settings: FitOptions, size_wh: tuple[int, int], keypoints: int, weights: str) -> keras.Model:
    recipe = settings.recipe
    head = network.Head(keypoints, recipe.stride, recipe.width, recipe.edge_tpu)
    backbone = network.parse_backbone(recipe.backbone)
    if not checkpoint.is_run(weights):
        return network.build(backbone, head, size_wh, weights)
    model = network.build(backbone, head, size_wh, "given")
    earlier_run.start_from(weights, model)
    return model


def _identity(dataset: Dataset, settings: FitOptions, split: Split, lesson: DistillationSet | None) -> dict[str, Any]:
    """What must be the same for an interrupted run to go on: corrected labels begin a new one."""
    labelled = [*split.train, *split.validation, *(lesson.images if lesson else [])]
    what = {
        "edgepose": edgepose.__version__,
        "settings": asdict(settings),
        "images": _hashes(split),
        "labels": sha256_of(b"".join(image.xy_px.tobytes() for image in labelled)),
        "skeleton": msgspec.to_builtins(dataset.skeleton),
    }
    return json.loads(json.dumps(what))


def _hashes(split: Split) -> dict[str, tuple[str, ...]]:
    return {name: tuple(image_hash(image.path) for image in getattr(split, name)) for name in Split.__slots__}


def _found(views: Views, lesson: DistillationSet | None) -> dict[str, Any]:
    """What the data decided."""
    found = {"turn_deg": views.how.turn_deg, "mirrored": views.how.flip_order is not None}
    taught = {"teacher": lesson.teacher.model_id(), "taught_frames": len(lesson.images)} if lesson else {}
    return found | taught


def _provenance(dataset: Dataset, settings: FitOptions, split: Split, steps: int, found: dict[str, Any]) -> Training:
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
        settings={"recipe": asdict(settings.recipe), **found},
    )
