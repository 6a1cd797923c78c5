"""One connection to a broker, driven by one thread.

paho without its own thread: nothing calls back with locks held, nothing is sent again behind our back, no message id
is used up by what an earlier connection left, and no exception ends it unnoticed. A lost connection is thrown away.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt import MQTTException
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgepose.config.schema import MqttConfig
from edgepose.errors import BrokerError
from edgepose.mqtt.broker import (
    CLOSED,
    check_settings,
    new_client,
    read_password,
    refused,
    silent,
    unreachable,
    where,
)

CONNECT_S = 5.0  # for the network, for TLS, and for the broker's answer, each
LARGEST_INBOUND = 65_536  # bytes of a message to us
_RECEIVE_MAXIMUM = 65_535  # what a broker accepts that says nothing
_PACKETS_AT_ONCE = 500
_OK = MQTTErrorCode.MQTT_ERR_SUCCESS


class ConnectionLostError(Exception):
    """The connection is gone; the message says why, as far as anybody does."""


class UnreadableError(ConnectionLostError):
    """paho cannot read what the broker has sent, and the same session would bring it again: begin a new one."""


@dataclass(frozen=True, slots=True)
class Will:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the broker answered. session: it still knew us. receive_maximum: unacknowledged messages at a time.
    largest: bytes of a message."""

    session: bool
    receive_maximum: int
    largest: int


