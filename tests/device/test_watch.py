"""The live view: what it composes, how it listens, and that it outlives its broker."""

from __future__ import annotations

import contextlib
import gc
import os
import pty
import signal
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
from brokers import free_port, wait_until
from paho.mqtt import publish
from rich.console import Console

from edgepose.camera.mouse import SKELETON, Mouse
from edgepose.cli.demo_broker import embedded
from edgepose.cli.device_state import DeviceState
from edgepose.cli.live_view import Board, Canvas, compose, plain_line, score_bar
from edgepose.cli.subscriber import Subscriber
from edgepose.core.errors import BrokerError, UsageError
from edgepose.core.messages import (
    HealthMessage,
    InfoMessage,
    Keypoint,
    Message,
    PoseMessage,
    StatusMessage,
    encode,
    topic_name,
)

MOUSE = Mouse(1, (640, 480))


def pose(i: int, seq: int | None = None, device: str = "cage-07", off_px: float = 0.0) -> PoseMessage:
    keypoints = {
        name: Keypoint(float(x) + off_px, float(y), 0.9 - 0.2 * k)
        for k, (name, (x, y)) in enumerate(zip(SKELETON.keypoints, MOUSE.truth(i), strict=True))
    }
    return PoseMessage(
        device=device,
        boot="b",
        seq=100 + i if seq is None else seq,
        frame=i,
        t_us=1,
        synced=True,
        replay=False,
        latency_ms=10.0 + i,
        model="mouse@123456",
        size_wh=(640, 480),
        keypoints=keypoints,
    )


def status(run: str = "1", state: str = "online", device: str = "cage-07") -> StatusMessage:
    return StatusMessage(device=device, boot="b", state=state, run=run)


INFO = InfoMessage(device="cage-07", boot="b", model="mouse@123456", skeleton=SKELETON, size_wh=None, versions={})
HEALTH = HealthMessage(
    device="cage-07",
    boot="b",
    t_us=1,
    uptime_s=30.0,
    fps=30.0,
    captured=9,
    poses=9,
    delivered=9,
    waiting=4,
    skipped={},
    dropped={},
    stage_ms={},
    rss_mb=88.6,
    runtime="litert, 1 thread",
)


@pytest.fixture
def board() -> Board:
    subscriber = Subscriber("mqtt://somewhere:1884")
    subscriber.connected = True
    return Board(subscriber, ("a note",), MOUSE.truth)


def feed(board: Board, *messages: Message, at_s: float = 1.0) -> DeviceState:
    for message in messages:
        board.devices.setdefault(message.device, DeviceState(message.device, MOUSE.truth)).update(message, at_s)
    return board.devices[messages[0].device]


def screen(board: Board, now_s: float = 1.1, width: int = 100, height: int = 30) -> str:
    console = Console(width=width, height=height, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(compose(board, now_s, width, height))
    return capture.get()


def test_one_device_in_full(board):
    feed(board, status(), INFO, HEALTH, *(pose(i, off_px=3.0) for i in range(3)))
    text = screen(board)
    for part in ("cage-07 · online", "snout", "tailbase", "0.90", "3.0 px", "mean error 3.00 px", "latency 11.0 ms"):
        assert part in text
    for part in (
        "mouse@123456 · 640x480",
        "89 MB · 4 waiting",
        "litert, 1 thread",
        "3 poses · 0 frames skipped",
        "a note",
    ):
        assert part in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (60, 16), (200, 60)])
def test_fits_the_terminal(board, width, height):
    feed(board, status(), INFO, HEALTH, *(pose(i) for i in range(40)))
    lines = screen(board, width=width, height=height).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) < max(height, 18)  # the figures beside the picture need 18 lines in any case


def test_nothing_heard_says_why(board):
    assert "connected, waiting for a device" in screen(board)
    board.subscriber.connected, board.subscriber.trouble = False, "connection refused"
    assert "broker somewhere:1884: connection refused; trying again" in screen(board)


def test_a_silent_device_and_unreadable_messages_are_told(board):
    feed(board, status(state="offline"), pose(0))
    board.subscriber.malformed = 2
    text = screen(board, now_s=61.0)
    assert "cage-07 · offline" in text
    assert "no keypoints for 60 s" in text
    assert "2 messages unreadable" in text


def test_several_devices_are_a_table(board):
    feed(board, status(), pose(0))
    feed(board, status(device="cage-08", state="stopped"))
    text = screen(board)
    assert "cage-07" in text
    assert "cage-08" in text
    assert "stopped" in text


def test_plain_line(board):
    state = feed(board, status())
    assert plain_line(state, 1.0) == "cage-07 online, no keypoints yet"
    for i in range(31):
        feed(board, pose(i), at_s=1 + i / 30)
    line = plain_line(state, 2.0)
    assert line.startswith("cage-07 online, 30.0 fps, latency 25.0 ms, error 0.00 px, snout ")
    assert plain_line(state, 9.0) == "cage-07 online, no keypoints for 7 s"


def test_counts_gaps_and_takes_a_pose_once(board):
    first, again, gap, lost = pose(0), pose(0), pose(4, seq=101), pose(6, seq=103)
    state = feed(board, first, again, gap, lost)
    assert (state.poses, state.frames, state.lost, state.skipped()) == (3, 7, 1, 3)


def test_another_run_counts_anew(board):
    state = feed(board, status(), pose(500), status(run="2"), pose(0, seq=10**9))
    assert (state.poses, state.frames, state.lost) == (1, 1, 0)
    # the same without its /status: frames begin again
    feed(board, pose(1, seq=10**9 + 1), pose(0, seq=2 * 10**9))
    assert (state.poses, state.lost) == (1, 0)


