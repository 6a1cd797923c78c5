"""`edgepose purge`: makes a broker, and with it Home Assistant, forget a device."""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepose.cli.broker_arguments import add_broker_arguments, broker_of
from edgepose.errors import BrokerError, EdgeposeError, UsageError

if TYPE_CHECKING:
    from edgepose.mqtt.connection import Connection

ANSWER_S = 5.0  # longest wait for the broker's word
QUIET_S = 1.0  # after the last retained message there are no more
ALIVE_S = 35.0  # a device that runs sends its /health within 30 s
_TICK_S = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Removes everything that a broker keeps of a device: /info, /status, /health, what Home Assistant was told.\n"
        "A device that runs would publish it again, so that is refused. Recorded poses are not touched."
    )
    parser.epilog = "example:\n  edgepose purge --broker mqtt://192.168.1.10 cage-07"
    parser.add_argument("device", metavar="DEVICE", help="its name in the topics")
    add_broker_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from edgepose.mqtt.broker import where
    from edgepose.mqtt.connection import Connection, ConnectionLostError

    if not args.device or any(mark in args.device for mark in "/+#"):
        raise UsageError(f"purge {args.device}: not a device's name; give it as in edgepose/<device>/status")
    mqtt, password = broker_of(args)
    connection = Connection(mqtt, f"edgepose-purge-{secrets.token_hex(4)}", password)
    try:
        purge(connection, args.device)
        connection.goodbye()
    except ConnectionLostError as exc:
        raise BrokerError(f"{where(mqtt)}: connection lost ({exc}); try again") from None
    finally:
        connection.cut()
    return 0


def purge(connection: Connection, device: str) -> None:
    """Prints what it removes. Raises EdgeposeError where the device runs or the broker refuses, ConnectionLostError."""
    found = _retained(connection, device)
    _refuse_running(connection, device, found)
    refused = _clear(connection, list(found))
    left = [topic for topic in _retained(connection, device) if topic not in refused]
    for topic in found:
        if topic not in refused and topic not in left:
            print(f"removed {topic}")
    if refused:
        raise EdgeposeError(
            f"the broker keeps {', '.join(refused)}: it refuses; give --broker a user who may write there"
        )
    if left:
        raise EdgeposeError(f"{', '.join(left)}: there again; stop whoever publishes it, and try again")
    if not found:
        print(f"nothing is kept of {device}")


def _retained(connection: Connection, device: str) -> dict[str, bytes]:
    """What the broker keeps, by topic; what Home Assistant reads first, so that it never sees the others empty."""
    from edgepose.protocol.home_assistant import discovery_topic
    from edgepose.protocol.messages import topic_name

    filters = (discovery_topic(device), topic_name(device, "#"))
    found: dict[str, bytes] = {}
    heard_s = time.monotonic()

    def quiet() -> bool:
        nonlocal heard_s
        for message, _ in connection.inbox:
            if message.retain:
                found[message.topic] = bytes(message.payload)
                heard_s = time.monotonic()
        connection.inbox.clear()
        return len(connection.granted) >= len(filters) and time.monotonic() - heard_s > QUIET_S

    connection.granted.clear()
    connection.inbox.clear()
    connection.subscribe(*filters)
    if not _await(connection, quiet, ANSWER_S):
        raise BrokerError("the broker does not answer, or keeps sending; try again")
    if any(reason.is_failure for reason in connection.granted.values()):
        raise BrokerError(f"the broker lets us not read {' and '.join(filters)}; give --broker a user who may")
    return dict(sorted(found.items(), key=lambda item: (item[0] != filters[0], item[0])))


def _refuse_running(connection: Connection, device: str, found: dict[str, bytes]) -> None:
    """Its /status may say `online` for ever: a broker that is killed sends no last will."""
    import msgspec

    from edgepose.protocol.messages import TOPICS, StatusMessage, decode, topic_name

    own = {topic_name(device, leaf) for leaf in TOPICS}
    try:
        state = decode(found[topic_name(device, "status")], StatusMessage).state
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError):
        return
    if state != "online":
        return
    print(f"{device} is online, says the broker; listening for a sign of life for {ALIVE_S:g} s", flush=True)
    if _await(connection, lambda: _heard(connection, own), ALIVE_S):
        raise EdgeposeError(f"{device} is running and would publish all of it again; stop it first")


def _heard(connection: Connection, topics: set[str]) -> bool:
    """Whether something was said just now, and not kept from earlier."""
    return any(message.topic in topics and not message.retain for message, _ in connection.inbox)


def _clear(connection: Connection, topics: list[str]) -> list[str]:
    """Those that the broker refuses to clear."""
    sent = {connection.publish(topic, b"", retain=True): topic for topic in topics}
    if not _await(connection, lambda: len(connection.acks) >= len(sent), ANSWER_S):
        raise BrokerError("the broker acknowledges nothing; try again")
    refused = [sent[number] for number, reason in connection.acks if reason.is_failure]
    connection.acks.clear()
    return refused


def _await(connection: Connection, condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        connection.step(_TICK_S)
    return True
