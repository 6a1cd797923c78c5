"""What may be asked of a device on `edgepose/<device>/command/<name>`, and how it answers.

To add a command, add its struct here with descriptions, a row to `COMMANDS` and `CommandName`, and an example to
`examples`; the daemon's dispatcher says what it does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgepose.errors import EdgeposeError
from edgepose.protocol.codec import decode
from edgepose.protocol.messages import Message, Rate, Region, Score, Settings
from edgepose.system.strict import convert

LONGEST_COMMAND = 4096  # bytes
LONGEST_ID = 64
CommandName = Literal["ping", "health", "snapshot", "set", "mark", "restart", "model"]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every command may have.

    Attributes:
        id: Comes back in the reply. A command with an id is carried out once.
    """

    id: Annotated[str, Meta(max_length=LONGEST_ID)] | None = None


class Ping(Command, frozen=True, kw_only=True):
    """Are you there?"""


class Health(Command, frozen=True, kw_only=True):
    """The /health message, now."""


class Snapshot(Command, frozen=True, kw_only=True):
    """The newest frame with its pose drawn, as JPEG in base64."""


class Set(Command, frozen=True, kw_only=True):
    """Changes those settings that are given; null goes back to the default. They are kept over restarts.

    Attributes:
        rate_hz: Most poses per second of a live camera; null is without a limit.
        min_score: Keypoints with a lower score are left out; null is 0.
        region: Part of the frame that the model sees: x, y, width, height in pixels; null is all of it.
    """

    rate_hz: Rate | UnsetType | None = UNSET
    min_score: Score | UnsetType | None = UNSET
    region: Region | UnsetType | None = UNSET


class Mark(Command, frozen=True, kw_only=True):
    """Puts an event into the stream: an experiment begins, ends, or something is worth a note.

    Attributes:
        phase: What the event says; recording on a mark follows it.
        text: The event's text.
    """

    phase: Literal["start", "stop", "note"] = "note"
    text: Annotated[str, Meta(max_length=500)] = ""


class Restart(Command, frozen=True, kw_only=True):
    """Ends the daemon so that systemd starts it again."""


class Model(Command, frozen=True, kw_only=True):
    """Lists the device's models, or changes which one runs. Answers at once; events say what becomes of it.

    Attributes:
        action: `list`: the models in the device's store. `activate`: runs `model`. `rollback`: runs the one that ran
            well before. `install`: fetches the model at `url`.
        model: Id of a model, such as openfield@3fa2c1.
        url: Where the .tflite is.
        sha256: SHA-256 of the .tflite; another file is not taken.
        activate: Whether a model that was installed is to run then.
    """

    action: Literal["list", "activate", "rollback", "install"] = "list"
    model: Annotated[str, Meta(max_length=200)] = ""
    url: Annotated[str, Meta(max_length=2000)] = ""
    sha256: Annotated[str, Meta(pattern="^([0-9a-fA-F]{64})?$")] = ""
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


class CommandRejectedError(EdgeposeError):
    """A command that is not carried out.

    Attributes:
        reason: one word, to count by.
        id: id of the command, where it could be read.
    """

    def __init__(self, reason: str, text: str, number: str | None = None) -> None:
        super().__init__(text)
        self.reason, self.id = reason, number


def read_command(name: str, payload: bytes, enabled: Collection[str]) -> Command:
    """Reads a command. payload: JSON with its fields; empty for none. enabled: names of the commands that are allowed.

    Raises CommandRejectedError.
    """
    if len(payload) > LONGEST_COMMAND:
        raise CommandRejectedError("too_large", f"longer than {LONGEST_COMMAND} bytes")
    try:
        fields = decode(payload or b"{}", dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = 'not a JSON object such as {"rate_hz": 5}; for a command without fields, send {} or nothing'
        raise CommandRejectedError("malformed", text) from None
    number = fields.get("id")
    number = number if isinstance(number, str) and len(number) <= LONGEST_ID else None
    if name not in COMMANDS:
        raise CommandRejectedError("unknown", f"no such command; there are {', '.join(COMMANDS)}", number)
    if name not in enabled:
        text = f"not enabled on this device: add {name} to `commands` in its config"
        raise CommandRejectedError("disabled", text, number)
    try:
        return convert(fields, COMMANDS[name], name, EdgeposeError)
    except EdgeposeError as exc:
        raise CommandRejectedError("malformed", str(exc), number) from None


class ReplyMessage(Message, frozen=True, kw_only=True):
    """The answer to a command.

    Attributes:
        command: Name of the command.
        id: Id of the command.
        ok: Whether the command was carried out.
        error: Why it was not carried out; empty when it was.
        result: What the command gives.
    """

    command: str
    id: str | None
    ok: bool
    error: str
    result: dict[str, Any]


def changed(settings: Settings, command: Set) -> Settings:
    """Returns the settings after the command."""
    names = [field.name for field in msgspec.structs.fields(Settings)]
    given = {name: value for name in names if (value := getattr(command, name)) is not UNSET}
    defaults = {name: getattr(Settings(), name) for name, value in given.items() if value is None}
    return msgspec.structs.replace(settings, **{**given, **defaults})
