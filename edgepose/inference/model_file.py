"""Reads and writes the model's file: a flatbuffer, followed by a ZIP with the card and whatever else belongs to it.

Every runtime loads such a file, because it ignores what follows the flatbuffer; TFLite's own metadata lie there too.
The ZIP (APPNOTE 6.3) has one form only: nothing is compressed, `card.json` comes first and the other members in the
order of their names, every date is 1980-01-01, and offsets count from the beginning of the file. So the same content
always gives the same bytes, and a file whose bytes are not those is damaged.

Models of edgepose 0.1 are two files, `model.tflite` and its card `model.json`, and a third one for a Coral. They are
read, and keep the id that they had, also when they are packed into one file.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from edgepose.errors import ModelError
from edgepose.inference.model_card import (
    EDGETPU_MEMBER,
    ModelCard,
    card_document,
    encode_document,
    kept_id_digits,
    parse_card,
    sha256_of,
)
from edgepose.system.atomic_files import replace_files, write_durably
from edgepose.types import MOST_NAME_CHARS

NETWORK, CARD = "model.tflite", "card.json"
MOST_BYTES = 64_000_000
MOST_CARD_BYTES = 4_000_000
_MOST_MEMBERS, _MOST_DIRECTORY_BYTES = 16, 4096
_KEY_DIGITS, _ID_DIGITS = 12, 6
_MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_DATE, _MODE, _UNIX = (1980, 1, 1, 0, 0, 0), 0o644, 3
_LOCAL_BYTES = 30
_DIRECTORY_ENTRY = struct.Struct("<4s6H3L5H2L")
_DIRECTORY_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The content of a model's file, or of the files of a model of edgepose 0.1.

    Attributes:
        network: the bare flatbuffer.
        card_json: the card as it lies in the file, with keys that are not known here.
        members: the other files that belong to the model, by their names.
        sha256: of the whole file, for people to compare; of a model of two files, that of its `.tflite`.
        digest: the SHA-256 that id and key are made of. It is that of the whole file, but a model of edgepose 0.1
            keeps that of its `.tflite`.
    """

    network: bytes
    card: ModelCard
    card_json: bytes
    members: dict[str, bytes]
    sha256: str
    digest: str

    @property
    def id(self) -> str:
        """The short name that messages use, such as `openfield@3fa2c1`."""
        return model_id(self.card, self.digest)

    @property
    def key(self) -> str:
        """The key that the model has in every store."""
        return self.digest[:_KEY_DIGITS]

    def packed(self) -> bytes:
        """Returns the content of the one file."""
        return _pack(self.network, self.card_json, self.members)

    def with_own_id(self) -> ModelFile:
        """Returns the same model as one file that does not keep the id of a model of edgepose 0.1."""
        document = card_document(self.card_json, CARD)
        document["unchanged_since_v1"] = None
        return parse_model(_pack(self.network, encode_document(document), self.members), self.id)

    def is_same(self, other: ModelFile) -> bool:
        """Compares networks, cards and members, in whatever files they lie."""
        return (self.network, self.card, self.members) == (other.network, other.card, other.members)


def model_id(card: ModelCard, digest: str) -> str:
    """Returns the id of a model whose file, or key in a store, begins with these hexadecimal digits.

    A name that is too long is cut, because readers refuse messages with a longer id.
    """
    return f"{card.name[: MOST_NAME_CHARS - 1 - _ID_DIGITS]}@{digest[:_ID_DIGITS]}"


# --- reading ---------------------------------------------------------------------------------------------------------


def read_model(path: Path) -> ModelFile:
    """Reads a model and checks every byte of it. Raises ModelError.

    A model with flipped bits in its weights would load and run, but compute something else.
    """
    with _reading(path):
        data = _content(path, MOST_BYTES)
    return parse_model(data, str(path)) if _is_packed(data) else _read_two_files(path, data)


def read_card(path: Path) -> ModelCard:
    """Reads the card of a model alone, which does not take the time to check the network. Raises ModelError."""
    with _reading(path), _open(path) as file:
        entries = _directory(file, str(path))
        if entries is not None:
            card = next((entry for entry in entries if entry.name == CARD), None)
            if card is None or card.size > MOST_CARD_BYTES:
                raise _damaged(str(path), f"its ZIP holds no {CARD}")
            file.seek(card.start)
            text = file.read(card.size)
            if zlib.crc32(text) != card.crc:
                raise _damaged(str(path), f"the checksum of {CARD} differs")
            return parse_card(text, str(path))
    return parse_card(_card_beside(path), str(_path_beside(path)))


