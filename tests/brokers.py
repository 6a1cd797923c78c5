"""A real mosquitto on a port of its own, and a subscriber that checks every message against its schema."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
from jsonschema.protocols import Validator
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgepose.protocol.asyncapi import asyncapi
from edgepose.protocol.schemas import schemas
from edgepose.protocol.topics import split_topic

_NUMBERS = itertools.count()
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 15.0) -> None:
    """Returns as soon as `condition` holds; fails, naming `what` was awaited, when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker process that can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *lines: str) -> None:
        """lines: its configuration. Without any it is that of the last start; at first everybody may do everything."""
        assert MOSQUITTO is not None
        if lines or not self._config.exists():
            self.configure(*(lines or ["allow_anonymous true"]))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=log, stderr=log)
        wait_until(self._answers, "mosquitto to start")

    def configure(self, *lines: str) -> None:
        """Writes the configuration for the next start, or for `reload`."""
        settings = [f"listener {self.port} 127.0.0.1", "user root", f"persistence_location {self._folder}/", *lines]
        self._config.write_text("\n".join(settings) + "\n", encoding="utf-8")

    def reload(self) -> None:
        """Makes it read its configuration again, as far as it can without a restart; connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def connections(self) -> int:
        """Returns the number of connections that it was asked for, including our own check of the port.

        A TLS handshake that fails at once is logged in other words than one that fails later.
        """
        return len(re.findall(rb"New connection from|Client connection from \S+ failed", self._log.read_bytes()))

    def kill(self) -> None:
        """Kills it, so that it saves nothing, as in a power cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def save(self) -> None:
        """Makes it write sessions and subscriptions to the disk; needs `persistence true`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)
        wait_until((self._folder / "mosquitto.db").exists, "mosquitto to save")

    def freeze(self) -> None:
        """Stops the process: it answers nobody, though connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def add_users(self, **passwords: str) -> str:
        """Writes a password file. Returns its configuration line."""
        path = self._folder / "users"
        path.write_text("".join(f"{name}:{word}\n" for name, word in passwords.items()), encoding="utf-8")
        subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, capture_output=True)
        return f"password_file {path}"

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def retained(port: int) -> dict[str, bytes]:
    """Returns the retained messages, by topic."""
    found: dict[str, bytes] = {}
    heard: list[str] = []

    def on_message(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.retain:
            found[message.topic] = message.payload
        heard.append(message.topic)

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe("#", qos=1)
    client.on_subscribe = lambda *_: client.publish("all-told", qos=1)  # comes after what was kept
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_start()
    wait_until(lambda: "all-told" in heard, "what the broker keeps")
    client.disconnect()
    client.loop_stop()
    return found


def _validators() -> dict[str, tuple[Validator, Validator]]:
    found, components = schemas(), asyncapi()["components"]
    return {
        name: (
            jsonschema.Draft202012Validator(found[name]),
            jsonschema.Draft7Validator({**message["payload"], "components": components}),
        )
        for name, message in components["messages"].items()
        if name in found
    }


VALIDATORS = _validators()
"""For each payload of a device, by its name: the validators of the JSON Schema and of the AsyncAPI document."""


class Subscriber:
    """Everything that a device sends, in order of arrival; each payload is checked against its shipped schemas.

    The broker keeps its session: what comes while it is away, it gets later."""

    def __init__(self, port: int, user: str | None = None, password: str | None = None) -> None:
        self.messages: list[tuple[str, dict[str, Any], bool]] = []
        self.problems: list[str] = []
        self._subscribed = False
        name = f"subscriber-{next(_NUMBERS)}"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = lambda client, *_: client.subscribe([("edgepose/+/+", 1), ("edgepose/+/reply/#", 1)])
        self._client.on_subscribe = lambda *_: setattr(self, "_subscribed", True)
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 600
        self._client.connect("127.0.0.1", port, clean_start=False, properties=session)
        self._client.loop_start()
        wait_until(lambda: self._subscribed, "the subscription")

    def of(self, leaf: str) -> list[dict[str, Any]]:
        return [payload for topic, payload, _ in list(self.messages) if topic.endswith(f"/{leaf}")]

    def poses(self) -> list[dict[str, Any]]:
        """Returns the poses one by one, also those that came many in a message."""
        messages = [(topic.rsplit("/", 1)[1], payload) for topic, payload, _ in list(self.messages)]
        batches = {"pose": lambda payload: [payload], "poses": lambda payload: payload["poses"]}
        return [pose for leaf, payload in messages if leaf in batches for pose in batches[leaf](payload)]

    def seqs(self) -> list[int]:
        return [pose["seq"] for pose in self.poses()]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        payload = json.loads(message.payload)
        place = split_topic(message.topic)
        if place is None:
            self.problems.append(f"unknown topic {message.topic}")
        else:
            for validator in VALIDATORS[place[1]]:
                errors = validator.iter_errors(payload)
                self.problems.extend(f"{message.topic}: {error.message}" for error in errors)
        self.messages.append((message.topic, payload, bool(message.retain)))
