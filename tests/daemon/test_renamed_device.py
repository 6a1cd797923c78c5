"""A device that gets another name keeps its poses, model, settings and recordings, and takes nothing from others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon
from delivering import DEVICE, pose
from model_files import activate, variant

from edgepose.cli.main import main
from edgepose.config.loading import read_config
from edgepose.config.schema import Config, SpoolConfig
from edgepose.daemon.device_names import note_name, read_names
from edgepose.daemon.renamed_device import left_behind, take_over_former_names
from edgepose.daemon.settings import read_settings, write_settings
from edgepose.delivery.batching import Item, pack
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.delivery.spool_lock import SpoolLock, spool_disk_folder, spool_memory_folder
from edgepose.delivery.spool_memory import SpoolMemory
from edgepose.model_store.selection import read_selection
from edgepose.model_store.startup import selection_path
from edgepose.model_store.store import Store
from edgepose.protocol.codec import encode
from edgepose.protocol.messages import Settings
from edgepose.system.reporter import Reporter
from edgepose.system.state_dir import state_dir

SET = Settings(rate_hz=5.0)
VERSION_1 = Path(__file__).parents[1] / "version_1"
Configure = Callable[..., tuple[Config, Path]]


@pytest.fixture
def configure(tmp_path: Path, demo_model: Path) -> Configure:
    """configure(device, name) writes a config of that device into a file of that name, and reads it."""

    def write(device: str, name: str = "edgepose.yaml", port: int = 1) -> tuple[Config, Path]:
        path = tmp_path / name
        path.write_text(
            f"device: {device}\nmodel: {demo_model}\ninference: {{threads: 1}}\n"
            "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 20}\n"
            f"mqtt: {{host: 127.0.0.1, port: {port}}}\nrecord: {{folder: {tmp_path / 'rec'}, max_gb: 1}}\n",
            encoding="utf-8",
        )
        return read_config(path), path

    return write


def leave(device: str, on_disk: Iterable[int], in_memory: Iterable[int] = ()) -> None:
    """Leaves poses of DEVICE in the spools of `device`, as a daemon that was killed does."""
    disk = open_disk(device)
    items = [Item(seq, "pose", encode(pose(seq)), 0.0) for seq in on_disk]
    disk.append([batch for batch, _ in pack(items)], synced=False)
    disk.close()
    memory = SpoolMemory(spool_memory_folder(SpoolConfig(), device), Reporter())
    for seq in in_memory:
        memory.add(seq + 1, "pose", encode(pose(seq)))
    memory.close()


def open_disk(device: str) -> SpoolDisk:
    return SpoolDisk(spool_disk_folder(SpoolConfig(), device) / "spool.db", 1e8, 1e6)


def seqs_on_disk(device: str) -> list[int]:
    disk = open_disk(device)
    batches = [batch for row in disk.rows(0) if (batch := disk.read(row))]
    disk.close()
    assert {batch.device for batch in batches} <= {DEVICE}
    return [one["seq"] for batch in batches for one in json.loads(batch.payload)["poses"]]


def model_of(device: str) -> Path:
    return selection_path(Store(state_dir() / "models"), device)


def settings_of(device: str) -> Path:
    return spool_disk_folder(SpoolConfig(), device) / "settings.json"


def record(folder: Path, device: str, *names: str) -> None:
    (folder / "rec" / device).mkdir(parents=True)
    for name in names:
        (folder / "rec" / device / name).write_bytes(b"x" * 100)


def events_of(reporter: Reporter) -> dict[str, str]:
    return {event.kind: event.text for event in iter(lambda: reporter.take(0), None)}


def test_what_lies_under_the_former_name_is_taken_over(tmp_path: Path, configure: Configure, demo_model: Path) -> None:
    take_over_former_names(*configure(DEVICE), Reporter())
    leave(DEVICE, range(17), range(17, 20))
    write_settings(settings_of(DEVICE), SET)
    activate(variant(demo_model, tmp_path / "new", "second"), DEVICE)
    wanted = read_selection(model_of(DEVICE)).wanted
    record(tmp_path, DEVICE, "cage-07_20261124T201500Z.mp4", "marked")

    reporter = Reporter()
    take_over_former_names(*configure("cage-08"), reporter)
    assert seqs_on_disk("cage-08") == list(range(20))
    assert read_settings(settings_of("cage-08")) == SET
    assert read_selection(model_of("cage-08")).wanted == wanted is not None
    assert {path.name for path in (tmp_path / "rec" / "cage-08").iterdir()} == {
        "cage-07_20261124T201500Z.mp4",
        "marked",
    }
    assert not (tmp_path / "rec" / DEVICE).exists()
    assert not spool_disk_folder(SpoolConfig(), DEVICE).exists()
    text = events_of(reporter)["renamed"]
    assert "was cage-07 before" in text
    assert "20 messages to be delivered under the former name" in text
    assert "2 files of recordings" in text
    assert reporter.alerts == {}

    take_over_former_names(*configure("cage-08"), reporter)
    assert events_of(reporter) == {}


def test_poses_of_version_1_in_memory_go_out_as_replay_of_ours(configure: Configure) -> None:
    take_over_former_names(*configure(DEVICE), Reporter())
    memory = SpoolMemory(spool_memory_folder(SpoolConfig(), DEVICE), Reporter())
    memory.add(1, "pose", (VERSION_1 / "pose.json").read_bytes())
    memory.add(2, "event", (VERSION_1 / "event.json").read_bytes())
    memory.close()
    take_over_former_names(*configure("cage-08"), Reporter())
    disk = open_disk("cage-08")
    batches = [batch for row in disk.rows(0) if (batch := disk.read(row))]
    disk.close()
    found = {batch.leaf: json.loads(batch.payload) for batch in batches}
    assert {leaf: (one["v"], one["replay"]) for leaf, one in found.items()} == {"poses": (2, True), "event": (2, True)}
    assert found["poses"]["poses"][0]["replay"] is True


def test_the_poses_of_both_names_are_kept_and_nothing_is_replaced(configure: Configure) -> None:
    note_name(configure(DEVICE)[1], DEVICE)
    leave(DEVICE, range(5))
    leave("cage-08", range(5, 8))
    write_settings(settings_of(DEVICE), SET)
    write_settings(settings_of("cage-08"), Settings(rate_hz=7.0))
    take_over_former_names(*configure("cage-08"), Reporter())
    assert seqs_on_disk("cage-08") == [5, 6, 7, 0, 1, 2, 3, 4]
    assert read_settings(settings_of("cage-08")).rate_hz == 7.0
    assert read_settings(settings_of(DEVICE)) == SET


def test_a_device_that_gets_its_first_name_back_has_everything_again(configure: Configure) -> None:
    note_name(configure("cage-01")[1], "cage-01")
    write_settings(settings_of("cage-01"), SET)
    leave("cage-01", range(5))
    for name in ("cage-02", "cage-03", "cage-01"):
        take_over_former_names(*configure(name), Reporter())
    assert read_settings(settings_of("cage-01")) == SET
    assert seqs_on_disk("cage-01") == list(range(5))


def test_what_another_config_names_is_not_taken(configure: Configure) -> None:
    """Somebody copies the configuration of one camera, and gives the copy the first name."""
    note_name(configure(DEVICE)[1], DEVICE)
    note_name(configure(DEVICE, "second.yaml")[1], DEVICE)
    leave(DEVICE, range(5))
    reporter = Reporter()
    take_over_former_names(*configure("cage-08"), reporter)
    assert events_of(reporter) == {}
    assert seqs_on_disk(DEVICE) == list(range(5))


def test_the_other_camera_of_a_computer_is_left_alone(configure: Configure) -> None:
    note_name(configure(DEVICE)[1], DEVICE)
    leave(DEVICE, range(5))
    reporter = Reporter()
    take_over_former_names(*configure("cage-08", "second.yaml"), reporter)
    assert (events_of(reporter), reporter.alerts) == ({}, {})
    assert seqs_on_disk(DEVICE) == list(range(5))


def test_the_name_of_a_running_daemon_is_not_taken_before_it_ends(configure: Configure) -> None:
    note_name(configure(DEVICE)[1], DEVICE)
    leave(DEVICE, range(5))
    running = SpoolLock(SpoolConfig(), DEVICE, wait=False, reporter=Reporter())
    reporter = Reporter()
    take_over_former_names(*configure("cage-08"), reporter)
    assert "another edgepose already runs as device cage-07" in reporter.alerts["renamed"]
    running.close()
    assert seqs_on_disk(DEVICE) == list(range(5))
    take_over_former_names(*configure("cage-08"), Reporter())
    assert seqs_on_disk("cage-08") == list(range(5))


def test_a_daemon_with_another_folder_in_memory_is_recognised_by_its_spool(configure: Configure) -> None:
    """Each unit of systemd has a runtime folder of its own."""
    note_name(configure(DEVICE)[1], DEVICE)
    leave(DEVICE, range(5))
    running = open_disk(DEVICE)
    running.open()
    reporter = Reporter()
    take_over_former_names(*configure("cage-08"), reporter)
    assert "locked" in reporter.alerts["renamed"]
    running.close()
    assert seqs_on_disk(DEVICE) == list(range(5))


def test_poses_of_an_unknown_device_are_reported_and_stay(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier version did not write down which device a configuration described."""
    leave("raspberrypi", range(5))
    config, path = configure("cage-08")
    reporter = Reporter()
    take_over_former_names(config, path, reporter)
    assert "5 messages of device raspberrypi wait in" in events_of(reporter)["left_behind"]
    assert left_behind(config) == {"raspberrypi": 5}
    main(["check", "-c", str(path)])
    state = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("state"))
    assert "5 messages of device raspberrypi wait here; start it once as `device: raspberrypi`" in state

    take_over_former_names(*configure("raspberrypi"), reporter)
    main(["check", "-c", str(configure("cage-08")[1])])
    assert "this device was raspberrypi before, and `run` takes over" in capsys.readouterr().out
    take_over_former_names(*configure("cage-08"), reporter)
    assert seqs_on_disk("cage-08") == list(range(5))


