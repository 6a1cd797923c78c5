"""The state that commit 38e3777 has left on a device: this version forgets no pose, no setting and no model.

See `version_1/README.md` for how it was made.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon

STATE = Path(__file__).parents[1] / "version_1" / "state.tar.xz"
SEQS = {"json": range(11923250308, 11923250495), "msgpack": range(11953802435, 11953802639)}
SETTINGS = {"rate_hz": 5.0, "min_score": 0.2, "region": [0, 0, 320, 200]}


def unpack(tmp_path: Path, kind: str) -> Path:
    """Puts the state into the folders of this test. Returns a file for the config's model of that time."""
    with tarfile.open(STATE) as tar:
        tar.extractall(tmp_path / "tar", filter="data")
    for name, variable in (("state", "XDG_STATE_HOME"), ("run", "XDG_RUNTIME_DIR")):
        shutil.copytree(tmp_path / "tar" / kind / name, os.environ[variable])
    models = tmp_path / "tar" / "json" / "state" / "edgepose" / "models"
    for suffix in (".tflite", ".json"):
        shutil.copy(models / "beeb8cdf9e31" / f"model{suffix}", tmp_path / f"first{suffix}")
    return tmp_path / "first.tflite"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["json", "msgpack"])
def test_nothing_is_forgotten(
    kind: str,
    tmp_path: Path,
    mosquitto: Mosquitto,
    subscribe: Callable[[int], Subscriber],
    run: Callable[..., Daemon],
) -> None:
    model = unpack(tmp_path, kind)
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {model}\ninference: {{threads: 1}}\nspool: {{max_age_h: 100000}}\n"
        "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 10}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n",
        encoding="utf-8",
    )
    daemon = run(config)
    old = set(SEQS[kind])
    wait_until(lambda: old <= set(subscriber.seqs()), "the poses of the old version", 30)
    wait_until(lambda: any(pose["seq"] not in old for pose in subscriber.poses()), "new poses")
    daemon.stop()
    assert daemon.warnings() == []
    events = {event["kind"] for event in subscriber.of("event") if event["seq"] in range(min(old), max(old) + 2)}
    assert events == {"started", "model_activated", "settings", "alert"}
    assert subscriber.of("info")[-1]["settings"] == SETTINGS
    assert not any(subscriber.of("health")[-1]["dropped"].values())
    if kind == "json":
        new = [pose["model"] for pose in subscriber.poses() if pose["seq"] not in old]
        assert set(new) == {"second@2f60c0"}
