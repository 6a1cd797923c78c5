"""The real daemon records the synthetic camera: killed at any moment, and with parts of the picture masked."""

from __future__ import annotations

import base64
import contextlib
import csv
import itertools
import json
import queue
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.client as paho
import pytest
import yaml
from brokers import Mosquitto, Subscriber, free_port, wait_until
from clips import write_clip
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

LEFT = {"left": [[0, 0], [159, 0], [159, 239], [0, 239]]}
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def daemon(tmp_path: Path, demo_model: Path, mosquitto: Mosquitto) -> Iterator[Start]:
    """daemon(**sections) starts `edgepose run` with these sections of the config."""
    made: list[subprocess.Popen[str]] = []

    def start(**sections: object) -> subprocess.Popen[str]:
        config = {
            "device": "cage-07",
            "model": str(demo_model),
            "camera": {"source": "synthetic", "size_wh": [320, 240], "rate_hz": 30, "seed": 1},
            "inference": {"threads": 1},
            "mqtt": {"host": "127.0.0.1", "port": mosquitto.port},
            **sections,
        }
        (tmp_path / "edgepose.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        words = [sys.executable, "-m", "edgepose", "run", "-c", str(tmp_path / "edgepose.yaml")]
        made.append(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        assert "Traceback" not in process.communicate()[1]


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def ask(port: int, name: str) -> dict[str, Any]:
    """Sends a command and returns its reply."""
    answers: queue.Queue[bytes] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = lambda _client, _data, message: answers.put(message.payload)
    response = Properties(PacketTypes.PUBLISH)
    response.ResponseTopic = "answers/1"
    client.connect("127.0.0.1", port)
    client.subscribe("answers/1", 1)
    client.loop_start()
    try:
        for _ in range(20):  # the daemon may not listen yet
            client.publish(f"edgepose/cage-07/command/{name}", b"{}", 1, properties=response)
            with contextlib.suppress(queue.Empty):
                return json.loads(answers.get(timeout=1))  # type: ignore[no-any-return]
        raise AssertionError("no answer")
    finally:
        client.disconnect()
        client.loop_stop()


def images_of(video: Path) -> list[np.ndarray]:
    capture, found = cv2.VideoCapture(str(video)), []
    while (got := capture.read())[0]:
        found.append(got[1])
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == len(found)
    return found


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.reader(file))


def check_masked(image: np.ndarray) -> None:
    """The left half is black, and the right half is not. Compression may change black by a few grey values."""
    assert image.shape == (240, 320, 3)
    assert image[:, :158].max() < 12
    assert image[:, 164:].mean() > 40


@pytest.mark.slow
def test_killed_at_any_moment_the_recording_agrees_with_what_was_published(
    tmp_path: Path, mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], daemon: Start
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    record = {"folder": "rec", "segment_s": 2}
    folder, seed = tmp_path / "rec" / "cage-07", random.randrange(1000)
    killed = daemon(record=record, masks=LEFT)
    enough = 60 + random.Random(seed).randrange(60)
    wait_until(lambda: len(subscriber.seqs()) > enough, "poses", 60)
    killed.kill()
    killed.wait()
    last_us = max(pose["t_us"] for pose in subscriber.poses())
    parts = {path.name.removesuffix(".part") for path in folder.glob("*.part")}
    assert parts
    again = daemon(record=record, masks=LEFT)
    wait_until(
        lambda: not parts & {path.name.removesuffix(".part") for path in folder.glob("*.part")}, "the repair", 60
    )
    repaired = len(list(folder.glob("*_poses.csv")))  # a segment that had just begun may be none of them
    wait_until(lambda: len(list(folder.glob("*_poses.csv"))) > repaired, "another segment", 60)
    stop(again)
    published = {(pose["frame"], pose["t_us"]): pose for pose in subscriber.poses()}

    found, recorded = 0, set()
    for times in sorted(set(folder.glob("*.csv")) - set(folder.glob("*_poses.csv"))):
        rows, poses = read(times)[1:], read(times.with_name(f"{times.stem}_poses.csv"))
        images = images_of(times.with_suffix(".mp4"))
        assert len(images) == len(rows) == len(poses) - 3, f"seed {seed}"
        for image in images:
            check_masked(image)
        names = poses[1][1::3]
        for row, values in zip(rows, poses[3:], strict=True):
            assert row[0] == values[0]
            recorded.add(int(row[2]))
            if pose := published.get((int(row[1]), int(row[2]))):
                found += values[1] != ""
                for k, name in enumerate(names if values[1] else ()):
                    said = pose["animals"][0]["keypoints"][name]
                    assert float(values[1 + 3 * k]) == pytest.approx(said["x"], abs=0.006)
                    assert float(values[2 + 3 * k]) == pytest.approx(said["y"], abs=0.006)
            else:
                assert values[1] == "", "a pose in the table that nobody was sent"
    missing = {pose["t_us"] for pose in subscriber.poses()} - recorded
    kept_us = max(t_us for t_us in recorded if t_us <= last_us)
    assert all(kept_us < t_us <= last_us for t_us in missing), f"seed {seed}: not only the tail is missing"
    assert len(missing) < 75, f"seed {seed}: more than two seconds and a half"
    assert found > 30
    health = subscriber.of("health")[-1]
    assert health["recorded"]["segments"] == len(list(folder.glob("*_poses.csv")))
    assert health["recorded"]["dropped"] == {}
    assert health["alerts"].keys() <= {"schedule"}


@pytest.mark.slow
def test_nothing_masked_leaves_the_device(tmp_path: Path, mosquitto: Mosquitto, daemon: Start) -> None:
    """Another test checks the recording; this one the snapshot by command, and the frames for labelling."""
    mosquitto.start()
    hard_frames = {"folder": "label", "below": 1, "per_hour": 7200}
    process = daemon(hard_frames=hard_frames, masks=LEFT, commands=["snapshot", "health"])
    saved = tmp_path / "label" / "labeled-data"
    wait_until(lambda: len(list(saved.glob("*/img*.png"))) >= 2, "frames for labelling", 30)
    reply = ask(mosquitto.port, "snapshot")
    assert ask(mosquitto.port, "health")["result"]["recorded"]["uncertain"] >= 2
    stop(process)
    assert reply["ok"], reply
    shot = cv2.imdecode(np.frombuffer(base64.b64decode(reply["result"]["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    drawn = (shot[:, :150] > 40).any(axis=2).mean()  # keypoints of a mouse that is half hidden may lie there
    assert drawn < 0.02
    assert shot[:, 164:].mean() > 40
    for path in saved.glob("*/img*.png"):
        image = cv2.imread(str(path))
        assert image[:, :160].max() == 0
        check_masked(image)


@pytest.mark.slow
def test_an_experiment_that_is_marked_is_recorded(tmp_path: Path, mosquitto: Mosquitto, daemon: Start) -> None:
    mosquitto.start()
    process = daemon(record={"folder": "rec", "when": "marked"}, commands=["mark", "health"])
    assert ask(mosquitto.port, "health")["result"]["recorded"]["on"] is False
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", mosquitto.port)
    client.publish("edgepose/cage-07/command/mark", b'{"phase": "start"}', 1)
    client.loop_start()
    wait_until(lambda: list(tmp_path.glob("rec/cage-07/*.mp4.part")), "the recording")
    client.publish("edgepose/cage-07/command/mark", b'{"phase": "stop"}', 1)
    wait_until(lambda: list(tmp_path.glob("rec/cage-07/*.mp4")), "its end")
    client.disconnect()
    client.loop_stop()
    stop(process)
    (video,) = tmp_path.glob("rec/cage-07/*.mp4")
    assert len(images_of(video)) == len(read(video.with_suffix(".csv"))) - 1


def test_without_pyav_poses_go_on_and_an_alert_says_that_nothing_is_recorded(tmp_path: Path, demo_model: Path) -> None:
    """As after an upgrade of a device that recorded by other means before."""
    config, video = tmp_path / "edgepose.yaml", tmp_path / "mouse.avi"
    write_clip(video, 5)
    config.write_text(
        f"model: {demo_model}\ncamera: {{source: video, path: {video}, realtime: false}}\nrecord: {{folder: rec}}\n"
        f"mqtt: {{port: {free_port()}}}\n",
        encoding="utf-8",
    )
    code = "import sys; sys.modules['av'] = None; from edgepose.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "run", "-c", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        lines = iter(daemon.stderr.readline, "")
        (line,) = itertools.islice((line for line in lines if "record" in line), 1)
        assert next(line for line in lines if "demo@" in line)  # it has begun
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    assert line.rstrip().endswith(
        "nothing is recorded: record: writing video needs av; pip install 'edgepose[video]', or remove `record` from "
        "the config"
    )
    assert not (tmp_path / "rec").exists()
