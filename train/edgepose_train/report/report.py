"""What `fit` found, as a report: is the model good, where does it fail, what to label next. `report.html` shows it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepose.inference.model_card import ModelCard, sha256_of
from edgepose.system.wording import count, listing
from edgepose.types import F64
from edgepose_train.evaluation.evaluate import FOLLOWED
from edgepose_train.evaluation.metrics import P_CUTOFF, Predictions
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.training.splits import Split

if TYPE_CHECKING:
    from edgepose_train.evaluation.score_calibration import Reliability
    from edgepose_train.export.layer_attribution import LayerAttribution  # brings TensorFlow, as the loop does
    from edgepose_train.network.target_boards import Speed
    from edgepose_train.training.training_loop import Check

FOLDS = "folds"  # the card's score by cross-validation, where there was one
FEWEST_TEST_FRAMES = 10  # below, the mean error says little about the next frame
FEWEST_RIGHT = 0.8  # of the keypoints lie within the card's `right_px`, a tenth of the animal
MUCH_WORSE = 3.0  # times the median of the other keypoints' mean errors
FEWEST_POINTS = 3  # tested, before a keypoint is called much worse
FEW_LABELS = 50  # of a keypoint, in training: below, more labels help most
FAR = 5.0  # times the median error: the label is wrong, or the model is
WORSE_VIDEO = 1.5  # times the error of the best video
_GIT_S = 10.0  # seconds that git may take on a large folder
_SWAPPED = 0.5  # a pair counts as swapped when exchanging it leaves less than this of its error
_SWAP_LEAST = 3.0  # and when it had this many times the median error


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows beside the card. in_int8, in_float: what the file, and what the network before
    quantization, finds on `split.test`. max_int8_loss: px of the mean error; one_frame_excused: as for `int8_loss_px`.
    project: the labelled folder. What is None or empty is left out."""

    split: Split
    in_int8: Predictions
    in_float: Predictions
    max_int8_loss: float
    one_frame_excused: bool = False
    curve: Sequence[Check] = ()
    reliability: Reliability | None = None
    speed: Speed | None = None
    blame: LayerAttribution | None = None
    project: Path | None = None
    command: str = ""


@dataclass(frozen=True)
class Verdict:
    """sentence: what was found. reasons: why the model is not good; empty when it is."""

    sentence: str
    reasons: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.reasons


def judge(card: ModelCard, data: ReportData) -> Verdict:
    """The gate: enough frames were tested, most keypoints are found, none is left behind, and int8 costs no more than
    `max_int8_loss` px. card: with its scores "float" and "int8"."""
    names, score, through = card.skeleton.keypoints, card.scores["int8"], card.scores.get(FOLLOWED)
    interval = f" (95 % interval {score.interval_px[0]:.1f} to {score.interval_px[1]:.1f})" if score.interval_px else ""
    what = f"the {len(names)} keypoints" if len(names) > 1 else names[0]
    followed = f", and {through.mean_px:.1f} px through a window that follows the animal" if through else ""
    return Verdict(
        f"On average, this model puts {what} {score.mean_px:.1f} px{interval} from where a person did, on "
        f"{count(score.n_frames, 'frame')} it never saw{followed}.",
        tuple(_reasons(card, data)),
    )


def _reasons(card: ModelCard, data: ReportData) -> Iterator[str]:
    score, errors = card.scores["int8"], data.in_int8.errors_px
    loss_px = int8_loss_px(data.in_int8, data.in_float, data.one_frame_excused)
    if loss_px > data.max_int8_loss:
        why = f"; {data.blame.sentence()}" if data.blame else ""
        yield f"int8 loses {loss_px:.2f} px, more than the {data.max_int8_loss:g} px that are allowed{why}"
    if max(score.n_frames, card.scores[FOLDS].n_frames if FOLDS in card.scores else 0) < FEWEST_TEST_FRAMES:
        yield (
            f"{count(score.n_frames, 'test frame')} cannot tell how good it is: label more, "
            f"so that {FEWEST_TEST_FRAMES} or more can be tested on"
        )
    right_px = card.score_map.right_px if card.score_map else np.inf
    right = float((errors[np.isfinite(errors)] <= right_px).mean())
    if right < FEWEST_RIGHT:
        yield (
            f"only {100 * right:.0f} % of the keypoints lie within {right_px:.0f} px of where a person put them; "
            f"{100 * FEWEST_RIGHT:.0f} % should"
        )
    if behind := left_behind(errors, card.skeleton.keypoints):
        is_are = "is" if len(behind) == 1 else "are"
        yield f"{listing(behind)} {is_are} found much less well than the other keypoints"


