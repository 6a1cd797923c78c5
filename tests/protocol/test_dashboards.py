"""The Telegraf and Grafana files that we ship fit what the package sends: real messages of the real daemon go through
the parser that Telegraf would run, and the dashboard asks only for what comes out.

Neither program is here; tests/telegraf.py stands in for the parser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
import telegraf
import yaml
from brokers import Mosquitto, wait_until
from paho.mqtt.enums import CallbackAPIVersion

from edgepose.delivery.batching import encode_batch
from edgepose.protocol import examples
from edgepose.protocol.codec import decode, encode
from edgepose.protocol.messages import AnimalMessage, Keypoint, PoseMessage
from edgepose.protocol.topics import TOPICS, topic_name

FILES = Path(__file__).parents[2] / "firmware_configs"
CONFIG = tomllib.loads((FILES / "telegraf" / "edgepose.conf").read_text(encoding="utf-8"))
PLUGINS = {plugin["topics"][0].rsplit("/", 1)[1]: plugin for plugin in CONFIG["inputs"]["mqtt_consumer"]}
BOARD = json.loads((FILES / "grafana" / "edgepose-dashboard.json").read_text(encoding="utf-8"))
POSE_FIELDS = {"seq", "frame", "mono_us", "clock_error_us", "latency_ms", "synced", "replay"}


def points(leaf: str, payload: bytes, device: str = "cage-07") -> list[telegraf.Metric]:
    """Returns what Telegraf writes of a message."""
    return telegraf.consume(PLUGINS[leaf], topic_name(device, leaf), payload)


def animal_fields(animal: AnimalMessage) -> dict[str, float]:
    points = {
        f"keypoints_{name}_{axis}": getattr(point, axis)
        for name, point in animal.keypoints.items()
        for axis in ("x", "y", "score")
    }
    return {**points, "score": animal.score, "id_score": animal.id_score}


def with_animals(*animals: AnimalMessage) -> PoseMessage:
    return msgspec.structs.replace(examples.POSE, animals=list(animals))


# --- Telegraf ------------------------------------------------------------------------------------------------


def test_telegraf_listens_so_that_nothing_is_missed() -> None:
    assert set(PLUGINS) == {"pose", "poses", "health", "event"} < set(TOPICS)
    assert len({plugin["client_id"] for plugin in PLUGINS.values()}) == len(PLUGINS)
    for leaf, plugin in PLUGINS.items():
        assert plugin["topics"] == [plugin["topic_parsing"][0]["topic"]] == [topic_name("+", leaf)]
        assert (plugin["qos"], plugin["persistent_session"], plugin["data_format"]) == (1, True, "json_v2")


def test_each_animal_is_one_point_at_the_time_of_its_frame() -> None:
    (first,) = examples.POSE.animals
    second = msgspec.structs.replace(first, id="m4", id_score=0.8, keypoints={"snout": Keypoint(1.5, 2.5, 0.7)})
    pose = with_animals(first, second)
    found = points("pose", encode(pose))
    for point, animal in zip(found, pose.animals, strict=True):
        assert (point.name, point.time_us) == ("pose", pose.t_us)
        assert point.tags == {"device": "cage-07", "boot": pose.boot, "model": pose.model, "animal": animal.id}
        assert point.fields == {name: getattr(pose, name) for name in POSE_FIELDS} | animal_fields(animal)
        assert {type(point.fields[name]) for name in ("seq", "frame", "mono_us", "clock_error_us")} == {int}


def test_what_a_device_does_not_know_is_not_stored() -> None:
    pose = msgspec.structs.replace(examples.POSE, mono_us=None, clock_error_us=None)
    for leaf, payload in (("pose", encode(pose)), ("poses", encode_batch([pose], replay=True))):
        (point,) = points(leaf, payload)
        assert not {"mono_us", "clock_error_us"} & point.fields.keys()
        assert {"seq", "score"} <= point.fields.keys()


def test_a_pose_that_comes_late_is_the_same_point() -> None:
    """The point has the same name, tags and time, and fields of the same types, so InfluxDB overwrites it."""
    poses = [msgspec.structs.replace(examples.POSE, seq=i, t_us=examples.POSE.t_us + i) for i in range(3)]
    late = points("poses", encode_batch(poses, replay=True))
    live = [point for pose in poses for point in points("pose", encode(pose))]
    assert [(one.name, one.tags, one.time_us) for one in late] == [(one.name, one.tags, one.time_us) for one in live]
    for one, other in zip(late, live, strict=True):
        assert one.fields == {**other.fields, "replay": True}
        assert {name: type(value) for name, value in one.fields.items()} == {
            name: type(value) for name, value in other.fields.items()
        }


@pytest.mark.parametrize("leaf", ["pose", "poses"])
def test_of_an_animal_without_keypoints_and_of_a_frame_without_animals_the_rest_remains(leaf: str) -> None:
    (animal,) = examples.POSE.animals
    bare = with_animals(msgspec.structs.replace(animal, keypoints={}))
    for pose, more in ((bare, {"score", "id_score"}), (with_animals(), set())):
        (point,) = points(leaf, encode(pose) if leaf == "pose" else encode_batch([pose], replay=True))
        assert set(point.fields) == POSE_FIELDS | more
        assert ("animal" in point.tags) == bool(more)


@pytest.mark.parametrize("stage_ms", [examples.HEALTH.stage_ms, {}])
def test_health_is_one_point_of_plain_numbers(stage_ms: dict[str, tuple[float, float, float]]) -> None:
    health = msgspec.structs.replace(examples.HEALTH, stage_ms=stage_ms)
    (point,) = points("health", encode(health))
    assert (point.name, point.time_us) == ("health", health.t_us)
    assert point.tags == {"device": "cage-07", "boot": health.boot}
    strings = {name for name, value in point.fields.items() if isinstance(value, str)}
    assert strings == {"runtime", "delegate", "alerts_pose"}
    assert point.fields["skipped_newer_frame"] == 7
    infer = stage_ms.get("infer")
    found = [point.fields.get(f"infer_ms_{name}") for name in ("p50", "p95", "p99")]
    assert found == (list(infer) if infer else [None] * 3)


def test_an_event_is_a_point() -> None:
    (point,) = points("event", encode(examples.EVENT))
    event = examples.EVENT
    assert (point.name, point.time_us) == ("event", event.t_us)
    assert point.tags == {"device": "cage-07", "boot": event.boot, "kind": event.kind}
    assert set(point.fields) == {"event", "seq", "count", "synced", "replay", "text"}


def test_an_array_within_an_object_would_make_a_point_of_each_element() -> None:
    """This is why size_wh and stage_ms are not stored."""
    table = {"object": [{"path": "@this"}]}
    assert len(telegraf.parse([table], b'{"seq": 1, "size_wh": [640, 480]}')) == 2


def test_the_comments_name_what_is_written() -> None:
    text = (FILES / "telegraf" / "edgepose.conf").read_text(encoding="utf-8")
    samples = {"pose": examples.POSE, "health": examples.HEALTH, "event": examples.EVENT}
    for leaf, sample in samples.items():
        (point,) = points(leaf, encode(sample))
        line = re.search(rf"^#   {leaf} +tags ([\w, ]+?)  ", text, re.MULTILINE)
        assert line is not None
        assert set(line[1].split(", ")) == set(point.tags)


# --- Grafana -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> dict[str, tuple[set[str], set[str]]]:
    """Returns (fields, tags) of each measurement: of what a real daemon sent, of an alert, and of a mark."""
    folder = tmp_path_factory.mktemp("daemon")
    payloads = _of_a_real_daemon(folder, demo_model)
    poses = [decode(payload, PoseMessage) for payload in payloads["pose"]]
    payloads["poses"] = [encode_batch(poses, replay=True)]
    payloads["health"].append(encode(examples.HEALTH))
    payloads["event"].append(encode(examples.EVENT))
    found: dict[str, tuple[set[str], set[str]]] = {}
    for leaf, some in payloads.items():
        for payload in some:
            for point in points(leaf, payload):
                fields, tags = found.setdefault(point.name, (set(), set()))
                fields.update(point.fields)
                tags.update(point.tags)
    return found


def _of_a_real_daemon(folder: Path, model: Path) -> dict[str, list[bytes]]:
    from brokers import MOSQUITTO

    if MOSQUITTO is None:
        pytest.skip("needs mosquitto (apt install mosquitto)")
    broker = Mosquitto(folder)
    broker.start()
    payloads: dict[str, list[bytes]] = {leaf: [] for leaf in ("pose", "poses", "health", "event")}
    client = paho.Client(CallbackAPIVersion.VERSION2)
    for leaf, some in payloads.items():
        client.message_callback_add(
            topic_name("+", leaf), lambda _c, _d, message, some=some: some.append(message.payload)
        )
    client.connect("127.0.0.1", broker.port)
    client.subscribe("edgepose/#", qos=1)
    client.loop_start()
    config = folder / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {model}\ncamera: {{source: synthetic, size_wh: [320, 240]}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {broker.port}}}\nspool: {{folder: {folder}/disk, ram_folder: {folder}/ram}}\n",
        encoding="utf-8",
    )
    daemon = subprocess.Popen([sys.executable, "-m", "edgepose", "run", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(payloads["pose"]) > 10 and payloads["health"] and payloads["event"], "messages")
    finally:
        daemon.kill()
        daemon.wait()
        client.disconnect()
        client.loop_stop()
        broker.kill()
    return payloads


QUERIES = {
    **{f"{panel['title']} {one['refId']}": one["query"] for panel in BOARD["panels"] for one in panel["targets"]},
    **{one["name"]: one["target"]["query"] for one in BOARD["annotations"]["list"]},
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_the_dashboard_asks_only_for_what_is_stored(query: str, stored: dict[str, tuple[set[str], set[str]]]) -> None:
    query = query.replace("${keypoint}", "snout")
    (measurement,) = set(re.findall(r'r\._measurement == "(\w+)"', query))
    fields, tags = stored[measurement]
    named = re.findall(r'r\._field == "([^"]+)"', query)
    patterns = re.findall(r"r\._field =~ /(.*?)/", query)
    assert named or patterns
    assert set(named) <= fields
    assert all(any(re.search(pattern, name) for name in fields) for pattern in patterns)
    made = {"x", "y", *named}  # by pivot and map
    columns = set(re.findall(r"\br\.([a-zA-Z]\w*)", query)) | set(re.findall(r'r\["([^"]+)"\]', query))
    assert columns - made <= tags
    grouped = {
        name for group in re.findall(r"group\(columns: \[(.*?)\]", query) for name in re.findall(r'"(\w+)"', group)
    }
    assert grouped - {"_field"} <= tags


def test_the_dashboard_chooses_among_what_is_stored(stored: dict[str, tuple[set[str], set[str]]]) -> None:
    source, device, keypoint = BOARD["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "influxdb")
    assert 'tag: "device"' in device["query"]
    assert "device" in stored["health"][1]
    assert 'measurement: "pose"' in keypoint["query"]
    pattern = keypoint["regex"].strip("/")
    names = {match[1] for name in stored["pose"][0] if (match := re.search(pattern, name))}
    assert names == {"snout", "leftear", "rightear", "tailbase"}


def test_the_dashboard_hangs_together() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    known = {variable["name"] for variable in BOARD["templating"]["list"]} | {"__field"}
    text = json.dumps(BOARD)
    assert {match.split(".")[0].split(":")[0] for match in re.findall(r"\$\{([\w.:]+)\}", text)} == known
    assert all(query.count(left) == query.count(right) for query in QUERIES.values() for left, right in ("()", "[]"))


def test_the_data_source_is_what_telegraf_writes_to() -> None:
    (source,) = yaml.safe_load((FILES / "grafana" / "datasource.yaml").read_text(encoding="utf-8"))["datasources"]
    (output,) = CONFIG["outputs"]["influxdb_v2"]
    assert source["type"] == "influxdb"
    assert [source["url"]] == output["urls"]
    assert source["jsonData"] == {
        "version": "Flux",
        "organization": output["organization"],
        "defaultBucket": output["bucket"],
    }