def parse_model(data: bytes, where: str) -> ModelFile:
    """Reads the content of a model that is one file, and checks every byte of it.

    Args:
        data: the whole file.
        where: the file's name, for messages.

    Raises:
        ModelError: it is damaged, or not a model.
    """
    entries = _directory(io.BytesIO(data), where)
    if not entries or entries[0].name != CARD or entries[0].size > MOST_CARD_BYTES:
        raise _damaged(where, f"its ZIP does not begin with {CARD}")
    network = data[: entries[0].start - _LOCAL_BYTES - len(CARD)]
    card_json, *others = (data[entry.start : entry.start + entry.size] for entry in entries)
    members = {entry.name: content for entry, content in zip(entries[1:], others, strict=True)}
    # Names, dates, checksums, offsets, comments and whatever else a ZIP has are checked by making it again.
    if CARD in members or _pack(network, card_json, members) != data:
        raise _damaged(where, "its ZIP is not as edgepose packs it")
    return _checked(network, card_json, members, where, sha256_of(data))


def _checked(network: bytes, card_json: bytes, members: dict[str, bytes], where: str, sha256: str) -> ModelFile:
    card = parse_card(card_json, where)
    if sha256_of(network) != card.sha256:
        raise ModelError(f"{where}: damaged or not the file its card describes (sha256 differs); copy the model again")
    for name in sorted({*members, *card.members}):
        if name not in members or card.members.get(name) != sha256_of(members[name]):
            raise ModelError(f"{where}: its member {name} is damaged or not in its card; copy the model again")
    return ModelFile(network, card, card_json, members, sha256, kept_id_digits(card_json) or sha256)


def _damaged(where: str, why: str) -> ModelError:
    return ModelError(f"{where}: damaged ({why}); copy the model again, or pack it with `edgepose model pack`")


def _content(path: Path, most_bytes: int) -> bytes:
    """Reads a file within a bound. A device, which has no size, counts as empty. Raises OSError and ModelError."""
    with _open(path) as file:
        size = file.seek(0, os.SEEK_END)
        if size > most_bytes:
            raise ModelError(f"{path}: has more than the {most_bytes / 1e6:.0f} MB that are allowed")
        file.seek(0)
        return file.read(size)


