"""`edgepose model show`, `pack` and `unpack`: a model as a file. These need neither a store nor a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgepose.errors import EdgeposeError, UsageError
from edgepose.inference.model_file import CARD, NETWORK, ModelFile, read_model, read_unpacked, unpack
from edgepose.system.arguments import (
    STDOUT,
    add_json_argument,
    add_output_argument,
    check_output,
    model_path,
    write_json,
)
from edgepose.system.atomic_files import write_durably
from edgepose.system.wording import count

_SUFFIX = ".tflite"


def add_actions(actions: Any) -> None:
    """Adds the parsers of these actions. actions: what `add_subparsers` has returned."""
    show = actions.add_parser("show", help="show what a model is: its id, SHA-256, keypoints, input and errors")
    show.add_argument("model", type=model_path, metavar="MODEL", help="a .tflite file, or the folder of a fit")
    add_json_argument(show)
    pack = actions.add_parser("pack", help="pack a model into one file")
    pack.description = (
        "Packs what `unpack` wrote, or a model of edgepose 0.1 with its card beside it, into one file. The same "
        "content always gives the same bytes. A corrected card makes another model, with another id."
    )
    pack.add_argument("model", type=_packable, metavar="FOLDER", help="a folder of `unpack` or of a fit, or a .tflite")
    add_output_argument(pack, "FILE", "the file to write, which ends with .tflite")
    parts = actions.add_parser("unpack", help="write the parts of a model as files into a folder")
    parts.description = (
        f"Writes the network as {NETWORK}, its card as {CARD}, and every other member of the model. Correct the card, "
        "or add a file that edgetpu_compiler made of the network, and pack the folder again."
    )
    parts.add_argument("model", type=model_path, metavar="MODEL", help="a .tflite file, or the folder of a fit")
    add_output_argument(parts, "FOLDER", "the folder to write into")
    for action, example in (
        (show, "show model.tflite --json -"),
        (pack, "pack parts -o model.tflite"),
        (parts, "unpack model.tflite -o parts"),
    ):
        action.epilog = f"example:\n  edgepose model {example}"


def _packable(text: str) -> Path:
    return Path(text) if (Path(text) / CARD).is_file() else model_path(text)


def _show(args: argparse.Namespace) -> int:
    check_output(args.json, force=args.force, option="--json")
    model = read_model(args.model)
    if args.json != STDOUT:
        for name, text in _facts(model):
            print(f"{name:<11} {text}")
    report = {"model": model.id, "sha256": model.sha256, "bytes": len(model.packed())}
    write_json(args.json, report | {"card": msgspec.to_builtins(model.card)})
    return 0


def _facts(model: ModelFile) -> list[tuple[str, str]]:
    card, (w, h) = model.card, model.card.input.size_wh
    colours = "RGB" if card.input.channels == 3 else "brightness"
    splits = ", ".join(f"{len(frames)} {split}" for split, frames in card.training.splits.items())
    facts = [
        ("model", model.id + " (the id that it had in edgepose 0.1)" * (model.digest != model.sha256)),
        ("sha256", model.sha256),
        ("made", f"{card.created} from {card.training.dataset} ({splits or 'no'} frames)"),
        ("keypoints", ", ".join(card.skeleton.keypoints)),
        ("input", f"{w}x{h} {colours}, {card.input.resize}"),
        ("outputs", f"keypoints, stride {card.keypoint_output.stride}"),
        ("members", ", ".join(f"{name} ({len(data) / 1e3:.0f} kB)" for name, data in model.members.items()) or "none"),
    ]
    for name, score in card.scores.items():
        frames = count(score.n_frames, "frame")
        facts.append((f"error {name}", f"mean {score.mean_px:.2f} px, median {score.median_px:.2f} px on {frames}"))
    return facts


def _pack(args: argparse.Namespace) -> int:
    output: Path = args.output
    if output.suffix != _SUFFIX:
        raise UsageError(f"{output}: give a name that ends with {_SUFFIX}")
    check_output(output, force=args.force)
    model = read_unpacked(args.model) if args.model.is_dir() else read_model(args.model)
    try:
        write_durably(output, model.packed())
    except OSError as exc:
        raise EdgeposeError(f"{output}: cannot write the model ({exc.strerror}); give another --output") from None
    packed = read_model(output)
    members = ", ".join(packed.members) or "no other member"
    print(f"{output}: {packed.id}, sha256 {packed.sha256}, {members}")
    return 0


def _unpack(args: argparse.Namespace) -> int:
    folder: Path = args.output
    check_output(folder, force=args.force)
    model = read_model(args.model)
    try:
        folder.mkdir(exist_ok=True)
        files = unpack(model, folder)
    except OSError as exc:
        raise EdgeposeError(f"{folder}: cannot write the files ({exc.strerror}); give another --output") from None
    print(f"{folder}: {', '.join(path.name for path in files)}; pack them with: edgepose model pack {folder} -o FILE")
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {"show": _show, "pack": _pack, "unpack": _unpack}
