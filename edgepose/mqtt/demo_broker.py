"""Starts a broker for the demo, on the loopback interface only: mosquitto if it is installed, or amqtt in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgepose.errors import BrokerError

HOST = "127.0.0.1"
_START_S = _END_S = 10.0


@dataclass(frozen=True, slots=True)
class DemoBroker:
    """A running broker.

    Attributes:
        name: the program.
        port: on the loopback interface.
        protocol: the newest MQTT that it speaks, as `mqtt.protocol` in the config.
    """

    name: str
    port: int
    protocol: Literal["5", "3.1.1"]


@contextlib.contextmanager
def demo_broker(port: int | None = None) -> Iterator[DemoBroker]:
    """Starts a broker, and stops it at the end. port: None takes a free one. Raises BrokerError."""
    port = _usable_port(port)
    if program := find_mosquitto():
        with mosquitto(program, port):
            yield DemoBroker("mosquitto", port, "5")
    elif importlib.util.find_spec("amqtt"):
        with embedded(port):
            yield DemoBroker("embedded amqtt", port, "3.1.1")
    else:
        raise BrokerError(
            "the demo needs a broker: install mosquitto (sudo apt install mosquitto) or pip install 'edgepose[demo]'"
        )


def find_mosquitto() -> str | None:
    """Returns mosquitto's path, or None. Debian installs it in a folder that only root has in its PATH."""
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


@contextlib.contextmanager
def mosquitto(program: str, port: int) -> Iterator[None]:
    """Runs mosquitto without persistence. Raises BrokerError."""
    with tempfile.TemporaryDirectory(prefix="edgepose-demo-") as folder:
        config, log = Path(folder) / "mosquitto.conf", Path(folder) / "mosquitto.log"
        config.write_text(
            f"listener {port} {HOST}\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n", encoding="utf-8"
        )
        with log.open("wb") as output:
            # It gets its own session, so that Ctrl-C ends only us, and the daemon's last messages still find a broker.
            process = subprocess.Popen(
                [program, "-c", str(config)], stdout=output, stderr=output, start_new_session=True
            )
        try:
            deadline = time.monotonic() + _START_S
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    lines = log.read_text(errors="replace").strip().splitlines()
                    raise BrokerError(f"mosquitto does not start: {lines[-1] if lines else 'no reason given'}")
                time.sleep(0.02)
            yield
        finally:
            end(process)


@contextlib.contextmanager
def embedded(port: int) -> Iterator[None]:
    """Runs amqtt, which speaks MQTT 3.1.1 only. Raises BrokerError."""
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    failure: list[Exception] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        try:
            await _serve_amqtt(port, started, stop)
        except Exception as exc:  # whatever amqtt raises, there is no broker
            failure.append(exc)
            started.set()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="broker", daemon=True)
    thread.start()
    if not started.wait(_START_S) or failure:
        why = failure[0] if failure else "no answer"
        raise BrokerError(f"the embedded broker does not start ({why}); install mosquitto instead")
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(_START_S)


async def _serve_amqtt(port: int, started: threading.Event, stop: asyncio.Event) -> None:
    from amqtt.broker import Broker

    listener = {"type": "tcp", "bind": f"{HOST}:{port}"}
    anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": {"default": listener}, "plugins": anonymous})
    await broker.start()
    started.set()
    await stop.wait()
    await broker.shutdown()


def end(process: subprocess.Popen[bytes]) -> None:
    """Asks a child process to end, and kills it when it has not ended in ten seconds."""
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _usable_port(port: int | None) -> int:
    """Returns the port, or a free one for None. Raises BrokerError for a port that another program uses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except OSError as exc:
            why = exc.strerror or str(exc)
            raise BrokerError(f"port {port}: {why.lower()}; choose another --port, or leave it out") from None
        return int(probe.getsockname()[1])