def _open(path: Path) -> BinaryIO:
    """Opens a file for reading. A named pipe, which is no file, must not wait for somebody who writes."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file; give the .tflite that edgepose-train fit wrote") from None
    except (OSError, ValueError) as exc:  # ValueError: a path that cannot be one
        raise ModelError(f"{path}: cannot read the model ({getattr(exc, 'strerror', exc)})") from None


# --- models of two files ---------------------------------------------------------------------------------------------


def _read_two_files(path: Path, network: bytes) -> ModelFile:
    """Reads the card beside a network. Without its compiled file, or with a damaged one, the model still has poses."""
    text = _card_beside(path)
    raw, members = msgspec.json.decode(text), {}
    match raw:
        case {"files": {"edgetpu": {"name": str(name), "sha256": str(sha256)}}}:
            with contextlib.suppress(OSError, ValueError):  # ValueError: a name that cannot be one
                compiled = _content(path.parent / Path(name).name, MOST_BYTES)
                if sha256_of(compiled) == sha256:
                    members[EDGETPU_MEMBER] = compiled
            if not members:
                del raw["files"]["edgetpu"]
    card_json = encode_document(card_document(msgspec.json.encode(raw), str(_path_beside(path))))
    return _checked(network, card_json, members, str(path), sha256_of(network))


def _path_beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _card_beside(path: Path) -> bytes:
    """Returns the JSON of a card beside a network, which can be parsed. Raises ModelError."""
    beside = _path_beside(path)
    try:
        text = _content(beside, MOST_CARD_BYTES)
    except OSError as exc:
        unpacked = path.with_name(CARD).is_file()
        advice = "pack the folder with `edgepose model pack`" if unpacked else "copy the model again"
        raise ModelError(
            f"{path}: damaged or not a model of edgepose: it holds no card, and none lies beside it ({beside.name}: "
            f"{exc.strerror}); {advice}"
        ) from None
    parse_card(text, str(beside))
    return text


# --- writing ---------------------------------------------------------------------------------------------------------


def write_model(path: Path, network: bytes, card: ModelCard, members: dict[str, bytes] | None = None) -> ModelFile:
    """Writes a model as one file, with the hashes of network and members in its card.

    Raises OSError, and ModelError where it is too large.
    """
    members = members or {}
    hashes = {name: sha256_of(data) for name, data in sorted(members.items())}
    card = msgspec.structs.replace(card, sha256=sha256_of(network), members=hashes)
    data = _pack(network, msgspec.json.format(msgspec.json.encode(card), indent=1), members)
    model = parse_model(data, str(path))
    write_durably(path, data)
    return model


def unpack(model: ModelFile, folder: Path) -> list[Path]:
    """Writes network, card and members as files into a folder that exists, and returns their paths. Raises OSError."""
    files = {folder / NETWORK: model.network, folder / CARD: model.card_json}
    files |= {folder / name: data for name, data in model.members.items()}
    replace_files({path: partial(_write, data) for path, data in files.items()})
    return list(files)


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def read_unpacked(folder: Path) -> ModelFile:
    """Reads what `unpack` wrote. Members are the files of the card and every other `.tflite` of the folder.

    The card may have been corrected, and members may have been added, changed or removed; the network may not.

    Raises:
        ModelError: a file is missing or wrong.
    """
    where = str(folder / CARD)
    with _reading(folder / CARD):
        text = _content(folder / CARD, MOST_CARD_BYTES)
    parse_card(text, where)
    document = card_document(text, where)
    named = {*document.get("members", {}), *(path.name for path in folder.glob("[!.]*.tflite"))} - {NETWORK}
    members = {}
    for name in sorted(named):
        if not _is_member_name(name, but=CARD):
            raise ModelError(f"{folder}: {name[:100]!r} cannot be the name of a member; rename the file")
        with _reading(folder / name), contextlib.suppress(FileNotFoundError):
            members[name] = _content(folder / name, MOST_BYTES)
    hashes = {name: sha256_of(data) for name, data in members.items()}
    if document.get("members", {}) != hashes:
        document["members"] = hashes
    if document != msgspec.json.decode(text):
        text = encode_document(document)
    with _reading(folder / NETWORK):
        network = _content(folder / NETWORK, MOST_BYTES)
    return parse_model(_pack(network, text, members), where)


def _pack(network: bytes, card_json: bytes, members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    file.write(network)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [(CARD, card_json), *sorted(members.items())]:
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = _UNIX, _MODE << 16
            archive.writestr(entry, data)
    if file.tell() > MOST_BYTES:
        size, most = file.tell() / 1e6, MOST_BYTES / 1e6
        raise ModelError(f"the model has {size:.0f} MB, and {most:.0f} MB are allowed in one file; leave a member out")
    return file.getvalue()


# --- the ZIP ---------------------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """A file in the ZIP: its checksum, and where its content begins in the model's file."""

    name: str
    crc: int
    size: int
    start: int


def _is_member_name(name: str, but: str) -> bool:
    return name != but and _MEMBER_NAME.fullmatch(name) is not None


def _is_packed(data: bytes) -> bool:
    return data[-_DIRECTORY_END.size :].startswith(_END_SIGNATURE)


def _directory(file: BinaryIO, where: str) -> list[_Entry] | None:
    """Reads the ZIP's directory, within bounds; None where the file ends with none.

    Only what is needed to find the contents is read here, because `parse_model` checks the rest.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _DIRECTORY_END.size))
    end = file.read(_DIRECTORY_END.size)
    if len(end) < _DIRECTORY_END.size or not end.startswith(_END_SIGNATURE):
        return None
    *_, count, length, offset, _ = _DIRECTORY_END.unpack(end)
    if count > _MOST_MEMBERS or length > _MOST_DIRECTORY_BYTES:
        raise _damaged(where, "its ZIP has more members than a model may have")
    file.seek(offset)
    directory, entries, position, total = file.read(length), [], 0, 0
    for _ in range(count):
        if len(directory) - position < _DIRECTORY_ENTRY.size:
            raise _damaged(where, "the directory of its ZIP is too short")
        fields = _DIRECTORY_ENTRY.unpack_from(directory, position)
        crc, stored, name_length, start = fields[7], fields[8], fields[10], fields[16]
        position += _DIRECTORY_ENTRY.size
        name = directory[position : position + name_length].decode("ascii", "replace")
        position, total = position + name_length, total + stored
        if not _is_member_name(name, but=NETWORK) or max(total, start + stored) > size:
            raise _damaged(where, "a member of its ZIP has a wrong name or place")
        entries.append(_Entry(name, crc, stored, start + _LOCAL_BYTES + name_length))
    return entries
