"""A virtual machine that is told what to do, loses power, and boots again; and somebody who listens to its broker."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

HERE = Path(__file__).parent


class Machine:
    """image: of build-rig. folder: /host in the guest. disk: keeps what the guest writes."""

    def __init__(self, image: Path, folder: Path, disk: Path, port: int) -> None:
        self.folder = folder
        self._image, self._disk, self._port = image, disk, port
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self, qemu: str = "", seconds: float = 240) -> float:
        """Seconds until it could be told something."""
        for name in ("ready", "todo", "doing", "status", "output"):
            (self.folder / name).unlink(missing_ok=True)
        options = ["--timeout", "20000", "--disk", str(self._disk), "--mqtt", str(self._port), "--mem", "1536"]
        options += ["--qemu", qemu] if qemu else []
        begin = time.monotonic()
        log = (self.folder / "machine.log").open("ab")
        command = [HERE / "run-rig", *options, self._image, self.folder, "./guest_agent"]
        self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._wait("ready", seconds)
        return time.monotonic() - begin

    def run(self, command: str, seconds: float = 300, *, check: bool = True) -> str:
        """What it prints, in the guest, as root."""
        for name in ("status", "output"):
            (self.folder / name).unlink(missing_ok=True)
        new = self.folder / "todo.new"
        new.write_text(command + "\n", encoding="utf-8")
        new.rename(self.folder / "todo")
        self._wait("status", seconds)
        output = (self.folder / "output").read_text(encoding="utf-8", errors="replace")
        status = int((self.folder / "status").read_text(encoding="ascii"))
        if check and status:
            raise RuntimeError(f"{command!r} failed ({status}): {output[-2000:]}")
        return output

    def cut(self) -> None:
        """The power is gone, now."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # QEMU is a child of that process, and its lock on the disk goes when it has ended too.
        with contextlib.suppress(ProcessLookupError):
            for _ in range(300):
                os.killpg(self._process.pid, 0)
                time.sleep(0.1)
        lock = self.folder / ".rig" / "lock"
        lock.unlink(missing_ok=True)

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        (self.folder / "todo").write_text("exit\n", encoding="ascii")
        try:
            self._process.wait(120)
        except subprocess.TimeoutExpired:
            self.cut()

    def _wait(self, name: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not (self.folder / name).exists():
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(
                    f"the machine has ended ({self._process.returncode}); see {self.folder}/.rig/console.log"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:.0f} s for {name}")
            time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Seen:
    """A pose, and when it arrived: monotonic clock of the host."""

    boot: str
    seq: int
    t_us: int
    replay: bool
    model: str
    synced: bool
    arrived_s: float


class Listener:
    """Everything from the guest's broker, whenever that is there."""

    def __init__(self, port: int) -> None:
        self.poses: list[Seen] = []
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.health: dict[str, Any] = {}
        self.replies: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="rig-host", clean_session=False)
        self.client.reconnect_delay_set(1, 2)
        self.client.on_connect = lambda client, *_: client.subscribe("edgepose/#", qos=1)
        self.client.on_message = self._on_message
        self.client.connect_async("127.0.0.1", port, keepalive=10)
        self.client.loop_start()

    def live(self, seconds: float, after_s: float | None = None) -> Seen:
        """The first live pose that arrives after that (now)."""
        after_s = time.monotonic() if after_s is None else after_s
        return self._next(lambda pose: not pose.replay and pose.arrived_s > after_s, seconds)

    def synced(self, seconds: float) -> Seen:
        """The first live pose from here on that says that the clock is synchronised."""
        begin = time.monotonic()
        return self._next(lambda pose: pose.synced and not pose.replay and pose.arrived_s > begin, seconds)

    def event(self, kind: str, after_s: float, seconds: float) -> tuple[float, dict[str, Any]]:
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for arrived_s, event in self.events:
                    if event["kind"] == kind and arrived_s > after_s:
                        return arrived_s, event
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"no event {kind} within {seconds:.0f} s")

    def gap_s(self, begin_s: float, end_s: float) -> float:
        """The longest time without a live pose arriving."""
        times = [begin_s, *(p.arrived_s for p in self.poses if not p.replay and begin_s < p.arrived_s < end_s), end_s]
        return max(after - before for before, after in itertools.pairwise(times))

    def send(self, name: str, payload: dict[str, Any]) -> None:
        self.client.publish(f"edgepose/rig/command/{name}", json.dumps(payload), qos=1)

    def _next(self, wanted: Any, seconds: float) -> Seen:
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                if found := next((pose for pose in self.poses if wanted(pose)), None):
                    return found
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"no pose within {seconds:.0f} s")

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        now, payload = time.monotonic(), json.loads(message.payload or b"{}")
        leaf = message.topic.split("/")[2]
        with self._changed:
            if leaf in {"pose", "poses"}:
                for pose in payload.get("poses", [payload]):
                    names = ("boot", "seq", "t_us", "replay", "model", "synced")
                    self.poses.append(Seen(*(pose[name] for name in names), now))
            elif leaf == "event":
                self.events.append((now, payload))
            elif leaf == "health" and not message.retain:
                self.health = payload
            elif leaf == "reply":
                self.replies.append(payload)
            self._changed.notify_all()
