"""The store keeps versions of models side by side; each is complete or absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_files import variant

from edgepose.errors import EdgeposeError, ModelError
from edgepose.model_store.store import Store


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
    assert {path.name for path in store.folder.iterdir()} == {version.key, "passed.json", "passed.lock"}


def test_old_versions_make_room_but_none_that_is_needed(store: Store, demo_model: Path, tmp_path: Path) -> None:
    store = Store(store.folder, most_versions=2)
    kept = [store.keep(variant(demo_model, tmp_path, f"m{number}")) for number in range(4)]
    store.prune({kept[0].key})
    assert {one.key for one in store.versions()} == {kept[0].key, kept[2].key, kept[3].key}


def test_a_store_that_cannot_be_written_is_told(demo_model: Path, tiny_disk: Path) -> None:
    (tiny_disk / "filler").write_bytes(b"\0" * 450_000)
    with pytest.raises(EdgeposeError, match=r"models: cannot keep the model \(No space left on device\); make room"):
        Store(tiny_disk / "models").keep(demo_model)
