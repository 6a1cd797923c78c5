"""What may be asked of a device on `edgepose/<device>/command/<name>`, and how it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgepose.protocol.messages import Message, Rate, Region, Score, Settings

LONGEST_ID = 64
CommandName = Literal["ping", "health", "snapshot", "set", "mark", "restart", "model"]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """id: comes back in the reply, and a command with an id is carried out once."""

    id: Annotated[str, Meta(max_length=LONGEST_ID)] | None = None


class Ping(Command, frozen=True, kw_only=True):
    """Are you there?"""


class Health(Command, frozen=True, kw_only=True):
    """The /health message, now."""


class Snapshot(Command, frozen=True, kw_only=True):
    """The newest frame with its pose drawn, as JPEG in base64."""


class Set(Command, frozen=True, kw_only=True):
    """Changes those Settings that are given; null goes back to the default. Kept over restarts."""

    rate_hz: Rate | UnsetType | None = UNSET
    min_score: Score | UnsetType | None = UNSET
    region: Region | UnsetType | None = UNSET


class Mark(Command, frozen=True, kw_only=True):
    """Puts an event into the stream: an experiment begins, ends, or something is worth a note."""

    phase: Literal["start", "stop", "note"] = "note"
    text: Annotated[str, Meta(max_length=500)] = ""


class Restart(Command, frozen=True, kw_only=True):
    """Ends the daemon so that systemd starts it again."""


class Model(Command, frozen=True, kw_only=True):
    """The device's models. list: those in its store. activate: `model` by its id, such as openfield@3fa2c1. rollback:
    to the one that ran well before. install: fetches the .tflite at `url` and the card beside it, whose sha256 must be
    the one that is told, and activates it where `activate` says so. Answers at once; events tell what becomes of it."""

    action: Literal["list", "activate", "rollback", "install"] = "list"
    model: Annotated[str, Meta(max_length=200)] = ""
    url: Annotated[str, Meta(max_length=2000)] = ""
    sha256: Annotated[str, Meta(pattern=r"^([0-9a-fA-F]{64})?$")] = ""
    activate: bool = False


COMMANDS: dict[str, type[Command]] = {
    "ping": Ping,
    "health": Health,
    "snapshot": Snapshot,
    "set": Set,
    "mark": Mark,
    "restart": Restart,
    "model": Model,
}


class ReplyMessage(Message, frozen=True, kw_only=True):
    """id: of the command. error: why it was not carried out, empty when it was."""

    command: str
    id: str | None
    ok: bool
    error: str
    result: dict[str, Any]


def changed(settings: Settings, command: Set) -> Settings:
    """The settings after the command."""
    names = [field.name for field in msgspec.structs.fields(Settings)]
    given = {name: value for name in names if (value := getattr(command, name)) is not UNSET}
    defaults = {name: getattr(Settings(), name) for name, value in given.items() if value is None}
    return msgspec.structs.replace(settings, **{**given, **defaults})
