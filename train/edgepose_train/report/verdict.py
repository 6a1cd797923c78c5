"""Decides whether a model is good, and says why where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgepose.inference.model_card import ModelCard
from edgepose.system.wording import count, listing
from edgepose.types import F64
from edgepose_train.evaluation.metrics import FOLDS, FOLLOWED, Predictions
from edgepose_train.report.report_data import ReportData, mean_of_columns

FEWEST_TEST_FRAMES = 10  # with fewer, the mean error says little about the next frame
LEAST_RIGHT = 0.8  # the share of keypoints that must be within the card's `right_px`, a tenth of the animal
MUCH_WORSE = 3.0  # times the median of the other keypoints' mean errors
FEWEST_POINTS = 3  # tested labels, before a keypoint is called much worse


@dataclass(frozen=True)
class Verdict:
    """The result in one sentence, and the reasons why the model is not good."""

    sentence: str
    reasons: tuple[str, ...]

    @property
    def good(self) -> bool:
        """True where there is no reason against the model."""
        return not self.reasons


def judge(card: ModelCard, data: ReportData) -> Verdict:
    """Judges a model, whose card has the scores "float" and "int8".

    A model is good when enough frames were tested, most keypoints are found, none is found much less well than the
    others, and int8 costs at most `max_int8_loss` px.
    """
    names, score, in_window = card.skeleton.keypoints, card.scores["int8"], card.scores.get(FOLLOWED)
    interval = f" (95 % interval {score.interval_px[0]:.1f} to {score.interval_px[1]:.1f})" if score.interval_px else ""
    what = f"the {len(names)} keypoints" if len(names) > 1 else names[0]
    followed = f", and {in_window.mean_px:.1f} px through a window that follows the animal" if in_window else ""
    return Verdict(
        f"On average, this model puts {what} {score.mean_px:.1f} px{interval} from where a person did, on "
        f"{count(score.n_frames, 'frame')} it never saw{followed}.",
        tuple(_reasons(card, data)),
    )


def _reasons(card: ModelCard, data: ReportData) -> Iterator[str]:
    score, errors = card.scores["int8"], data.in_int8.errors_px
    loss_px = int8_loss_px(data.in_int8, data.in_float, data.one_frame_excused)
    if loss_px > data.max_int8_loss:
        why = f"; {data.attribution.sentence()}" if data.attribution else ""
        yield f"int8 loses {loss_px:.2f} px, more than the {data.max_int8_loss:g} px that are allowed{why}"
    if max(score.n_frames, card.scores[FOLDS].n_frames if FOLDS in card.scores else 0) < FEWEST_TEST_FRAMES:
        yield (
            f"{count(score.n_frames, 'test frame')} cannot tell how good it is: label more, "
            f"so that {FEWEST_TEST_FRAMES} or more can be tested on"
        )
    right_px = card.score_map.right_px if card.score_map else np.inf
    right = float((errors[np.isfinite(errors)] <= right_px).mean())
    if right < LEAST_RIGHT:
        yield (
            f"only {100 * right:.0f} % of the keypoints lie within {right_px:.0f} px of where a person put them; "
            f"{100 * LEAST_RIGHT:.0f} % should"
        )
    if behind := much_worse(errors, card.skeleton.keypoints):
        is_are = "is" if len(behind) == 1 else "are"
        yield f"{listing(behind)} {is_are} found much less well than the other keypoints"


def int8_loss_px(in_int8: Predictions, in_float: Predictions, one_frame_excused: bool) -> float:
    """Returns the pixels that int8 adds to the mean error.

    A keypoint that can hardly be seen may be found anywhere after any rounding, and hundreds of pixels in one frame say
    nothing about the other frames. With `one_frame_excused` the frame to which int8 adds most is left out; it is True
    unless a person has set the limit.
    """
    more = in_int8.errors_px - in_float.errors_px
    if one_frame_excused and len(more) > 1:
        more = np.delete(more, np.nansum(more, axis=1).argmax(), axis=0)
    known = np.isfinite(more)
    return float(more[known].mean()) if known.any() else 0.0


def much_worse(errors_px: F64, names: Sequence[str]) -> list[str]:
    """Returns the keypoints whose mean error is `MUCH_WORSE` times the median of the others'; errors_px: (N, K)."""
    means, tested = mean_of_columns(errors_px), np.isfinite(errors_px).sum(axis=0)
    found = []
    for k, name in enumerate(names):
        others = np.delete(means, k)
        others = others[np.isfinite(others)]
        if others.size and tested[k] >= FEWEST_POINTS and means[k] > MUCH_WORSE * np.median(others):
            found.append(name)
    return found