def test_a_list_of_names_that_cannot_be_written_is_an_alert(configure: Configure) -> None:
    state_dir().parent.mkdir(parents=True)
    state_dir().write_text("a file where the folder should be")
    reporter = Reporter()
    take_over_former_names(*configure(DEVICE), reporter)
    assert "is not taken over: " in reporter.alerts["renamed"]


def test_the_list_of_names_is_bounded(configure: Configure, tmp_path: Path) -> None:
    for number in range(120):
        note_name(tmp_path / f"{number}.yaml", f"cage-{number}")
        note_name(tmp_path / "mine.yaml", f"mine-{number}")
    names = read_names()
    assert len(names.configs) == 100
    mine = names.configs[str(tmp_path / "mine.yaml")]
    assert (mine.device, mine.former) == ("mine-119", tuple(f"mine-{n}" for n in (118, 117, 116, 115, 114)))


@pytest.mark.slow
def test_a_renamed_daemon_sends_what_is_left_under_the_former_name(
    mosquitto: Mosquitto,
    subscribe: Callable[[int], Subscriber],
    run: Callable[..., Daemon],
    configure: Configure,
    tmp_path: Path,
    demo_model: Path,
) -> None:
    activate(variant(demo_model, tmp_path / "new", "second"), "cage-01")
    write_settings(settings_of("cage-01"), SET)
    before = run(configure("cage-01", port=mosquitto.port)[1])
    before.wait_for("keeping poses")
    wait_until(lambda: list((tmp_path / "rec" / "cage-01").glob("*.mp4.part")), "a recording")
    wait_until(lambda: settings_of("cage-01").with_name("spool.db").exists(), "poses on the disk")
    last = before.stop()
    poses = int(last.split(" INFO ")[1].split()[0])
    assert "not delivered yet" in last

    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    after = run(configure("cage-02", port=mosquitto.port)[1])
    wait_until(lambda: len({one["seq"] for one in subscriber.poses() if one["device"] == "cage-01"}) == poses, "all")
    wait_until(lambda: any(one["device"] == "cage-02" for one in subscriber.poses()), "new poses")
    after.stop()
    assert all(f"/{payload['device']}/" in topic for topic, payload, _ in subscriber.messages)
    assert all(one["device"] == batch["device"] for batch in subscriber.of("poses") for one in batch["poses"])
    assert {one["model"].split("@")[0] for one in subscriber.poses()} == {"second"}
    info = [payload for topic, payload, _ in subscriber.messages if topic == "edgepose/cage-02/info"]
    assert info[-1]["settings"]["rate_hz"] == SET.rate_hz
    kinds = [event["kind"] for event in subscriber.of("event") if event["device"] == "cage-02"]
    assert "renamed" in kinds
    assert list((tmp_path / "rec" / "cage-02").glob("cage-01_*.mp4"))
