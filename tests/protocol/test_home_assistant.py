"""Home Assistant: the discovery message, sent once in every connection."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from brokers import Mosquitto, retained, wait_until
from delivering import at, pose
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from edgepose.delivery.delivery import MqttDelivery
from edgepose.protocol.codec import encode
from edgepose.protocol.examples import HEALTH, INFO, STATUS
from edgepose.protocol.home_assistant import discovery, discovery_topic

TOPIC = "homeassistant/device/edgepose/cage-07/config"
ACL = Path(__file__).parents[2] / "firmware_configs" / "broker" / "edgepose.acl"

# From homeassistant/components/mqtt of 2026.11: schemas.py, sensor.py, binary_sensor.py, discovery.py, and the units of
# components/sensor/const.py. Keys that it does not know it ignores, so a typing error would never show there.
_ENTITY = {"platform", "unique_id", "name", "device_class", "entity_category", "expire_after", "availability"}
_ENTITY |= {"state_topic", "value_template", "json_attributes_topic", "json_attributes_template"}
KEYS = {"binary_sensor": _ENTITY, "sensor": _ENTITY | {"state_class", "unit_of_measurement"}}
CLASSES = {"binary_sensor": {"problem", "connectivity"}, "sensor": {"frequency", "duration", "data_size", None}}
UNITS = {"frequency": "Hz", "duration": "ms", "data_size": "MB", None: "poses"}
ALLOWED = re.compile(r"homeassistant/(\w+)/(?:([a-zA-Z0-9_-]+)/)?([a-zA-Z0-9_-]+)/config")


def render(template: str, payload: bytes) -> str:
    """Renders a template as Home Assistant does; what is not in the payload is an error."""
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    return environment.from_string(template).render(value=payload.decode(), value_json=json.loads(payload))


def states(message: dict[str, Any], health: bytes, status: bytes) -> dict[str, str]:
    """Returns what each entity shows."""
    found = {}
    for name, entity in message["cmps"].items():
        topic = entity["state_topic"]
        payload = {"edgepose/cage-07/health": health, "edgepose/cage-07/status": status}[topic]
        found[name] = render(entity["value_template"], payload)
    return found


def test_every_value_comes_from_the_message() -> None:
    message = discovery(INFO)
    assert states(message, encode(HEALTH), encode(STATUS)) == {
        "fps": "30.01",
        "infer_ms": "6.2",
        "waiting": "3",
        "dropped": "0",
        "rss_mb": "109.3",
        "problem": "ON",
        "connected": "ON",
    }
    problem = message["cmps"]["problem"]
    assert problem["json_attributes_topic"] == problem["state_topic"]
    assert json.loads(render(problem["json_attributes_template"], encode(HEALTH))) == HEALTH.alerts
    calm = msgspec.structs.replace(HEALTH, alerts={}, dropped={"delivery_full": 2, "memory_full": 3})
    shown = states(message, encode(calm), encode(STATUS))
    assert (shown["problem"], shown["dropped"]) == ("OFF", "5")


@pytest.mark.parametrize("state", ["online", "stopped", "offline"])
def test_values_count_while_the_device_is_there(state: str) -> None:
    message = discovery(INFO)
    status = encode(msgspec.structs.replace(STATUS, state=state))
    (availability,) = message["availability"]
    there = {availability["payload_available"]: True, availability["payload_not_available"]: False}
    assert there[render(availability["value_template"], status)] is (state == "online")
    shown = states(message, encode(HEALTH), status)
    assert shown["connected"] == ("ON" if state == "online" else "OFF")
    assert [name for name, one in message["cmps"].items() if one.get("availability") == []] == ["connected"]


def test_it_says_only_what_home_assistant_knows() -> None:
    message = discovery(INFO)
    assert set(message) == {"dev", "o", "availability", "cmps"}
    assert set(message["dev"]) <= {"ids", "name", "mdl", "sw"}
    assert set(message["o"]) <= {"name", "sw"}
    assert len({entity["unique_id"] for entity in message["cmps"].values()}) == len(message["cmps"])
    for entity in message["cmps"].values():
        platform = entity["platform"]
        assert set(entity) <= KEYS[platform]
        assert entity.get("device_class") in CLASSES[platform]
        assert entity.get("entity_category", "diagnostic") == "diagnostic"
        if platform == "sensor":
            assert entity["unit_of_measurement"] == UNITS[entity.get("device_class")]
            assert entity["state_class"] in {"measurement", "total_increasing"}


@pytest.mark.parametrize("device", ["cage-07", "cage_07", "pi.lab.example", "pi-lab-example", "käfig"])
def test_every_device_has_a_topic_of_its_own_that_is_allowed(device: str) -> None:
    match = ALLOWED.fullmatch(discovery_topic(device))
    assert match is not None
    assert match[1] == "device"
    others = {"cage-07", "cage_07", "pi.lab.example", "pi-lab-example", "käfig"} - {device}
    assert discovery_topic(device) not in {discovery_topic(other) for other in others}


def test_the_real_daemon_makes_itself_known(tmp_path: Path, mosquitto: Mosquitto, demo_model: Path) -> None:
    mosquitto.start()
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {demo_model}\ncamera: {{source: synthetic, size_wh: [320, 240], rate_hz: 30}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}, home_assistant: true}}\n",
        encoding="utf-8",
    )
    daemon = subprocess.Popen(
        [sys.executable, "-m", "edgepose", "run", "-c", str(config)], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: TOPIC in retained(mosquitto.port), "the device to make itself known")
        wait_until(lambda: "edgepose/cage-07/health" in retained(mosquitto.port), "its health")
        kept = retained(mosquitto.port)
    finally:
        daemon.kill()
        daemon.communicate()
    message = json.loads(kept[TOPIC])
    assert message["dev"]["name"] == "edgepose cage-07"
    assert message["dev"]["mdl"].startswith("demo@")
    shown = states(message, kept["edgepose/cage-07/health"], kept["edgepose/cage-07/status"])
    assert (shown.pop("problem"), shown.pop("connected")) == ("OFF", "ON")
    assert float(shown.pop("rss_mb")) > 20
    assert all(float(value) >= 0 for value in shown.values())


def test_a_broker_that_lost_its_memory_gets_the_discovery_again(
    mosquitto: Mosquitto,
    deliver_to: Callable[..., MqttDelivery],
) -> None:
    mosquitto.start()
    deliver_to(at(mosquitto, home_assistant=True))
    wait_until(lambda: TOPIC in retained(mosquitto.port), "the device to make itself known")
    mosquitto.kill()
    mosquitto.start()
    wait_until(lambda: TOPIC in retained(mosquitto.port), "the same again")


def test_it_is_off_by_default(mosquitto: Mosquitto, deliver_to: Callable[..., MqttDelivery]) -> None:
    mosquitto.start()
    delivery = deliver_to(at(mosquitto))
    delivery.deliver(pose(1))
    delivery.wait_delivered()
    assert {topic.split("/")[0] for topic in retained(mosquitto.port)} == {"edgepose"}


@pytest.mark.parametrize("allowed", [False, True])
def test_the_access_list_that_we_ship(
    allowed: bool,
    mosquitto: Mosquitto,
    tmp_path: Path,
    deliver_to: Callable[..., MqttDelivery],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = ACL.read_text(encoding="utf-8")
    if allowed:
        rules, changed = re.subn(r"^# (pattern write homeassistant/.*)$", r"\1", rules, flags=re.MULTILINE)
        assert changed == 1
    (tmp_path / "acl").write_text(rules, encoding="utf-8")
    users = mosquitto.add_users(**{"cage-07": "word"})
    mosquitto.start("allow_anonymous false", users, f"acl_file {tmp_path / 'acl'}")
    monkeypatch.setenv("EDGEPOSE_MQTT_PASSWORD", "word")
    delivery = deliver_to(at(mosquitto, username="cage-07", home_assistant=True))
    delivery.deliver(pose(1))
    delivery.wait_delivered()
    if allowed:
        assert delivery.reporter.alerts == {}
    else:
        wait_until(lambda: delivery.reporter.alerts, "the complaint")
        (alert,) = delivery.reporter.alerts.values()
        assert f"refuses {TOPIC}: not authorized; correct its access list" in alert
