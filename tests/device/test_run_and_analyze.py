"""Live and offline give the same poses: a video through the daemon and a real broker, and through `analyze`."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd  # noqa: TID251  as DeepLabCut reads the files
import pytest
from brokers import wait_until
from clips import write_clip

COUNT = 150  # more than the pipeline's queues and the window of unacknowledged messages hold


def edgepose(*words) -> str:
    command = [sys.executable, "-m", "edgepose", *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_broker_gets_every_pose_once_and_as_analyze_writes_it(demo_model, mosquitto, subscribe, tmp_path):
    video = write_clip(tmp_path / "mouse.avi", COUNT, (160, 120))
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {demo_model}\ncamera: {{source: video, path: mouse.avi, realtime: false}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n",
        encoding="utf-8",
    )
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    assert f"{COUNT} poses, all delivered, 0 frames skipped" in edgepose("run", "-c", config)
    wait_until(lambda: len(subscriber.seqs()) >= COUNT, "all poses")
    assert subscriber.seqs() == list(range(subscriber.seqs()[0], subscriber.seqs()[0] + COUNT))

    edgepose("analyze", demo_model, video, "-o", tmp_path / "poses.csv")
    table = pd.read_csv(tmp_path / "poses.csv", header=[1, 2], index_col=0)
    assert table.index.tolist() == [message["frame"] for message in subscriber.of("pose")]
    for name in subscriber.of("info")[0]["skeleton"]["keypoints"]:
        for coord in ("x", "y"):
            sent = [message["keypoints"][name][coord] for message in subscriber.of("pose")]
            assert table[name][coord].tolist() == pytest.approx(sent, rel=0, abs=0.01)
