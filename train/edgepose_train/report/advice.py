"""Says what to label next: labels that are probably wrong, and the keypoints and videos with most error."""

from __future__ import annotations

import numpy as np

from edgepose.inference.model_card import ModelCard
from edgepose.system.wording import listing
from edgepose_train.evaluation.metrics import P_CUTOFF, Predictions
from edgepose_train.report.report_data import ReportData, frame_names, labels_learnt, mean_of_columns

FEW_LABELS = 50  # of a keypoint in training; below this, more labels help most
FAR = 5.0  # times the median error: either the label is wrong or the model
WORSE_VIDEO = 1.5  # times the error of the best video
_SWAPPED = 0.5  # a pair counts as swapped when exchanging it leaves less than this share of its error,
_SWAP_LEAST = 3.0  # and when its error was this many times the median error


def label_next(card: ModelCard, data: ReportData) -> list[str]:
    """Returns one line for each thing to do, the most useful first."""
    names, means = card.skeleton.keypoints, mean_of_columns(data.in_int8.errors_px)
    lines = _doubtful_labels(card, data)
    ranked = [k for k in np.argsort(-np.nan_to_num(means)) if np.isfinite(means[k])]
    if len(ranked) > 2:
        worst = " and ".join(f"{names[k]} ({means[k]:.1f} px)" for k in ranked[:2])
        lines.append(f"Most error is in {worst}: choose frames that show these clearly and in every pose.")
    few = [(name, n) for name, n in zip(names, labels_learnt(data.split), strict=True) if n < FEW_LABELS]
    if few:
        rare = [f"{name} ({n})" for name, n in sorted(few, key=lambda pair: pair[1])]
        lines.append(f"Fewer than {FEW_LABELS} labels to learn from: {listing(rare)}. Label more of these first.")
    if line := _worst_video(data):
        lines.append(line)
    untested = [name for name, mean in zip(names, means, strict=True) if not np.isfinite(mean)]
    if untested:
        lines.append(f"No test frame has a label of {listing(untested)}, so nobody knows how well it is found.")
    return lines


def _doubtful_labels(card: ModelCard, data: ReportData) -> list[str]:
    called, names, lines = frame_names(data.split.test), card.skeleton.keypoints, []
    swaps = swapped_frames(data, card)
    if swaps:
        seen = [f"{called[i]} ({a}, {b})" for i, (a, b) in swaps]
        lines.append(
            f"Check {listing(seen)}: left and right seem exchanged, in the labels or by the model. Correct "
            "the labels if they are wrong; label more such poses if they are right."
        )
    explained = {(i, names.index(name)) for i, pair in swaps for name in pair}
    farthest: dict[int, int] = {}
    for i, k in sure_but_far(data.in_int8):
        if (i, k) not in explained:
            farthest.setdefault(i, k)
    if farthest:
        seen = [f"{called[i]} ({names[k]}, {data.in_int8.errors_px[i, k]:.0f} px)" for i, k in farthest.items()]
        lines.append(f"Check {listing(seen)}: the model is sure and yet far from the label. One of the two is wrong.")
    return lines


def swapped_frames(data: ReportData, card: ModelCard) -> list[tuple[int, tuple[str, str]]]:
    """Returns (test frame, pair) where the prediction agrees with the labels after left and right are exchanged.

    Either the labels are swapped, or the model confuses the two.
    """
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
    """Returns (test frame, keypoint) where the score is high and the label is far away, the farthest first."""
    errors = found.errors_px
    rows, columns = np.nonzero((errors > FAR * np.nanmedian(errors)) & (found.score >= P_CUTOFF))
    return sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=lambda at: -errors[at])


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
