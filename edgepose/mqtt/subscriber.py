"""Receives what devices publish, for `watch` and the demo."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edgepose.config.schema import MqttConfig, TlsConfig
from edgepose.errors import BrokerError, UsageError
from edgepose.mqtt.broker import DENIED, TOO_NEW, is_host, new_client, unreachable, where
from edgepose.protocol.messages import (
    BatchMessage,
    EventMessage,
    HealthMessage,
    InfoMessage,
    PoseMessage,
    StatusMessage,
)
from edgepose.protocol.topics import TOPICS, is_purged, split_topic
from edgepose.protocol.versions import NewerVersionError, UnreadableMessageError, read_message

AnyMessage: TypeAlias = PoseMessage | BatchMessage | EventMessage | InfoMessage | StatusMessage | HealthMessage

_RETRY_S = 1.0
_CONNECT_TIMEOUT_S = 3.0
_KEEPALIVE_S = 15


class Subscriber:
    """Receives what devices publish, in the caller's own thread, and connects again when the broker comes back.

    Attributes:
        mqtt: the broker.
        connected: True while it is connected and subscribed.
        trouble: why it is not, in words for the operator.
        malformed: number of messages that could not be read.
        newer: the version of the messages that only a later edgepose can read, by device.
        device: the name of the device whose messages are received, or "+" for all.
        others: the names of other devices that are online.
    """

    def __init__(self, broker: str | tuple[MqttConfig, str | None], device: str = "+") -> None:
        """Raises UsageError for a URL that is not a broker's.

        broker: its URL, or its settings and the password. device: a device's name, or "+" for all.
        """
        self.mqtt, self._password = parse_url(broker) if isinstance(broker, str) else broker
        self.connected = False
        self.trouble = ""
        self.malformed = 0
        self.newer: dict[str, int] = {}
        self.device = device
        self.others: set[str] = set()
        self._topics = [(f"edgepose/{'+' if leaf == 'status' else device}/{leaf}", 1) for leaf in TOPICS]
        self._client: paho.Client | None = None
        self._retry_at = 0.0
        self._denied = ""
        self._inbox: list[AnyMessage] = []

    def receive(self, seconds: float) -> Iterator[AnyMessage]:
        """Yields the messages that come within the next `seconds`. Raises BrokerError when the broker denies access."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._client is None:
                self._connect(left)
            elif self._client.loop(min(left, 0.1)) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._lose(self.trouble or "connection lost")
            if self._denied:
                raise BrokerError(
                    f"{where(self.mqtt)}: refused: {self._denied}; give --broker mqtt://USER@HOST, and the password by "
                    "--password-file FILE or the variable EDGEPOSE_MQTT_PASSWORD"
                )
            yield from self._inbox
            self._inbox.clear()

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def _connect(self, left_s: float) -> None:
        pause = self._retry_at - time.monotonic()
        if pause > 0:
            time.sleep(min(pause, left_s))
            return
        self._retry_at = time.monotonic() + _RETRY_S
        client = new_client(self.mqtt, f"edgepose-watch-{secrets.token_hex(4)}", self._password)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.on_connect, client.on_subscribe, client.on_message = (
            self._on_connect,
            self._on_subscribe,
            self._on_message,
        )
        try:
            client.connect(self.mqtt.host, self.mqtt.port, _KEEPALIVE_S)
        except OSError as exc:
            self.trouble = unreachable(exc, self.mqtt)
            return
        self._client = client

    def _lose(self, trouble: str) -> None:
        self._client, self.connected, self.trouble = None, False, trouble

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        text = str(reason)
        if not reason.is_failure:
            client.subscribe(self._topics)
        elif text == TOO_NEW and self.mqtt.protocol == "5":
            self.mqtt, self._retry_at = msgspec.structs.replace(self.mqtt, protocol="3.1.1"), 0.0
        elif text in DENIED:
            self._denied = text
        else:
            self.trouble = f"refused: {text}"

    def _on_subscribe(self, *_: Any) -> None:
        self.connected, self.trouble = True, ""

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        found = split_topic(message.topic)
        if found is None or is_purged(found[1], message.payload):
            return
        try:
            read: Any = read_message(bytes(message.payload), TOPICS[found[1]].payload)
        except NewerVersionError as exc:
            self.newer[found[0]] = exc.version
        except UnreadableMessageError:
            self.malformed += 1
        else:
            if self.device in {"+", found[0]}:
                self._inbox.append(read)
            elif isinstance(read, StatusMessage):
                (self.others.add if read.state == "online" else self.others.discard)(found[0])


def parse_url(url: str) -> tuple[MqttConfig, str | None]:
    """Reads `mqtt://[user[:password]@]host[:port]`. Returns the broker and the password.

    Raises UsageError, whose text shows neither the password nor what may be a part of it.
    """
    shown = f"--broker {url.rpartition('@')[2]}"
    try:
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
    except ValueError:
        raise UsageError(f"{shown}: not a broker's address; give mqtt://HOST:PORT") from None
    if (
        parts.scheme not in {"mqtt", "mqtts"}
        or not parts.hostname
        or parts.path.strip("/")
        or not is_host(parts.hostname)
    ):
        raise UsageError(f"{shown}: not a broker's address; give mqtt://HOST:PORT")
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    tls = TlsConfig() if parts.scheme == "mqtts" else None
    return MqttConfig(host=parts.hostname, port=port, username=user, tls=tls), password
