"""`edgepose-train fit DATASET -o RUN`: labelled frames to an int8 model."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from edgepose.errors import EdgeposeError, UsageError
from edgepose.inference.model_card import ModelCard, read_card
from edgepose_train.commands.score_table import print_scores
from edgepose_train.labels.dataset import Dataset
from edgepose_train.labels.reading import DATASET_HELP, read_dataset
from edgepose_train.network.recipes import RECIPES, Recipe, parse_size, recipe_for
from edgepose_train.quiet import quiet
from edgepose_train.training.checkpoint import is_run

if TYPE_CHECKING:
    from edgepose_train.report.report import ReportData
    from edgepose_train.training.distill import DistillationSet
    from edgepose_train.training.fit import FitOptions, Fitted

BOARDS = ("pi-zero-2w", "pi-3", "pi-4", "pi-5", "coral", "desktop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  edgepose-train fit my-project -o RUN\n"
        "  edgepose-train fit my-project -o RUN --target pi-4 --fps 30\n"
        "  edgepose-train fit my-project -o SMALL --recipe fast --teacher RUN/model.tflite --unlabelled cage.mp4\n\n"
        "Leaves RUN/model.tflite and its card RUN/model.json, which go to the device, and RUN/report.html.\n"
        "After Ctrl-C or a crash the same command goes on where it stopped. Exit status 1 when the model is ready but\n"
        "int8 costs it more than --max-int8-loss."
    )
    parser.add_argument("dataset", type=Path, help=DATASET_HELP)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder for the result")
    parser.add_argument("--recipe", choices=list(RECIPES), help="fast, balanced (default) or accurate")
    parser.add_argument("--target", choices=BOARDS, help="choose network and input for this board, instead of --recipe")
    parser.add_argument("--fps", type=_positive_number, metavar="F", help="frames a second wanted on --target")
    parser.add_argument("--backbone", metavar="NAME", help="mobilenet_v1_ALPHA or mobilenet_v2_ALPHA")
    parser.add_argument(
        "--weights",
        default="imagenet",
        metavar="W",
        help="what to start from: imagenet (default, downloads), none, a .h5 file, a folder of such files, or the RUN "
        "of an earlier fit",
    )
    parser.add_argument("--input", metavar="WxH", help="size of the model's input, such as 320x240")
    parser.add_argument(
        "--follow", action="store_true", help="learn what a window round the animal shows (view.follow)"
    )
    parser.add_argument("--epochs", type=_positive, metavar="N", help="instead of the recipe's number")
    parser.add_argument("--seed", type=_seed, default=0, help="of the split and of the training (default 0)")
    parser.add_argument("--split", choices=("frame", "video"), default="frame", help="what to test on (default frame)")
    parser.add_argument("--folds", type=_positive, metavar="K", help="also train K models that test every frame once")
    parser.add_argument("--teacher", type=Path, metavar="MODEL", help="a larger model, which labels the frames of ...")
    parser.add_argument("--unlabelled", type=Path, nargs="+", metavar="VIDEO", help="... these videos to learn from")
    parser.add_argument(
        "--max-int8-loss",
        type=_positive_number,
        metavar="PX",
        help="mean error that int8 may add (default: one pixel of the model's input, leaving out the frame it adds "
        "most to)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1 up")
    return int(text)


def _positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 0 to {2**32 - 1}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    _check_options(args)
    input_wh = parse_size(args.input) if args.input else None
    dataset = read_dataset(args.dataset)
    for problem in dataset.problems:
        print(f"problem: {problem}", file=sys.stderr)
    _start_tensorflow()
    from edgepose_train.training.crossval import add_folds, cross_validate, plan_folds
    from edgepose_train.training.fit import fit

    settings = _settings(args, dataset, input_wh)
    folds = plan_folds(dataset, settings, args.folds) if args.folds else []
    lesson = _lesson(args, dataset)
    fitted = fit(dataset, args.output, settings, lesson=lesson)
    model = args.output / "model.tflite"
    if folds:
        everything = cross_validate(dataset, args.output, settings, folds, lesson)
        fitted = replace(fitted, card=add_folds(model, fitted.card, everything))
    if settings.recipe.edge_tpu:
        fitted = replace(fitted, card=_compile(model))
    return _conclude(args, fitted)


def _check_options(args: argparse.Namespace) -> None:
    if bool(args.teacher) != bool(args.unlabelled):
        raise UsageError("--teacher MODEL and --unlabelled VIDEO belong together; give both")
    if args.fps and not args.target:
        raise UsageError("--fps is what --target is to reach; give --target too")
    if args.target and (args.backbone or args.recipe or args.input):
        raise UsageError("--target chooses network and input; leave out --recipe, --backbone and --input, or --target")
    if args.folds and (args.teacher or is_run(args.weights)):
        earlier = "--teacher" if args.teacher else "--weights"
        raise UsageError(f"--folds tests frames that the model of {earlier} has learnt from; leave out one of the two")


def _start_tensorflow() -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise EdgeposeError("training needs TensorFlow: pip install 'edgepose[train]'")
    with quiet():  # TensorFlow looks for GPUs, and reports at length that there are none
        import tensorflow as tf

        tf.config.list_logical_devices()


def _settings(args: argparse.Namespace, dataset: Dataset, input_wh: tuple[int, int] | None) -> FitOptions:
    from edgepose_train.network.network import parse_backbone
    from edgepose_train.training.fit import FitOptions

    by_video = args.split == "video"
    if args.target:
        recipe, input_wh = _for_target(args, dataset)
        return FitOptions(args.target, recipe, args.weights, args.seed, input_wh, args.epochs, by_video, args.follow)
    name = args.recipe or "balanced"
    recipe = RECIPES[name]
    if args.backbone:
        parse_backbone(args.backbone)
        recipe = replace(recipe, backbone=args.backbone)
    return FitOptions(name, recipe, args.weights, args.seed, input_wh, args.epochs, by_video, args.follow)


def _for_target(args: argparse.Namespace, dataset: Dataset) -> tuple[Recipe, tuple[int, int]]:
    from edgepose_train.network.target_boards import TARGETS, choose
    from edgepose_train.training.fit import animal_size, frame_size

    target = TARGETS[args.target]
    fps = args.fps or target.fps
    sizes = frame_size(dataset.images), animal_size(dataset.images)
    choice = choose(target, fps, *sizes, len(dataset.skeleton.keypoints))
    w, h = choice.input_wh
    print(
        f"{args.target}: {choice.backbone} at {w}x{h}, stride {choice.stride}; about {choice.estimate_ms:.0f} ms "
        f"a frame there, which leaves room for the rest at {fps:g} fps",
        flush=True,
    )
    return recipe_for(choice.backbone, choice.width, choice.stride, choice.animal_px, args.target == "coral"), (w, h)


def _lesson(args: argparse.Namespace, dataset: Dataset) -> DistillationSet | None:
    if not args.teacher:
        return None
    from edgepose_train.training.distill import prepare_distillation

    return prepare_distillation(args.teacher, args.unlabelled, dataset)


def _conclude(args: argparse.Namespace, fitted: Fitted) -> int:
    """Tables, report, verdict; the exit status."""
    from edgepose_train.network.target_boards import speed_table
    from edgepose_train.report.page import write_report
    from edgepose_train.report.report import judge

    model, card = args.output / "model.tflite", fitted.card
    found = _measured(args, fitted, model)
    report = write_report(args.output, card, found)
    print_scores(card.scores, "frames it never saw")
    console = Console(highlight=False, soft_wrap=True)
    console.print(speed_table(found.speed))
    verdict = judge(card, found)
    word = "[bold green]Good.[/]" if verdict.good else "[bold yellow]Not good yet.[/]"
    console.print(f"{word} {escape(verdict.sentence)}")
    for reason in verdict.reasons:
        console.print(f"  - {escape(reason)}")
    print(
        f"{model} ({model.stat().st_size / 1000:.0f} kB) and its card model.json are ready; {report} shows what they "
        f"are worth; try them with: edgepose analyze {model} VIDEO -o poses.csv"
    )
    return 1 if found.blame else 0


def _measured(args: argparse.Namespace, fitted: Fitted, model: Path) -> ReportData:
    from edgepose_train.export.layer_attribution import attribute_layers
    from edgepose_train.network.target_boards import speed
    from edgepose_train.report.report import ReportData, int8_loss_px

    data, blame = model.read_bytes(), None
    allowed_px, excused = args.max_int8_loss or _input_pixel(fitted), args.max_int8_loss is None
    if int8_loss_px(fitted.in_int8, fitted.in_float, excused) > allowed_px:
        print("looking for the layer that int8 loses it in ...", flush=True)
        blame = attribute_layers(fitted.network, data, fitted.card, fitted.split.test)
    return ReportData(
        fitted.split,
        fitted.in_int8,
        fitted.in_float,
        allowed_px,
        excused,
        fitted.curve,
        fitted.reliability,
        speed(data, str(model)),
        blame,
        args.dataset,
        shlex.join(["edgepose-train", *sys.argv[1:]]),
    )


def _input_pixel(fitted: Fitted) -> float:
    """Frame pixels that one pixel of the model's input spans."""
    from edgepose_train.training.fit import frame_size

    frame_wh = frame_size(fitted.split.test)
    spans = (frame / side for frame, side in zip(frame_wh, fitted.card.input.size_wh, strict=True))
    return round(max(1.0, *spans), 2)


def _compile(model: Path) -> ModelCard:
    """For a Coral, where its compiler is installed; else says how. The card, with the compiled file in it."""
    from edgepose_train.export.edgetpu import audit
    from edgepose_train.export.edgetpu_compile import command_line, compile_model, is_installed
    from edgepose_train.export.tflite_graph import read_bytes, read_graph

    found = audit(read_graph(read_bytes(model), str(model)))
    print(f"Edge TPU: {found.verdict()}", flush=True)
    if is_installed():
        print(compile_model(model).verdict(), flush=True)
    else:
        print(f"to compile it for the Coral, where edgetpu_compiler is installed: {command_line(model)}", flush=True)
    return read_card(model)
