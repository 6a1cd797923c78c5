"""Passwords come from a file, the environment or systemd, and no output contains one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon
from delivering import pose
from mouse_messages import status
from paho.mqtt import client as paho
from paho.mqtt import publish
from refusals import new_device

from edgepose.cli.main import main
from edgepose.config.schema import MqttConfig
from edgepose.errors import BrokerError, ConfigError, UsageError
from edgepose.mqtt.connection import probe_broker
from edgepose.protocol.codec import encode

SECRET = "hunter2-Tr0ub4dor"
NO_ARROW = pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow (pip install 'edgepose[collect]')")
LISTENERS = [pytest.param(["watch"], id="watch"), pytest.param(["collect", "-o", "out"], id="collect", marks=NO_ARROW)]


@pytest.fixture
def guarded(mosquitto: Mosquitto) -> Mosquitto:
    """A broker that knows one user."""
    mosquitto.start("allow_anonymous false", mosquitto.add_users(**{"cage-07": SECRET}))
    return mosquitto


def in_file(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    (folder / "word").write_text(f"{SECRET}\n", encoding="utf-8")
    return {"password_file": str(folder / "word")}, {}


def in_environment(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    return {}, {"EDGEPOSE_MQTT_PASSWORD": SECRET}


def from_systemd(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    (folder / "mqtt-password").write_text(SECRET, encoding="utf-8")
    return {}, {"CREDENTIALS_DIRECTORY": str(folder)}


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
@pytest.mark.parametrize("source", [in_file, in_environment, from_systemd])
def test_the_daemon_shows_its_password_nowhere(
    source: Callable[[Path], tuple[dict[str, str], dict[str, str]]],
    tmp_path: Path,
    demo_model: Path,
    guarded: Mosquitto,
    run: Callable[..., Daemon],
    subscribe: Callable[..., Subscriber],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, env = source(tmp_path)
    mqtt = {"host": "127.0.0.1", "port": guarded.port, "username": "cage-07", **settings}
    camera = {"source": "synthetic", "size_wh": [160, 120], "rate_hz": 10.0}
    config = tmp_path / "edgepose.yaml"
    whole = {"device": "cage-07", "model": str(demo_model), "camera": camera, "inference": {"threads": 1}, "mqtt": mqtt}
    config.write_text(yaml.safe_dump(whole), encoding="utf-8")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert main(["check", "-c", str(config)]) == 0
    assert main(["config", "show", "-c", str(config)]) == 0
    daemon = run(config)
    subscriber = subscribe(guarded.port, "cage-07", SECRET)
    wait_until(lambda: subscriber.of("health") and subscriber.poses(), "poses", 30)
    seen = [Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes().decode(), *map(str, subscriber.messages)]
    daemon.stop()
    printed = capsys.readouterr()
    assert "accepts us" in printed.out
    for text in (*seen, *daemon.lines, printed.out, printed.err):
        assert SECRET not in text


def test_a_wrong_password_is_not_shown_either_not_even_in_pahos_own_log(
    guarded: Mosquitto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("EDGEPOSE_MQTT_PASSWORD", f"{SECRET}-old")

    begin = paho.Client.__init__

    def begin_with_log(client: paho.Client, *args: Any, **more: Any) -> None:
        begin(client, *args, **more)
        client.enable_logger()

    monkeypatch.setattr(paho.Client, "__init__", begin_with_log)
    settings = MqttConfig(host="127.0.0.1", port=guarded.port, username="cage-07")
    with pytest.raises(BrokerError, match="Not authorized") as refused:
        probe_broker(settings)
    delivery = new_device(settings)
    delivery.deliver(pose(1))
    wait_until(lambda: delivery.reporter.alerts, "the refusal")
    monkeypatch.setenv("EDGEPOSE_MQTT_PASSWORD", SECRET)
    wait_until(lambda: delivery.delivered, "the pose")
    delivery.close()
    assert "Sending CONNECT" in caplog.text
    assert SECRET not in caplog.text + str(refused.value)


@pytest.mark.parametrize(
    "content", [b"\n" + SECRET.encode(), SECRET.encode() + b"\xff"], ids=["second line", "no text"]
)
def test_a_password_file_that_is_none_is_not_quoted(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "word").write_bytes(content)
    with pytest.raises(ConfigError, match="word") as caught:
        probe_broker(MqttConfig(username="cage-07", password_file=str(tmp_path / "word")))
    assert SECRET not in str(caught.value)


def test_a_password_in_the_config_is_refused_and_not_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "edgepose.yaml"
    config.write_text(f"model: m\ncamera: {{source: synthetic}}\nmqtt: {{password: {SECRET}}}\n", encoding="utf-8")
    assert main(["config", "show", "-c", str(config)]) == 78
    told = capsys.readouterr().err
    assert "mqtt.password: unknown key; did you mean 'password_file'?" in told
    assert SECRET not in told


@pytest.mark.parametrize("command", LISTENERS)
@pytest.mark.parametrize(
    "url",
    ["http://me:{}@host", "mqtt://me:{}@host:port", "mqtt://me:{}@host/topic", "me:a/{}@host", "mqtt://me:{}@:1"],
)
def test_an_address_that_is_none_is_told_without_the_password_in_it(
    command: list[str], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--broker", url.format(SECRET)]) == UsageError.exit_code
    told = capsys.readouterr().err
    assert "not a broker's address; give mqtt://HOST:PORT" in told
    assert SECRET not in told


@pytest.fixture
def listen(guarded: Mosquitto, tmp_path: Path) -> Callable[..., str]:
    """listen(command, words, env) runs a command until it is connected; returns all its output."""
    auth = {"username": "cage-07", "password": SECRET}
    publish.single("edgepose/cage-07/status", encode(status()), qos=1, retain=True, port=guarded.port, auth=auth)

    def run(command: list[str], words: list[str], env: dict[str, str]) -> str:
        call = [sys.executable, "-m", "edgepose", *command, *words]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(call, env={**os.environ, **env}, cwd=tmp_path, **pipe) as process:
            said = []
            for line in process.stdout:
                said.append(line)
                if "cage-07 online" in line or "listening" in line:
                    process.terminate()
        assert process.returncode == 0, said
        return "".join(said)

    return run


@pytest.mark.parametrize("command", LISTENERS)
@pytest.mark.parametrize("source", [in_file, in_environment, from_systemd])
def test_listeners_take_it_from_the_same_places(
    command: list[str],
    source: Callable[[Path], tuple[dict[str, str], dict[str, str]]],
    guarded: Mosquitto,
    tmp_path: Path,
    listen: Callable[..., str],
) -> None:
    settings, env = source(tmp_path)
    words = ["--broker", f"mqtt://cage-07@127.0.0.1:{guarded.port}"]
    if "password_file" in settings:
        words += ["--password-file", settings["password_file"]]
    assert SECRET not in listen(command, words, env)


@pytest.mark.parametrize("command", LISTENERS)
def test_a_password_in_the_address_works_and_is_warned_of(
    command: list[str], guarded: Mosquitto, listen: Callable[..., str]
) -> None:
    said = listen(command, ["--broker", f"mqtt://cage-07:{SECRET}@127.0.0.1:{guarded.port}"], {})
    assert "everybody on this computer can see the password; safer is --password-file FILE" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--password-file", __file__], "--password-file: the user is missing; give mqtt://USER@HOST as --broker"),
        (["--ca", "ca.pem"], "--ca: is for TLS; give mqtts://HOST as --broker"),
    ],
)
def test_what_lacks_its_other_half_is_wrong_usage(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", "--broker", "mqtt://host", *words]) == UsageError.exit_code
    assert message in capsys.readouterr().err