class Connection:
    """session_s: how long the broker keeps our session when we are away. anew: it forgets the session it has.
    acknowledge: what comes, by itself; otherwise the caller does, when it has it safe. largest: bytes of a message to
    us.
    acks: (message id, reason) of what the broker has answered, inbox: what it has sent, and whether it may have kept
    that from earlier (see `catch_up`); both for the caller to take out. granted: the answers to `subscribe`, by topic.

    Raises BrokerError with the reason when no connection comes about.
    """

    def __init__(  # noqa: PLR0913  everything that a CONNECT says
        self,
        mqtt: MqttConfig,
        client_id: str,
        password: str | None,
        will: Will | None = None,
        *,
        session_s: int = 0,
        anew: bool = False,
        acknowledge: bool = True,
        largest: int = LARGEST_INBOUND,
    ) -> None:
        self.acks: list[tuple[int, ReasonCode]] = []
        self.inbox: list[tuple[paho.MQTTMessage, bool]] = []
        self.granted: dict[str, ReasonCode] = {}
        self._mqtt, self._session_s, self._largest = mqtt, session_s, largest
        self._anew = anew or session_s == 0
        self._came = self._caught_up = False
        self._question: int | None = None
        self._reason = ""
        self._answers: list[tuple[ReasonCode, Welcome]] = []
        self._asked: dict[int, tuple[str, ...]] = {}  # topics, by the id of the SUBSCRIBE
        self._client = new_client(mqtt, client_id, password, keep_session=not self._anew)
        self._client.connect_timeout = CONNECT_S
        self._client.manual_ack_set(not acknowledge)
        self._client.max_inflight_messages_set(0)  # the window is the caller's
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = lambda _c, _d, mid, reason, _p: self.acks.append((mid, reason))
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        try:
            self.welcome = self._open()
        except BaseException:
            self.cut()
            raise

    def _open(self) -> Welcome:
        try:
            self._client.connect(self._mqtt.host, self._mqtt.port, self._mqtt.keepalive_s, **self._session())
        except (OSError, ValueError) as exc:  # ValueError: a certificate's, before Python 3.13
            raise BrokerError(f"{where(self._mqtt)}: {unreachable(exc, self._mqtt)}") from None
        deadline = time.monotonic() + CONNECT_S
        while not self._answers:
            if time.monotonic() > deadline:
                raise BrokerError(f"{where(self._mqtt)}: {silent(self._mqtt)}")
            try:
                self.step(0.1)
            except ConnectionLostError as exc:
                if not self._answers:
                    raise BrokerError(f"{where(self._mqtt)}: {silent(self._mqtt, str(exc))}") from None
        reason, welcome = self._answers[0]
        if reason.is_failure:
            raise BrokerError(f"{where(self._mqtt)}: {refused(reason)}")
        return welcome

    def _session(self) -> dict[str, Any]:
        if self._mqtt.protocol != "5":
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._session_s
        properties.MaximumPacketSize = self._largest
        return {"clean_start": self._anew, "properties": properties}

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, properties: Properties | None = None) -> int:
        """Its message id. Raises ConnectionLostError."""
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if info.rc != _OK:
            raise ConnectionLostError(self._reason or CLOSED)
        return info.mid

    def acknowledge(self, message: paho.MQTTMessage) -> None:
        """Raises ConnectionLostError; then the broker sends it again."""
        if self._client.ack(message.mid, message.qos) != _OK:
            raise ConnectionLostError(self._reason or CLOSED)

    def subscribe(self, *topics: str, qos: int = 1) -> None:
        _, number = self._client.subscribe([(topic, qos) for topic in topics])
        self._asked[number or 0] = topics  # none without a connection, which the next step tells

    def catch_up(self, topic: str) -> None:
        """Subscribes, and again until nothing came before the answer: then the broker has sent all that it had kept, a
        window at a time, and what comes now is new."""
        self._topic, self._came = topic, False
        how: dict[str, Any] = {"qos": 1}
        if self._mqtt.protocol == "5":  # what is retained: told as such always, and sent to a new subscription only
            how = {"options": SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=1)}
        self._question = self._client.subscribe(topic, **how)[1]
        self._asked[self._question or 0] = (topic,)

    def unsubscribe(self, topic: str) -> None:
        self._client.unsubscribe(topic)

    def step(self, seconds: float, wake: socket.socket | None = None) -> None:
        """Sends and receives what there is, waiting so long for it, or until `wake` can be read. Raises
        ConnectionLostError."""
        sock: Any = self._client.socket()
        if sock is None:
            raise ConnectionLostError(self._reason or CLOSED)
        decrypted = sock.pending() if hasattr(sock, "pending") else 0
        writing = [sock] if self._client.want_write() else []
        readable, writable, _ = select.select(
            [sock, *([wake] if wake else [])], writing, [], 0 if decrypted else seconds
        )
        if wake in readable and wake is not None:
            with contextlib.suppress(BlockingIOError):
                wake.recv(4096)
        rc = self._read() if decrypted or sock in readable else _OK
        if rc == _OK and writable:
            rc = self._client.loop_write()
        if rc == _OK:
            rc = self._client.loop_misc()
        if rc != _OK or self._client.socket() is None:
            raise ConnectionLostError(self._reason or CLOSED)

    def _read(self) -> MQTTErrorCode:
        """All that has come, up to a bound; paho takes one packet at a time."""
        rc = _OK
        for _ in range(_PACKETS_AT_ONCE):
            try:
                rc = self._client.loop_read()
            except MQTTException:  # paho before 2.2; later ones return it
                rc = MQTTErrorCode.MQTT_ERR_PROTOCOL
            if rc == MQTTErrorCode.MQTT_ERR_PROTOCOL:
                raise UnreadableError("a message that cannot be read; beginning a new session")
            sock: Any = self._client.socket()
            if (
                rc != _OK
                or sock is None
                or not (getattr(sock, "pending", int)() or select.select([sock], [], [], 0)[0])
            ):
                break
        return rc

    def goodbye(self) -> None:
        """The broker sends no will."""
        self._client.disconnect()

    def cut(self) -> None:
        """As a broken network would: the broker sends the will."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):  # it was gone already
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.inbox.append((message, not self._caught_up))
        self._came |= self._mqtt.protocol == "5" or not message.retain

    def _on_subscribe(self, _client: Any, _data: Any, number: int, reasons: list[ReasonCode], _properties: Any) -> None:
        self.granted.update(zip(self._asked.pop(number, ()), reasons, strict=False))
        if number == self._question:
            self._caught_up = not self._came
            if self._came:
                self.catch_up(self._topic)

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        session = bool(flags.session_present)
        receive_maximum = getattr(properties, "ReceiveMaximum", _RECEIVE_MAXIMUM)
        largest = getattr(properties, "MaximumPacketSize", 2**28)
        self._answers.append((reason, Welcome(session, receive_maximum, largest)))

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._reason = f"the broker ended it: {reason}"
        elif "eep alive" in str(reason):
            self._reason = "the broker answers no more"


def probe_broker(mqtt: MqttConfig) -> None:
    """Connects once. Raises BrokerError with the reason when the broker is absent or refuses, ConfigError also for a
    file that cannot be read."""
    check_settings(mqtt)
    connection = Connection(mqtt, f"edgepose-check-{secrets.token_hex(4)}", read_password(mqtt))
    connection.goodbye()
