"""Commands without MQTT: whoever has a name and a payload gets a reply."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from edgepose.daemon.dispatcher import CommandDispatcher
from edgepose.errors import EdgeposeError
from edgepose.protocol.commands import Mark, Ping, ReplyMessage


def fail(_: Mark) -> dict[str, object]:
    raise EdgeposeError("no room for it")


def ask(dispatcher: CommandDispatcher, name: str, payload: bytes) -> ReplyMessage:
    """Submits a command and waits for its reply."""
    replies: SimpleQueue[ReplyMessage] = SimpleQueue()
    dispatcher.submit(name, payload, replies.put)
    return replies.get(timeout=10)


@pytest.fixture
def dispatcher() -> Iterator[CommandDispatcher]:
    made = CommandDispatcher("cage-07", "b", ("ping", "mark"), {"ping": lambda _: {"version": "1"}, "mark": fail})
    made.start()
    yield made
    made.close(10)


def test_a_command_is_carried_out_and_answered(dispatcher: CommandDispatcher) -> None:
    reply = ask(dispatcher, "ping", b'{"id": "1"}')
    assert (reply.ok, reply.id, reply.command, reply.result) == (True, "1", "ping", {"version": "1"})
    assert (reply.device, reply.boot) == ("cage-07", "b")
    assert ask(dispatcher, "ping", b"").ok
    assert dispatcher.rejected == {}


@pytest.mark.parametrize(
    ("name", "payload", "reason", "error"),
    [
        ("fly", b'{"id": "7"}', "unknown", "no such command; there are "),
        ("set", b'{"id": "7"}', "disabled", "not enabled on this device: add set to `commands` in its config"),
        ("ping", b'{"id": "7", "at": 1}', "malformed", "ping: at: unknown key"),
        ("mark", b'{"id": "7"}', "failed", "no room for it"),
    ],
)
def test_a_command_that_is_not_carried_out_is_answered_with_the_reason(
    name: str, payload: bytes, reason: str, error: str, dispatcher: CommandDispatcher
) -> None:
    reply = ask(dispatcher, name, payload)
    assert (reply.ok, reply.id, reply.result) == (False, "7", {})
    assert reply.error.startswith(error)
    assert dispatcher.rejected == {reason: 1}


def test_a_known_id_is_named_before_anything_else(dispatcher: CommandDispatcher) -> None:
    assert ask(dispatcher, "ping", b'{"id": "1"}').ok
    dispatcher.close(10)
    assert ask(dispatcher, "ping", b'{"id": "1"}').error.startswith("a command with this id came before")
    assert ask(dispatcher, "ping", b'{"id": "2"}').error.startswith("too many commands at a time, or about to stop")
    assert dispatcher.rejected == {"repeated": 1, "busy": 1}


def test_a_handler_gets_the_command_as_it_was_read() -> None:
    seen: list[Ping] = []
    dispatcher = CommandDispatcher("cage-07", "b", ("ping",), {"ping": lambda ping: seen.append(ping) or {}})
    dispatcher.start()
    assert ask(dispatcher, "ping", b'{"id": "1"}').ok
    dispatcher.close(10)
    assert seen == [Ping(id="1")]
