"""The real daemon on a real stream that stalls, comes back and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon
from mjpeg_server import MjpegServer

TIMING = {"supervisor": {"longest_pause_s": 0.2}, "stream": {"read_s": 0.7}}


@pytest.fixture
def camera() -> Iterator[MjpegServer]:
    server = MjpegServer()
    server.start()
    yield server
    server.cut()


@pytest.fixture
def daemon(
    tmp_path: Path, demo_model: Path, mosquitto: Mosquitto, run: Callable[..., Daemon]
) -> Callable[[str], Daemon]:
    """daemon(camera) starts `edgepose run` for this test's broker."""

    def start(camera: str) -> Daemon:
        path = tmp_path / "edgepose.yaml"
        path.write_text(
            f"device: cage-07\nmodel: {demo_model}\ncamera: {camera}\ninference: {{threads: 1}}\n"
            f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n",
            encoding="utf-8",
        )
        return run(path, timing=TIMING)

    return start


def kinds(subscriber: Subscriber) -> list[str]:
    return [event["kind"] for event in subscriber.of("event") if event["kind"].startswith("camera")]


@pytest.mark.slow
def test_a_camera_that_is_cut_off_comes_back_and_then_dies_for_ever(
    mosquitto: Mosquitto,
    subscribe: Callable[[int], Subscriber],
    camera: MjpegServer,
    daemon: Callable[[str], Daemon],
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    running = daemon(f"{{source: rtsp, url: '{camera.url}'}}")
    wait_until(lambda: len(subscriber.seqs()) > 10, "poses", 30)
    camera.frozen = True
    wait_until(lambda: "camera_reopen" in kinds(subscriber), "the report of the stall")
    camera.frozen = False
    wait_until(lambda: "camera_recovered" in kinds(subscriber), "the report of the recovery", 30)
    seen = len(subscriber.seqs())
    wait_until(lambda: len(subscriber.seqs()) > seen + 10, "poses again")
    frames = [pose["frame"] for pose in subscriber.poses() if not pose["replay"]]
    assert frames == sorted(set(frames))

    camera.cut()
    assert running.wait() == 1
    last = running.lines[-1]
    assert last.startswith("edgepose: the camera is given up after")
    assert f"last: {camera.url}: connection refused" in last
    wait_until(lambda: subscriber.of("status")[-1]["state"] == "stopped", "the last word")
    told = kinds(subscriber)
    assert told[:2] == ["camera_stalled", "camera_reopen"]
    assert told.count("camera_stalled") == 2
    assert told[-1] == "camera_lost"
    health = subscriber.of("health")[-1]
    assert health["alerts"]["camera"].startswith(f"{camera.url}: connection refused")
    counts = health["camera"]
    assert (counts["stalls"], counts["recovered"]) == (2, 1)
    assert counts["reopens"] == told.count("camera_reopen")
    assert health["captured"] == health["poses"] + sum(health["skipped"].values())


@pytest.mark.slow
def test_events_of_the_camera_without_a_broker_are_sent_later(
    mosquitto: Mosquitto,
    subscribe: Callable[[int], Subscriber],
    camera: MjpegServer,
    daemon: Callable[[str], Daemon],
) -> None:
    running = daemon(f"{{source: rtsp, url: '{camera.url}'}}")
    wait_until(lambda: camera.sent > 50, "frames", 30)
    camera.cut()
    assert running.wait() == 1

    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    again = daemon("{source: synthetic, size_wh: [320, 240]}")
    wait_until(lambda: "camera_lost" in kinds(subscriber), "the event of the first run", 30)
    again.stop()


def test_a_camera_that_is_not_there_at_the_start_ends_the_daemon_with_one_line(
    mosquitto: Mosquitto, camera: MjpegServer, daemon: Callable[[str], Daemon]
) -> None:
    camera.cut()
    running = daemon(f"{{source: rtsp, url: '{camera.url}'}}")
    assert running.wait() == 1
    assert running.lines == [f"edgepose: {camera.url}: connection refused; is the camera on, and the port right?"]


@pytest.mark.slow
def test_sigterm_ends_a_daemon_whose_camera_is_away(
    mosquitto: Mosquitto,
    subscribe: Callable[[int], Subscriber],
    camera: MjpegServer,
    daemon: Callable[[str], Daemon],
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    running = daemon(f"{{source: rtsp, url: '{camera.url}'}}")
    wait_until(lambda: len(subscriber.seqs()) > 3, "poses", 30)
    camera.frozen = True
    wait_until(lambda: "camera_reopen" in kinds(subscriber), "the ladder to be climbed")
    assert "all delivered" in running.stop()
