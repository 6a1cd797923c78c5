"""The store keeps versions of models side by side; each is complete or absent."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from model_files import rewrite, two_files, variant

from edgepose.errors import EdgeposeError, ModelError
from edgepose.inference.model_file import read_model
from edgepose.model_store.selection import activated, change_selection
from edgepose.model_store.startup import configured_key, model_that_runs, selection_path
from edgepose.model_store.store import Store
from edgepose.types import Skeleton


def test_versions_lie_side_by_side_and_are_found_by_name(store: Store, demo_model: Path, tmp_path: Path) -> None:
    first, second = (store.install(variant(demo_model, tmp_path, name)) for name in ("first", "second"))
    assert {one.id for one in store.versions()} == {first.id, second.id}
    assert store.find(first.id) == store.find(first.key[:8]) == first
    with pytest.raises(ModelError, match=r"third: no such model in the store; it has: (first|second)@"):
        store.find("third")
    assert store.install(second.path) == second


def test_a_damaged_copy_is_replaced_and_what_was_left_half_is_removed(
    store: Store, demo_model: Path, tmp_path: Path
) -> None:
    version = store.install(demo_model)
    version.path.write_bytes(b"damaged")
    (store.folder / ".new-left").mkdir()
    assert store.install(demo_model).path.read_bytes() == demo_model.read_bytes()
    assert {path.name for path in store.folder.iterdir()} == {version.key, "passed.json", "passed.lock", ".store.lock"}


def test_two_processes_install_at_once(store: Store, demo_model: Path, tmp_path: Path) -> None:
    """Neither takes what the other has half written for what a kill has left."""
    code = (
        "import shutil, sys, pathlib; from edgepose.model_store.store import Store\n"
        "store = Store(pathlib.Path(sys.argv[1]))\n"
        "for _ in range(30): shutil.rmtree(store.keep(pathlib.Path(sys.argv[2])).path.parent)"
    )
    models = [variant(demo_model, tmp_path, name) for name in ("first", "second")]
    commands = [[sys.executable, "-c", code, str(store.folder), str(model)] for model in models]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", ""]


def test_a_copy_that_was_exchanged_by_hand_is_replaced(store: Store, demo_model: Path, tmp_path: Path) -> None:
    first, second = (variant(demo_model, tmp_path, name) for name in ("first", "second"))
    version = store.keep(first)
    shutil.copy(second, version.path)
    assert store.keep(first) == version
    assert version.path.read_bytes() == first.read_bytes()


def test_old_versions_make_room_but_none_that_is_needed(store: Store, demo_model: Path, tmp_path: Path) -> None:
    store = Store(store.folder, most_versions=2)
    kept = [store.keep(variant(demo_model, tmp_path, f"m{number}")) for number in range(4)]
    store.prune({kept[0].key})
    assert {one.key for one in store.versions()} == {kept[0].key, kept[2].key, kept[3].key}


def test_a_store_that_cannot_be_written_is_told(demo_model: Path, tiny_disk: Path) -> None:
    (tiny_disk / "filler").write_bytes(b"\0" * 450_000)
    with pytest.raises(EdgeposeError, match=r"models: cannot keep the model \(No space left on device\); make room"):
        Store(tiny_disk / "models").keep(demo_model)


def test_a_corrected_card_is_another_model(store: Store, demo_model: Path, tmp_path: Path) -> None:
    model = variant(demo_model, tmp_path, "first")
    before = store.install(model)
    rewrite(model, skeleton=Skeleton(("nose", "leftear", "rightear", "tailbase")))
    after = store.install(model)
    assert after.id != before.id
    assert after.key != before.key
    assert store.find(after.id).card.skeleton.keypoints[0] == "nose"
    assert store.find(before.id).card.skeleton.keypoints[0] == "snout"


def test_a_member_more_is_another_model(store: Store, demo_model: Path, tmp_path: Path) -> None:
    content = read_model(demo_model)
    old = two_files(demo_model, tmp_path / "old")
    compiled = two_files(demo_model, tmp_path / "compiled", compiled=content.network)
    assert store.keep(old).id == content.id
    assert store.keep(compiled).id != content.id
    assert len(store.versions()) == 2


# --- models and stores of edgepose 0.1 ------------------------------------------------------------------------


def test_a_model_of_two_files_is_packed_and_keeps_its_id(store: Store, demo_model: Path, tmp_path: Path) -> None:
    old = two_files(demo_model, tmp_path / "old")
    version = store.install(old)
    assert (version.id, version.key) == (read_model(old).id, read_model(old).key)
    assert [path.name for path in version.path.parent.iterdir()] == ["model.tflite"]
    assert read_model(version.path).is_same(read_model(old))
    assert store.install(old) == version


def test_a_corrected_card_beside_the_same_network_is_another_model(
    store: Store, demo_model: Path, tmp_path: Path
) -> None:
    old = two_files(demo_model, tmp_path / "old")
    before = store.install(old)
    card = old.with_suffix(".json")
    card.write_text(card.read_text().replace("snout", "nose"))
    after = store.install(old)
    assert after.id != before.id
    assert store.find(after.id).card.skeleton.keypoints[0] == "nose"
    assert store.get(before.key) == before
    assert store.install(old) == after


def test_a_store_of_edgepose_0_1_is_read_on(store: Store, demo_model: Path, tmp_path: Path) -> None:
    """Its versions are folders with two files, and its selection has their keys."""
    network = read_model(demo_model).network + b"another"
    other = variant(demo_model, tmp_path, "second", data=network)
    old = two_files(other, tmp_path / "old")
    content, configured = read_model(old), two_files(demo_model, tmp_path / "config")
    shutil.copytree(old.parent, store.folder / content.key)
    path, key = selection_path(store, "cage-07"), configured_key(configured)
    assert key == read_model(configured).sha256[:12]
    change_selection(path, lambda selection: activated(selection, content.key, key))
    assert store.find(content.id).key == content.key
    store.verify(store.path_of(content.key))
    assert model_that_runs(store, "cage-07", configured) == store.path_of(content.key)
    assert store.install(old).key == content.key
    packed = tmp_path / "packed.tflite"
    packed.write_bytes(read_model(configured).packed())
    assert model_that_runs(store, "cage-07", packed) == store.path_of(content.key)
