"""The collector: every pose once in a file, whatever comes twice, late, or not at all, and whoever is killed."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asker import asking
from brokers import Mosquitto, wait_until
from paho.mqtt import publish
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from test_mqtt import pose

from edgepose.cli.main import main
from edgepose.collect.collector import Collector
from edgepose.collect.hours import hour_path, read_hour, write_hour
from edgepose.collect.merge import merge, scan
from edgepose.collect.streams import Stream
from edgepose.core.config import Mqtt
from edgepose.core.errors import EdgeposeError
from edgepose.core.messages import BatchMessage, EventMessage, Message, PoseMessage, encode, topic_name

pyarrow = pytest.importorskip("pyarrow")

HOUR_US = 3_600_000_000


def at_hour(message: PoseMessage, hour: int) -> PoseMessage:
    return msgspec.structs.replace(message, t_us=hour * HOUR_US + message.seq)


def batch_of(*poses: PoseMessage) -> BatchMessage:
    return BatchMessage(device=poses[0].device, boot=poses[0].boot, replay=True, poses=list(poses))


def send(port: int, *messages: Message, wire: Any = "json") -> None:
    leaves = {PoseMessage: "pose", BatchMessage: "poses", EventMessage: "event"}
    publish.multiple(
        [(topic_name(one.device, leaves[type(one)]), encode(one, wire), 1, False) for one in messages], port=port
    )


def poses_in(folder: Path) -> list[tuple[str, str, int]]:
    found = []
    for path in sorted(folder.glob("*/*.parquet")):
        table = read_hour(path, ["boot", "seq"]).to_pydict()
        found += [(path.parent.name, boot, seq) for boot, seq in zip(table["boot"], table["seq"], strict=True)]
    return found


def gaps_in(folder: Path) -> list[tuple[int, int]]:
    with (folder / "gaps.csv").open(encoding="utf-8") as file:
        return [(int(row["first_seq"]), int(row["last_seq"])) for row in csv.DictReader(file)]


@pytest.fixture
def collect(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """collect(...) starts `edgepose collect`, and returns when it listens."""
    made: list[subprocess.Popen[str]] = []

    def start(*words: str, folder: str = "out") -> subprocess.Popen[str]:
        broker = ["--broker", f"mqtt://127.0.0.1:{mosquitto.port}", "-o", str(tmp_path / folder)]
        command = [sys.executable, "-m", "edgepose", "collect", *broker, *words]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        made.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listening" in line, line
        return process

    yield start
    for process in made:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=30)
    assert process.returncode == 0, text
    assert "Traceback" not in text
    return text


def test_poses_of_every_form_are_written_once_by_hour(
    tmp_path: Path, mosquitto: Mosquitto, collect: Callable[..., subprocess.Popen[str]]
) -> None:
    mosquitto.start()
    process = collect()
    poses = [at_hour(pose(seq), 500_000 + seq // 50) for seq in range(100)]
    send(mosquitto.port, *poses[:40], batch_of(*poses[30:60]))
    send(mosquitto.port, batch_of(*poses[60:]), wire="msgpack")
    mark = EventMessage(
        device="cage-07",
        boot="b",
        event=1,
        seq=5,
        t_us=HOUR_US,
        synced=True,
        replay=False,
        kind="mark_note",
        text="light on",
        count=0,
        tags={},
    )
    send(mosquitto.port, mark, mark)
    wait_until(lambda: not _queued(mosquitto), "the messages to be taken")
    assert "100 poses, 10 came twice, 0 missing" in end(process)
    out = tmp_path / "out"
    assert [path.name for path in sorted(out.glob("cage-07/*.parquet"))] == [
        "2027-01-15T08Z.parquet",
        "2027-01-15T09Z.parquet",
    ]
    assert poses_in(out) == [("cage-07", "b", seq) for seq in range(100)]
    first = read_hour(out / "cage-07" / "2027-01-15T08Z.parquet").to_pylist()[7]
    assert (first["snout_x"], first["snout_y"], first["snout_score"]) == pytest.approx((1.0, 2.0, 0.9))
    assert (first["width"], first["height"], first["frame"]) == (64, 48, 7)
    assert first["time"].hour == 8
    assert (out / "cage-07" / "events.csv").read_text(encoding="utf-8").count("light on") == 1


def _queued(mosquitto: Mosquitto) -> bool:
    """A moment is enough: it is all on this machine."""
    import time

    time.sleep(0.5)
    return False


def test_a_message_that_nobody_can_read_ends_no_collection(
    tmp_path: Path, mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """U+FEFF is allowed in MQTT, and paho takes it for a broken packet; the session would bring it again for ever."""
    mosquitto.start()
    collector = Collector(Mqtt(host="127.0.0.1", port=mosquitto.port), None, "collector", tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=collector.run, args=(stop,))
    caplog.set_level("INFO")
    thread.start()
    wait_until(lambda: "listening" in caplog.text, "it to listen")
    odd = Properties(PacketTypes.PUBLISH)
    odd.UserProperty = ("by", "\ufeff")
    with asking(mosquitto.port) as other:
        for seq in range(10):
            more = {"properties": odd} if seq == 5 else {}
            other.client.publish(topic_name("cage-07", "pose"), encode(pose(seq)), qos=1, **more)
        wait_until(lambda: caplog.text.count("listening") == 2, "it to listen again")
    assert "a message that cannot be read; beginning a new session" in caplog.text
    send(mosquitto.port, *(pose(seq) for seq in range(10, 20)))
    wait_until(lambda: 19 in collector._journal.streams["cage-07", "b"]._seqs.ranges()[-1], "the last pose")
    stop.set()
    thread.join(20)
    found = [seq for _, _, seq in poses_in(tmp_path)]
    assert 5 not in found
    assert {*range(5), *range(10, 20)} <= set(found)  # what came before it is not lost with the session


def test_a_killed_collector_loses_nothing(
    tmp_path: Path, mosquitto: Mosquitto, collect: Callable[..., subprocess.Popen[str]]
) -> None:
    mosquitto.start()
    process = collect()
    send(mosquitto.port, *(pose(seq) for seq in range(50)))
    process.kill()
    process.wait()
    send(mosquitto.port, *(pose(seq) for seq in range(50, 80)))
    process = collect()
    send(mosquitto.port, *(pose(seq) for seq in range(80, 100)))
    _queued(mosquitto)
    assert "0 missing" in end(process)
    assert poses_in(tmp_path / "out") == [("cage-07", "b", seq) for seq in range(100)]


def test_what_comes_after_its_file_was_written_is_added_and_repeats_are_known(
    tmp_path: Path, mosquitto: Mosquitto, collect: Callable[..., subprocess.Popen[str]]
) -> None:
    mosquitto.start()
    process = collect()
    send(mosquitto.port, *(pose(seq) for seq in (1, 2, 5)))
    _queued(mosquitto)
    assert "2 missing" in end(process)
    assert gaps_in(tmp_path / "out") == [(3, 4)]
    process = collect()
    send(mosquitto.port, batch_of(*(pose(seq) for seq in range(1, 8))))
    _queued(mosquitto)
    assert "4 poses, 3 came twice, 0 missing" in end(process)
    assert poses_in(tmp_path / "out") == [("cage-07", "b", seq) for seq in range(1, 8)]
    assert gaps_in(tmp_path / "out") == []


def test_what_is_not_ours_is_rejected_and_counted(
    tmp_path: Path, mosquitto: Mosquitto, collect: Callable[..., subprocess.Popen[str]]
) -> None:
    mosquitto.start()
    process = collect()
    good = encode(pose(1))
    publish.multiple(
        [
            ("edgepose/cage-07/pose", b"{", 1, False),
            ("edgepose/cage-07/pose", b"\xff\xfe", 1, False),
            ("edgepose/cage-07/pose", b"", 1, False),
            ("edgepose/other/pose", good, 1, False),
            ("edgepose/../pose", good, 1, False),
            ("edgepose/cage-07/pose", good, 1, False),
        ],
        port=mosquitto.port,
    )
    _queued(mosquitto)
    assert "1 poses, 0 came twice, 0 missing, 5 messages rejected" in end(process)
    assert poses_in(tmp_path / "out") == [("cage-07", "b", 1)]


def test_a_group_splits_the_load_and_merge_joins_it(
    tmp_path: Path,
    mosquitto: Mosquitto,
    collect: Callable[..., subprocess.Popen[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    mosquitto.start()
    both = [collect("--share", "lab", "--name", name, folder=name) for name in ("a", "b")]
    send(mosquitto.port, *(pose(seq) for seq in range(200) if seq != 77))
    _queued(mosquitto)
    for process in both:
        end(process)
    parts = [poses_in(tmp_path / name) for name in ("a", "b")]
    assert all(parts)
    assert sum(map(len, parts)) == 199
    assert main(["collect", "merge", *(str(tmp_path / name) for name in ("all", "a", "b"))]) == 0
    assert "199 poses of 1 devices, 1 missing" in capsys.readouterr().out
    assert [seq for _, _, seq in poses_in(tmp_path / "all")] == [seq for seq in range(200) if seq != 77]
    assert gaps_in(tmp_path / "all") == [(77, 77)]
    merge([tmp_path / "all", tmp_path / "a"])  # again: nothing comes twice
    assert len(poses_in(tmp_path / "all")) == 199


def test_another_run_is_no_gap() -> None:
    stream = Stream()
    for seq, frame in [(1000, 0), (1001, 1), (1002, 4), (5_000_000, 0), (5_000_003, 3)]:
        stream.add(seq, frame)
    assert stream.gaps() == [(5_000_001, 5_000_002)]


def test_a_long_stream_keeps_only_the_ends(tmp_path: Path) -> None:
    stream = Stream()
    for seq in range(50_000):
        stream.add(seq, 2 * seq)
    assert stream.ranges() == [(0, 49_999, 0, 99_998)]
    assert len(stream._frames) < 20_000


def test_poses_of_several_models_share_a_file(tmp_path: Path) -> None:
    path = hour_path(tmp_path, "cage-07", 5)
    other = msgspec.structs.replace(pose(2), keypoints={"tail": pose(1).keypoints["snout"]})
    write_hour(path, [pose(1)])
    write_hour(path, [other, pose(1)])
    rows = read_hour(path).to_pylist()
    assert [(row["seq"], row["snout_x"], row["tail_x"]) for row in rows] == [(1, 1.0, None), (2, None, 1.0)]
    assert list(scan(tmp_path)) == [("cage-07", "b")]


def test_a_damaged_hour_is_told_and_not_overwritten(tmp_path: Path) -> None:
    path = hour_path(tmp_path, "cage-07", 5)
    path.parent.mkdir()
    path.write_bytes(b"PAR1 or so")
    with pytest.raises(EdgeposeError, match="cannot read"):
        write_hour(path, [pose(1)])
    assert path.read_bytes() == b"PAR1 or so"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give a folder with -o DIR"),
        (["join", "a"], "give `collect merge DIR...`"),
        (["merge", "none"], "none: no such folder"),
        (["-o", "x", "--ca", "ca.pem"], "give mqtts://HOST"),
        (["-o", "x", "--broker", "http://a"], "not a broker's address"),
        (["-o", "x", "--password-file", "none"], "--password-file: cannot read none"),
    ],
)
def test_mistakes_are_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", *words]) in {2, 78}
    assert message in capsys.readouterr().err


def test_the_device_tells_itself_in_a_file(
    tmp_path: Path, mosquitto: Mosquitto, collect: Callable[..., subprocess.Popen[str]]
) -> None:
    from mouse_messages import INFO

    mosquitto.start()
    publish.single(topic_name(INFO.device, "info"), encode(INFO), 1, retain=True, port=mosquitto.port)
    process = collect()
    wait_until((tmp_path / "out" / INFO.device / "info.json").exists, "the file")
    end(process)
    told = json.loads((tmp_path / "out" / INFO.device / "info.json").read_text(encoding="utf-8"))
    assert told["model"] == INFO.model
