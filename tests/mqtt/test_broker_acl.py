"""The access list that we ship, with a real mosquitto: each device writes only its own topics; refusals show."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import yaml
from brokers import Mosquitto, Subscriber, wait_until
from chaos_proxy import Proxy
from delivering import pose
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from refusals import new_device

from edgepose.config.schema import MqttConfig
from edgepose.delivery.delivery import MqttDelivery

SHIPPED = Path(__file__).parents[2] / "firmware_configs" / "broker" / "edgepose.acl"
CHAOS = Path(__file__).parents[1] / "chaos_device.py"
USERS = {"cage-07": "seven", "cage-08": "eight", "lab": "coat"}


class Client:
    """A client of one user.

    Attributes:
        heard: topics of the messages that came.
        answers: the broker's answers to our messages, in order.
    """

    def __init__(self, port: int, user: str, *topics: str) -> None:
        self.heard: list[str] = []
        self.answers: list[str] = []
        self._subscribed = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(user, USERS[user])
        self._client.on_message = lambda _c, _d, message: self.heard.append(message.topic)
        self._client.on_publish = lambda _c, _d, _mid, reason, _p: self.answers.append(str(reason))
        self._client.on_subscribe = lambda *_: setattr(self, "_subscribed", True)
        self._client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics or ("none",)])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(lambda: self._subscribed, "the subscription")

    def say(self, topic: str, payload: bytes = b"{}") -> str:
        before = len(self.answers)
        self._client.publish(topic, payload, qos=1)
        wait_until(lambda: len(self.answers) > before, "the broker's answer")
        return self.answers[-1]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def exits() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def rules(tmp_path: Path, mosquitto: Mosquitto) -> Path:
    """The access list of a running broker, at first the one that we ship."""
    path = tmp_path / "acl"
    path.write_bytes(SHIPPED.read_bytes())
    mosquitto.start("allow_anonymous false", mosquitto.add_users(**USERS), f"acl_file {path}", "sys_interval 1")
    return path


@pytest.fixture
def login(rules: Path, mosquitto: Mosquitto, exits: contextlib.ExitStack) -> Callable[..., Client]:
    """login(user, topics) connects."""

    def make(user: str, *topics: str) -> Client:
        client = Client(mosquitto.port, user, *topics)
        exits.callback(client.close)
        return client

    return make


@pytest.fixture
def device(
    rules: Path, mosquitto: Mosquitto, exits: contextlib.ExitStack, tmp_path: Path
) -> Callable[..., MqttDelivery]:
    """device(name, user) starts one, with the command ping."""

    def make(name: str = "cage-07", user: str | None = None) -> MqttDelivery:
        word = tmp_path / f"password-{name}"
        word.write_text(USERS[user or name], encoding="utf-8")
        settings = MqttConfig(host="127.0.0.1", port=mosquitto.port, username=user or name, password_file=str(word))
        made = new_device(settings, name, ["ping"])
        exits.callback(made.close)
        return made

    return make


def test_a_device_writes_its_own_topics_and_no_others(login: Callable[..., Client]) -> None:
    lab, mine = login("lab", "edgepose/#"), login("cage-07")
    leaves = ("pose", "poses", "event", "info", "status", "health", "reply/ping")
    assert {mine.say(f"edgepose/cage-07/{leaf}") for leaf in leaves} == {"Success"}
    refused = [f"edgepose/cage-08/{leaf}" for leaf in leaves]
    refused += ["edgepose/cage-07/command/ping", "edgepose/cage-07", "edgepose/pose", "elsewhere"]
    assert {mine.say(topic) for topic in refused} == {"Not authorized"}
    wait_until(lambda: len(lab.heard) >= len(leaves), "what was allowed")
    assert lab.heard == [f"edgepose/cage-07/{leaf}" for leaf in leaves]


def test_a_device_hears_its_own_commands_and_nothing_else(login: Callable[..., Client]) -> None:
    mine = login("cage-07", "edgepose/#", "$SYS/broker/uptime")
    other, lab = login("cage-08"), login("lab")
    other.say("edgepose/cage-08/pose")
    for name in ("cage-08", "cage-07"):
        lab.say(f"edgepose/{name}/command/ping")
    wait_until(lambda: {"edgepose/cage-07/command/ping", "$SYS/broker/uptime"} <= set(mine.heard), "the command")
    assert {topic for topic in mine.heard if topic.startswith("edgepose")} == {"edgepose/cage-07/command/ping"}


def test_the_lab_reads_everything_and_sends_commands_only(
    login: Callable[..., Client], device: Callable[..., MqttDelivery]
) -> None:
    lab = login("lab", "edgepose/#")
    seven, eight = device("cage-07"), device("cage-08")
    seven.deliver(pose(1))
    for name in ("cage-07", "cage-08"):
        wait_until(lambda name=name: f"edgepose/{name}/health" in lab.heard, f"{name}")
        lab.say(f"edgepose/{name}/command/ping")
        wait_until(lambda name=name: f"edgepose/{name}/reply/ping" in lab.heard, f"the reply of {name}")
    assert "edgepose/cage-07/pose" in lab.heard
    assert lab.say("edgepose/cage-07/pose") == lab.say("edgepose/cage-07/reply/ping") == "Not authorized"
    assert (seven.reporter.alerts, eight.reporter.alerts, seven.given_up) == ({}, {}, {})


def test_a_refused_write_is_counted_and_reported_and_heals_with_the_list(
    rules: Path,
    mosquitto: Mosquitto,
    device: Callable[..., MqttDelivery],
    subscribe: Callable[..., Subscriber],
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = subscribe(mosquitto.port, "lab", USERS["lab"])
    right = rules.read_text(encoding="utf-8")
    rules.write_text(right.replace("edgepose/%u/pose\n", "edgepose/%u/nose\n").replace("/info", "/inform"), "utf-8")
    mosquitto.reload()
    seven = device()
    for seq in range(50):
        seven.deliver(pose(seq))
    wait_until(lambda: seven.given_up == {"refused_not_authorized": 50}, "the refusals")
    wait_until(lambda: any("pose" in health["alerts"] for health in lab.of("health")), "the health to say so")
    heard = lab.of("health")[-1]
    assert heard["alerts"]["pose"].endswith(
        "refuses edgepose/cage-07/pose: not authorized; correct its access list, or mqtt.username"
    )
    assert set(heard["alerts"]) == {"pose", "info"}
    wait_until(lambda: lab.of("health")[-1]["dropped"] == {"refused_not_authorized": 50}, "the count")
    assert sum("refuses edgepose/cage-07/pose" in line for line in caplog.messages) == 1

    rules.write_text(right, encoding="utf-8")
    mosquitto.reload()
    wait_until(lambda: lab.of("info"), "the info, which only a connection says otherwise")
    seven.deliver(pose(50))
    wait_until(lambda: len(set(lab.seqs())) == 51, "all that was set aside")
    wait_until(lambda: (lab.of("health")[-1]["alerts"], lab.of("health")[-1]["dropped"]) == ({}, {}), "a clean health")
    assert seven.connects == 1


@pytest.mark.slow
def test_a_kill_right_after_a_refusal_loses_nothing(
    rules: Path, mosquitto: Mosquitto, subscribe: Callable[..., Subscriber], tmp_path: Path
) -> None:
    """What was refused is not on the disk yet when the kill comes."""
    lab = subscribe(mosquitto.port, "lab", USERS["lab"])
    right = rules.read_text(encoding="utf-8")
    rules.write_text(right.replace("edgepose/%u/pose\n", "edgepose/%u/nose\n"), "utf-8")
    mosquitto.reload()
    (tmp_path / "word").write_text(USERS["cage-07"], encoding="utf-8")
    config = {
        "model": "none",
        "camera": {"source": "synthetic"},
        "mqtt": {"host": "127.0.0.1", "port": mosquitto.port, "username": "cage-07", "password_file": "word"},
        "spool": {"folder": "spool", "ram_folder": "ram"},
    }
    (tmp_path / "edgepose.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = [sys.executable, str(CHAOS), str(tmp_path / "edgepose.yaml"), str(tmp_path / "ledger")]
    always = [str(tmp_path), "60"]  # there is nothing to wait for, and what was acknowledged is kept as long as ever
    with subprocess.Popen([*words, "1000", "100", *always], stderr=subprocess.PIPE, text=True) as killed:
        assert any("refuses edgepose/cage-07/pose" in line for line in killed.stderr)
        killed.kill()
    ledger = (tmp_path / "ledger").read_bytes()
    accepted = {int.from_bytes(ledger[at : at + 8], "little") for at in range(0, len(ledger), 8)}
    rules.write_text(right, encoding="utf-8")
    mosquitto.reload()
    subprocess.run([*words, str(len(accepted) + 300), "100", *always], check=True, timeout=30)
    wait_until(lambda: accepted <= set(lab.seqs()), "what the killed one had accepted")


def test_a_user_that_is_not_the_device_may_write_nothing_and_is_reported(
    device: Callable[..., MqttDelivery], login: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    lab = login("lab", "edgepose/#")
    wrong = device("cage-07", user="cage-08")
    wrong.deliver(pose(1))
    wait_until(lambda: wrong.reporter.alerts.keys() >= {"pose", "status", "info", "health"}, "all refusals")
    wait_until(lambda: wrong.given_up == {"refused_not_authorized": 1 + wrong.reporter.kept}, "the pose and the events")
    assert lab.heard == []


PLUGINS = [*Path("/usr/lib").glob("**/mosquitto_dynamic_security.so")]


@pytest.mark.skipif(not PLUGINS or not shutil.which("mosquitto_ctrl"), reason="needs mosquitto's dynamic security")
def test_a_refused_subscription_to_commands_is_reported_and_asked_for_again(
    mosquitto: Mosquitto, exits: contextlib.ExitStack, tmp_path: Path
) -> None:
    """An access list refuses no subscriptions, but a plugin may. This one closes connections when its rules change."""
    rules = tmp_path / "rules.json"
    subprocess.run(["mosquitto_ctrl", "dynsec", "init", str(rules), "admin", "word"], check=True, capture_output=True)
    mosquitto.start("allow_anonymous true", f"plugin {PLUGINS[0]}", f"plugin_opt_config_file {rules}")
    admin = ["mosquitto_ctrl", "-p", str(mosquitto.port), "-u", "admin", "-P", "word", "dynsec"]

    def rule(*words: str) -> None:
        subprocess.run([*admin, *words], check=True, capture_output=True)

    for words in ("createRole any", "createGroup all", "addGroupRole all any", "setAnonymousGroup all"):
        rule(*words.split())
    rule("addRoleACL", "any", "publishClientSend", "#", "allow")
    seven = new_device(MqttConfig(host="127.0.0.1", port=mosquitto.port), commands=["ping"])
    exits.callback(seven.close)
    wait_until(lambda: "command/+" in seven.reporter.alerts, "the refusal")
    assert seven.reporter.alerts["command/+"].endswith(
        "refuses edgepose/cage-07/command/+: not authorized; correct its access list, or mqtt.username"
    )
    rule("addRoleACL", "any", "subscribePattern", "#", "allow")
    wait_until(lambda: seven.reporter.alerts == {}, "the subscription")


def test_a_refused_subscription_is_asked_for_again_on_the_same_connection(
    mosquitto: Mosquitto, exits: contextlib.ExitStack
) -> None:
    mosquitto.start()
    proxy = Proxy(mosquitto.port)
    exits.callback(proxy.close)
    proxy.mode = "deny"
    seven = new_device(MqttConfig(host="127.0.0.1", port=proxy.port), commands=["ping"])
    exits.callback(seven.close)
    wait_until(lambda: "command/+" in seven.reporter.alerts, "the refusal")
    proxy.mode = "pass"
    wait_until(lambda: seven.reporter.alerts == {}, "the subscription")
    assert seven.connects == 1
