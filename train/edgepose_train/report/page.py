"""Writes `report.html`: one file that shows, without a network, how good a model is and why."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from edgepose.errors import DatasetError
from edgepose.inference.model_card import ModelCard
from edgepose.inference.model_file import NETWORK
from edgepose.system.atomic_files import write_durably
from edgepose.system.wording import count
from edgepose.types import F64
from edgepose_train.labels.images import read_image
from edgepose_train.network.target_boards import NETWORK_SHARE
from edgepose_train.report.advice import label_next
from edgepose_train.report.pictures import keypoint_dot, picture_svg
from edgepose_train.report.plots import cdf_svg, curve_svg, reliability_svg
from edgepose_train.report.report_data import ReportData, frame_names, worst_first
from edgepose_train.report.style import CSS
from edgepose_train.report.tables import facts_table, keypoint_table, measures, speed_table
from edgepose_train.report.verdict import judge

REPORT = "report.html"
PICTURES = 24  # of the worst frames; this bounds the size of the file
_OPEN = 9  # of these are visible at once, the others after a click


def write_report(run: Path, card: ModelCard, data: ReportData) -> Path:
    """Replaces `run/report.html`, completely or not at all, and returns its path.

    Args:
        run: the folder of the model.
        card: the model's card, with the scores "float" and "int8".
        data: what else the report shows.
    """
    path, text = run / REPORT, page(run, card, data)
    # A file name may contain bytes that are not UTF-8.
    write_durably(path, text.encode("utf-8", "replace"))
    return path


def page(run: Path, card: ModelCard, data: ReportData) -> str:
    """Returns the HTML document. Everything that comes from the user's data, such as names, is escaped."""
    sections = (
        _numbers(card, data),
        _pictures(card, data),
        _keypoints(card, data),
        _next(run, card, data),
        _speed(data),
        f'<div class="two">{_scores(data)}{_curve(data)}</div>',
        f"<section>\n<h2>Where it comes from</h2>\n{facts_table(card, data)}\n</section>",
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The browser loads nothing from elsewhere, even if a name in the data contains HTML.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(data.model_id)}: how good it is</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"{_head(card, data)}\n<main>\n{chr(10).join(filter(None, sections))}\n</main>\n</body>\n</html>\n"
    )


def _head(card: ModelCard, data: ReportData) -> str:
    verdict = judge(card, data)
    reasons = "".join(f"<li>{escape(reason[:1].upper() + reason[1:])}.</li>" for reason in verdict.reasons)
    frames = count(sum(map(len, card.training.splits.values())), "labelled frame")
    return (
        f'<header>\n<h1>{escape(card.name)}</h1>\n<p class="soft">Pose model {escape(data.model_id)}, made '
        f"{escape(card.created[:10])} from {frames}</p>\n"
        f'<section class="verdict{"" if verdict.good else " bad"}" aria-label="Verdict">\n'
        f"<p><strong>{'Good.' if verdict.good else 'Not good yet.'}</strong> {escape(verdict.sentence)}</p>\n"
        f"{f'<ul>{reasons}</ul>' if reasons else ''}</section>\n</header>"
    )


def _numbers(card: ModelCard, data: ReportData) -> str:
    score = card.scores["int8"]
    tiles = [("mean error", f"{score.mean_px:.2f} px")]
    if score.interval_px:
        tiles.append(("95 % interval of it", "{:.1f} to {:.1f}".format(*score.interval_px)))
    tiles += [
        ("median", f"{score.median_px:.2f} px"),
        ("95 % are within", f"{score.p95_px:.1f} px"),
        ("int8 costs", f"{score.mean_px - card.scores['float'].mean_px:+.2f} px"),
    ]
    if score.length_px:
        tiles.append(("of the animal's length", f"{100 * score.mean_px / score.length_px:.1f} %"))
    if data.speed:
        tiles.append(("a frame here", f"{data.speed.here_ms:.1f} ms"))
    boxes = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    return (
        f'<section>\n<dl class="numbers">{boxes}</dl>\n<p class="soft">Pixels are those of the recorded frames. Errors '
        f"are those of the int8 file that runs on the device, on {count(score.n_frames, 'test frame')} with "
        f"{count(score.n_points, 'label')}, which it was neither trained on nor chosen by. Two people, or one "
        "person twice, put keypoints at different places; how far apart is not known here. A model is not more exact "
        "than its labels.</p>\n</section>"
    )


_RING = (
    '<svg viewBox="0 0 26 26" aria-hidden="true"><g class="edge" stroke-width="3.6"><circle cx="13" cy="13" r="8"/>'
    '</g><g class="label" stroke-width="1.8"><circle cx="13" cy="13" r="8"/></g></svg>'
)
_MIDDLE = np.array([13.0, 13.0])


def _pictures(card: ModelCard, data: ReportData) -> str:
    errors = data.in_int8.errors_px
    ranked = [place for place in worst_first(errors).tolist() if np.isfinite(errors[place]).any()]
    figures = [_figure(card, data, place) for place in ranked[:PICTURES]]
    extent = f"the {PICTURES} worst of {len(ranked)}" if len(ranked) > PICTURES else f"all {len(ranked)}"
    legend = "".join(
        f'<span><svg viewBox="0 0 26 26" aria-hidden="true">{keypoint_dot(k, _MIDDLE)}</svg> {escape(name)}</span>'
        for k, name in enumerate(card.skeleton.keypoints)
    )
    more = ""
    if figures[_OPEN:]:
        more = (
            f'<details>\n<summary>{len(figures[_OPEN:])} more, less bad</summary>\n<div class="pictures">\n'
            f"{chr(10).join(figures[_OPEN:])}\n</div>\n</details>\n"
        )
    return (
        f"<section>\n<h2>Labels and predictions, worst frames first</h2>\n<p>Test frames, {extent}, cropped round the "
        "animal. The keypoints with the largest errors are named, with their error in px.</p>\n"
        f'<p class="legend"><span>{_RING} where a person put it, joined to a dot where the model puts it</span>'
        "<span>a dot without a ring: not labelled</span></p>\n"
        f'<p class="legend">{legend}</p>\n'
        f'<div class="pictures">\n{chr(10).join(figures[:_OPEN])}\n</div>\n{more}</section>'
    )


