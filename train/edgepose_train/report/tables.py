"""Writes the tables of a report, as HTML. Everything that comes from the user's data, such as names, is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from edgepose.inference.model_card import ModelCard, Score
from edgepose.pose.animal_size import animal_side_px
from edgepose.system.wording import count
from edgepose.types import F64
from edgepose_train.evaluation.metrics import FOLDS
from edgepose_train.export.model_speed import ModelSpeed, speed_rows
from edgepose_train.report.provenance import provenance
from edgepose_train.report.report_data import ReportData, labels_learnt
from edgepose_train.report.verdict import much_worse

_MEASURES = ("mean", "median", "95 %")
_BOARDS = {
    "pi-zero-2w": "Raspberry Pi Zero 2 W",
    "pi-3": "Raspberry Pi 3",
    "pi-4": "Raspberry Pi 4",
    "pi-5": "Raspberry Pi 5",
    "coral": "Coral Edge TPU",
    "desktop": "desktop",
}


def keypoint_table(card: ModelCard, data: ReportData) -> str:
    """Returns a table with a row per keypoint: labels, errors before and after quantization, shares found well."""
    names, errors, learnt = card.skeleton.keypoints, data.in_int8.errors_px, labels_learnt(data.split)
    worse, tested = much_worse(errors, names), np.isfinite(errors).sum(axis=0)
    rows, length_px = [], animal_side_px(data.in_int8.labels)  # the card has it rounded
    for k, name in enumerate(names):
        note = " (much worse)" if name in worse else ""
        cells = [str(learnt[k]), str(tested[k]), *_errors(data.in_float.errors_px[:, k], errors[:, k])]
        rows.append(_row(name + note, [*cells, *_shares(card, errors[:, k], length_px)], marked=bool(note)))
    total = ["", str(tested.sum()), *_errors(data.in_float.errors_px, errors), *_all_shares(card)]
    return (
        f'<div class="wide" tabindex="0"><table>{_keypoint_head(card)}<tbody>{"".join(rows)}</tbody>'
        f"<tfoot>{_row('all', total)}</tfoot></table></div>"
    )


def _keypoint_head(card: ModelCard) -> str:
    lengths = card.scores["int8"].pck
    groups = [("labels", ("learnt", "tested")), ("float, px", _MEASURES), ("int8, px", (*_MEASURES, "loss"))]
    if lengths:
        groups.append(("% found within", tuple(f"{_percent(share)} long" for share in lengths)))
    above = "".join(f'<th scope="colgroup" colspan="{len(below)}">{name}</th>' for name, below in groups)
    columns = "".join(f'<th scope="col">{name}</th>' for _, below in groups for name in below)
    return f'<thead><tr><th rowspan="2" scope="col">keypoint</th>{above}</tr><tr>{columns}</tr></thead>'


def _errors(in_float: F64, in_int8: F64) -> list[str]:
    """Returns mean, median and 95th percentile of both, and what int8 costs; NaN is a keypoint without a label."""
    exact, rounded = in_float[np.isfinite(in_float)], in_int8[np.isfinite(in_int8)]
    if not rounded.size or not exact.size:
        return ["-"] * (2 * len(_MEASURES) + 1)
    numbers = [
        f"{value:.2f}" for part in (exact, rounded) for value in (part.mean(), np.median(part), np.percentile(part, 95))
    ]
    return [*numbers, f"{rounded.mean() - exact.mean():+.2f}"]


def _shares(card: ModelCard, errors: F64, length_px: float) -> list[str]:
    known, limits = errors[np.isfinite(errors)], [float(share) * length_px for share in card.scores["int8"].pck]
    return [f"{100 * (known <= limit).mean():.0f}" if known.size else "-" for limit in limits]


def _all_shares(card: ModelCard) -> list[str]:
    """Returns the card's PCK, which is rounded, so that it is the same number here and in `measures`."""
    return [f"{100 * found:.0f}" for found in card.scores["int8"].pck.values()]


def _percent(share: str) -> str:
    return f"{100 * float(share):g} %"


def measures(scores: Mapping[str, Score]) -> list[str]:
    """Returns the measures of a card's scores that other programs and papers report, for comparison."""
    score, lines = scores["int8"], []
    if folds := scores.get(FOLDS):
        interval = (
            f" (95 % interval {folds.interval_px[0]:.2f} to {folds.interval_px[1]:.2f})" if folds.interval_px else ""
        )
        lines.append(
            f"cross-validation, each of {count(folds.n_frames, 'frame')} tested once by a model that never saw it: "
            f"mean {folds.mean_px:.2f} px{interval}"
        )
    if score.pck and score.length_px:
        shares = ", ".join(f"{100 * found:.0f} % within {_percent(share)}" for share, found in score.pck.items())
        lines.append(f"PCK: {shares} of the animal's length of {score.length_px:.0f} px")
    if score.oks is not None:
        lines.append(f"OKS, as COCO defines it: {score.oks:.3f}")
    if score.certain and score.certain.mean_px is not None:
        lines.append(
            f"with a score of {score.certain.p_cutoff:g} or more, the p-cutoff: {score.certain.n_points} of "
            f"{score.n_points} keypoints, mean {score.certain.mean_px:.2f} px"
        )
    return lines


def speed_table(speed: ModelSpeed) -> str:
    """Returns a table with a row per board: a frame's time in the network and the frame rate."""
    rows = [_row(_BOARDS.get(board, board), cells, words=1) for board, *cells in speed_rows(speed)]
    head = "".join(f'<th scope="col">{name}</th>' for name in ("board", "ms a frame", "frame rate"))
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}<th scope="col" class="words">how this is known</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def facts_table(card: ModelCard, data: ReportData) -> str:
    """Returns a table of where the model comes from."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in provenance(card, data)
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _row(name: str, cells: Iterable[str], *, marked: bool = False, words: int = 0) -> str:
    """Returns a table's row; the last `words` cells are text, the others are numbers."""
    values: Sequence[str] = list(cells)
    kinds = [""] * (len(values) - words) + [' class="words"'] * words
    columns = "".join(f"<td{kind}>{escape(value)}</td>" for kind, value in zip(kinds, values, strict=True))
    opening = '<tr class="marked">' if marked else "<tr>"
    return f'{opening}<th scope="row">{escape(name)}</th>{columns}</tr>'