def int8_loss_px(in_int8: Predictions, in_float: Predictions, one_frame_excused: bool) -> float:
    """Pixels that int8 adds to the mean error. A keypoint that is hardly seen may land anywhere after any rounding, and
    hundreds of pixels in one frame say nothing of the others: so unless a person set the limit, the frame that int8
    adds most to is left out."""
    more = in_int8.errors_px - in_float.errors_px
    if one_frame_excused and len(more) > 1:
        more = np.delete(more, np.nansum(more, axis=1).argmax(), axis=0)
    known = np.isfinite(more)
    return float(more[known].mean()) if known.any() else 0.0


def mean_of_columns(values: F64) -> F64:
    """(N, K) to (K,), NaN left out; NaN where nothing is left."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=0) / known.sum(axis=0))


def left_behind(errors_px: F64, names: Sequence[str]) -> list[str]:
    """Keypoints whose mean error is `MUCH_WORSE` times the median of the others'. errors_px: (N, K)."""
    means, tested = mean_of_columns(errors_px), np.isfinite(errors_px).sum(axis=0)
    found = []
    for k, name in enumerate(names):
        others = np.delete(means, k)
        others = others[np.isfinite(others)]
        if others.size and tested[k] >= FEWEST_POINTS and means[k] > MUCH_WORSE * np.median(others):
            found.append(name)
    return found


def swapped_frames(data: ReportData, card: ModelCard) -> list[tuple[int, tuple[str, str]]]:
    """(test frame, pair) where the prediction agrees with the labels once left and right are exchanged: the labels
    are swapped, or the model mixes the two up."""
    found, (labels, xy_px) = [], (data.in_int8.labels, data.in_int8.xy_px)
    typical = float(np.nanmedian(data.in_int8.errors_px))
    for pair in card.skeleton.flip_pairs:
        places = [card.skeleton.keypoints.index(name) for name in pair]
        straight = np.linalg.norm(xy_px[:, places] - labels[:, places], axis=2).sum(axis=1)
        crossed = np.linalg.norm(xy_px[:, places] - labels[:, places[::-1]], axis=2).sum(axis=1)
        swapped = (crossed < _SWAPPED * straight) & (straight > 2 * _SWAP_LEAST * typical)
        found += [(int(i), pair) for i in np.flatnonzero(swapped)]
    return sorted(found)


def sure_but_far(found: Predictions) -> list[tuple[int, int]]:
    """(test frame, keypoint) that the model is sure of, yet far from the label; the farthest first."""
    errors = found.errors_px
    rows, columns = np.nonzero((errors > FAR * np.nanmedian(errors)) & (found.score >= P_CUTOFF))
    return sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=lambda at: -errors[at])


def worst_first(errors_px: F64) -> NDArray[np.intp]:
    """Places of the frames by their mean error; errors_px (N, K). Those without labels come last."""
    return np.argsort(-mean_of_columns(errors_px.T), kind="stable")


def frame_names(images: Sequence[LabelledImage]) -> list[str]:
    """With their videos, where there are several."""
    several = len({image.video for image in images}) > 1
    return [f"{image.video}/{image.path.name}" if several else image.path.name for image in images]


def label_next(card: ModelCard, data: ReportData) -> list[str]:
    """One line for each thing worth doing, most useful first."""
    names, means = card.skeleton.keypoints, mean_of_columns(data.in_int8.errors_px)
    lines = _doubtful_labels(card, data)
    ranked = [k for k in np.argsort(-np.nan_to_num(means)) if np.isfinite(means[k])]
    if len(ranked) > 2:
        worst = " and ".join(f"{names[k]} ({means[k]:.1f} px)" for k in ranked[:2])
        lines.append(f"Most error is in {worst}: choose frames that show these clearly and in every pose.")
    few = [(name, n) for name, n in zip(names, labels_learnt(data.split), strict=True) if n < FEW_LABELS]
    if few:
        rare = [f"{name} ({n})" for name, n in sorted(few, key=lambda found: found[1])]
        lines.append(f"Fewer than {FEW_LABELS} labels to learn from: {listing(rare)}. Label more of these first.")
    if line := _worst_video(data):
        lines.append(line)
    untested = [name for name, mean in zip(names, means, strict=True) if not np.isfinite(mean)]
    if untested:
        lines.append(f"No test frame has a label of {listing(untested)}, so nothing is known of how well it is found.")
    return lines