def _figure(card: ModelCard, data: ReportData, place: int) -> str:
    names, found, image = card.skeleton.keypoints, data.in_int8, data.split.test[place]
    errors = found.errors_px[place]
    worst = int(np.nanargmax(errors))
    text = f"{frame_names(data.split.test)[place]}: mean {np.nanmean(errors):.1f}\N{NO-BREAK SPACE}px"
    if len(names) > 1:
        text += f", {names[worst]} {errors[worst]:.1f}\N{NO-BREAK SPACE}px"
    try:
        pixels = read_image(image.path)
    except DatasetError as exc:  # a report is written even when a disk was unplugged
        return f"<figure><p>{escape(str(exc))}</p><figcaption>{escape(text)}</figcaption></figure>"
    svg = picture_svg(pixels, found.labels[place], found.xy_px[place], names, f"Test frame {text}")
    return f"<figure>{svg}<figcaption>{escape(text)}</figcaption></figure>"


def _keypoints(card: ModelCard, data: ReportData) -> str:
    names, errors = card.skeleton.keypoints, data.in_int8.errors_px
    alt = f"Cumulative distribution of the error of each keypoint; medians: {_medians(names, errors)}"
    caption = "The share of the labels that are found within a distance in px."
    return (
        f'<section>\n<h2>Each keypoint</h2>\n{keypoint_table(card, data)}\n<div class="two">\n'
        f"{_plot(cdf_svg(errors, names), alt, caption)}\n"
        '<div class="soft">\n<p>Float is the network before quantization, int8 the file that ships, and loss the '
        "difference of their means. Long is the length of the animal: the longer side of the box round the labels, "
        "median over the frames.</p>\n"
        f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in measures(card.scores))}</ul>\n</div>\n</div>\n"
        "</section>"
    )


def _medians(names: Sequence[str], errors: F64) -> str:
    known = [(name, column[np.isfinite(column)]) for name, column in zip(names, errors.T, strict=True)]
    return ", ".join(f"{name} {np.median(column):.1f} px" for name, column in known if column.size)


def _plot(svg: str, alt: str, caption: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return (
        f'<figure class="plot"><img src="data:image/svg+xml;base64,{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _next(run: Path, card: ModelCard, data: ReportData) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in label_next(card, data))
    project = shlex.quote(str(data.project)) if data.project and data.project.is_dir() else "PROJECT"
    commands = (
        f"edgepose-train suggest {shlex.quote(str(run / NETWORK))} VIDEO... -o round2 -n 40\n"
        f"edgepose-train merge round2 {project}"
    )
    return (
        f"<section>\n<h2>What to label next</h2>\n{f'<ul>{lines}</ul>' if lines else ''}\n<p>The first of these "
        "commands searches videos for frames in which the model is unsure, jumps or exchanges left and right, and "
        "writes its predictions as labels for you to correct. The second command adds the corrected labels to "
        "yours.</p>\n"
        f"<pre>{escape(commands)}</pre>\n</section>"
    )


def _speed(data: ReportData) -> str:
    if not data.speed:
        return ""
    return (
        f'<section>\n<h2>Speed</h2>\n{speed_table(data.speed)}\n<p class="soft">Times are of the network alone: '
        f"{data.speed.macs / 1e6:.0f} million multiply-accumulates, {data.speed.parameter_bytes / 1e3:.0f} kB of "
        f"weights; measured here with {escape(data.speed.runtime)}. The frame rates leave "
        f"{100 * (1 - NETWORK_SHARE):.0f} % of the time for the camera and everything else. The boards were not "
        "measured: their numbers come from published times of other networks.</p>\n</section>"
    )


def _scores(data: ReportData) -> str:
    found = data.reliability
    if not found:
        return ""
    rows = "; ".join(f"{b.score:.2f}: {100 * b.right:.0f} % of {b.points}" for b in found.after)
    alt = f"Reliability diagram: share of right predictions by score. {rows}"
    caption = (
        "On the dashed line a score of 0.9 means that nine of ten such predictions are right. "
        f"Each point stands for about {found.after[0].points if found.after else 0} labels."
    )
    return (
        "<section>\n<h2>What a score means</h2>\n<p>A prediction counts as right within "
        f"{found.right_px:.3g} px of the label.</p>\n"
        f"{_plot(reliability_svg(found.before, found.after, found.right_px), alt, caption)}\n</section>"
    )


def _curve(data: ReportData) -> str:
    if len(data.curve) < 2:
        return ""
    best = min(data.curve, key=lambda point: point.validation_px)
    alt = (
        f"Training curves over {data.curve[-1].step} steps: loss from {data.curve[0].loss:.2f} to "
        f"{data.curve[-1].loss:.2f}; validation error best at step {best.step} with {best.validation_px:.2f} px"
    )
    caption = "Training loss, and the typical (geometric mean) error on the frames that the model is chosen by."
    return f"<section>\n<h2>Training</h2>\n{_plot(curve_svg(data.curve), alt, caption)}\n</section>"
