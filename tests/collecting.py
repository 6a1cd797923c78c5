"""A running `edgepose collect`, what devices send to it, and what it leaves in its folder."""

from __future__ import annotations

import csv
import itertools
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import delivering
import msgspec
from brokers import wait_until
from paho.mqtt import publish

from edgepose.collect.hours import read_hour
from edgepose.protocol.codec import encode
from edgepose.protocol.messages import (
    AnimalMessage,
    BatchMessage,
    EventMessage,
    InfoMessage,
    Keypoint,
    Message,
    PoseMessage,
    StatusMessage,
)
from edgepose.protocol.topics import topic_name

HOUR_US = 3_600_000_000
_LEAVES = {
    PoseMessage: "pose",
    BatchMessage: "poses",
    EventMessage: "event",
    InfoMessage: "info",
    StatusMessage: "status",
}
_NUMBERS = itertools.count()
KEYPOINTS = {"snout": Keypoint(1.0, 2.0, 0.9)}


class Collecting:
    """A process of `edgepose collect WORDS`, from when it listens. home: the folder of the edgepose that runs."""

    def __init__(
        self, port: int, folder: Path, words: tuple[str, ...], *, listens: bool = True, home: Path | None = None
    ) -> None:
        command = [sys.executable, "-m", "edgepose", "collect", "--broker", f"mqtt://127.0.0.1:{port}"]
        self.process = subprocess.Popen(
            [*command, "-o", str(folder), *words], stderr=subprocess.PIPE, text=True, cwd=home
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if listens:
            wait_until(
                lambda: self.has_logged("listening") or self.process.poll() is not None, "the collector to listen"
            )
            assert self.has_logged("listening"), self.text

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def has_logged(self, text: str) -> bool:
        return text in self.text

    def end(self) -> str:
        """Asks it to stop. Returns what it has logged."""
        self.process.send_signal(signal.SIGTERM)
        assert self.wait() == 0, self.text
        assert "Traceback" not in self.text
        return self.text

    def wait(self) -> int:
        status = self.process.wait(30)
        self._reader.join(30)
        return status

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def close(self) -> None:
        self.kill()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)


def caught_up(port: int, *collectors: Collecting) -> None:
    """Waits until the collectors have written what was sent before.

    Of two messages, one after the other, the second is read when the first is on the disk.
    """
    for _ in range(2):
        status = StatusMessage(device=f"last-{next(_NUMBERS)}", boot="b", state="online", run="r")
        send(port, status)
        for one in collectors:
            wait_until(lambda one=one, name=status.device: one.has_logged(f"{name} is online"), "the last message")


def send(port: int, *messages: Message) -> None:
    publish.multiple(
        [(topic_name(one.device, _LEAVES[type(one)]), encode(one), 1, False) for one in messages], port=port
    )


def pose(seq: int, keypoints: dict[str, Keypoint] = KEYPOINTS, **changes: Any) -> PoseMessage:
    """Returns a pose of one animal."""
    animals = [AnimalMessage(id="1", id_score=1.0, score=0.9, keypoints=keypoints)]
    return delivering.pose(seq, **{"animals": animals} | changes)


def large(message: PoseMessage, ballast: str) -> bytes:
    """Returns the payload of a pose with a field that readers ignore."""
    return msgspec.json.encode({**msgspec.to_builtins(message), "ballast": ballast})


def at_hour(message: PoseMessage, hour: int) -> PoseMessage:
    return msgspec.structs.replace(message, t_us=hour * HOUR_US + message.seq)


def batch_of(*poses: PoseMessage) -> BatchMessage:
    return BatchMessage(device=poses[0].device, boot=poses[0].boot, replay=True, poses=list(poses))


def event(number: int, kind: str = "mark_note", seq: int = 0, text: str = "", **tags: str) -> EventMessage:
    return EventMessage(
        device="cage-07",
        boot="b",
        event=number,
        seq=seq,
        t_us=HOUR_US + number,
        synced=True,
        replay=False,
        kind=kind,
        text=text,
        count=0,
        tags=tags,
    )


def started(seq: int, **tags: str) -> EventMessage:
    """Returns the event of a daemon that starts; `seq` is the number of its first pose."""
    return event(seq, "started", seq, **tags)


def poses_in(folder: Path) -> list[tuple[str, str, int]]:
    """Returns device, boot and seq of each row."""
    found = []
    for path in sorted(folder.glob("*/*.parquet")):
        table = read_hour(path, ["boot", "seq"]).to_pydict()
        found += [(path.parent.name, boot, seq) for boot, seq in zip(table["boot"], table["seq"], strict=True)]
    return found


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*/*.parquet")) for row in read_hour(path).to_pylist()]


def gaps_in(folder: Path) -> list[tuple[int, int]]:
    with (folder / "gaps.csv").open(encoding="utf-8") as file:
        return [(int(row["first_seq"]), int(row["last_seq"])) for row in csv.DictReader(file)]


def all_of(*seqs: int) -> list[tuple[str, str, int]]:
    """Returns what `poses_in` finds of the test's own device."""
    return [("cage-07", "b", seq) for seq in seqs]
