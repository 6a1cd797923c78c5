"""Commands to the real daemon in a process of its own, while others watch and collect; kills and restarts."""

from __future__ import annotations

import base64
import contextlib
import csv
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import hostile_commands as hostile
import msgspec
import numpy as np
import pytest
from asker import Asker, asking
from brokers import Mosquitto, Subscriber, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from test_commands import HOSTILE

from edgepose.camera.synthetic.mouse import SKELETON, Mouse
from edgepose.camera.synthetic.scene import Scene
from edgepose.pose.drawing import draw_pose
from edgepose.protocol.commands import COMMANDS
from edgepose.protocol.messages import InfoMessage
from edgepose.types import F64, Pose

SIZE_WH, SEED, CAMERA_HZ = (320, 240), 0, 25.0
MOUSE = Mouse(SEED, SIZE_WH)
REGION = (20, 15, 280, 210)  # all of where the mouse goes, and about the scale that the demo's model knows


@pytest.fixture
def config(tmp_path: Path, demo_model: Path, mosquitto: Mosquitto) -> Path:
    path = tmp_path / "edgepose.yaml"
    path.write_text(
        f"device: cage-07\nmodel: {demo_model}\ninference: {{threads: 1}}\ntags: {{subject: m3}}\n"
        f"camera: {{source: synthetic, size_wh: {list(SIZE_WH)}, rate_hz: {CAMERA_HZ}, seed: {SEED}}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\ncommands: {list(COMMANDS)}\n",
        encoding="utf-8",
    )
    return path


@contextlib.contextmanager
def edgepose(*words: object, out: int | None = None) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edgepose", *map(str, words)]
    with subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_poses(asker: Asker, subscriber: Subscriber, count: int) -> list[dict[str, Any]]:
    """Waits for so many poses of frames that are captured from here on."""
    seen, frame = len(subscriber.of("pose")), asker.ask("health")["result"]["captured"]

    def found() -> list[dict[str, Any]]:
        return [pose for pose in subscriber.of("pose")[seen:] if pose["frame"] >= frame and not pose["replay"]]

    wait_until(lambda: len(found()) >= count, f"{count} poses", 60)
    return found()[:count]


def errors_px(poses: list[dict[str, Any]]) -> F64:
    found = [
        [point["x"] - x, point["y"] - y]
        for pose in poses
        for name, (x, y) in zip(SKELETON.keypoints, MOUSE.truth(pose["frame"]), strict=True)
        if (point := pose["animals"][0]["keypoints"].get(name))
    ]
    return np.asarray(np.linalg.norm(found, axis=1), np.float64)


