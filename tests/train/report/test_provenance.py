"""Where a model comes from."""

from __future__ import annotations

import subprocess

from report_case import Case

from edgepose_train.report.provenance import data_hash, git_commit, provenance


def test_provenance_says_what_made_the_model(tmp_path):
    card, data = Case(tmp_path).made(command="edgepose-train fit 'my project' -o RUN")
    facts = dict(provenance(card, data))
    assert facts["command"] == "edgepose-train fit 'my project' -o RUN"
    assert facts["sha256 of the model"] == data.sha256
    assert facts["frames"] == "3 train, 2 validation, 12 test"
    assert facts["seed"] == str(card.training.seed)
    assert f"tensorflow {card.training.versions['tensorflow']}" in facts["software"]
    assert facts["sha256 of frames and labels"] == data_hash(card, data.split)
    assert "git commit of the labels" not in facts


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
