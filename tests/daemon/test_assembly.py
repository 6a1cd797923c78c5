"""The parts of the daemon: opened together, or not at all; closed before the daemon starts itself anew."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon as DaemonProcess
from model_files import variant

from edgepose.cli.main import main
from edgepose.config.loading import read_config
from edgepose.config.schema import SpoolConfig
from edgepose.daemon.assembly import Daemon
from edgepose.delivery.spool_lock import SpoolLock
from edgepose.errors import EdgeposeError
from edgepose.model_store.store import Store
from edgepose.system.reporter import Reporter
from edgepose.system.state_dir import state_dir

CAMERA = "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 25}\n"


def what_is_open() -> tuple[set[int | None], set[str]]:
    """The threads of this process, and the files, sockets and devices that it has open."""
    gc.collect()
    links = list(Path("/proc/self/fd").iterdir())
    return {thread.ident for thread in threading.enumerate()}, {str(link.readlink()) for link in links if link.exists()}


@pytest.fixture
def spool_in_use() -> Iterator[None]:
    lock = SpoolLock(SpoolConfig(), "cage-07", wait=False, reporter=Reporter())
    yield
    lock.close()


@pytest.fixture
def port_in_use() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("spool", "another edgepose already runs as device cage-07"),
        ("rule", "the model has no keypoint 'wing'"),
        ("camera", "no such video file"),
        ("metrics", "prometheus: cannot listen on 127.0.0.1"),
    ],
)
def test_nothing_stays_open_when_a_later_part_fails(
    fault: str, message: str, tmp_path: Path, demo_model: Path, port_in_use: int, request: pytest.FixtureRequest
) -> None:
    lines = {
        "rule": "rules: {odd: {when: {score: {keypoint: wing, below: 0.5}}}}\n",
        "camera": "camera: {source: video, path: none.mp4}\n",
        "metrics": f"prometheus: {{port: {port_in_use}}}\n",
    }.get(fault, "")
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {demo_model}\ninference: {{threads: 1}}\n"
        f"record: {{folder: {tmp_path / 'videos'}}}\n{'' if fault == 'camera' else CAMERA}{lines}",
        encoding="utf-8",
    )
    if fault == "spool":
        request.getfixturevalue("spool_in_use")
    before = what_is_open()
    with pytest.raises(EdgeposeError, match=message):
        Daemon(read_config(config), threading.Event())
    wait_until(lambda: what_is_open() == before, "threads to end")
    if fault != "spool":  # its lock is free again
        SpoolLock(SpoolConfig(), "cage-07", wait=False, reporter=Reporter()).close()


# A camera that one process alone can open, through a descriptor that a C library made, and whose driver never returns
# from `close`.
EXCLUSIVE_CAMERA = """
import fcntl, os, time
import edgepose.camera
from edgepose.camera.synthetic.camera import SyntheticSource
from edgepose.errors import CameraError
class Exclusive(SyntheticSource):
    def __init__(self, *args):
        super().__init__(*args)
        self.device = os.open({device!r}, os.O_RDWR | os.O_CREAT)
        os.set_inheritable(self.device, True)
        try:
            fcntl.flock(self.device, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CameraError("the camera is in use") from None
    def close(self):
        time.sleep(3600)
edgepose.camera.SyntheticSource = Exclusive
"""


@pytest.mark.slow
def test_a_daemon_that_starts_itself_anew_can_open_its_camera_again(
    tmp_path: Path,
    demo_model: Path,
    mosquitto: Mosquitto,
    subscribe: Callable[..., Subscriber],
    run: Callable[..., DaemonProcess],
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    site = tmp_path / "site"
    site.mkdir()
    text = EXCLUSIVE_CAMERA.format(device=str(tmp_path / "device"))
    (site / "sitecustomize.py").write_text(text, encoding="utf-8")
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {demo_model}\ninference: {{threads: 1}}\n{CAMERA}"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n",
        encoding="utf-8",
    )
    daemon = run(config, {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])})
    wait_until(lambda: subscriber.of("pose"), "poses", 30)
    renamed = variant(demo_model, tmp_path / "new", "renamed", keypoints=("nose", "left", "right", "tail"))
    version = Store(state_dir() / "models").install(renamed)
    assert main(["model", "activate", version.id, "-c", str(config)]) == 0
    wait_until(lambda: subscriber.of("pose")[-1]["model"].startswith("renamed@"), "poses of the new model", 40)
    assert daemon.process.poll() is None
    assert not [line for line in daemon.lines if "in use" in line]
    daemon.stop()
