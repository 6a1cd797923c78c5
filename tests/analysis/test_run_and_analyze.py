"""Live and offline give the same poses: a video through the daemon and a real broker, and through `analyze`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut reads the files
import pytest
from board_pictures import LENS
from brokers import wait_until
from clips import write_clip

from edgepose.camera.video_file import VideoFileSource
from edgepose.config.geometry_files import read_ground, write_lens
from edgepose.config.loading import read_config
from edgepose.inference.estimator import Estimator
from edgepose.pose.kinematics import centre

pytestmark = pytest.mark.slow

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
            sent = [message["animals"][0]["keypoints"][name][coord] for message in subscriber.of("pose")]
            assert table[name][coord].tolist() == pytest.approx(sent, rel=0, abs=0.01)


def test_a_followed_animal_has_the_same_poses_live_and_offline_and_millimetres_beside(
    demo_model, mosquitto, subscribe, tmp_path
):
    """The configuration's view and geometry apply to the daemon and to `analyze` alike."""
    video = write_clip(tmp_path / "mouse.avi", COUNT, (640, 480))
    write_lens(tmp_path / "camera.yaml", LENS, 0.1)
    view = "{region: [20, 10, 600, 460], follow: true, zoom: 1.3}"
    geometry = "{calibration: camera.yaml, length: {between: [[100, 240], [540, 240]], mm: 220}}"
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {demo_model}\ncamera: {{source: video, path: mouse.avi, realtime: false}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\nview: {view}\ngeometry: {geometry}\n",
        encoding="utf-8",
    )
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    edgepose("run", "-c", config)
    wait_until(lambda: len(subscriber.seqs()) >= COUNT, "all poses")

    edgepose("analyze", demo_model, video, "-o", tmp_path / "poses.csv", "-c", config, "--kinematics")
    table = pd.read_csv(tmp_path / "poses.csv", header=[1, 2], index_col=0)
    measured = pd.read_csv(tmp_path / "poses_kinematics.csv")
    ground = read_ground(read_config(config).geometry, (640, 480))
    whole = Estimator(demo_model)
    apart, names = [], subscriber.of("info")[0]["skeleton"]["keypoints"]
    for message, frame in zip(subscriber.of("pose"), VideoFileSource(video), strict=True):
        sent = [message["animals"][0]["keypoints"][name] for name in names]
        xy = np.array([[keypoint["x"], keypoint["y"]] for keypoint in sent])
        row = table.loc[message["frame"]]
        np.testing.assert_allclose(xy, [[row[name]["x"], row[name]["y"]] for name in names], atol=0.006)
        xy_mm = np.array([[keypoint["x_mm"], keypoint["y_mm"]] for keypoint in sent])
        np.testing.assert_allclose(xy_mm, ground.to_mm(xy), atol=0.02)
        seen = xy_mm[[keypoint["score"] >= 0.7 for keypoint in sent]]
        if len(seen) == len(names):
            centre_mm = measured.loc[message["frame"], ["centre_x_mm", "centre_y_mm"]]
            np.testing.assert_allclose(centre(seen[None])[0], centre_mm, atol=0.05)
        apart.append(np.linalg.norm(xy - whole.estimate(frame).xy_px, axis=1))
    assert 0.05 < np.median(apart) < 3  # not what the whole frame gives, but near it
