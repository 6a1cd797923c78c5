"""The report is one valid file that loads nothing else, shows what was measured, and is safe for all user data."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from report_case import Case

from edgepose.inference.estimator import Estimator
from edgepose_train.evaluation.evaluate import measure
from edgepose_train.evaluation.metrics import summarize
from edgepose_train.evaluation.score_calibration import fit_score_map, reliability
from edgepose_train.export.model_speed import measure_speed
from edgepose_train.labels.reading import read_dataset
from edgepose_train.network.target_boards import TARGET_BOARDS
from edgepose_train.report.page import PICTURES, page, write_report
from edgepose_train.report.report_data import ReportData
from edgepose_train.training.splits import split_images
from edgepose_train.training.training_logs import CurvePoint

VOID = {"meta", "br", "img"}
HTML = {"html", "head", "meta", "title", "style", "body", "header", "main", "section", "div", "h1", "h2", "p", "span"}
HTML |= {"strong", "ul", "li", "dl", "dt", "dd", "figure", "figcaption", "img", "pre", "details", "summary"}
HTML |= {"table", "thead", "tbody", "tfoot", "tr", "th", "td", "svg", "g", "circle", "polygon", "path", "image", "text"}
LOADING = {"src", "href", "xlink:href", "srcset", "action", "data", "poster", "background", "style", "onerror"}


class Document(HTMLParser):
    """Accepts only balanced tags that a report may have; `words` is the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.words, self.loads = [], "", []
        self.count = dict.fromkeys(HTML, 0)
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in HTML
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.loads += [value for name, value in attrs if name in LOADING]
        self.count[tag] += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert {"svg", *self.open} == set(self.open)  # elsewhere the slash means nothing
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words += f" {' '.join(data.split())}"


def captions(text: str) -> list[str]:
    return re.findall(r"<figcaption>([^<]*: mean[^<]*)</figcaption>", text)


def row_of(text: str, name: str) -> list[str]:
    row = re.search(rf"<tr[^>]*><th scope=\"row\">{name}[^<]*</th>(.*?)</tr>", text)
    return re.findall(r"<td[^>]*>([^<]*)</td>", row[1])


@pytest.fixture(scope="module")
def real(demo_model, rendered_project):
    """Card, data and page of the demo's model on rendered mice."""
    dataset = read_dataset(rendered_project)
    split, estimator = split_images(dataset, 0), Estimator(demo_model)
    names = dataset.skeleton.keypoints
    score_map = fit_score_map(estimator, split.validation)
    found = measure(estimator, split.test)
    mapped = replace(found, score=score_map.apply(found.score))
    case_card, _ = Case(rendered_project.parent / "case", frames=len(split.test)).made()
    hashes = {"train": ("a",) * len(split.train), "validation": ("b",) * len(split.validation)}
    card = msgspec.structs.replace(
        case_card,
        skeleton=dataset.skeleton,
        training=msgspec.structs.replace(case_card.training, splits={**hashes, "test": ("c",) * len(split.test)}),
        scores={"float": summarize(mapped, names), "int8": summarize(mapped, names)},
        score_map=score_map,
    )
    data = ReportData(
        split,
        mapped,
        mapped,
        0.1,
        curve=[CurvePoint(100, 2.0, 9.0), CurvePoint(200, 1.0, 4.5), CurvePoint(300, 0.9, 4.75)],
        reliability=reliability(mapped, found.score, score_map.right_px),
        speed=measure_speed(demo_model.read_bytes(), "demo"),
        project=rendered_project,
        command="edgepose-train fit rendered -o RUN",
        model_id=estimator.model.id,
        sha256=estimator.model.sha256,
    )
    return card, data, page(rendered_project.parent / "RUN", card, data)


def test_it_is_one_file_that_loads_nothing_else(real):
    document = Document(real[2])
    assert document.loads
    assert all(value.startswith(("data:image/jpeg;base64,", "data:image/svg+xml;base64,")) for value in document.loads)
    bare = re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", "", real[2])
    assert "://" not in bare
    assert not re.search(r"url\(|@import|<script|<link|<iframe", bare)
    plots = [base64.b64decode(value.split(",")[1]).decode() for value in document.loads if "svg+xml" in value]
    assert len(plots) == 3  # CDF, reliability, curves
    for plot in plots:
        assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', plot))


