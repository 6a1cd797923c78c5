"""`edgepose-train fit DATASET -o RUN`: labelled frames to an int8 model."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from edgepose.errors import UsageError
from edgepose.inference.model_card import ModelCard
from edgepose.inference.model_file import NETWORK, read_card
from edgepose.system.arguments import above_zero, add_output_argument, check_output, model_path
from edgepose.system.extras import extra
from edgepose.system.wording import did_you_mean
from edgepose_train.commands.labelling_project import positive
from edgepose_train.commands.score_table import print_scores
from edgepose_train.export.edgetpu import audit_graph
from edgepose_train.export.edgetpu_compile import command_line, compile_model, is_installed
from edgepose_train.export.model_speed import speed_table
from edgepose_train.export.tflite_graph import read_bytes, read_graph
from edgepose_train.labels.dataset import Dataset
from edgepose_train.labels.project_files import CONFIG
from edgepose_train.labels.reading import DATASET_HELP, read_dataset
from edgepose_train.network.backbone import parse_backbone
from edgepose_train.network.recipes import RECIPES, Recipe, parse_size, recipe_for
from edgepose_train.network.target_boards import TARGET_BOARDS, choose_network
from edgepose_train.quiet import quiet
from edgepose_train.report.page import write_report
from edgepose_train.report.verdict import judge
from edgepose_train.training.checkpoint import CHECKPOINT, is_run
from edgepose_train.training.distill import prepare_distillation
from edgepose_train.training.fit_options import FitOptions
from edgepose_train.training.samples import animal_size, frame_size
from edgepose_train.training.splits import fold_splits

if TYPE_CHECKING:
    from edgepose_train.training.fit import FitResult

_WEIGHTS_HELP = (
    "the first weights: imagenet (the default; downloads them), none, a .h5 file, a folder of such files, or the RUN "
    "of an earlier fit"
)
_INT8_LOSS_HELP = (
    "what int8 may add to the mean error (default: one pixel of the model's input, and the frame to which it adds most "
    "does not count)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Trains a model on labelled frames, quantizes it to int8 and measures the file that ships. RUN/model.tflite "
        "goes to the device; RUN/report.html shows how good the model is. After Ctrl-C or a "
        "crash, the same command continues where it stopped; with --force it begins anew. The exit status is 1 when "
        "the model is ready but int8 loses more than --max-int8-loss."
    )
    parser.epilog = (
        "examples:\n"
        "  edgepose-train fit my-project -o RUN\n"
        "  edgepose-train fit my-project -o RUN --target pi-4 --fps 30\n"
        "  edgepose-train fit my-project -o SMALL --recipe fast --teacher RUN --unlabelled cage.mp4"
    )
    parser.add_argument("dataset", type=Path, help=DATASET_HELP)
    add_output_argument(parser, "RUN", "the folder for the result")
    add = parser.add_argument
    add("--recipe", type=_recipe, metavar="NAME", help="fast, balanced (the default) or accurate")
    boards = f"choose network and input for this board, instead of --recipe: {', '.join(TARGET_BOARDS)}"
    add("--target", choices=list(TARGET_BOARDS), metavar="BOARD", help=boards)
    add("--fps", type=above_zero, metavar="F", help="the frame rate to reach on --target")
    add("--backbone", metavar="NAME", help="mobilenet_v1_ALPHA or mobilenet_v2_ALPHA")
    add("--input", metavar="WxH", help="the size of the model's input, such as 320x240")
    add("--follow", action="store_true", help="also train for a window that follows the animal (view.follow)")
    add("--weights", default="imagenet", metavar="W", help=_WEIGHTS_HELP)
    add("--epochs", type=positive, metavar="N", help="how often each frame is shown, instead of the recipe's number")
    add("--seed", type=_seed, default=0, help="decides the split and the training (default: 0)")
    add("--split", choices=("frame", "video"), default="frame", help="test on single frames (default) or whole videos")
    add("--folds", type=positive, metavar="K", help="also train K models, so that every frame is tested once")
    add("--teacher", type=model_path, metavar="MODEL", help="a larger model, which labels frames of --unlabelled")
    add("--unlabelled", type=Path, nargs="+", metavar="VIDEO", help="videos to train on with the labels of --teacher")
    add("--max-int8-loss", type=above_zero, metavar="PX", help=_INT8_LOSS_HELP)


def _recipe(text: str) -> str:
    """Accepts `demo` too, but does not suggest it: it is the recipe of the model inside the package."""
    if text not in RECIPES:
        raise argparse.ArgumentTypeError(f"{text!r} is not known{did_you_mean(text, RECIPES.keys() - {'demo'})}")
    return text


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 0 to {2**32 - 1}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Trains, prints the result and returns the exit status."""
    _check_options(args)
    input_wh = parse_size(args.input) if args.input else None
    dataset = read_dataset(args.dataset)
    _check_folder(args.output, args.dataset)
    for problem in dataset.problems:
        print(f"problem: {problem}", file=sys.stderr)
    _prepare_folder(args.output, args.force)
    _start_tensorflow()
    from edgepose_train.training.crossval import add_folds, cross_validate
    from edgepose_train.training.fit import fit

    options = _fit_options(args, dataset, input_wh)
    folds = fold_splits(dataset, options.seed, args.folds, options.by_video) if args.folds else []
    distillation = prepare_distillation(args.teacher, args.unlabelled, dataset) if args.teacher else None
    result = fit(dataset, args.output, options, distillation=distillation)
    model = args.output / NETWORK
    if folds:
        in_folds = cross_validate(dataset, args.output, options, folds, distillation)
        result = replace(result, card=add_folds(model, result.card, in_folds))
    if options.recipe.edge_tpu:
        result = replace(result, card=_compile(model))
    return _conclude(args, result)


