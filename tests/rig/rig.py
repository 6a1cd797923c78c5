"""The machine with its listener and a web server, what the guest finds in /host, and questions that every step asks."""

from __future__ import annotations

import functools
import http.server
import itertools
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
from brokers import free_port
from camera import ROOT, SIZE_WH, build_image
from machine import Listener, Machine
from model_files import variant

from edgepose.camera.synthetic.mouse import LOOP_FRAMES
from edgepose.camera.synthetic.scene import Scene

HERE = Path(__file__).parent
RIG = ROOT / ".rig"
FOLDER = RIG / "unattended"
MODEL = ROOT / "edgepose" / "demo" / "demo.tflite"
Row = tuple[str, str, bool]
CONFIG = """device: rig
model: first.tflite
camera: {source: picamera2, rate_hz: 4.0}
inference: {threads: 1}
commands: [ping, health, model]
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        """Only rows are printed."""


class Rig:
    """The machine, its listener, and a web server that the guest reaches."""

    def __init__(self, keep: bool) -> None:
        build_image()
        disk = RIG / "unattended.qcow2"
        if not keep:
            shutil.rmtree(FOLDER, ignore_errors=True)
            disk.unlink(missing_ok=True)
            fill()
        self.port = free_port()
        self.machine = Machine(RIG / "rig.img", FOLDER, disk, self.port)
        self.listener = Listener(self.port)
        handler = functools.partial(Quiet, directory=str(FOLDER / "models"))
        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()

    def run(self, command: str, seconds: float = 300, *, check: bool = True) -> str:
        return self.machine.run(command, seconds, check=check)

    def show(self, *names: str) -> dict[str, str]:
        lines = self.run(f"systemctl show -p {','.join(names)} edgepose").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def restarts(self) -> int:
        return int(self.show("NRestarts")["NRestarts"])

    def fault(self, what: str) -> float:
        """When it began: host's monotonic clock."""
        self.run(f"echo {what} > /etc/edgepose/fault.new; mv /etc/edgepose/fault.new /etc/edgepose/fault")
        return time.monotonic()

    def heal(self) -> None:
        self.run("rm -f /etc/edgepose/fault")

    def url(self, name: str) -> str:
        return f"http://10.0.2.2:{self.web.server_port}/{name}"


def fill() -> None:
    """What the guest finds in /host: the sources, wheels of what they need, models, pictures for the camera."""
    FOLDER.mkdir(parents=True)
    FOLDER.chmod(0o777)
    sources = FOLDER / "edgepose"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    sources.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in ("edgepose", "train", "systemd", "firmware_configs"):
        shutil.copytree(ROOT / name, sources / name, ignore=ignore)
    variant(MODEL, sources, "first")
    (sources / "edgepose.yaml").write_text(CONFIG, encoding="utf-8")
    for name in ("second", "raises", "hangs"):
        variant(MODEL, FOLDER / "models", name)
    for name in ("guest_agent", "rig_faults.py"):
        shutil.copy(HERE / name, FOLDER)
    pictures, scene = FOLDER / "pictures", Scene(1, SIZE_WH)
    pictures.mkdir()
    for number in range(24):
        cv2.imwrite(str(pictures / f"{number}.jpg"), scene.render(number * LOOP_FRAMES // 24))
    wheels = RIG / "wheels"
    if not wheels.exists():
        words = ["--only-binary=:all:", "--python-version", "3.13", "-d", str(wheels)]
        needs = [
            "ai-edge-litert>=2.1",
            "numpy",
            "opencv-python-headless",
            "paho-mqtt>=2.2,<3",
            "msgspec",
            "pyyaml",
            "rich",
        ]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", *words, *needs, "setuptools>=77"], check=True)
    shutil.copytree(wheels, FOLDER / "wheels")
    for name, more in (("good", []), ("wrong", ["-DWRONG_LIBRARY"])):
        command = ["cc", "-shared", "-fPIC", "-O2", "-w", *more, str(HERE.parent / "accelerator.c")]
        subprocess.run([*command, "-o", str(FOLDER / f"{name}.so")], check=True)


def missing(rig: Rig, begin_s: float) -> int:
    """Poses of the last boot that never came: between the least and the greatest of those that came since then.

    A pose may come twice, much later too, so one that came earlier is not missing.
    """
    boot = rig.listener.poses[-1].boot
    deadline = time.monotonic() + 60
    while True:
        starts = rig.listener.poses
        first = min(pose.seq for pose in starts if pose.boot == boot and pose.arrived_s > begin_s)
        seqs = sorted({pose.seq for pose in starts if pose.boot == boot and pose.seq >= first})
        # A new start of the daemon begins at another number, far above.
        gaps = sum(after - before - 1 for before, after in itertools.pairwise(seqs) if after - before < 10_000)
        if not gaps or time.monotonic() > deadline:
            return gaps
        time.sleep(1)
