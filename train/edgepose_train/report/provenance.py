"""Lists where a model comes from, so that it can be made again, and compared with the first one."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgepose.inference.model_card import ModelCard, sha256_of
from edgepose_train.network.backbone import parse_backbone
from edgepose_train.report.report_data import ReportData
from edgepose_train.training.splits import Split

_SAID_ELSEWHERE = {"backbone", "stride"}
_IN_WORDS = {
    "animal_px": "an animal of {} px in the input",
    "pixels": "an input of {} pixels",
    "crop": "training views of {} px",
    "width": "{} channels in the head",
    "steps": "{} training steps",
    "learning_rate": "learning rate {}",
    "batch": "{} views in a batch",
    "min_epochs": "at least {} epochs",
    "edge_tpu": "for the Edge TPU: {}",
    "turn_deg": "views turned by up to {} degrees",
    "mirrored": "views mirrored: {}",
}
_GIT_S = 10.0  # seconds that git may take for a large folder


def provenance(card: ModelCard, data: ReportData) -> list[tuple[str, str]]:
    """Returns name and value of each fact about the model's origin."""
    training, (w, h) = card.training, card.input.size_wh
    facts = [
        ("command", data.command),
        ("model", data.model_id),
        ("sha256 of the model", data.sha256),
        ("made", card.created),
        ("data", training.dataset),
        ("frames", ", ".join(f"{len(digests)} {split}" for split, digests in training.splits.items())),
        ("sha256 of frames and labels", data_hash(card, data.split)),
        ("git commit of the labels", git_commit(data.project) if data.project else ""),
        ("seed", str(training.seed)),
        ("recipe", training.recipe),
        ("network", f"{parse_backbone(training.backbone).describe()}; first weights: {training.weights}"),
        ("input", f"{w}x{h}, {card.input.resize}, stride {card.keypoint_output.stride}"),
        ("epochs", str(training.epochs)),
        ("settings", "; ".join(_settings(training.settings))),
        ("software", ", ".join(f"{name} {version}" for name, version in training.versions.items())),
        ("git commit of edgepose", git_commit(Path(__file__))),
        ("machine", platform.platform()),
    ]
    return [(name, value) for name, value in facts if value]


def data_hash(card: ModelCard, split: Split) -> str:
    """Returns the sha256 over the hashes of the used images and their labels, in the order of these hashes."""
    used = [
        digest.encode() + image.xy_px.tobytes()
        for name, digests in card.training.splits.items()
        for digest, image in zip(digests, getattr(split, name), strict=True)
    ]
    return sha256_of(b"".join(sorted(used)))


def _settings(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if name == "recipe":
            yield from _settings(value)
        elif name not in _SAID_ELSEWHERE:
            yield _IN_WORDS.get(name, f"{name.replace('_', ' ')} {{}}").format(_plain(value))


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(dict.fromkeys(map(_plain, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def git_commit(path: Path) -> str:
    """Returns the commit of a file or folder, and whether it has changed since; empty where git does not track it."""
    folder, name = (path, ".") if path.is_dir() else (path.parent, path.name)
    commands = (["rev-parse", "HEAD"], ["ls-files", "--", name], ["status", "--porcelain", "--", name])
    try:
        head, tracked, changes = (_git(folder, words) for words in commands)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (head + (", with changes that are not committed" if changes else "")) if tracked else ""


def _git(folder: Path, words: list[str]) -> str:
    command = ["git", "-C", str(folder), *words]
    output = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=_GIT_S, text=True, errors="replace")
    return output.strip()
