"""A store, and a daemon whose models are exchanged."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asker import Asker, asking
from brokers import Mosquitto, Subscriber
from cages import Cage
from daemons import Daemon
from model_files import misbehaving, variant
from sites import Site

from edgepose.model_store.store import Store
from edgepose.system.state_dir import state_dir


@pytest.fixture
def store() -> Store:
    return Store(state_dir() / "models")


@pytest.fixture
def config(tmp_path: Path, demo_model: Path, mosquitto: Mosquitto) -> Path:
    variant(demo_model, tmp_path / "config", "first")
    path = tmp_path / "config" / "edgepose.yaml"
    path.write_text(
        "device: cage-07\nmodel: first.tflite\ninference: {threads: 1}\n"
        "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 25}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\ncommands: [ping, model]\n",
        encoding="utf-8",
    )
    mosquitto.start()
    return path


@pytest.fixture
def asker(config: Path, mosquitto: Mosquitto) -> Iterator[Asker]:
    with asking(mosquitto.port) as made:
        yield made


@pytest.fixture
def start(
    config: Path, mosquitto: Mosquitto, subscribe: Callable[..., Subscriber], run: Callable[..., Daemon], tmp_path: Path
) -> Callable[[], Cage]:
    subscriber = subscribe(mosquitto.port)
    env = misbehaving(tmp_path / "site")
    return lambda: Cage(subscriber, run(config, env))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "site-files"
    folder.mkdir()
    monkeypatch.setattr(Site, "folder", folder)
    monkeypatch.setattr(Site, "breaks", [])
    monkeypatch.setattr(Site, "asked", [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