def test_it_holds_what_was_measured(real):
    card, data, text = real
    words = Document(text).words
    score = card.scores["int8"]
    assert f"{score.mean_px:.2f} px" in words
    assert "4 test frames cannot tell how good it is" in words
    assert f"this machine {data.speed.here_ms:.1f}" in words
    assert "board ms a frame frame rate how this is known" in " ".join(words.split())
    assert all(board.basis in words for board in data.speed.boards)
    assert sum(words.count(f"~{board.ms:.1f}") for board in data.speed.boards if board.ms) >= len(TARGET_BOARDS) - 1
    assert "edgepose-train fit rendered -o RUN" in words
    assert f"{data.project.parent}/RUN/model.tflite VIDEO..." in words
    assert "validation error best at step 200 with 4.50 px" in text
    assert f"within {data.reliability.right_px:.3g} px of the label" in words
    assert f"OKS, as COCO defines it: {score.oks:.3f}" in words
    found = [float(re.search(r"mean ([\d.]+)", caption)[1]) for caption in captions(text)]
    expected = sorted(data.in_int8.errors_px.mean(axis=1), reverse=True)
    np.testing.assert_allclose(found, expected, atol=0.051)


def test_the_table_has_each_keypoints_errors(tmp_path):
    case = Case(tmp_path)
    case.xy_px[:, 1] += [1, 0]
    case.xy_px[0, 1] = case.labels[0, 1] + [0, 14]
    text = page(tmp_path, *case.made(max_int8_loss=1))
    ear = ["3", "12", "1.00", "1.00", "1.00", "3.00", "2.00", "7.40", "+2.00"]
    assert row_of(text, "leftear") == [*ear, "92", "92", "92"]  # within 2.4, 4.8 and 9.6 px
    assert row_of(text, "snout") == ["3", "12", *["1.00"] * 6, "+0.00", "100", "100", "100"]
    assert row_of(text, "all")[:2] == ["", "48"]
    assert "95 % interval" in text


def test_a_share_is_one_number_wherever_it_is_shown(tmp_path):
    """79 of 200 errors are just within a tenth of the length, which is 39.5 %; the length is no round number."""
    case = Case(tmp_path, frames=50)
    case.labels = case.labels / 7
    case.xy_px = case.labels + np.array([100.0, 0])
    case.xy_px.reshape(-1, 2)[:79] = np.add(case.labels.reshape(-1, 2)[:79], [(1 - 1e-9) * 4.8 / 7, 0])
    text = page(tmp_path, *case.made())
    assert "40 % within 10 %" in Document(text).words
    *rows, total = re.findall(r"<tr[^>]*><th scope=\"row\">(?:snout|leftear|rightear|tailbase|all).*?</tr>", text)[:5]
    within = [re.findall(r"<td>(.*?)</td>", row)[-2] for row in (*rows, total)]
    assert within == ["40", "40", "40", "38", "40"]


def test_cross_validation_is_shown_beside(tmp_path):
    card, data = Case(tmp_path).made()
    card.scores["folds"] = msgspec.structs.replace(card.scores["int8"], n_frames=30, mean_px=1.23)
    words = Document(page(tmp_path, card, data)).words
    assert "each of 30 frames tested once by a model that never saw it: mean 1.23 px (95 % interval 1.00 to" in words


def test_a_bad_model_is_not_called_good(tmp_path):
    case = Case(tmp_path)
    assert ">Good.</strong>" in page(tmp_path, *case.made())
    case.xy_px[:, 3] += [9, 0]
    text = page(tmp_path, *case.made())
    assert ">Not good yet.</strong>" in text
    assert "Int8 loses 2.25 px" in text
    assert 'class="marked"><th scope="row">tailbase (much worse)' in text


def test_names_are_text_whatever_is_in_them(tmp_path):
    names = ('<b>"snout"</b>', "a & b", "_$x$_", "</svg><script>alert(1)</script>")
    case = Case(tmp_path, names=names, pairs=(), file_name="<img src=x onerror=1>{:03}.png", video="<i>cage")
    case.videos = ["<i>cage"] * 6 + ["cage & 2"] * 6
    case.xy_px[:, :3] += [0, 9]
    project = tmp_path / "<my> $project"
    project.mkdir()
    card, data = case.made(command="fit '<u>' && rm", project=project)
    card = msgspec.structs.replace(card, name="<h1>model")
    document = Document(page(tmp_path, card, data))
    assert all(name in document.words for name in names)
    assert "<h1>model" in document.words
    assert "<i>cage/<img src=x onerror=1>000.png: mean" in document.words
    assert "fit '<u>' && rm" in document.words
    assert f"edgepose-train merge round2 '{project}'" in document.words
    assert all(value.startswith("data:image/") for value in document.loads)


