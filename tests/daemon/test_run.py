"""The real daemon in a process of its own, with a real model and a real broker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon

from edgepose.daemon.assembly import warn_if_slow
from edgepose.inference.model_file import read_model
from edgepose.inference.runtime import Runtime

SYNTHETIC = "{source: synthetic, size_wh: [320, 240], rate_hz: 60}"


@pytest.fixture
def configure(tmp_path: Path, demo_model: Path, mosquitto: Mosquitto) -> Callable[..., Path]:
    """configure(camera) writes a config for this test's broker and returns its path."""

    def write(camera: str = SYNTHETIC, more: str = "") -> Path:
        path = tmp_path / "edgepose.yaml"
        path.write_text(
            f"device: cage-07\nmodel: {demo_model}\ncamera: {camera}\ninference: {{threads: 1}}\n"
            f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n{more}",
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of 45 grey frames, 160x120."""
    path = tmp_path / "video.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (160, 120))
    for i in range(45):
        writer.write(np.full((120, 160, 3), i * 5, np.uint8))
    writer.release()
    return path


@pytest.mark.slow
def test_poses_say_how_wrong_the_clock_may_be(
    configure: Callable[..., Path],
    mosquitto: Mosquitto,
    subscribe: Callable[..., Subscriber],
    run: Callable[..., Daemon],
    tmp_path: Path,
) -> None:
    """The programs of the time service are asked in a thread; until they answer, poses say null."""
    answer = "C0000201,192.0.2.1,2,1.0,-0.0002,0,0,0,0,0,0.001,0.0006,1.0,Normal"
    for program, script in (("busctl", "sleep 0.5; exit 1"), ("chronyc", f"echo '{answer}'")):
        (tmp_path / program).write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
        (tmp_path / program).chmod(0o755)
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    daemon = run(configure(), {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    wait_until(lambda: any(pose["clock_error_us"] for pose in subscriber.of("pose")), "the answer", 30)
    bounds_us = [pose["clock_error_us"] for pose in subscriber.of("pose")]
    assert bounds_us[0] is None
    assert 1300 <= bounds_us[-1] < 1300 + 15 * 30
    daemon.stop()


@pytest.mark.slow
def test_a_kill_leaves_the_last_will_and_sigterm_the_last_word(
    mosquitto: Mosquitto,
    subscribe: Callable[[int], Subscriber],
    configure: Callable[..., Path],
    run: Callable[..., Daemon],
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    killed = run(configure())
    wait_until(lambda: len(subscriber.seqs()) > 10, "poses")
    killed.kill()
    wait_until(lambda: subscriber.of("status")[-1]["state"] == "offline", "the last will")
    online, offline = subscriber.of("status")
    assert offline == {**online, "state": "offline"}

    first = max(subscriber.seqs())
    stopped = run(configure())
    wait_until(lambda: len([seq for seq in subscriber.seqs() if seq > first]) > 10, "poses of the second run")
    last_line = stopped.stop()
    wait_until(lambda: subscriber.of("status")[-1]["state"] == "stopped", "the last word")
    again = [status["run"] for status in subscriber.of("status")[2:]]
    assert again[0] != online["run"]
    assert set(again) == {again[0]}

    # What the first run left comes with the second: it may have been lost.
    seqs = [pose["seq"] for pose in subscriber.poses() if not pose["replay"] and pose["seq"] > first]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert f"{len(seqs)} poses, all delivered" in last_line
    info, health = subscriber.of("info")[-1], subscriber.of("health")[-1]
    assert info["size_wh"] == [320, 240]
    assert set(subscriber.poses()[-1]["animals"][0]["keypoints"]) == set(info["skeleton"]["keypoints"])
    assert set(health["stage_ms"]) == {"capture", "infer", "publish"}
    assert health["poses"] == len(seqs) <= health["delivered"]
    assert (health["waiting"], health["spooled"], health["alerts"]) == (0, 0, {})


def test_a_video_is_published_frame_by_frame_also_to_a_broker_that_comes_late(
    mosquitto: Mosquitto,
    subscribe: Callable[[int], Subscriber],
    configure: Callable[..., Path],
    run: Callable[..., Daemon],
    video: Path,
) -> None:
    # A session that the broker already knows, so that the subscriber misses nothing when both come back.
    mosquitto.start("allow_anonymous true", "persistence true")
    subscriber = subscribe(mosquitto.port)
    mosquitto.save()
    mosquitto.kill()
    daemon = run(configure(f"{{source: video, path: {video}, realtime: false}}"))
    daemon.wait_for("keeping poses")
    mosquitto.start()
    assert daemon.wait() == 0
    assert "45 poses, all delivered, 0 frames skipped" in daemon.lines[-1]
    assert sum("connection refused" in line for line in daemon.lines) == 1
    wait_until(lambda: len(subscriber.seqs()) == 45, "all poses")
    assert [message["frame"] for message in subscriber.poses()] == list(range(45))
    assert np.diff(subscriber.seqs()).tolist() == [1] * 44


def test_without_a_broker_sigterm_still_ends_it(configure: Callable[..., Path], run: Callable[..., Daemon]) -> None:
    daemon = run(configure())
    daemon.wait_for("keeping poses")
    daemon.stop()
    assert any("not delivered yet; the next start sends what is left" in line for line in daemon.warnings())


def test_a_model_on_slow_kernels_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    warn_if_slow(Runtime(None, "litert 2", 1, xnnpack=True))
    assert caplog.messages == []
    warn_if_slow(Runtime(None, "tflite-runtime 2.14.0", 1, xnnpack=False))
    assert [line.split(",")[0] for line in caplog.messages] == [
        "tflite-runtime 2.14.0: XNNPACK did not take the model over"
    ]


def _damage(model: Path, how: str) -> None:
    data = bytearray(model.read_bytes())
    if how == "truncated":
        data = data[: len(data) // 2]
    elif how == "bit-flipped":
        data[len(data) // 2] ^= 0x10
    elif how == "another card":
        data = data.replace(b'"name": "demo"', b'"name": "dome"')
    elif how == "no card":
        data = bytearray(read_model(model).network)
    model.write_bytes(data)
    if how == "missing":
        model.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "no such model file"),
        ("truncated", "holds no card, and none lies beside it"),
        ("bit-flipped", "damaged or not the file its card describes"),
        ("another card", "damaged (its ZIP is not as edgepose packs it)"),
        ("no card", "holds no card, and none lies beside it"),
    ],
)
def test_a_model_that_does_not_load_exits_78_with_one_line(
    how: str, message: str, tmp_path: Path, demo_model: Path, run: Callable[..., Daemon]
) -> None:
    shutil.copy(demo_model, tmp_path)
    _damage(tmp_path / demo_model.name, how)
    config = tmp_path / "edgepose.yaml"
    config.write_text(f"model: {demo_model.name}\ncamera: {SYNTHETIC}\n", encoding="utf-8")
    daemon = run(config)
    assert daemon.wait() == 78
    (line,) = daemon.lines
    assert line.startswith("edgepose: ")
    assert message in line


@pytest.mark.parametrize(
    ("camera", "more", "status", "message"),
    [
        (SYNTHETIC, "modle: x", 78, "modle: unknown key; did you mean 'model'?"),
        ("{source: synthetic, rate_hz: fast}", "", 78, "camera.rate_hz: expected a number, got text"),
        ("{source: video, path: none.mp4}", "", 1, "no such video file"),
        ("{source: video, path: edgepose.yaml}", "", 1, "not a video that OpenCV can read"),
    ],
    ids=["unknown key", "wrong type", "no video", "not a video"],
)
def test_a_config_that_cannot_work_exits_with_one_line(
    camera: str,
    more: str,
    status: int,
    message: str,
    configure: Callable[..., Path],
    run: Callable[..., Daemon],
) -> None:
    daemon = run(configure(camera, more))
    assert daemon.wait() == status
    (line,) = daemon.lines
    assert message in line
