"""Signals that ask to end, sent to a real process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

CODE = (
    "import signal, sys; from edgepose.system.signals import stop_on_signals; stop = stop_on_signals(once={once}); "
    "print('ready', signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, flush=True); stop.wait(); "
    "print('stopping', flush=True); sys.stdin.readline(); print('stopped')"
)


def start(*prefix: str, once: bool) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-c", CODE.format(once=once)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_ends_a_process_that_takes_too_long(number):
    with start("env", "--default-signal=HUP", once=True) as process:  # also where the tests run under nohup
        assert process.stdout.readline() == "ready False\n"
        process.send_signal(number)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(number)
        assert "stopped" not in process.communicate(timeout=10)[0]
    assert process.returncode == -number


def test_or_none_is_heard_while_it_cleans_up():
    with start(once=False) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate("\n", timeout=10)[0] == "stopped\n"
    assert process.returncode == 0


def test_nohup_outlives_its_terminal():
    with start("nohup", once=True) as process:
        assert process.stdout.readline() == "ready True\n"
        process.kill()
