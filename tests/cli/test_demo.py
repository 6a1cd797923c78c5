"""The demo: broker, daemon and subscriber together, its summary, and its clean end."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from brokers import free_port, wait_until
from clips import write_clip

from edgepose.cli import demo
from edgepose.cli.main import main
from edgepose.collect.device_state import DeviceState
from edgepose.errors import BrokerError
from edgepose.mqtt import demo_broker
from edgepose.system.shipped_files import DEMO_MODEL

SUMMARY = re.compile(
    r"^demo: (?P<poses>\d+) poses delivered of (?P<frames>\d+) frames "
    r"\((?P<skipped>\d+) skipped, (?P<lost>\d+) lost\), "
    r"[\d.]+ fps, latency [\d.]+ ms \(p95 [\d.]+\), mean error (?P<error>[\d.]+) px$",
    re.MULTILINE,
)


@pytest.fixture
def command() -> list[str]:
    return [sys.executable, "-m", "edgepose", "demo"]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.slow
def test_ends_by_itself_with_a_summary(command):
    done = subprocess.run([*command, "--seconds", "1.5"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "mosquitto_sub -h 127.0.0.1 -p " in done.stdout
    found = SUMMARY.search(done.stdout)
    assert found is not None, done.stdout
    assert int(found["poses"]) > 5
    assert found["lost"] == "0"
    assert int(found["frames"]) == int(found["poses"]) + int(found["skipped"])
    assert float(found["error"]) < 6.0  # of a mouse more than 100 px long
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_leaves_no_process_behind(command, how):
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("demo online"))
        started = children(process.pid)
        assert started
        process.send_signal(how)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert SUMMARY.search(rest)
    wait_until(lambda: not any(alive(pid) for pid in started), "daemon and broker to end")


def test_the_shipped_model_is_small():
    assert DEMO_MODEL.stat().st_size <= 400_000


@pytest.mark.slow
def test_a_daemon_that_dies_is_reported(command):
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        next(line for line in process.stdout if line.startswith("demo online"))
        for pid in children(process.pid):
            if b"edgepose" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
        process.stdout.read()
        assert "edgepose: the daemon has ended with status -9" in process.stderr.read()
    assert process.returncode == 1


def test_a_daemon_that_cannot_start_is_reported(tmp_path):
    model = tmp_path / "demo.tflite"
    model.write_bytes(b"not a model")
    with pytest.raises(Exception, match=r"demo\.tflite: damaged .* holds no card"):
        demo.run_demo(model, 1.0, None)


@pytest.mark.parametrize(("words", "status"), [(["--model", "none.tflite"], 78), (["--video", "none.mp4"], 1)])
def test_a_missing_file_is_one_line(words, status, capsys):
    assert main(["demo", *words]) == status
    error = capsys.readouterr().err
    assert words[1] in error
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_runs_on_a_video_again_and_again(command, tmp_path):
    video = write_clip(tmp_path / "mouse.avi")
    words = ["--video", str(video), "--seconds", "2"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert int(re.search(r"(\d+) poses delivered", last)[1]) > 10
    assert "error" not in last


@pytest.mark.parametrize(
    "arguments", [["--seconds", "0"], ["--seconds", "nan"], ["--seconds", "inf"], ["--port", "0"], ["--port", "70000"]]
)
def test_bad_arguments(arguments):
    command = [sys.executable, "-m", "edgepose", "demo", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert arguments[0] in line


def test_a_taken_port_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = pytest.raises(BrokerError, match=f"port {port}: address already in use; choose another --port")
        with told, demo_broker.demo_broker(port):
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # amqtt leaves sockets open
def test_without_mosquitto_the_embedded_broker_serves(monkeypatch):
    pytest.importorskip("amqtt", reason="needs amqtt (pip install 'edgepose[demo]')")
    monkeypatch.setattr(demo_broker, "find_mosquitto", lambda: None)
    with demo_broker.demo_broker(free_port()) as broker:
        assert (broker.name, broker.protocol) == ("embedded amqtt", "3.1.1")
        socket.create_connection(("127.0.0.1", broker.port)).close()
    gc.collect()


def test_without_any_broker_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(demo_broker, "find_mosquitto", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BrokerError, match="install mosquitto"), demo_broker.demo_broker():
        pass


def test_summary_without_truth():
    assert demo.summary(DeviceState("demo")).startswith("demo: 0 poses delivered of 0 frames (0 skipped, 0 lost)")
