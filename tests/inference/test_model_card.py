"""Model cards are read back as they were written; a damaged one is refused with one line."""

from __future__ import annotations

import base64
import json
import tracemalloc
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edgepose.errors import ModelError
from edgepose.geometry.letterbox import ModelInput
from edgepose.inference import model_card as cards
from edgepose.inference.model_card import (
    Golden,
    ModelCard,
    ModelFile,
    ModelFiles,
    ModelOutput,
    Score,
    ScoreMap,
    Training,
    card_path,
    read_card,
    read_model,
    sha256_of,
    write_card,
)
from edgepose.types import Skeleton

MODEL = b"not really a model"


def png(width: int, height: int) -> str:
    picture = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    return base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()


def make_card(**changes) -> ModelCard:
    card = ModelCard(
        name="openfield",
        created="2026-01-02T03:04:05Z",
        skeleton=Skeleton(("snout", "leftear", "rightear"), (("snout", "leftear"),), (("leftear", "rightear"),)),
        input=ModelInput((40, 24), 3, "letterbox"),
        output=ModelOutput(8, 16.0),
        files=ModelFiles(ModelFile("model.tflite", sha256_of(MODEL))),
        golden=Golden(png(10, 6), "a" * 64, "b" * 64, ((1.5, 2.25, 0.5), (3.0, 4.0, 1.0), (0.0, 0.0, 0.0))),
        training=Training(
            "openfield", "balanced", "mobilenet", "imagenet", 1, 60, {"test": ("c" * 64,)}, {"keras": "3"}
        ),
        scores={"int8": Score(20, 60, 2.5, 2.0, 6.0, {"snout": 2.0, "leftear": None})},
    )
    return msgspec.structs.replace(card, **changes)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(MODEL)
    write_card(make_card(), path)
    return path


def test_a_card_reads_back_as_it_was_written(model):
    assert read_card(model) == make_card()
    assert read_model(model) == (MODEL, make_card())
    assert sorted(p.name for p in model.parent.iterdir()) == ["model.json", "model.tflite"]


def test_names_and_sizes_that_others_derive():
    card = make_card(input=ModelInput((320, 240), 3, "stretch"))
    assert card.model_id() == f"openfield@{sha256_of(MODEL)[:6]}"
    assert card.map_hw() == (30, 40)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_golden_picture_is_enlarged_by_whole_pixels(channels):
    picture = make_card().golden.picture((40, 24), channels)
    assert picture.shape == (24, 40, channels)
    repeat = cards.GOLDEN_REPEAT
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


def edit(change):
    """Damages a card: `change` edits its JSON object in place."""

    def damage(path: Path) -> None:
        data = msgspec.json.decode(path.read_bytes())
        change(data)
        path.write_bytes(msgspec.json.encode(data))

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (Path.unlink, "cannot read the model's card"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "not JSON"),
        (lambda path: path.write_bytes(b""), "not JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not JSON"),
        (lambda path: path.write_bytes(b"[1, 2]"), "not a model card"),
        (edit(lambda card: card.update(v=2)), "version 1"),
        (edit(lambda card: card.pop("skeleton")), "skeleton: missing"),
        (edit(lambda card: card["input"].update(size_wh=[320])), "input.size_wh"),
        (edit(lambda card: card["output"].update(stride="8")), "output.stride"),
        (edit(lambda card: card.update(colour="red")), "colour: unknown key"),
        (edit(lambda card: card["skeleton"].update(edges=[["snout", "nose"]])), "'nose'"),
        (edit(lambda card: card["skeleton"].update(flip_pairs=[["snout", "snout"]])), "'snout' occurs twice"),
        (edit(lambda card: card["output"].update(stride=0)), "output.stride: expected `int` >= 1"),
        (edit(lambda card: card["output"].update(stride=7)), "not a multiple of output.stride"),
        (edit(lambda card: card["output"].update(offset_scale=-5)), "output.offset_scale: expected `float` > 0"),
        (edit(lambda card: card["input"].update(size_wh=[320, 0])), "input.size_wh[1]: expected `int` >= 1"),
        (edit(lambda card: card["input"].update(channels=2)), "input.channels: '2' is not known; known: 1, 3"),
        (edit(lambda card: card["scores"]["int8"].update(means_px=1)), "did you mean 'mean_px'?"),
        (edit(lambda card: card["output"].update(skeletn=1)), "skeletn: unknown key; known: offset_scale, stride"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"openfield", b"openf\xffeld")), "not JSON"),
        (lambda path: path.write_bytes(b"[" * 100_000), "not JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_card_is_one_line_that_names_the_file(model, damage, told):
    damage(card_path(model))
    with pytest.raises(ModelError) as error:
        read_model(model)
    assert str(card_path(model)) in str(error.value)
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_one_flipped_bit_in_the_model_is_found(model):
    data = bytearray(MODEL)
    data[7] ^= 1
    model.write_bytes(data)
    with pytest.raises(ModelError, match="sha256 differs"):
        read_model(model)


def test_a_model_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ModelError, match="no such model file"):
        read_model(tmp_path / "model.tflite")


@pytest.mark.parametrize(
    ("name", "told"),
    [(".", "Is a directory"), ("n" * 300, "File name too long"), ("a\0b", "null byte"), ("model.tflite/x", "Not a")],
    ids=["folder", "long name", "no name", "file as folder"],
)
def test_a_path_that_is_no_model_is_told(model, name, told):
    with pytest.raises(ModelError, match=told):
        read_model(model.parent / name)


def test_a_model_in_a_folder_that_may_not_be_searched_is_told(model, lock):
    lock(model.parent)
    with pytest.raises(ModelError, match=r"model\.tflite: cannot read the model \(Permission denied\)"):
        read_model(model)


# --- scores ------------------------------------------------------------------------------------------------


def test_a_score_map_reads_back_and_is_the_logistic_of_its_docstring(model):
    write_card(make_card(score_map=ScoreMap(0.8, 1.25, 11.5)), model)
    found = read_card(model).score_map
    assert found == ScoreMap(0.8, 1.25, 11.5)
    score = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    mapped = found.apply(score)
    inner = np.log(score[1:4] / (1 - score[1:4]))
    np.testing.assert_allclose(mapped[1:4], 1 / (1 + np.exp(-(0.8 * inner + 1.25))))
    assert (np.diff(mapped) > 0).all()
    assert 0 <= mapped[0] < 0.01
    assert 0.99 < mapped[-1] <= 1
    np.testing.assert_allclose(ScoreMap(1.0, 0.0, 1.0).apply(score), score, atol=1e-8)


def test_a_card_of_before_there_were_score_maps_is_read(model):
    path = card_path(model)
    data = json.loads(path.read_bytes())
    data.pop("score_map", None)
    data["scores"] = {
        "int8": {"n_frames": 1, "n_points": 2, "mean_px": 3, "median_px": 3, "p95_px": 3, "per_keypoint": {}}
    }
    path.write_text(json.dumps(data))
    card = read_card(model)
    assert card.score_map is None
    assert (card.scores["int8"].mean_px, card.scores["int8"].interval_px, card.scores["int8"].pck) == (3, None, {})


@pytest.mark.parametrize("slope", [0, -1])
def test_a_map_that_turns_scores_round_is_refused(model, slope):
    path = card_path(model)
    data = json.loads(path.read_bytes()) | {"score_map": {"slope": slope, "shift": 0, "right_px": 3}}
    path.write_text(json.dumps(data))
    with pytest.raises(ModelError, match=r"score_map\.slope"):
        read_card(model)
