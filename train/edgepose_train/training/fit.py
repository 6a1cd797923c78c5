"""Labelled frames to a model that ships: trains, quantizes, writes the card, measures the shipped file."""

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
from edgepose.geometry.letterbox import FrameMap
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import KeypointOutput, ModelCard, Training, sha256_of
from edgepose.inference.model_file import NETWORK, read_card, write_model
from edgepose.pose.animal_size import animal_side_px
from edgepose.system.wording import printable
from edgepose.types import Skeleton
from edgepose_train.evaluation.evaluate import measure, measure_followed
from edgepose_train.evaluation.metrics import FOLLOWED, Predictions, summarize
from edgepose_train.evaluation.score_calibration import Reliability, fit_score_map, reliability
from edgepose_train.export.quantize import make_card, to_int8
from edgepose_train.labels.dataset import Dataset, LabelledImage
from edgepose_train.labels.flip_pairs import without_partner
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.network import network
from edgepose_train.network.backbone import Head, parse_backbone
from edgepose_train.network.recipes import RESIZE, input_size
from edgepose_train.training import checkpoint, warm_start
from edgepose_train.training.augment import Augmentation, turn_range_deg
from edgepose_train.training.distill import DistillationSet
from edgepose_train.training.fit_options import FitOptions
from edgepose_train.training.samples import PictureCache, TrainingSample, animal_size, frame_size
from edgepose_train.training.splits import Split, split_images
from edgepose_train.training.trainer import Predictor, Trainer, TrainingPlan, TrainingViews
from edgepose_train.training.training_logs import CurvePoint
from edgepose_train.training.training_loop import train_network

CALIBRATION_FRAMES = 100
FILLED = 0.5  # the share of the input's shorter side that a long animal fills in a window that follows it
LEAST_ZOOM, MOST_ZOOM = 1.2, 4.0
_LONGEST = 95  # percentile of the animal's lengths


@dataclass(frozen=True, slots=True)
class FitResult:
    """A finished fit.

    Attributes:
        card: the card of the model that ships.
        split: the images by purpose.
        curve: the learning curves.
        in_int8: what the shipped file predicts on the test frames.
        in_float: what the float network predicts on them.
        reliability: how often predictions of a score are right; None where the scores have no mapping.
        network: the float network at the size of the model's input.
    """

    card: ModelCard
    split: Split
    curve: list[CurvePoint]
    in_int8: Predictions
    in_float: Predictions
    reliability: Reliability | None
    network: keras.Model


