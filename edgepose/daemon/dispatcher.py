"""Checks commands, has them carried out one after the other by a thread of its own, and answers each.

A command that is not carried out is answered with the reason, and counted.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from edgepose.errors import EdgeposeError
from edgepose.protocol.commands import LONGEST_ID, Command, CommandRejectedError, ReplyMessage, read_command

log = logging.getLogger(__name__)

MOST_WAITING = 16
_MOST_IDS = 200  # The dispatcher remembers so many, so that no command is carried out twice.

Handler = Callable[[Any], dict[str, Any]]
"""Takes the command and returns the result for the reply. Raises EdgeposeError."""
Answer = Callable[[ReplyMessage], None]


class CommandDispatcher:
    """Has commands carried out, whoever sends them.

    Args:
        device: name of the device, for replies.
        boot: boot id of the kernel, for replies.
        enabled: names of the commands that the config allows.
        handlers: what carries out each command, by its name.
    """

    def __init__(self, device: str, boot: str, enabled: Collection[str], handlers: Mapping[str, Handler]) -> None:
        self._device, self._boot, self._enabled, self._handlers = device, boot, enabled, handlers
        self._lock = threading.Lock()  # guards the counts and the ids
        self._rejected: Counter[str] = Counter()
        self._ids: deque[str] = deque(maxlen=_MOST_IDS)
        self._queue: queue.SimpleQueue[tuple[str, Command, Answer] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="commands", daemon=True)

    @property
    def rejected(self) -> dict[str, int]:
        """Returns the number of commands that were not carried out, by reason."""
        with self._lock:
            return dict(self._rejected)

    def start(self) -> None:
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Carries out what waits, for at most so long. A command that comes later is rejected."""
        self._closed = True
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def submit(self, name: str, payload: bytes, answer: Answer, refusal: CommandRejectedError | None = None) -> None:
        """Checks a command and has it carried out. Never raises and never waits; any thread may call it.

        Args:
            name: name of the command.
            payload: JSON with its fields.
            answer: gets the reply, at once or later, by this thread or by that of the dispatcher.
            refusal: why the sender's way does not allow it; None where it does.
        """
        number = None
        try:
            command = read_command(name, payload, self._enabled)
            number = command.id
            self._check_new(command, refusal)
        except CommandRejectedError as exc:
            self._reject(exc.reason)
            answer(self._reply(name, number if exc.id is None else exc.id, error=str(exc)))
        else:
            self._queue.put((name, command, answer))

    def _check_new(self, command: Command, refusal: CommandRejectedError | None) -> None:
        """Raises CommandRejectedError for a command that must not be carried out now.

        A known id comes first: a sender who is asked to send it again would have it carried out twice.
        """
        with self._lock:
            if command.id is not None and command.id in self._ids:
                raise CommandRejectedError("repeated", "a command with this id came before, and is carried out once")
            if refusal is not None:
                raise refusal
            if self._closed or self._queue.qsize() >= MOST_WAITING:
                raise CommandRejectedError("busy", "too many commands at a time, or about to stop; try again")
            if command.id is not None:
                self._ids.append(command.id)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            name, command, answer = item
            try:
                answer(self._reply(name, command.id, result=self._handlers[name](command)))
            except EdgeposeError as exc:
                self._reject("failed")
                answer(self._reply(name, command.id, error=str(exc)))
            except Exception as exc:  # a bug in one command must not end all of them
                log.exception("command %s", name)
                self._reject("failed")
                answer(self._reply(name, command.id, error=f"failed: {exc!r}"))

    def _reject(self, reason: str) -> None:
        with self._lock:
            self._rejected[reason] += 1

    def _reply(
        self, name: str, number: str | None, *, error: str = "", result: dict[str, Any] | None = None
    ) -> ReplyMessage:
        return ReplyMessage(
            device=self._device,
            boot=self._boot,
            command=name[:LONGEST_ID],
            id=number,
            ok=result is not None,
            error=error.encode(errors="replace").decode(),  # the name of a file need not be text
            result=result or {},
        )