@pytest.mark.slow
def test_commands_to_a_running_daemon(
    config: Path, mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    mosquitto.start("allow_anonymous true", "max_queued_messages 0")
    subscriber, url = subscribe(mosquitto.port), f"mqtt://127.0.0.1:{mosquitto.port}"
    with (
        asking(mosquitto.port) as asker,
        edgepose("watch", "--broker", url, out=subprocess.PIPE) as watch,
        edgepose("collect", "--broker", url, "-o", tmp_path / "out") as collect,
    ):
        assert collect.stderr is not None
        assert "listening" in collect.stderr.readline()
        with edgepose("run", "-c", config) as daemon:
            wait_until(lambda: len(subscriber.of("pose")) > 10, "poses", 60)
            _snapshot(asker, subscriber)
            _rate(asker, subscriber)
            _region(asker, subscriber)
            _least_score(asker, subscriber)
            daemon.kill()
        wait_until(lambda: subscriber.of("status")[-1]["state"] == "offline", "the last will", 60)
        with edgepose("run", "-c", config) as daemon:
            _after_the_kill(asker, subscriber)
            _mark(asker, subscriber)
            _restart(asker, subscriber, daemon)
        _everything_came(subscriber)
        for process in (watch, collect):
            process.send_signal(signal.SIGTERM)
        lines, errors = watch.communicate(timeout=30)
        assert (watch.returncode, errors) == (0, "")
        assert "no keypoint above min_score" in lines
        assert "0 missing" in collect.communicate(timeout=30)[1]
        assert collect.returncode == 0
    _collected(tmp_path / "out" / "cage-07", subscriber)


def _snapshot(asker: Asker, subscriber: Subscriber) -> None:
    """The picture is the captured frame, with the published pose drawn into it."""
    result = asker.ask("snapshot")["result"]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(result["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    assert (picture.shape[1], picture.shape[0]) == SIZE_WH == tuple(result["size_wh"])
    wait_until(lambda: subscriber.of("pose")[-1]["frame"] >= result["frame"], "the pose of that frame")
    (pose,) = [pose for pose in subscriber.of("pose") if pose["frame"] == result["frame"]]
    assert pose["t_us"] == result["t_us"]
    points = [pose["animals"][0]["keypoints"][name] for name in SKELETON.keypoints]
    xy = np.array([[point["x"], point["y"]] for point in points], np.float32)
    expected = Scene(SEED, SIZE_WH).render(result["frame"])
    off_without = np.abs(expected.astype(int) - picture).max()
    draw_pose(expected, Pose(xy, np.array([point["score"] for point in points], np.float32)), SKELETON)
    off = np.abs(expected.astype(int) - picture)
    assert off.mean() < 4  # JPEG's
    assert off.max() < off_without - 50


def _rate(asker: Asker, subscriber: Subscriber) -> None:
    assert asker.ask("set", {"rate_hz": 4})["result"]["rate_hz"] == 4
    times_s = [pose["t_us"] / 1e6 for pose in wait_poses(asker, subscriber, 13)]
    assert (times_s[-1] - times_s[0]) / 12 == pytest.approx(0.25, abs=0.03)
    assert asker.ask("health")["result"]["skipped"]["rate"] > 0
    assert asker.ask("set", {"rate_hz": None})["ok"]


def _region(asker: Asker, subscriber: Subscriber) -> None:
    """Coordinates stay those of the frame: the error is as small as before, not as large as the region's corner."""
    before = errors_px(wait_poses(asker, subscriber, 20))
    assert asker.ask("set", {"region": REGION})["result"]["region"] == list(REGION)
    wait_until(lambda: subscriber.of("info")[-1]["settings"]["region"] == list(REGION), "the new /info")
    poses = wait_poses(asker, subscriber, 20)
    assert all(pose["size_wh"] == list(SIZE_WH) for pose in poses)
    assert np.median(before) < 3
    assert np.median(errors_px(poses)) < 3
    reply = asker.ask("set", {"region": (60, *REGION[1:])})
    assert "does not lie within the frame, which is 320x240" in reply["error"]


def _least_score(asker: Asker, subscriber: Subscriber) -> None:
    scores = [
        point["score"]
        for pose in wait_poses(asker, subscriber, 10)
        for point in pose["animals"][0]["keypoints"].values()
    ]
    least = float(np.median(scores))
    assert asker.ask("set", {"min_score": least})["ok"]
    poses = wait_poses(asker, subscriber, 10)
    assert all(point["score"] >= least - 0.001 for pose in poses for point in pose["animals"][0]["keypoints"].values())
    assert any(len(pose["animals"][0]["keypoints"]) < len(SKELETON.keypoints) for pose in poses)
    assert asker.ask("set", {"min_score": 1, "rate_hz": 20})["ok"]
    assert all(
        pose["animals"][0]["keypoints"] == {} for pose in wait_poses(asker, subscriber, 30)
    )  # long enough for a line of `watch`


def _after_the_kill(asker: Asker, subscriber: Subscriber) -> None:
    """The settings from before the kill are in effect, and in /info."""
    frame = len(subscriber.of("pose"))
    kept = next(reply["result"] for reply in reversed(asker.replies()) if reply["command"] == "set")
    wait_until(lambda: len(subscriber.of("pose")) > frame + 5, "poses of the second run", 60)
    assert kept["min_score"] == 1
    assert kept["region"] is not None
    assert subscriber.of("info")[-1]["settings"] == kept
    assert subscriber.of("info")[-1]["tags"] == {"subject": "m3"}
    assert subscriber.of("pose")[-1]["animals"][0]["keypoints"] == {}
    assert asker.ask("set")["result"] == kept
    assert asker.ask("set", {"min_score": None, "region": None, "rate_hz": None})["ok"]
    assert all(len(pose["animals"][0]["keypoints"]) == 4 for pose in wait_poses(asker, subscriber, 3))


def _mark(asker: Asker, subscriber: Subscriber) -> None:
    assert asker.ask("mark", {"phase": "start", "text": "light on"})["ok"]
    wait_until(lambda: any(event["kind"] == "mark_start" for event in subscriber.of("event")), "the event")
    (event,) = [event for event in subscriber.of("event") if event["kind"] == "mark_start"]
    assert (event["text"], event["tags"]) == ("light on", {"subject": "m3"})
    order = [message.get("seq", 0) for topic, message, _ in subscriber.messages if topic.endswith(("/pose", "/event"))]
    at = order.index(event["seq"])
    assert order[at - 1] <= event["seq"] <= order[at - 1] + 1


def _restart(asker: Asker, subscriber: Subscriber, daemon: subprocess.Popen[str]) -> None:
    assert asker.ask("restart", {"id": "r"})["ok"]
    _, log = daemon.communicate(timeout=30)
    assert daemon.returncode == 1  # so that systemd starts it again
    assert log.splitlines()[-1] == "edgepose: stopped by the command `restart`, to be started again"
    assert "all delivered" in log
    assert "Traceback" not in log
    wait_until(lambda: subscriber.of("status")[-1]["state"] == "stopped", "the last word")
    topics = [topic for topic, _, _ in subscriber.messages]
    replied = len(topics) - 1 - topics[::-1].index("edgepose/cage-07/reply/restart")
    assert topics[replied:].count("edgepose/cage-07/status") == 1


def _everything_came(subscriber: Subscriber) -> None:
    """There is no gap within either run, and the second run has as many poses as it counted."""
    seqs = np.unique(subscriber.seqs())
    assert (np.diff(seqs) > 1).sum() == 1
    second = seqs[np.argmax(np.diff(seqs)) + 1 :]
    assert len(second) == subscriber.of("health")[-1]["poses"]


def _collected(folder: Path, subscriber: Subscriber) -> None:
    from edgepose.collect.hours import read_hour

    rows = [row for path in sorted(folder.glob("*.parquet")) for row in read_hour(path).to_pylist()]
    assert {row["seq"] for row in rows} == set(subscriber.seqs())
    assert any(row["snout_x"] is None for row in rows)
    assert msgspec.json.decode((folder / "info.json").read_bytes(), type=InfoMessage).tags == {"subject": "m3"}
    with (folder / "events.csv").open(encoding="utf-8") as file:
        events = list(csv.DictReader(file))
    assert [event["kind"] for event in events].count("started") == 2
    (mark,) = [event for event in events if event["kind"] == "mark_start"]
    (sent,) = [event for event in subscriber.of("event") if event["kind"] == "mark_start"]
    assert (mark["seq"], mark["text"], mark["tags"]) == (str(sent["seq"]), "light on", '{"subject": "m3"}')


@pytest.mark.slow
def test_a_running_daemon_outlives_what_nobody_should_send(
    config: Path, mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber]
) -> None:
    payloads: list[bytes] = []

    @settings(max_examples=30, deadline=None, database=None)
    @given(st.lists(hostile.PAYLOADS, min_size=10, max_size=10))
    def make(several: list[bytes]) -> None:
        payloads.extend(several)

    make()
    config.write_text(config.read_text(encoding="utf-8").replace("'restart'", "'ping'"), encoding="utf-8")
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    with edgepose("run", "-c", config) as daemon, asking(mosquitto.port) as asker:
        wait_until(lambda: len(subscriber.of("pose")) > 3, "poses", 60)
        names, topics = [*COMMANDS, "fly"], [topic for topic in HOSTILE if len(topic) < 5000]
        for i, payload in enumerate(payloads):
            more = {"ResponseTopic": topics[i % len(topics)]} if i % 3 == 0 else {}
            asker.send(names[i % len(names)], payload, **more)
            if i % 10 == 9:  # a few at a time, or most would only be busy
                wait_until(lambda i=i: len(asker.heard) > i, "the replies")
        wait_until(lambda: len(asker.heard) == len(payloads), "a reply to each")
        health = asker.ask("health")["result"]
        assert sum(health["rejected"].values()) == sum(not reply["ok"] for reply in asker.replies()[:-1])
        assert {"malformed", "unknown", "disabled"} <= set(health["rejected"])
        assert "failed" not in health["rejected"]
        assert health["connects"] == 1
        poses = len(subscriber.of("pose"))
        assert asker.ask("set", {"rate_hz": None, "region": None})["ok"]
        wait_until(lambda: len(subscriber.of("pose")) > poses, "poses, which go on")
        daemon.send_signal(signal.SIGTERM)
        log = daemon.communicate(timeout=30)[1]
        assert daemon.returncode == 0
        assert "Traceback" not in log
        assert "all delivered" in log