def test_score_bar():
    assert score_bar(1.0).plain == "████████ 1.00"
    assert score_bar(0.5).plain == "████     0.50"
    assert score_bar(0.0).plain == "         0.00"


def test_canvas_puts_dots_where_they_belong():
    canvas = Canvas(2, 1)
    canvas.dot(np.array([0.0, 0.0]), "red")
    canvas.dot(np.array([3.0, 3.0]), "red")
    canvas.dot(np.array([9.0, 9.0]), "red")
    assert canvas.text().plain == "⠁⢀"
    canvas.line(np.array([0.0, 3.0]), np.array([3.0, 3.0]), "blue")
    assert canvas.text().plain == "⣁⣀"


@pytest.mark.parametrize(
    "url", ["http://host", "mqtt://", "mqtt://host:port", "mqtt://host/topic", "mqtt://host:99999"]
)
def test_bad_broker_urls(url):
    with pytest.raises(UsageError, match="mqtt://HOST:PORT"):
        Subscriber(url)


def test_broker_urls():
    subscriber = Subscriber("mqtt://me:a%40b@host:1884")
    assert (subscriber.host, subscriber.port, subscriber._user, subscriber._password) == ("host", 1884, "me", "a@b")
    assert Subscriber("host").port == 1883


def send(port: int, message: Message, leaf: str, retain: bool = False) -> None:
    publish.single(topic_name(message.device, leaf), encode(message), qos=1, retain=retain, port=port)


def hear(board: Board, condition, what: str) -> None:
    def listen() -> bool:
        board.receive(0.05)
        return bool(condition())

    wait_until(listen, what)


def test_listens_to_a_real_broker_and_survives_its_death(mosquitto):
    mosquitto.start()
    board = Board(Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}"))
    hear(board, lambda: board.subscriber.connected, "the connection")
    send(mosquitto.port, status(), "status", retain=True)
    send(mosquitto.port, pose(3), "pose")
    publish.single("edgepose/cage-07/pose", b'{"v": 1}', port=mosquitto.port)
    publish.single("edgepose/cage-07/pose", b"\xff not JSON", port=mosquitto.port)
    publish.single("edgepose/cage-07/health", msgspec.json.encode({"v": 2}), port=mosquitto.port)
    hear(board, lambda: board.subscriber.malformed == 3, "three unreadable messages")
    assert board.devices["cage-07"].pose == pose(3)
    mosquitto.kill()
    hear(board, lambda: not board.subscriber.connected and board.subscriber.trouble, "the loss")
    mosquitto.start()
    hear(board, lambda: board.subscriber.connected, "the connection to come back")
    send(mosquitto.port, pose(4), "pose")
    hear(board, lambda: board.devices["cage-07"].pose == pose(4), "poses to come back")
    board.subscriber.close()


def test_one_device_alone(mosquitto):
    mosquitto.start()
    board = Board(Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", "cage-08"))
    hear(board, lambda: board.subscriber.connected, "the connection")
    send(mosquitto.port, pose(1), "pose")
    send(mosquitto.port, pose(1, device="cage-08"), "pose")
    hear(board, lambda: board.devices, "a device")
    assert list(board.devices) == ["cage-08"]
    board.subscriber.close()


def test_a_broker_that_denies_is_an_error(mosquitto):
    mosquitto.start("allow_anonymous false", mosquitto.add_users(me="right"))
    board = Board(Subscriber(f"mqtt://me:wrong@127.0.0.1:{mosquitto.port}"))
    with pytest.raises(BrokerError, match="refused: Not authorized; give --broker mqtt://USER:PASSWORD@HOST"):
        hear(board, lambda: False, "the refusal")
    board = Board(Subscriber(f"mqtt://me:right@127.0.0.1:{mosquitto.port}"))
    hear(board, lambda: board.subscriber.connected, "the connection")
    board.subscriber.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # amqtt leaves sockets open
def test_falls_back_to_mqtt_3():
    pytest.importorskip("amqtt", reason="needs amqtt (pip install 'edgepose[demo]')")
    port = free_port()
    with embedded(port):
        board = Board(Subscriber(f"mqtt://127.0.0.1:{port}"))
        hear(board, lambda: board.subscriber.connected, "the connection")
        send(port, pose(2), "pose")
        hear(board, lambda: "cage-07" in board.devices, "a pose")
        board.subscriber.close()
    gc.collect()


def test_watch_without_a_terminal_prints_lines(mosquitto):
    mosquitto.start()
    send(mosquitto.port, status(), "status", retain=True)
    command = [sys.executable, "-m", "edgepose", "watch", "--broker", f"mqtt://127.0.0.1:{mosquitto.port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        line = next(line for line in watch.stdout if line.startswith("cage-07"))
        assert line == "cage-07 online, no keypoints yet\n"
        watch.send_signal(signal.SIGTERM)
        watch.stdout.read()
    assert watch.returncode == 0


def test_watch_on_a_terminal_draws(mosquitto):
    mosquitto.start()
    send(mosquitto.port, status(), "status", retain=True)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgepose", "watch", "--broker", f"127.0.0.1:{mosquitto.port}"]
    with subprocess.Popen(
        command, stdout=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    ) as watch:
        os.close(theirs)
        seen, deadline = b"", time.monotonic() + 20
        while "● snout".encode() not in seen and time.monotonic() < deadline:
            send(mosquitto.port, pose(1, seq=len(seen)), "pose")
            seen += os.read(ours, 65536)
        watch.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # a terminal that nobody has open any more cannot be read
            while os.read(ours, 65536):
                pass
    os.close(ours)
    assert "● snout".encode() in seen
    assert b"\x1b[?25l" in seen  # the cursor was hidden while drawing
    assert watch.returncode == 0
