"""`edgepose watch` as a process: on a terminal, in a pipe, until a signal."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from mouse_messages import pose, send, status

from edgepose.cli.main import main


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


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--broker", "mqtt://broker..lan"], "mqtt://HOST:PORT"), (["--device", "a/b"], "not a device's name")],
)
def test_wrong_usage_is_one_line(words, told, capsys):
    assert main(["watch", *words]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1
