"""A model is one file, always the same bytes; a damaged or hostile one is refused with one line, within bounds."""

from __future__ import annotations

import importlib
import io
import json
import os
import random
import shutil
import struct
import subprocess
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from model_files import rewrite, two_files, variant

from edgepose.errors import ModelError
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import encode_document, sha256_of
from edgepose.inference.model_file import (
    CARD,
    NETWORK,
    ModelFile,
    parse_model,
    read_card,
    read_model,
    read_unpacked,
    unpack,
    write_model,
)
from edgepose.protocol.codec import encode
from edgepose.protocol.examples import POSE
from edgepose.protocol.messages import PoseMessage
from edgepose.protocol.versions import read_message

COMPILED = "model_edgetpu.tflite"


@pytest.fixture
def model(demo_model: Path, tmp_path: Path) -> Path:
    """A short form of the demo's card on a small network, with another member."""
    path, card = tmp_path / "model.tflite", read_model(demo_model).card
    training = msgspec.structs.replace(card.training, splits={}, settings={})
    card = msgspec.structs.replace(card, training=training, golden=msgspec.structs.replace(card.golden, png=""))
    write_model(path, bytes(range(256)) * 4, card, {COMPILED: b"compiled" * 20})
    return path


def refused(path: Path, read: Callable[[Path], object] = read_model) -> str:
    with pytest.raises(ModelError) as error:
        read(path)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


# --- the format ----------------------------------------------------------------------------------------------


def test_id_and_sha256_are_those_of_the_whole_file(model: Path) -> None:
    content = read_model(model)
    printed = subprocess.run(["sha256sum", model], capture_output=True, text=True, check=True).stdout
    assert content.sha256 == printed.split()[0]
    assert content.id == f"demo@{content.sha256[:6]}"
    assert content.key == content.sha256[:12]
    assert read_card(model) == content.card
    assert content.card.sha256 == sha256_of(content.network)
    assert content.card.members == {COMPILED: sha256_of(b"compiled" * 20)}


def test_the_same_content_is_always_the_same_bytes(model: Path, tmp_path: Path) -> None:
    """The bytes are compared with those of a ZIP that is written here as APPNOTE describes it."""
    content = read_model(model)
    body, directory = content.network, b""
    for name, data in ((CARD, content.card_json), (COMPILED, content.members[COMPILED])):
        common = struct.pack("<5H3L2H", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
        directory += b"PK\1\2" + struct.pack("<BB", 20, 3) + common
        directory += struct.pack("<3H2L", 0, 0, 0, 0o644 << 16, len(body)) + name.encode()
        body += b"PK\3\4" + common + name.encode() + data
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 2, 2, len(directory), len(body), 0)
    assert model.read_bytes() == content.packed() == body + directory + end


def test_tools_for_zip_files_open_it(model: Path) -> None:
    with zipfile.ZipFile(model) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [CARD, COMPILED]
    for command in (["unzip", "-t"], ["bsdtar", "-tf"], ["7z", "t"]):
        if shutil.which(command[0]):
            subprocess.run([*command, str(model)], check=True, capture_output=True)


def test_a_bare_interpreter_loads_it_from_the_disk_and_from_memory(demo_model: Path) -> None:
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter
    outputs = []
    for opened in (
        interpreter(model_path=str(demo_model)),
        interpreter(model_content=demo_model.read_bytes()),
        interpreter(model_content=read_model(demo_model).network),
    ):
        opened.allocate_tensors()
        opened.set_tensor(opened.get_input_details()[0]["index"], np.full((1, 240, 320, 3), 90, np.uint8))
        opened.invoke()
        outputs.append(opened.get_tensor(opened.get_output_details()[0]["index"]))
    assert all(np.array_equal(outputs[0], other) for other in outputs)


def test_a_packed_model_is_what_was_unpacked(model: Path, demo_model: Path, tmp_path: Path) -> None:
    for number, path in enumerate((model, demo_model)):
        folder = tmp_path / f"parts{number}"
        folder.mkdir()
        unpack(read_model(path), folder)
        assert read_unpacked(folder).packed() == path.read_bytes()


def test_keys_that_are_not_known_here_stay_in_the_card(model: Path, tmp_path: Path) -> None:
    content = read_model(model)
    document = msgspec.json.decode(content.card_json) | {"later": {"finder": [1, 2.5]}}
    write_parts(tmp_path / "parts", content, encode_document(document))
    packed = read_unpacked(tmp_path / "parts")
    assert packed.card == content.card
    assert b'"later"' in packed.card_json
    (tmp_path / "parts" / "finder.tflite").write_bytes(b"a finder")
    assert b'"later"' in read_unpacked(tmp_path / "parts").card_json