def test_the_worst_frame_is_shown_first(tmp_path):
    case = Case(tmp_path)
    case.xy_px[7] += [0, 20]
    case.xy_px[3, 2] += [0, 30]
    assert [caption.split(":")[0] for caption in captions(page(tmp_path, *case.made()))[:3]] == [
        "img007.png",
        "img003.png",
        "img000.png",
    ]


def test_missing_labels_have_no_numbers(tmp_path):
    case = Case(tmp_path)
    case.labels[:, 2] = np.nan
    case.labels[4, 1:] = np.nan
    text = page(tmp_path, *case.made())
    Document(text)
    assert row_of(text, "rightear") == ["0", "0", *["-"] * 10]
    assert "nan" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


@pytest.mark.parametrize("names", [("nose",), tuple(f"joint {i}" for i in range(20))], ids=["one", "twenty"])
def test_any_number_of_keypoints_fits(tmp_path, names):
    document = Document(page(tmp_path, *Case(tmp_path, names=names, pairs=()).made()))
    assert document.count["figure"] == 12 + 1
    assert all(name in document.words for name in names)
    assert ("PCK" in document.words) == (len(names) > 1)  # one point has no length


def test_a_report_is_written_when_a_frame_has_disappeared(tmp_path):
    case = Case(tmp_path)
    card, data = case.made()
    data.split.test[2].path.unlink()
    data.split.test[3].path.write_bytes(b"half a fra")
    document = Document(page(tmp_path, card, data))
    assert document.count["image"] == 10
    assert f"{data.split.test[2].path}: cannot read" in document.words
    assert f"{data.split.test[3].path}: damaged or not an image" in document.words


def test_the_file_stays_small_however_many_and_large_the_frames(tmp_path):
    case = Case(tmp_path, frames=40, size_wh=(1280, 960))
    case.labels *= [12, 12]  # nearly the whole frame is shown, of noise, which no JPEG makes small
    case.xy_px = case.labels + 1
    case.size_wh = (64, 48)
    card, data = case.made()
    large = Case(tmp_path / "large", frames=1, size_wh=(1280, 960)).made()[1].split.test[0]
    data.split.test[:] = [replace(image, path=large.path) for image in data.split.test]
    text = page(tmp_path, card, data)
    assert Document(text).count["image"] == PICTURES
    assert len(captions(text)) == PICTURES
    assert f"the {PICTURES} worst of 40" in text
    assert len(text) < 5e6


def test_what_is_unknown_is_left_out(tmp_path):
    """An older card only has means and medians."""
    card, data = Case(tmp_path).made()
    bare = {"interval_px": None, "length_px": None, "pck": {}, "oks": None, "certain": None}
    scores = {name: msgspec.structs.replace(score, **bare) for name, score in card.scores.items()}
    words = Document(page(tmp_path, msgspec.structs.replace(card, scores=scores, score_map=None), data)).words
    for absent in ("interval", "PCK", "OKS", "p-cutoff", "Speed", "What a score means", "Training", "% found"):
        assert absent not in words
    assert "merge round2 PROJECT" in words


def test_the_file_appears_complete_or_not_at_all(tmp_path, request):
    card, data = Case(tmp_path).made()
    request.getfixturevalue("full_disk")
    path = tmp_path / "report.html"
    path.write_text("the last report")
    with pytest.raises(OSError, match="large"):
        write_report(tmp_path, card, data)
    assert path.read_text() == "the last report"
    assert {p.name for p in tmp_path.iterdir()} == {"report.html", "cage1"}


def test_the_file_is_what_the_page_says(tmp_path):
    card, data = Case(tmp_path).made()
    path = write_report(tmp_path, card, data)
    assert path == tmp_path / "report.html"
    assert path.read_text("utf-8") == page(tmp_path, card, data)
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")
