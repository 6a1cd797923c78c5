"""Listens to devices: the subscriber under `watch` and the demo."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgepose.core.errors import BrokerError, UsageError
from edgepose.core.messages import TOPICS, HealthMessage, InfoMessage, PoseMessage, StatusMessage, split_topic

AnyMessage: TypeAlias = PoseMessage | InfoMessage | StatusMessage | HealthMessage

_RETRY_S = 1.0
_CONNECT_TIMEOUT_S = 3.0
_DENIED = ("Not authorized", "Bad user name or password", "Banned")


class Subscriber:
    """Receives what devices publish, in the caller's own thread, and comes back when the broker does.

    url: `mqtt://[user:password@]host[:port]`. device: one topic level, or "+" for all.
    connected: now. trouble: why not, in words for the operator. malformed: messages that could not be read.
    Raises UsageError for a URL of another kind.
    """

    def __init__(self, url: str, device: str = "+") -> None:
        self.host, self.port, self._user, self._password = _parse(url)
        self.connected = False
        self.trouble = ""
        self.malformed = 0
        self._topics = [(f"edgepose/{device}/{leaf}", 1) for leaf in TOPICS]
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._client: paho.Client | None = None
        self._retry_at = 0.0
        self._denied = ""
        self._inbox: list[AnyMessage] = []

    def receive(self, seconds: float) -> Iterator[AnyMessage]:
        """Messages that come within the next `seconds`. Raises BrokerError when the broker denies access."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._client is None:
                self._connect(left)
            elif self._client.loop(min(left, 0.1)) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._lose(self.trouble or "connection lost")
            if self._denied:
                raise BrokerError(
                    f"broker {self.host}:{self.port}: refused: {self._denied}; give --broker mqtt://USER:PASSWORD@HOST"
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
        client = paho.Client(
            CallbackAPIVersion.VERSION2, f"edgepose-watch-{secrets.token_hex(4)}", protocol=self._protocol
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        client.on_connect, client.on_message = self._on_connect, self._on_message
        try:
            client.connect(self.host, self.port, keepalive=15)
        except OSError as exc:
            self.trouble = f"{exc.strerror or exc}".lower()
            return
        self._client = client

    def _lose(self, trouble: str) -> None:
        self._client, self.connected, self.trouble = None, False, trouble

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        text = str(reason)
        if not reason.is_failure:
            self.connected, self.trouble = True, ""
            client.subscribe(self._topics)
        elif text == "Unsupported protocol version" and self._protocol == MQTTProtocolVersion.MQTTv5:
            self._protocol, self._retry_at = MQTTProtocolVersion.MQTTv311, 0.0
        elif text in _DENIED:
            self._denied = text
        else:
            self.trouble = f"refused: {text}"

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        place = split_topic(message.topic)
        if place is None:
            return
        try:
            self._inbox.append(msgspec.json.decode(message.payload, type=TOPICS[place[1]].payload))  # type: ignore[arg-type]
        except msgspec.DecodeError:  # also what does not fit the schema
            self.malformed += 1


def _parse(url: str) -> tuple[str, int, str | None, str | None]:
    """Host, port, user, password."""
    try:
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        port = parts.port or 1883
    except ValueError as exc:
        raise UsageError(f"--broker {url}: {exc}; give mqtt://HOST:PORT") from None
    if parts.scheme != "mqtt" or not parts.hostname or parts.path.strip("/"):
        raise UsageError(f"--broker {url}: not a broker's address; give mqtt://HOST:PORT")
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    return parts.hostname, port, user, password