def _doubtful_labels(card: ModelCard, data: ReportData) -> list[str]:
    called, names, lines = frame_names(data.split.test), card.skeleton.keypoints, []
    swaps = swapped_frames(data, card)
    if swaps:
        seen = [f"{called[i]} ({a}, {b})" for i, (a, b) in swaps]
        lines.append(
            f"Look at {listing(seen)}: left and right seem exchanged, in the labels or by the model. Correct "
            "the labels if they are wrong; label more such poses if they are right."
        )
    explained = {(i, names.index(name)) for i, pair in swaps for name in pair}
    farthest: dict[int, int] = {}
    for i, k in sure_but_far(data.in_int8):
        if (i, k) not in explained:
            farthest.setdefault(i, k)
    if farthest:
        seen = [f"{called[i]} ({names[k]}, {data.in_int8.errors_px[i, k]:.0f} px)" for i, k in farthest.items()]
        lines.append(f"Look at {listing(seen)}: the model is sure and yet far from the label. One of the two is wrong.")
    return lines


def labels_learnt(split: Split) -> list[int]:
    """How many labels each keypoint has in training."""
    return np.isfinite([image.xy_px for image in split.train]).all(axis=2).sum(axis=0).tolist()


def _worst_video(data: ReportData) -> str | None:
    frames = mean_of_columns(data.in_int8.errors_px.T)
    videos = np.array([image.video for image in data.split.test])
    means = {str(video): float(np.nanmean(frames[videos == video])) for video in np.unique(videos)}
    worst, best = max(means, key=lambda video: means[video]), min(means.values())
    if means[worst] < WORSE_VIDEO * best or len(means) < 2:
        return None
    return (
        f"Of the videos, {worst} is found worst: {means[worst]:.1f} px, the best one {best:.1f} px; label more of it."
    )


def provenance(card: ModelCard, data: ReportData) -> list[tuple[str, str]]:
    """What is needed to make the same model again, and to tell that it is the same."""
    training = card.training
    facts = [
        ("command", data.command),
        ("model", f"{card.model_id()}, {card.files.cpu.name}"),
        ("sha256 of the model", card.files.cpu.sha256),
        ("made", card.created),
        ("data", training.dataset),
        ("frames", ", ".join(f"{len(digests)} {split}" for split, digests in training.splits.items())),
        ("sha256 of frames and labels", data_hash(card, data.split)),
        ("git commit of the labels", git_commit(data.project) if data.project else ""),
        ("seed", str(training.seed)),
        ("recipe", training.recipe),
        ("network", f"{training.backbone}, weights {training.weights}"),
        ("input", f"{card.input.size_wh[0]}x{card.input.size_wh[1]}, {card.input.resize}, stride {card.output.stride}"),
        ("epochs", str(training.epochs)),
        ("settings", _plain(training.settings)),
        ("software", ", ".join(f"{name} {version}" for name, version in training.versions.items())),
        ("git commit of edgepose", git_commit(Path(__file__))),
        ("machine", platform.platform()),
    ]
    return [(name, value) for name, value in facts if value]


def data_hash(card: ModelCard, split: Split) -> str:
    """sha256 over the used images' sha256, each with its labels, in the order of the former."""
    used = [
        digest.encode() + image.xy_px.tobytes()
        for name, digests in card.training.splits.items()
        for digest, image in zip(digests, getattr(split, name), strict=True)
    ]
    return sha256_of(b"".join(sorted(used)))


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def git_commit(path: Path) -> str:
    """The commit that a file or folder is at, marked where it differs from it; empty where git does not keep it."""
    folder, name = (path, ".") if path.is_dir() else (path.parent, path.name)
    commands = (["rev-parse", "HEAD"], ["ls-files", "--", name], ["status", "--porcelain", "--", name])
    quietly = {"stderr": subprocess.DEVNULL, "timeout": _GIT_S, "text": True, "errors": "replace"}
    try:
        head, kept, changes = (
            subprocess.check_output(["git", "-C", str(folder), *words], **quietly).strip() for words in commands
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return (head + (", with changes that are not committed" if changes else "")) if kept else ""