def write_parts(folder: Path, content: ModelFile, card: bytes) -> None:
    folder.mkdir()
    unpack(content, folder)
    (folder / CARD).write_bytes(card)


def test_members_are_added_changed_and_removed_in_the_folder(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    content = read_model(model)
    unpack(content, folder)
    (folder / "finder.tflite").write_bytes(b"a finder")
    (folder / COMPILED).write_bytes(b"compiled again")
    (folder / "model_edgetpu.log").write_text("of the compiler")
    assert read_unpacked(folder).members == {COMPILED: b"compiled again", "finder.tflite": b"a finder"}
    (folder / COMPILED).unlink()
    (folder / "finder.tflite").unlink()
    bare = read_unpacked(folder)
    assert bare.members == {}
    assert bare.id != content.id
    (folder / NETWORK).write_bytes(content.network + b"x")
    assert "sha256 differs" in refused(folder, read_unpacked)
    (folder / NETWORK).unlink()
    assert "no such model file" in refused(folder, read_unpacked)


def test_a_folder_of_parts_is_no_model_yet(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    unpack(read_model(model), folder)
    assert "pack the folder with `edgepose model pack`" in refused(folder / NETWORK)


# --- damage --------------------------------------------------------------------------------------------------


def test_a_flipped_bit_anywhere_is_refused(model: Path) -> None:
    """One bit of every byte, and every bit of the ZIP's structure."""
    good, content = model.read_bytes(), read_model(model)
    begin, size = good.index(content.card_json), len(content.card_json)
    structure = [place for place in range(len(content.network), len(good)) if not begin <= place < begin + size]
    assert len(structure) > 300
    flips = [(place, bit) for place in structure for bit in range(8)]
    flips += [(place, random.Random(place).randrange(8)) for place in range(begin + size)]
    for place, bit in flips:
        data = bytearray(good)
        data[place] ^= 1 << bit
        with pytest.raises(ModelError) as error:
            parse_model(bytes(data), "model")
        assert len(str(error.value).splitlines()) == 1, (place, bit)
        if place % 50 == 0:  # and from the disk
            model.write_bytes(data)
            refused(model)


def test_a_flipped_bit_in_a_real_model_is_refused(demo_model: Path, tmp_path: Path) -> None:
    good, path = demo_model.read_bytes(), tmp_path / "model.tflite"
    for place in random.Random(2).sample(range(len(good)), 150):
        data = bytearray(good)
        data[place] ^= 1 << random.Random(place).randrange(8)
        path.write_bytes(data)
        refused(path)


def test_a_truncated_or_extended_file_is_refused(model: Path) -> None:
    good = model.read_bytes()
    for data in (
        *(good[:size] for size in range(0, len(good), 97)),
        good[:-1],
        good + b"\0",
        good + good,
        b"\0" + good,
    ):
        model.write_bytes(data)
        refused(model)


def test_reading_the_card_alone_finds_a_damaged_card(model: Path) -> None:
    good = model.read_bytes()
    for place in random.Random(3).sample(range(good.index(b'{\n "name"'), good.index(b"PK\3\4", 2000)), 100):
        data = bytearray(good)
        data[place] ^= 16
        model.write_bytes(data)
        assert "checksum" in refused(model, read_card)


def test_a_model_that_is_not_there_is_reported(tmp_path: Path) -> None:
    for read in (read_model, read_card):
        assert "no such model file" in refused(tmp_path / "model.tflite", read)


@pytest.mark.parametrize(
    ("name", "reported"),
    [(".", "Is a directory"), ("n" * 300, "File name too long"), ("a\0b", "null byte"), ("model.tflite/x", "Not a")],
    ids=["folder", "long name", "no name", "file as folder"],
)
def test_a_path_that_is_no_model_is_reported(model: Path, name: str, reported: str) -> None:
    for read in (read_model, read_card):
        assert reported in refused(model.parent / name, read)


def test_a_model_in_a_folder_that_may_not_be_searched_is_reported(model: Path, lock: Callable[[Path], None]) -> None:
    lock(model.parent)
    assert "cannot read the model (Permission denied)" in refused(model)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.tflite").open("wb") as file:
        file.truncate(100_000_000)
    assert "has more than the 64 MB that are allowed" in refused(tmp_path / "model.tflite")


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    refused(Path("/dev/zero"))


def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.tflite")
    for read in (read_model, read_card):
        assert "cannot read the model" in refused(tmp_path / "model.tflite", read)


def test_a_model_that_would_be_too_large_is_not_written(model: Path, tmp_path: Path) -> None:
    """Nothing could read it then. An earlier one that is to be replaced stays."""
    parts = tmp_path / "parts"
    parts.mkdir()
    unpack(read_model(model), parts)
    with (parts / "more.tflite").open("wb") as file:
        file.truncate(63_999_000)
    before = model.read_bytes()
    with pytest.raises(ModelError, match="64 MB, and 64 MB are allowed in one file; leave a member out"):
        read_unpacked(parts)
    with pytest.raises(ModelError, match="leave a member out"):
        write_model(model, bytes(1000), read_model(model).card, {"more.tflite": bytes(63_999_000)})
    assert model.read_bytes() == before


@pytest.mark.parametrize("members", [None, 7, [1], "abc", {"more.tflite": 1}])
def test_wrong_members_in_the_card_of_a_folder_are_reported(members: object, model: Path, tmp_path: Path) -> None:
    unpack(read_model(model), tmp_path)
    card = json.loads((tmp_path / CARD).read_bytes())
    (tmp_path / CARD).write_text(json.dumps(card | {"members": members}))
    with pytest.raises(ModelError, match="members"):
        read_unpacked(tmp_path)


def test_the_id_of_a_model_with_the_longest_name_fits_into_messages(demo_model: Path, tmp_path: Path) -> None:
    content = read_model(variant(demo_model, tmp_path, "n" * 200))
    assert content.id.endswith(f"n@{content.sha256[:6]}")
    sent = msgspec.structs.replace(POSE, model=content.id)
    assert read_message(encode(sent), PoseMessage) == sent


# --- hostile files -------------------------------------------------------------------------------------------


def zipped(content: ModelFile, *entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A network followed by a ZIP as Python writes it, with a card that describes all entries."""
    card = msgspec.structs.replace(content.card, members={name: sha256_of(data) for name, data in entries})
    file = io.BytesIO()
    file.write(content.network)
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in ((CARD, msgspec.json.encode(card)), *entries):
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.create_system, entry.compress_type = 0o644 << 16, 3, compression
            archive.writestr(entry, data)
    return file.getvalue()


def changed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def _without_its_hash(content: ModelFile) -> bytes:
    return ModelFile(content.network, content.card, content.card_json, {"more.tflite": b"x"}, "", "").packed()


HOSTILE: dict[str, Callable[[ModelFile], bytes]] = {
    "compressed": lambda content: zipped(content, compression=zipfile.ZIP_DEFLATED),
    "bomb": lambda content: zipped(content, ("finder.tflite", b"\0" * 30_000_000), compression=zipfile.ZIP_DEFLATED),
    "path upwards": lambda content: zipped(content, ("../finder.tflite", b"x")),
    "absolute path": lambda content: zipped(content, ("/etc/cron.d/x", b"x")),
    "backslash": lambda content: zipped(content, ("..\\finder.tflite", b"x")),
    "hidden file": lambda content: zipped(content, (".bashrc", b"x")),
    "folder": lambda content: zipped(content, ("folder/", b"")),
    "another network": lambda content: zipped(content, (NETWORK, b"x")),
    "no ASCII": lambda content: zipped(content, ("finder\u00e9.tflite", b"x")),
    "wrong order": lambda content: zipped(content, ("b.tflite", b"b"), ("a.tflite", b"a")),
    "encrypted": lambda content: changed(zipped(content), b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
    "17 members": lambda content: zipped(content, *((f"m{number}.tflite", b"x") for number in range(16))),
    "no members": lambda content: content.network + b"PK\5\6" + bytes(18),
    "directory without entries": lambda content: (
        content.network + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 9, 9, 0, 0, 0)
    ),
    "long directory": lambda content: content.network + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 9, 9, 2**31, 0, 0),
    "directory beyond the end": lambda content: (
        content.network + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 1, 1, 50, 2**32 - 1, 0)
    ),
    "comment": lambda content: zipped(content)[:-2] + b"\4\0note",
    "date of today": lambda content: changed(zipped(content), b"\0\0\x21\0", b"\0\0\x22\0"),
    "text between": lambda content: changed(zipped(content), b"PK\1\2", b"hiddenPK\1\2"),
    "card twice": lambda content: zipped(content, (CARD, b"{}")),
    "member not in the card": _without_its_hash,
    "same content 16 times": lambda content: overlapping(content, 16),
}


def overlapping(content: ModelFile, entries: int) -> bytes:
    """Every entry of the directory claims the whole file, which would need a multiple of its size when it is read."""
    body = content.network + bytes(1_000_000)
    directory = b"".join(
        b"PK\1\2" + struct.pack("<6H3L5H2L", 20, 20, 0, 0, 0, 33, 0, 1_000_000, 1_000_000, 9, 0, 0, 0, 0, 0, 0) + name
        for name in (CARD.encode(), *(f"m{number:03}.tfl".encode() for number in range(entries - 1)))
    )
    return body + directory + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, entries, entries, len(directory), len(body), 0)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_within_bounds(what: str, model: Path, tmp_path: Path) -> None:
    write_model(model, bytes(1000), read_model(model).card)
    path = tmp_path / "hostile.tflite"
    path.write_bytes(HOSTILE[what](read_model(model)))
    tracemalloc.start()
    begin = time.monotonic()
    refused(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.monotonic() - begin < 2
    assert peak_bytes < 2_000_000 + 4 * path.stat().st_size
    assert sorted(one.name for one in tmp_path.iterdir()) == ["hostile.tflite", "model.tflite"]


def test_a_foreign_file_whose_end_looks_like_a_zip_is_refused(demo_model: Path, tmp_path: Path) -> None:
    path, file = tmp_path / "foreign.tflite", io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("labels.txt", "mouse")
    path.write_bytes(read_model(demo_model).network + file.getvalue())
    for read in (read_model, read_card):
        assert "damaged (a member of its ZIP" in refused(path, read)


# --- models of edgepose 0.1 ----------------------------------------------------------------------------------


def test_a_model_of_two_files_runs_and_keeps_its_id(demo_model: Path, tmp_path: Path) -> None:
    old = two_files(demo_model, tmp_path / "old")
    content, digest = read_model(old), sha256_of(old.read_bytes())
    assert (content.id, content.sha256, content.key) == (f"demo@{digest[:6]}", digest, digest[:12])
    assert Estimator(old, 1).golden_exact
    assert read_card(old) == content.card


def test_a_packed_model_of_two_files_keeps_its_id_until_its_card_is_corrected(demo_model: Path, tmp_path: Path) -> None:
    old = read_model(two_files(demo_model, tmp_path / "old"))
    path = tmp_path / "packed.tflite"
    path.write_bytes(old.packed())
    packed = read_model(path)
    assert (packed.id, packed.key, packed.is_same(old)) == (old.id, old.key, True)
    assert packed.sha256 == sha256_of(path.read_bytes()) != old.sha256
    rewrite(path, created="later")
    corrected = read_model(path)
    assert corrected.id == f"demo@{corrected.sha256[:6]}" != old.id
    assert packed.with_own_id().id not in {old.id, corrected.id}
    assert packed.with_own_id().network == packed.network


def test_the_third_file_of_an_old_model_becomes_a_member(demo_model: Path, tmp_path: Path) -> None:
    old = two_files(demo_model, tmp_path / "old", compiled=b"compiled")
    assert read_model(old).members == {COMPILED: b"compiled"}
    assert read_model(old).id == read_model(two_files(demo_model, tmp_path / "bare")).id
    compiled = old.with_name("model_edgetpu.tflite")
    compiled.write_bytes(b"damaged")
    assert read_model(old).members == {}  # the CPU makes poses, as it did
    compiled.unlink()
    assert read_model(old).members == {}


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "..", "", "a\0b"])
def test_the_third_file_of_an_old_model_lies_beside_it(name: str, demo_model: Path, tmp_path: Path) -> None:
    old = two_files(demo_model, tmp_path / "old", compiled=b"compiled", compiled_name=name)
    (tmp_path / "outside").write_bytes(b"compiled")
    assert read_model(old).members == {}


@pytest.mark.parametrize("size", [0, 4_100_000])
def test_a_wrong_card_beside_a_network_is_reported(size: int, demo_model: Path, tmp_path: Path) -> None:
    old = two_files(demo_model, tmp_path / "old")
    old.with_suffix(".json").write_bytes(b" " * size)
    with pytest.raises(ModelError, match=r"model\.json: (the card is not JSON|has more than the 4 MB)"):
        read_model(old)


def test_a_flipped_bit_in_a_network_of_two_files_is_found(demo_model: Path, tmp_path: Path) -> None:
    old = two_files(demo_model, tmp_path / "old")
    data = bytearray(old.read_bytes())
    data[1000] ^= 1
    old.write_bytes(data)
    assert "sha256 differs" in refused(old)
