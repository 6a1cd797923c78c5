"""Holds one connection to a broker, which one thread drives.

It uses paho without paho's own thread. So nothing calls back with locks held, nothing is sent again without our
knowledge, no message id is occupied by what an earlier connection has left, and no exception ends it unnoticed. A lost
connection is thrown away, and the next one is a new object.
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
from edgepose.mqtt.broker import CLOSED, check_settings, new_client, read_password, refused, silent, unreachable, where

CONNECT_S = 5.0  # how long the network, TLS and the broker's answer may take, each
LARGEST_INBOUND = 65_536  # bytes of a message to us
_RECEIVE_MAXIMUM = 65_535  # messages that a broker accepts at a time when it does not say how many
_PACKETS_AT_ONCE = 500
_OK = MQTTErrorCode.MQTT_ERR_SUCCESS


class ConnectionLostError(Exception):
    """The connection is lost. The message says why, if the broker said so."""


class UnreadableError(ConnectionLostError):
    """paho cannot read what the broker has sent. The same session would bring it again, so a new one has to begin."""


@dataclass(frozen=True, slots=True)
class Will:
    """The message that the broker sends when the connection breaks."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """Says how the broker has accepted us.

    Attributes:
        session: True when it still had our session.
        receive_maximum: number of unacknowledged messages that it takes at a time.
        largest: largest message that it takes, in bytes.
    """

    session: bool
    receive_maximum: int
    largest: int


class Connection:
    """A connection to a broker. The caller takes what has come out of `acks` and `inbox`.

    Attributes:
        welcome: how the broker has accepted us.
        acks: (message id, reason) of what the broker has answered to our messages.
        inbox: messages, and whether the broker may have kept each from earlier (see `catch_up`).
        granted: the answers to `subscribe`, by topic.
    """

    def __init__(  # noqa: PLR0913  everything that a CONNECT says
        self,
        mqtt: MqttConfig,
        client_id: str,
        password: str | None,
        will: Will | None = None,
        *,
        session_s: int = 0,
        new_session: bool = False,
        acknowledge: bool = True,
        largest: int = LARGEST_INBOUND,
        connect_s: float = CONNECT_S,
    ) -> None:
        """Connects. Raises BrokerError with the reason when that is not possible.

        Args:
            mqtt: the broker.
            client_id: our name at the broker.
            password: of `mqtt.username`.
            will: the message that the broker sends when the connection breaks.
            session_s: how long the broker keeps our session when we are away.
            new_session: makes the broker forget the session that it has.
            acknowledge: acknowledges messages as they come; otherwise the caller does, when they are safe.
            largest: largest message to us, in bytes.
            connect_s: how long the network, TLS and the broker's answer may take, each.
        """
        self.acks: list[tuple[int, ReasonCode]] = []
        self.inbox: list[tuple[paho.MQTTMessage, bool]] = []
        self.granted: dict[str, ReasonCode] = {}
        self._mqtt, self._session_s, self._largest, self._connect_s = mqtt, session_s, largest, connect_s
        self._new_session = new_session or session_s == 0
        self._got_any = self._caught_up = False
        self._question: int | None = None
        self._reason = ""
        self._answers: list[tuple[ReasonCode, Welcome]] = []
        self._asked: dict[int, tuple[str, ...]] = {}  # topics, by the id of the SUBSCRIBE
        self._client = new_client(mqtt, client_id, password, keep_session=not self._new_session)
        self._client.connect_timeout = connect_s
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
        deadline = time.monotonic() + self._connect_s
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
        return {"clean_start": self._new_session, "properties": properties}

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, properties: Properties | None = None) -> int:
        """Returns the message id. Raises ConnectionLostError."""
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if info.rc != _OK:
            raise ConnectionLostError(self._reason or CLOSED)
        return info.mid

    def acknowledge(self, message: paho.MQTTMessage) -> None:
        """Raises ConnectionLostError; then the broker sends the message again."""
        if self._client.ack(message.mid, message.qos) != _OK:
            raise ConnectionLostError(self._reason or CLOSED)

    def subscribe(self, *topics: str, qos: int = 1) -> None:
        _, number = self._client.subscribe([(topic, qos) for topic in topics])
        self._asked[number or 0] = topics  # there is no number without a connection; the next step raises

    def catch_up(self, topic: str) -> None:
        """Subscribes again and again, until no message comes before the broker's answer.

        Then the broker has sent everything that it had kept, a window at a time, and what comes from there on is new.
        """
        self._topic, self._got_any = topic, False
        how: dict[str, Any] = {"qos": 1}
        if self._mqtt.protocol == "5":  # retained messages are marked as such, and sent to a new subscription only
            how = {"options": SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=1)}
        self._question = self._client.subscribe(topic, **how)[1]
        self._asked[self._question or 0] = (topic,)

    def unsubscribe(self, topic: str) -> None:
        self._client.unsubscribe(topic)

    def step(self, seconds: float, wake: socket.socket | None = None) -> None:
        """Sends and receives what there is; waits for this time, or until `wake` can be read. Raises
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
        """Reads everything that has come, up to a bound. paho itself reads one packet at a time."""
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
        """Ends the connection so that the broker sends no will."""
        self._client.disconnect()

    def cut(self) -> None:
        """Ends the connection as a broken network would: the broker sends the will."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):  # it was gone already
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.inbox.append((message, not self._caught_up))
        self._got_any |= self._mqtt.protocol == "5" or not message.retain

    def _on_subscribe(self, _client: Any, _data: Any, number: int, reasons: list[ReasonCode], _properties: Any) -> None:
        self.granted.update(zip(self._asked.pop(number, ()), reasons, strict=False))
        if number == self._question:
            self._caught_up = not self._got_any
            if self._got_any:
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


def probe_broker(mqtt: MqttConfig, connect_s: float = CONNECT_S) -> None:
    """Connects once. Raises BrokerError with the reason when the broker is absent or refuses, ConfigError for settings
    that cannot be right, and for a file that cannot be read."""
    check_settings(mqtt)
    name = f"edgepose-check-{secrets.token_hex(4)}"
    connection = Connection(mqtt, name, read_password(mqtt), connect_s=connect_s)
    connection.goodbye()