def _check_options(args: argparse.Namespace) -> None:
    if bool(args.teacher) != bool(args.unlabelled):
        raise UsageError("--teacher MODEL and --unlabelled VIDEO belong together; give both")
    if args.fps and not args.target:
        raise UsageError("--fps is the frame rate to reach on --target; give --target too")
    if args.target and (args.backbone or args.recipe or args.input):
        raise UsageError("--target chooses network and input; leave out --recipe, --backbone and --input, or --target")
    if args.folds and (args.teacher or is_run(args.weights)):
        earlier = "--teacher" if args.teacher else "--weights"
        raise UsageError(f"--folds tests frames that the model of {earlier} was trained on; leave out one of the two")


def _check_folder(run: Path, dataset: Path) -> None:
    folder = dataset if dataset.is_dir() else dataset.parent
    if (run / CONFIG).is_file() or run.resolve() == folder.resolve():
        raise UsageError(f"-o {run}: this folder holds the labels; give another one for the model")


def _prepare_folder(run: Path, force: bool) -> None:
    """A run with the same options is continued. Everything else in the folder is only replaced with `--force`."""
    if not run.is_dir():
        return
    if force:
        for path in (run / CHECKPOINT, *run.glob(f"fold-*/{CHECKPOINT}")):
            path.unlink(missing_ok=True)
    elif not (run / CHECKPOINT).exists():
        check_output(run / NETWORK, force=False)


def _start_tensorflow() -> None:
    if sys.stderr.isatty():  # it takes many seconds in which nothing else is shown
        print("starting TensorFlow ...", file=sys.stderr, flush=True)
    # TensorFlow searches for GPUs, and prints many lines when there are none.
    with extra("train", "training"), quiet():
        import tensorflow as tf

        tf.config.list_logical_devices()


def _fit_options(args: argparse.Namespace, dataset: Dataset, input_wh: tuple[int, int] | None) -> FitOptions:
    name = args.target or args.recipe or "balanced"
    if args.target:
        recipe, input_wh = _for_board(args, dataset)
    else:
        recipe = RECIPES[name]
        if args.backbone:
            parse_backbone(args.backbone)
            recipe = replace(recipe, backbone=args.backbone)
    by_video = args.split == "video"
    return FitOptions(name, recipe, args.weights, args.seed, input_wh, args.epochs, by_video, args.follow)


def _for_board(args: argparse.Namespace, dataset: Dataset) -> tuple[Recipe, tuple[int, int]]:
    board = TARGET_BOARDS[args.target]
    fps = args.fps or board.fps
    sizes = frame_size(dataset.images), animal_size(dataset.images)
    choice = choose_network(board, fps, *sizes, len(dataset.skeleton.keypoints))
    (w, h), network = choice.input_wh, choice.network
    print(
        f"{args.target}: {network.backbone} at {w}x{h}, stride {network.stride}; about {choice.estimate_ms:.0f} ms "
        f"a frame there, which leaves room for everything else at {fps:g} fps",
        flush=True,
    )
    edge_tpu = args.target == "coral"
    return recipe_for(str(network.backbone), network.width, network.stride, choice.animal_px, edge_tpu), (w, h)


def _conclude(args: argparse.Namespace, result: FitResult) -> int:
    """Writes the report, prints tables and verdict, and returns the exit status."""
    from edgepose_train.report.build import build_report_data

    model, card = args.output / NETWORK, result.card
    command = shlex.join(["edgepose-train", *sys.argv[1:]])
    data = build_report_data(result, model, args.max_int8_loss, args.dataset, command)
    report = write_report(args.output, card, data)
    print_scores(card.scores, " it never saw")
    console = Console(highlight=False, soft_wrap=True)
    if data.speed:
        console.print(speed_table(data.speed))
    verdict = judge(card, data)
    word = "[bold green]Good.[/]" if verdict.good else "[bold yellow]Not good yet.[/]"
    console.print(f"{word} {escape(verdict.sentence)}")
    for reason in verdict.reasons:
        console.print(f"  - {escape(reason)}")
    print(
        f"{model} ({model.stat().st_size / 1000:.0f} kB) is ready; {report} shows how good it is; try it "
        f"with: edgepose analyze {model} VIDEO -o poses.csv"
    )
    return 1 if data.attribution else 0


def _compile(model: Path) -> ModelCard:
    """Compiles the model for a Coral where the compiler is installed, or prints how to; returns the new card."""
    audit = audit_graph(read_graph(read_bytes(model), str(model)))
    print(f"Edge TPU: {audit.verdict()}", flush=True)
    if is_installed():
        print(compile_model(model).verdict(), flush=True)
    else:
        print(f"to compile it for the Coral, where edgetpu_compiler is installed: {command_line(model)}", flush=True)
    return read_card(model)
