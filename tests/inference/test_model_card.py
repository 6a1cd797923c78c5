"""Model cards are read back as they were written; a wrong one is refused with one line."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Callable
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from edgepose.errors import ModelError
from edgepose.geometry.letterbox import ModelInput
from edgepose.inference.model_card import (
    GOLDEN_REPEAT,
    Golden,
    KeypointOutput,
    ModelCard,
    Score,
    ScoreMap,
    Training,
    card_document,
    kept_id_digits,
    parse_card,
)
from edgepose.types import Skeleton


def png(width: int, height: int) -> str:
    picture = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    return base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()


def make_card(**changes) -> ModelCard:
    card = ModelCard(
        name="openfield",
        created="2026-01-02T03:04:05Z",
        skeleton=Skeleton(("snout", "leftear", "rightear"), (("snout", "leftear"),), (("leftear", "rightear"),)),
        input=ModelInput((40, 24), 3, "letterbox"),
        outputs=(KeypointOutput(8, 16.0),),
        sha256="d" * 64,
        golden=Golden(png(10, 6), "a" * 64, "b" * 64, ((1.5, 2.25, 0.5), (3.0, 4.0, 1.0), (0.0, 0.0, 0.0))),
        training=Training(
            "openfield", "balanced", "mobilenet", "imagenet", 1, 60, {"test": ("c" * 64,)}, {"keras": "3"}
        ),
        scores={"int8": Score(20, 60, 2.5, 2.0, 6.0, {"snout": 2.0, "leftear": None})},
    )
    return msgspec.structs.replace(card, **changes)


def encoded(change: Callable[[dict[str, Any]], object] = lambda document: None) -> bytes:
    """The JSON of the card, which `change` has edited in place."""
    document = msgspec.to_builtins(make_card())
    change(document)
    return msgspec.json.encode(document)


def as_version_1(document: dict[str, Any]) -> None:
    """Turns a card into what edgepose 0.1 wrote."""
    del document["outputs"], document["members"], document["unchanged_since_v1"]
    document |= {
        "v": 1,
        "output": {"stride": 8, "offset_scale": 16.0},
        "files": {"cpu": {"name": "model.tflite", "sha256": document.pop("sha256")}},
    }


def test_a_card_reads_back_as_it_was_written():
    assert parse_card(encoded(), "card.json") == make_card()


def test_the_size_of_the_heatmap_follows_from_the_card():
    assert make_card(input=ModelInput((320, 240), 3, "stretch")).map_hw() == (30, 40)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_golden_picture_is_enlarged_by_whole_pixels(channels):
    picture = make_card().golden.picture((40, 24), channels)
    assert picture.shape == (24, 40, channels)
    repeat = GOLDEN_REPEAT
    assert (picture == picture[::repeat, ::repeat].repeat(repeat, axis=0).repeat(repeat, axis=1)).all()


PICTURES = {
    "small": png(9, 6),
    "large": png(11, 6),
    "no picture": "AAAA",
    "empty": "",
    "cut off": png(10, 6)[:60],
    "header only": png(10, 6)[:32],
    "no base64": "A",
    "no ASCII": "\u00e9" * 4,
    "no PNG": base64.b64encode(cv2.imencode(".bmp", np.zeros((6, 10, 3), np.uint8))[1].tobytes()).decode(),
}


@pytest.mark.parametrize("text", PICTURES.values(), ids=PICTURES.keys())
def test_a_golden_picture_that_cannot_be_used_is_refused(text):
    with pytest.raises(ModelError, match="export the model again"):
        Golden(text, "", "", ()).picture((40, 24), 3)


def test_a_golden_picture_that_would_unfold_to_a_huge_one_is_not_decoded():
    text = base64.b64encode(cv2.imencode(".png", np.zeros((3000, 3000), np.uint8))[1].tobytes()).decode()
    tracemalloc.start()
    with pytest.raises(ModelError, match="export the model again"):
        Golden(text, "", "", ()).picture((40, 24), 3)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1e6


WRONG = {
    "cut off": (encoded()[:200], "not JSON"),
    "empty": (b"", "not JSON"),
    "binary": (b"\xff\xfe\x00", "not JSON"),
    "not UTF-8": (encoded().replace(b"openfield", b"openf\xffeld"), "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "a list": (b"[1, 2]", "not the card of a model"),
    "no version": (encoded(lambda card: card.pop("v")), "not the card of a model"),
    "a version in words": (encoded(lambda card: card.update(v="2")), "not the card of a model"),
    "no skeleton": (encoded(lambda card: card.pop("skeleton")), "skeleton: missing"),
    "half a size": (encoded(lambda card: card["input"].update(size_wh=[320])), "input.size_wh"),
    "stride in words": (encoded(lambda card: card["outputs"][0].update(stride="8")), "outputs[0].stride"),
    "stride 0": (encoded(lambda card: card["outputs"][0].update(stride=0)), "stride: expected a whole number >= 1"),
    "stride 7": (encoded(lambda card: card["outputs"][0].update(stride=7)), "not a multiple of outputs[0].stride"),
    "no outputs": (encoded(lambda card: card.update(outputs=[])), "outputs"),
    "unknown output": (encoded(lambda card: card["outputs"][0].update(kind="centre")), "'centre' is not known"),
    "offset": (encoded(lambda card: card["outputs"][0].update(offset_scale=-5)), "offset_scale: expected a number > 0"),
    "unknown edge": (encoded(lambda card: card["skeleton"].update(edges=[["snout", "nose"]])), "'nose'"),
    "mirrored itself": (encoded(lambda card: card["skeleton"].update(flip_pairs=[["snout"] * 2])), "occurs twice"),
    "no height": (
        encoded(lambda card: card["input"].update(size_wh=[320, 0])),
        "input.size_wh[1]: expected a whole number",
    ),
    "two channels": (encoded(lambda card: card["input"].update(channels=2)), "'2' is not known; known: 1, 3"),
    "hash": (encoded(lambda card: card.update(sha256="../../x")), "sha256"),
    "slope 0": (
        encoded(lambda card: card.update(score_map={"slope": 0, "shift": 0, "right_px": 3})),
        "score_map.slope",
    ),
    "long name": (encoded(lambda card: card.update(name="n" * 201)), "name"),
    "name with an escape": (encoded(lambda card: card.update(name="a\x1b[2J")), "name"),
    "split with an escape": (encoded(lambda card: card["training"]["splits"].update({"a\x1b[2J": []})), "splits"),
    "score with a line": (encoded(lambda card: card["scores"].update({"a\nb": {}})), "scores"),
    "name with a line": (encoded(lambda card: card.update(name="a\n")), "name"),
    "keypoint with a line": (
        encoded(lambda card: card["skeleton"].update(keypoints=["a\nb"], edges=[], flip_pairs=[])),
        "control",
    ),
    "long keypoint": (
        encoded(lambda card: card["skeleton"].update(keypoints=["k" * 201], edges=[], flip_pairs=[])),
        "expected text of length <= 200",
    ),
    "201 keypoints": (
        encoded(lambda card: card["skeleton"].update(keypoints=list(map(str, range(201))), edges=[], flip_pairs=[])),
        "expected a list of length <= 200",
    ),
    "version 1 without files": (encoded(lambda card: (as_version_1(card), card.pop("files"))), "sha256: missing"),
    "version 1 without output": (encoded(lambda card: (as_version_1(card), card.pop("output"))), "outputs: missing"),
    "version 1, list of files": (encoded(lambda card: (as_version_1(card), card.update(files=[]))), "sha256: missing"),
}


@pytest.mark.parametrize(("text", "reported"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_card_is_one_line_that_names_the_file(text, reported):
    with pytest.raises(ModelError) as error:
        parse_card(text, "my/card.json")
    assert str(error.value).startswith("my/card.json: ")
    assert reported in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_unknown_keys_are_ignored_everywhere():
    def with_unknown_keys(document):
        parts = [document, *(document[name] for name in ("skeleton", "input", "golden", "training"))]
        for part in (*parts, document["outputs"][0], document["scores"]["int8"]):
            part["colour"] = "brown"

    text = encoded(with_unknown_keys)
    assert text.count(b"brown") == 7
    assert parse_card(text, "card.json") == make_card()


def test_a_card_of_a_newer_version_is_refused_with_what_to_do():
    with pytest.raises(ModelError, match=r"version 3, which a newer edgepose wrote; update edgepose"):
        parse_card(encoded(lambda card: card.update(v=3, outputs="of another kind")), "card.json")


# --- cards of edgepose 0.1 -----------------------------------------------------------------------------------


def test_a_card_of_version_1_is_migrated():
    card = parse_card(encoded(as_version_1), "model.json")
    assert msgspec.structs.replace(card, unchanged_since_v1=None) == make_card()


def test_a_migrated_card_keeps_the_id_until_it_is_corrected():
    document = card_document(encoded(as_version_1), "model.json")
    assert kept_id_digits(msgspec.json.encode(document)) == "d" * 64
    assert (
        kept_id_digits(msgspec.json.format(msgspec.json.encode(dict(sorted(document.items()))), indent=3)) == "d" * 64
    )
    for change in ({"name": "maze"}, {"remarks": "of the first cage"}, {"unchanged_since_v1": None}):
        assert kept_id_digits(msgspec.json.encode(document | change)) is None
    assert kept_id_digits(encoded()) is None


def test_a_card_of_before_there_were_score_maps_is_read():
    def older(document):
        as_version_1(document)
        del document["score_map"]
        score = {"n_frames": 1, "n_points": 2, "mean_px": 3, "median_px": 3, "p95_px": 3, "per_keypoint": {}}
        document["scores"] = {"int8": score}

    card = parse_card(encoded(older), "model.json")
    assert card.score_map is None
    assert (card.scores["int8"].mean_px, card.scores["int8"].interval_px, card.scores["int8"].pck) == (3, None, {})


# --- scores ------------------------------------------------------------------------------------------------


def test_a_score_map_is_the_logistic_of_its_docstring():
    score = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    mapped = ScoreMap(0.8, 1.25, 11.5).apply(score)
    inner = np.log(score[1:4] / (1 - score[1:4]))
    np.testing.assert_allclose(mapped[1:4], 1 / (1 + np.exp(-(0.8 * inner + 1.25))))
    assert (np.diff(mapped) > 0).all()
    assert 0 <= mapped[0] < 0.01
    assert 0.99 < mapped[-1] <= 1
    np.testing.assert_allclose(ScoreMap(1.0, 0.0, 1.0).apply(score), score, atol=1e-8)