def fit(
    dataset: Dataset,
    run: Path,
    options: FitOptions,
    split: Split | None = None,
    distillation: DistillationSet | None = None,
) -> FitResult:
    """Trains a model and writes `model.tflite` and `checkpoint.npz` into the folder `run`.

    A run with the same options that was interrupted is continued.

    Args:
        dataset: the labelled images.
        run: the folder for the result.
        options: what decides the result.
        split: the images by purpose; None for the split that the options ask for.
        distillation: pseudo-labelled frames to train on, too.

    Raises:
        EdgeposeError: the training, or the weights that it starts with, fail.
        UsageError: the folder or the options do not fit the data.
    """
    split = split or split_images(dataset, options.seed, options.by_video, _learnt(options, distillation))
    input_wh = options.input_wh or input_size(options.recipe, frame_size(split.train), animal_size(split.train))
    views = _views(dataset, split, input_wh, options, distillation)
    plan = _plan(options, len(views.train))
    keras.utils.set_random_seed(options.seed)
    keypoints = len(dataset.skeleton.keypoints)
    trainer = Trainer(_network(options, views.augmentation.crop_wh, keypoints, options.weights), plan)
    predictor = Predictor(_network(options, input_wh, keypoints, "none"), plan)
    _make_folder(run)
    curve = train_network(trainer, predictor, views, run, _identity(dataset, options, split, distillation))

    print("quantizing to int8 ...", flush=True)
    samples = views.train[: CALIBRATION_FRAMES // (2 if options.follow else 1)]
    pictures = [sample.fitted() for sample in (*samples, *_followed(samples, views.augmentation.zoom))]
    data = to_int8(predictor.model, pictures)
    training = _provenance(dataset, options, split, trainer.steps_done, _data_settings(views, distillation))
    card = make_card(dataset, data, pictures[0], KeypointOutput(plan.stride, plan.offset_scale), training)
    card = msgspec.structs.replace(card, input=msgspec.structs.replace(card.input, zoom=views.augmentation.zoom))
    in_float = predictor.predict([views.pictures.sample(image, input_wh) for image in split.test])
    card, in_int8, diagram = _install(run, data, card, in_float, split)
    return FitResult(card, split, curve, in_int8, in_float, diagram, predictor.model)


def _learnt(options: FitOptions, distillation: DistillationSet | None) -> set[str]:
    """Returns the frames that the teacher, or the run that gives the first weights, was trained on."""
    cards = [distillation.teacher] if distillation else []
    if checkpoint.is_run(options.weights):
        cards.append(read_card(Path(options.weights) / NETWORK))
    return {digest for card in cards for digest in card.training.learnt_frames()}


def follow_zoom(images: Sequence[LabelledImage], input_wh: tuple[int, int]) -> float:
    """Returns how much larger the animal is in the window that follows it than in the whole frame.

    All animals but the longest fill at most half of the window, so that they have room to move, and no pixel of a frame
    is enlarged. Raises UsageError where no such window is smaller than the frame.
    """
    scale = float(FrameMap.fit(frame_size(images), input_wh, RESIZE).scale_xy.max())
    longest = animal_side_px(np.stack([image.xy_px for image in images]), _LONGEST)
    zoom = round(min(FILLED * min(input_wh) / (longest * scale), 1 / scale, MOST_ZOOM), 2)
    if not zoom >= LEAST_ZOOM:
        raise UsageError(
            "--follow: no window smaller than the frame holds the animal with room to move, or shows more of it "
            "than the frame does; leave --follow out, or give a smaller --input"
        )
    return zoom


def _followed(samples: list[TrainingSample], zoom: float) -> list[TrainingSample]:
    return [sample.followed(zoom) for sample in samples] if zoom > 1 else []


def _views(
    dataset: Dataset, split: Split, input_wh: tuple[int, int], options: FitOptions, distillation: DistillationSet | None
) -> TrainingViews:
    zoom = follow_zoom(split.train, input_wh) if options.follow else 1.0
    recipe, pictures = options.recipe, PictureCache(zoom=zoom)
    train, validation, pseudo_labelled = (
        [pictures.sample(image, input_wh) for image in part]
        for part in (split.train, split.validation, distillation.images if distillation else [])
    )
    augmentation = Augmentation(
        crop_wh=(min(recipe.crop, input_wh[0]), min(recipe.crop, input_wh[1])),
        turn_deg=turn_range_deg(np.array([sample.frame_xy for sample in train])),
        flip_order=_flip_order(dataset.skeleton),
        zoom=zoom,
    )
    return TrainingViews(train, [*validation, *_followed(validation, zoom)], augmentation, pictures, pseudo_labelled)


def _flip_order(skeleton: Skeleton) -> list[int] | None:
    """Returns None where views must not be mirrored, because a keypoint of one side has no partner to become."""
    if not skeleton.flip_pairs or without_partner(skeleton.keypoints, skeleton.flip_pairs):
        return None
    return skeleton.flip_order()


def _install(
    run: Path, data: bytes, card: ModelCard, in_float: Predictions, split: Split
) -> tuple[ModelCard, Predictions, Reliability | None]:
    """Measures the file as the device runs it, and only then moves it, with its scores in the card, into `run`."""
    with tempfile.TemporaryDirectory(dir=run) as folder:
        model = Path(folder) / NETWORK
        write_model(model, data, card)
        estimator = Estimator(model)
        score_map = fit_score_map(estimator, split.validation)
        raw = in_int8 = measure(estimator, split.test)
        diagram = None
        if score_map is not None:
            in_int8 = replace(raw, score=score_map.apply(raw.score))
            in_float = replace(in_float, score=score_map.apply(in_float.score))
            diagram = reliability(in_int8, raw.score, score_map.right_px)
        names = card.skeleton.keypoints
        scores = {"float": summarize(in_float, names), "int8": summarize(in_int8, names)}
        if card.input.zoom > 1:
            scores[FOLLOWED] = summarize(measure_followed(estimator, split.test), names)
        card = msgspec.structs.replace(card, score_map=score_map, scores=scores)
        write_model(run / NETWORK, data, card)
    return card, in_int8, diagram


def _make_folder(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"-o {run}: cannot make this folder ({exc.strerror}); give another one") from None


def _plan(options: FitOptions, images: int) -> TrainingPlan:
    recipe = options.recipe
    per_epoch = -(-images // recipe.batch)
    steps = options.epochs * per_epoch if options.epochs else max(recipe.steps, recipe.min_epochs * per_epoch)
    if options.follow and not options.epochs:
        steps = steps * 3 // 2  # the network learns two sizes of the animal
    return TrainingPlan(steps, recipe.batch, recipe.learning_rate, recipe.stride, options.seed)


def _network(options: FitOptions, size_wh: tuple[int, int], keypoints: int, weights: str) -> keras.Model:
    recipe = options.recipe
    head = Head(keypoints, recipe.stride, recipe.width, recipe.edge_tpu)
    backbone = parse_backbone(recipe.backbone)
    if not checkpoint.is_run(weights):
        return network.build(backbone, head, size_wh, weights)
    model = network.build(backbone, head, size_wh, "given")
    warm_start.start_from(weights, model)
    return model


def _identity(
    dataset: Dataset, options: FitOptions, split: Split, distillation: DistillationSet | None
) -> dict[str, Any]:
    """Returns what must be the same for an interrupted run to be continued; with corrected labels a new run begins."""
    labelled = [*split.train, *split.validation, *(distillation.images if distillation else [])]
    what = {
        "edgepose": edgepose.__version__,
        "settings": asdict(options),
        "images": _frames(split),
        "labels": sha256_of(b"".join(image.xy_px.tobytes() for image in labelled)),
        "skeleton": msgspec.to_builtins(dataset.skeleton),
    }
    return dict(json.loads(json.dumps(what)))


def _frames(split: Split) -> dict[str, tuple[str, ...]]:
    return {name: tuple(frame_identity(image.path) for image in getattr(split, name)) for name in Split.__slots__}


def _data_settings(views: TrainingViews, distillation: DistillationSet | None) -> dict[str, Any]:
    """Returns the settings that the data decided, for the card."""
    settings: dict[str, Any] = {
        "turn_deg": views.augmentation.turn_deg,
        "mirrored": views.augmentation.flip_order is not None,
    }
    if distillation:
        settings |= {"teacher": distillation.teacher_id, "pseudo_labelled_frames": len(distillation.images)}
    return settings


def _provenance(
    dataset: Dataset, options: FitOptions, split: Split, steps: int, data_settings: dict[str, Any]
) -> Training:
    return Training(
        dataset=printable(dataset.name),
        recipe=options.recipe_name,
        backbone=str(parse_backbone(options.recipe.backbone)),
        weights=options.weights if options.weights in {"imagenet", "none"} else printable(Path(options.weights).name),
        seed=options.seed,
        epochs=steps * options.recipe.batch // len(split.train),
        splits=_frames(split),
        versions={
            "edgepose": edgepose.__version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        },
        settings={"recipe": asdict(options.recipe), **data_settings},
    )
