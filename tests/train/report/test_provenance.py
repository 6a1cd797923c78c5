"""Where a model comes from."""

from __future__ import annotations

import subprocess

import msgspec
from report_case import Case

from edgepose_train.report.provenance import data_hash, git_commit, provenance


def test_provenance_says_what_made_the_model(tmp_path):
    card, data = Case(tmp_path).made(command="edgepose-train fit 'my project' -o RUN")
    facts = dict(provenance(card, data))
    assert facts["command"] == "edgepose-train fit 'my project' -o RUN"
    assert facts["sha256 of the model"] == data.sha256
    assert facts["frames"] == "3 train, 2 validation, 12 test"
    assert facts["network"] == "MobileNetV1 with 25 % of the channels; first weights: backbones"
    assert facts["settings"].startswith("an animal of 60 px in the input; an input of 76800 pixels; training views of")
    assert facts["seed"] == str(card.training.seed)
    assert f"tensorflow {card.training.versions['tensorflow']}" in facts["software"]
    assert facts["sha256 of frames and labels"] == data_hash(card, data.split)
    assert "git commit of the labels" not in facts


def test_a_shorter_network_and_a_range_are_described_in_words(tmp_path):
    card, data = Case(tmp_path).made()
    settings = {"recipe": {"pixels": (180_000, 310_000), "edge_tpu": True}, "teacher": "large@3fa2c1"}
    training = msgspec.structs.replace(card.training, backbone="mobilenet_v1_0.5:7", settings=settings)
    facts = dict(provenance(msgspec.structs.replace(card, training=training), data))
    assert facts["network"].startswith("MobileNetV1 with 50 % of the channels, without the blocks after 7; ")
    assert facts["settings"] == "an input of 180000 to 310000 pixels; for the Edge TPU: yes; teacher large@3fa2c1"


def test_the_hash_of_the_data_is_that_of_frames_and_labels_alone(tmp_path):
    card, data = Case(tmp_path).made()
    before = data_hash(card, data.split)
    assert len(before) == 64
    for name in ("train", "test"):
        getattr(data.split, name).reverse()
        card.training.splits[name] = card.training.splits[name][::-1]
    assert data_hash(card, data.split) == before
    data.split.train[0].xy_px[0] += 0.001
    assert data_hash(card, data.split) != before


def test_the_commit_of_the_labels_is_found(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    file = folder / "labels.csv"
    file.write_text("a")
    assert git_commit(folder) == ""  # no repository

    def git(*words):
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
        done = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    assert git_commit(folder) == ""  # git does not track it
    git("add", ".")
    git("commit", "-m", "labels")
    assert git_commit(folder) == git_commit(file) == git("rev-parse", "HEAD")
    file.write_text("b")
    assert git_commit(folder) == git("rev-parse", "HEAD") + ", with changes that are not committed"
    assert git_commit(tmp_path / "gone" / "x.csv") == ""
