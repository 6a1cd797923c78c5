"""What may be asked of a device on `edgepose/<device>/command/<name>`, and how it answers.

To add a command, add its struct here with descriptions, a row to `COMMANDS` and `CommandName`, and an example to
`examples`; the daemon's dispatcher says what it does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgepose.protocol.messages import Message, Rate, Region, Score, Settings

LONGEST_ID = 64
CommandName = Literal["ping", "health", "snapshot", "set", "mark", "restart", "model"]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every command may have."""

    id: Annotated[
        Annotated[str, Meta(max_length=LONGEST_ID)] | None,
        Meta(description="Comes back in the reply. A command with an id is carried out once."),
    ] = None


class Ping(Command, frozen=True, kw_only=True):
    """Are you there?"""


class Health(Command, frozen=True, kw_only=True):
    """The /health message, now."""


class Snapshot(Command, frozen=True, kw_only=True):
    """The newest frame with its pose drawn, as JPEG in base64."""


class Set(Command, frozen=True, kw_only=True):
    """Changes those settings that are given; null goes back to the default. They are kept over restarts."""

    rate_hz: Annotated[
        Rate | UnsetType | None, Meta(description="Most poses per second of a live camera; null is without a limit.")
    ] = UNSET
    min_score: Annotated[
        Score | UnsetType | None, Meta(description="Keypoints with a lower score are left out; null is 0.")
    ] = UNSET
    region: Annotated[
        Region | UnsetType | None,
        Meta(description="Part of the frame that the model sees: x, y, width, height in pixels; null is all of it."),
    ] = UNSET


class Mark(Command, frozen=True, kw_only=True):
    """Puts an event into the stream: an experiment begins, ends, or something is worth a note."""

    phase: Annotated[
        Literal["start", "stop", "note"], Meta(description="What the event says; recording on a mark follows it.")
    ] = "note"
    text: Annotated[str, Meta(max_length=500, description="The event's text.")] = ""


class Restart(Command, frozen=True, kw_only=True):
    """Ends the daemon so that systemd starts it again."""


class Model(Command, frozen=True, kw_only=True):
    """Lists the device's models, or changes which one runs. Answers at once; events say what becomes of it."""

    action: Annotated[
        Literal["list", "activate", "rollback", "install"],
        Meta(
            description="`list`: the models in the device's store. `activate`: runs `model`. `rollback`: runs the one "
            "that ran well before. `install`: fetches the .tflite at `url` and the card beside it."
        ),
    ] = "list"
    model: Annotated[str, Meta(max_length=200, description="Id of a model, such as openfield@3fa2c1.")] = ""
    url: Annotated[str, Meta(max_length=2000, description="Where the .tflite is.")] = ""
    sha256: Annotated[
        str, Meta(pattern=r"^([0-9a-fA-F]{64})?$", description="SHA-256 of the .tflite; another file is not taken.")
    ] = ""
    activate: Annotated[bool, Meta(description="Whether a model that was installed is to run then.")] = False


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
    """The answer to a command."""

    command: Annotated[str, Meta(description="Name of the command.")]
    id: Annotated[str | None, Meta(description="Id of the command.")]
    ok: Annotated[bool, Meta(description="Whether the command was carried out.")]
    error: Annotated[str, Meta(description="Why it was not carried out; empty when it was.")]
    result: Annotated[dict[str, Any], Meta(description="What the command gives.")]


def changed(settings: Settings, command: Set) -> Settings:
    """Returns the settings after the command."""
    names = [field.name for field in msgspec.structs.fields(Settings)]
    given = {name: value for name in names if (value := getattr(command, name)) is not UNSET}
    defaults = {name: getattr(Settings(), name) for name, value in given.items() if value is None}
    return msgspec.structs.replace(settings, **{**given, **defaults})
