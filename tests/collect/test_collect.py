"""The collector: every pose is in a file once, whatever comes twice, late or not at all, and also after kills."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from brokers import Mosquitto, wait_until
from collecting import (
    Collecting,
    all_of,
    at_hour,
    batch_of,
    caught_up,
    event,
    gaps_in,
    large,
    pose,
    poses_in,
    send,
    started,
)
from mouse_messages import INFO
from paho.mqtt import publish

from edgepose.cli.main import main
from edgepose.collect.hours import read_hour
from edgepose.collect.reports import read_events
from edgepose.protocol.codec import encode
from edgepose.protocol.topics import topic_name

pytest.importorskip("pyarrow")

Collect = Callable[..., Collecting]


def test_poses_of_every_form_are_written_once_by_hour(tmp_path: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    mosquitto.start()
    collector = collect()
    poses = [at_hour(pose(seq), 500_000 + seq // 50) for seq in range(100)]
    send(mosquitto.port, *poses[:40], batch_of(*poses[30:60]))
    earlier = msgspec.msgpack.encode(batch_of(*poses[60:]))  # as a device of an earlier version may send it
    publish.single(topic_name("cage-07", "poses"), earlier, qos=1, port=mosquitto.port)
    mark = event(1, seq=5, text="light on", cage="7")
    send(mosquitto.port, mark, mark)
    caught_up(mosquitto.port, collector)
    assert "100 poses, 10 came twice, 0 missing" in collector.end()
    out = tmp_path / "out"
    assert [path.name for path in sorted(out.glob("cage-07/*.parquet"))] == [
        "2027-01-15T08Z.parquet",
        "2027-01-15T09Z.parquet",
    ]
    assert poses_in(out) == all_of(*range(100))
    first = read_hour(out / "cage-07" / "2027-01-15T08Z.parquet").to_pylist()[7]
    assert (first["snout_x"], first["snout_y"], first["snout_score"]) == pytest.approx((1.0, 2.0, 0.9))
    assert (first["width"], first["height"], first["frame"]) == (64, 48, 7)
    assert first["time"].hour == 8
    assert read_events(out / "cage-07" / "events.csv") == [mark]


@pytest.mark.slow
def test_a_killed_collector_loses_nothing(tmp_path: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    """It is killed again and again while poses come."""
    mosquitto.start()
    collect().kill()  # from here on the broker keeps what comes
    sender = threading.Thread(target=lambda: [send(mosquitto.port, pose(seq)) for seq in range(400)])
    sender.start()
    while sender.is_alive():
        collector = collect()
        caught_up(mosquitto.port, collector)
        collector.kill()
    sender.join()
    collector = collect()
    caught_up(mosquitto.port, collector)
    assert "0 missing" in collector.end()
    assert poses_in(tmp_path / "out") == all_of(*range(400))


@pytest.mark.slow
def test_what_comes_after_its_file_was_written_is_added_and_repeats_are_known(
    tmp_path: Path, mosquitto: Mosquitto, collect: Collect
) -> None:
    mosquitto.start()
    collector = collect()
    send(mosquitto.port, *(pose(seq) for seq in (1, 2, 5)))
    caught_up(mosquitto.port, collector)
    assert "2 missing" in collector.end()
    assert gaps_in(tmp_path / "out") == [(3, 4)]
    collector = collect()
    send(mosquitto.port, batch_of(*(pose(seq) for seq in range(1, 8))))
    caught_up(mosquitto.port, collector)
    assert "4 poses, 3 came twice, 0 missing" in collector.end()
    assert poses_in(tmp_path / "out") == all_of(*range(1, 8))
    assert gaps_in(tmp_path / "out") == []


def test_what_is_not_ours_is_rejected_and_counted(tmp_path: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    mosquitto.start()
    collector = collect()
    good = encode(pose(1))
    far = encode(pose(2)).replace(b'"seq":2', b'"seq":99999999999999999999')
    below = encode(pose(2)).replace(b'"frame":2', b'"frame":-1')
    beyond = encode(pose(2)).replace(b'"t_us":1', b'"t_us":9007199254740993')
    publish.multiple(
        [
            ("edgepose/cage-07/pose", b"{", 1, False),
            ("edgepose/cage-07/pose", b"\xff\xfe", 1, False),
            ("edgepose/cage-07/pose", b"", 1, False),
            ("edgepose/cage-07/pose", far, 1, False),
            ("edgepose/cage-07/pose", below, 1, False),
            ("edgepose/cage-07/pose", beyond, 1, False),
            ("edgepose/other/pose", good, 1, False),
            ("edgepose/../pose", good, 1, False),
            (f"edgepose/{'x' * 300}/pose", good, 1, False),
            ("edgepose/gaps.csv/pose", good.replace(b"cage-07", b"gaps.csv"), 1, False),
            ("edgepose/journal.db-wal/info", encode(INFO).replace(b"cage-07", b"journal.db-wal"), 1, True),
            ("edgepose/cage-07/info", b"", 1, True),  # cleared, which is no mistake
            ("edgepose/cage-07/pose", good, 1, False),
        ],
        port=mosquitto.port,
    )
    caught_up(mosquitto.port, collector)
    assert "1 pose, 0 came twice, 0 missing, 11 messages rejected" in collector.end()
    assert poses_in(tmp_path / "out") == all_of(1)


def test_what_a_device_reports_of_itself_is_kept(tmp_path: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    mosquitto.start()
    publish.single(topic_name(INFO.device, "info"), encode(INFO), 1, retain=True, port=mosquitto.port)
    collector = collect()
    path = tmp_path / "out" / INFO.device / "info.json"
    wait_until(path.exists, "the file")
    collector.end()
    assert json.loads(path.read_text(encoding="utf-8"))["model"] == INFO.model


@pytest.mark.slow
def test_tags_of_a_start_that_comes_after_its_poses(tmp_path: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    """This holds also after the files were written, and with a collector that was killed in between."""
    mosquitto.start()
    collector = collect()
    send(mosquitto.port, started(0, subject="a"), batch_of(*(pose(seq) for seq in range(20))))
    caught_up(mosquitto.port, collector)
    collector.end()
    collector = collect()
    send(mosquitto.port, started(10, subject="b", cage="7"))
    caught_up(mosquitto.port, collector)
    collector.kill()
    collect().end()
    rows = read_hour(tmp_path / "out" / "cage-07" / "1970-01-01T00Z.parquet").to_pylist()
    assert [row["tag:subject"] for row in rows] == ["a"] * 10 + ["b"] * 10
    assert [row["tag:cage"] for row in rows] == [None] * 10 + ["7"] * 10


@pytest.mark.slow
def test_a_group_splits_the_load_and_merge_settles_it(
    tmp_path: Path, mosquitto: Mosquitto, collect: Collect, capsys: pytest.CaptureFixture[str]
) -> None:
    mosquitto.start()
    both = [collect("--share", "lab", "--name", name, folder=name) for name in ("a", "b")]
    send(mosquitto.port, started(0, subject="m1"), *(pose(seq) for seq in range(200) if seq != 77))
    send(mosquitto.port, started(150, subject="m2"))
    caught_up(mosquitto.port, *both)
    both[1].kill()  # what it has in its journal is merged as well
    assert "`edgepose collect merge` finds" in both[0].end()
    assert poses_in(tmp_path / "b") == []
    assert main(["collect", "merge", *(str(tmp_path / name) for name in ("all", "a", "b"))]) == 0
    assert "199 poses of 1 device, 1 missing" in capsys.readouterr().out
    assert len(poses_in(tmp_path / "a")) in range(1, 199)
    assert poses_in(tmp_path / "all") == all_of(*(seq for seq in range(200) if seq != 77))
    assert gaps_in(tmp_path / "all") == [(77, 77)]
    rows = read_hour(tmp_path / "all" / "cage-07" / "1970-01-01T00Z.parquet").to_pylist()
    assert [row["tag:subject"] for row in rows] == ["m1"] * 149 + ["m2"] * 50


def test_one_folder_is_for_one_collector(tmp_path: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    mosquitto.start()
    collect()
    other = collect("--name", "other", listens=False)
    assert other.wait() == 1
    assert "a collector uses it; give each its own folder" in other.text
    assert "Traceback" not in other.text


def test_two_collectors_of_one_name_are_reported(tmp_path: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    mosquitto.start()
    both = [collect(folder=name) for name in ("a", "b")]
    wait_until(lambda: any(one.has_logged("two collectors have one --name") for one in both), "the hint")


@pytest.mark.slow
def test_a_full_disk_ends_it_and_nothing_is_lost(tiny_disk: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    mosquitto.start()
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(350_000))
    collector = collect(folder=str(tiny_disk / "out"))
    noise = random.Random(1)
    payloads = [large(pose(seq), noise.randbytes(8_000).hex()) for seq in range(12)]
    publish.multiple([("edgepose/cage-07/pose", payload, 1, False) for payload in payloads], port=mosquitto.port)
    assert collector.wait() == 1
    assert "make room and start again" in collector.text
    assert "Traceback" not in collector.text
    ballast.unlink()
    collector = collect(folder=str(tiny_disk / "out"))
    caught_up(mosquitto.port, collector)
    assert "0 missing" in collector.end()
    assert poses_in(tiny_disk / "out") == all_of(*range(12))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the folder for the files is missing; give it with -o DIR"),
        (["join", "a"], "give `collect merge DIR...`"),
        (["merge", "none"], "none: no such folder"),
        (["-o", "x", "--ca", "ca.pem"], "give mqtts://HOST"),
        (["-o", "x", "--broker", "http://a"], "not a broker's address"),
        (["-o", "x", "--password-file", "none"], "--password-file: cannot read none"),
    ],
)
def test_mistakes_are_reported(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", *words]) in {2, 78}
    assert message in capsys.readouterr().err
