"""`make rig-camera`: the daemon on real picamera2 and libcamera, in a virtual machine; see README.md here.

    python tests/rig/camera.py [--poses N] [--reopenings N]

Known pictures are played through the camera. Each pose that a subscriber gets is compared with the pose that the same
estimator finds here, on the same JPEG file: what is left is what the way through the camera adds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np

from edgepose.camera.synthetic.mouse import LOOP_FRAMES
from edgepose.camera.synthetic.scene import Scene
from edgepose.inference.estimator import Estimator
from edgepose.protocol.schemas import schemas
from edgepose.protocol.topics import split_topic
from edgepose.types import Frame

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIG = ROOT / ".rig"
MODEL = ROOT / "edgepose" / "demo" / "demo.tflite"
SIZE_WH, PICTURES, FRAMES_A_PICTURE = (640, 480), 24, 4
SURE = 0.5  # keypoints that are compared
# What the way through NV12, another scaler and limited-range colours may add, in pixels of 640x480: median and 95th
# percentile of the difference from the files' poses, and to the mean error.
MEDIAN_PX, HIGH_PX, MORE_PX = 1.0, 2.5, 0.3
MOST_GREY_LEVELS = 3
TIMEOUT_S = 3600
TOLD = {
    "well": "all well",
    "plain": "an environment without the system's packages",
    "nobody": "a user not in the group video",
    "busy": "while the daemon has the camera",
}
REPORT, TITLE = ROOT / "benchmarks" / "README.md", "## Rig: camera"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=500)
    parser.add_argument("--reopenings", type=int, default=30)
    args = parser.parse_args()
    build_image()
    folder = RIG / "camera"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    fill(folder)
    command = f"./guest_camera {args.poses} {args.reopenings}"
    run_rig = [HERE / "run-rig", "--timeout", str(TIMEOUT_S), RIG / "rig.img", folder, command]
    done = subprocess.run(run_rig, check=False)
    if done.returncode:
        print(f"the guest failed ({done.returncode}); what it left is in {folder}", file=sys.stderr)
        return 1
    rows, problems = judge(folder, args.poses)
    print("\n".join(f"{what:<62} {result}" for what, result in rows))
    if problems:
        print("\n".join(f"NOT MET: {problem}" for problem in problems), file=sys.stderr)
        return 1
    write_report(rows)
    return 0


def build_image() -> None:
    """Everything edgepose needs is in the image; edgepose itself comes with each run."""
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    extra = " ".join(need.split(";")[0].replace(" ", "") for need in needs if "platform_machine in" not in need)
    made_of = hashlib.sha256(extra.encode())
    for name in ("build-rig", "picamera2_virtual.py", "picamera2_virtual_patch.py", "rig-camera", "virtual.yaml"):
        made_of.update((HERE / name).read_bytes())
    stamp = RIG / "made-of"
    if not (RIG / "rig.img").exists() or not stamp.exists() or stamp.read_text() != made_of.hexdigest():
        subprocess.run([HERE / "build-rig", RIG], env={**os.environ, "EXTRA_PIP": extra}, check=True)
        stamp.write_text(made_of.hexdigest())


def fill(folder: Path) -> None:
    """What the guest finds in /host."""
    copy = RIG / "sources"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("edgepose", "train", "systemd", "firmware_configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    for name in ("guest_camera", "guest_source.py"):
        shutil.copy(HERE / name, folder)
    shutil.copy(MODEL, folder)
    (folder / "daemon.yaml").write_text(
        "device: rig\nmodel: demo.tflite\ncamera: {source: picamera2, rate_hz: 4.0}\ninference: {threads: 1}\n",
        encoding="utf-8",
    )
    pictures, scene = folder / "pictures", Scene(1, SIZE_WH)
    pictures.mkdir()
    for number in range(PICTURES):
        image = scene.render(_index(number))
        cv2.imwrite(str(pictures / f"{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    # The daemon there is not root, and its spool is elsewhere.
    folder.chmod(0o777)


def judge(folder: Path, wanted: int) -> tuple[list[tuple[str, str]], list[str]]:
    """The table, and what in it is not as it should be."""
    messages, broken = read_messages(folder / "messages.txt")
    poses = [payload for leaf, payload in messages if leaf == "pose"]
    health = [payload for leaf, payload in messages if leaf == "health"]
    seqs, log = [pose["seq"] for pose in poses], (folder / "daemon.log").read_text(encoding="utf-8")
    rss = [payload["rss_mb"] for payload in health]
    sums = [_about_poses(folder, poses), _about_checks(folder), _about_the_source(folder)]
    rows = [
        ("poses of real libcamera frames at a subscriber", f"{len(poses)}, each once, in order"),
        *sums[0][0],
        ("frames the model was too slow for, skipped and counted", str(health[-1]["skipped"]["newer_frame"])),
        ("daemon's memory, second and last /health", f"{rss[1]:.0f} and {rss[-1]:.0f} MB"),
        *sums[1][0],
        *sums[2][0],
    ]
    met = {
        f"{wanted} poses": len(poses) >= wanted,
        "each once, in order": seqs == list(range(seqs[0], seqs[0] + len(seqs))),
        "messages as their schemas say": not broken,
        "a clean end": log.rstrip().endswith("exit 0") and "Traceback" not in log,
    }
    return rows, [name for part in (met, *(one[1] for one in sums)) for name, good in part.items() if not good]


Part = tuple[list[tuple[str, str]], dict[str, bool]]  # rows, and what was met


def _about_poses(folder: Path, poses: list[dict[str, Any]]) -> Part:
    scene = Scene(1, SIZE_WH)
    truth = np.array([scene.mouse.truth(_index(number)) for number in range(PICTURES)])
    known, xy, sure = _known_and_found(folder, poses)
    away_px = np.linalg.norm(xy[:, None] - known, axis=3)
    # Which picture a pose is of is told by the nearest pose: the mouse is elsewhere in each.
    shown = np.median(away_px, axis=2).argmin(axis=1)
    errors_px = away_px[np.arange(len(poses)), shown][sure]
    of_files = np.linalg.norm(known - truth, axis=2).mean()
    of_camera = np.linalg.norm(xy - truth[shown], axis=2)[sure].mean()
    spread_px = max(np.ptp(xy[shown == number], axis=0).max() for number in set(shown))
    late = _late(shown, np.array([pose["frame"] for pose in poses]))
    median, high = np.percentile(errors_px, [50, 95])
    spread = f"{median:.2f} px median, {high:.2f} px 95th percentile, {errors_px.max():.2f} px at most"
    rows = [
        ("pictures, and poses of an earlier one than is due", f"{PICTURES}, {late}"),
        ("keypoints against the estimator's on the same JPEG files", spread),
        ("mean error against the true keypoints, by camera and of the files", f"{of_camera:.2f} and {of_files:.2f} px"),
        ("how far poses of the same picture differ", f"{spread_px:.2f} px at most"),
    ]
    return rows, {
        "all pictures, none late": set(shown) == set(range(PICTURES)) and not late,
        "keypoints as on the files": bool(median <= MEDIAN_PX and high <= HIGH_PX),
        "no more error than on the files": bool(of_camera <= of_files + MORE_PX),
        "the same pose of the same picture": bool(spread_px <= 0.01),
    }


def _known_and_found(folder: Path, poses: list[dict[str, Any]]) -> tuple[Any, Any, Any]:
    """Keypoints of the estimator on the files (PICTURES, K, 2); those of the poses (N, K, 2), and which are sure."""
    estimator = Estimator(MODEL, 1)
    names = estimator.card.skeleton.keypoints
    images = [cv2.imread(str(folder / "pictures" / f"{number}.jpg")) for number in range(PICTURES)]
    known = [estimator.estimate(Frame(image, "bgr", 0, 0, 0)).xy_px for image in images]  # type: ignore[arg-type]
    points = [[pose["animals"][0]["keypoints"][name] for name in names] for pose in poses]
    xy = [[[point["x"], point["y"]] for point in row] for row in points]
    return np.array(known), np.array(xy), np.array([[point["score"] for point in row] for row in points]) >= SURE


def _late(shown: Any, frames: Any) -> int:
    """How many poses are of an earlier picture than they should be. A picture lasts for four frames. Those that nobody
    read in time are missing from the count, so the pictures may be further than it says, but never behind."""
    ahead = np.diff(shown) - np.diff(frames) / FRAMES_A_PICTURE
    return int(np.sum((ahead + PICTURES / 2) % PICTURES - PICTURES / 2 < -1))


def _about_checks(folder: Path) -> Part:
    texts = {name: (folder / f"check-{name}.txt").read_text("utf-8") for name in ("well", "plain", "nobody", "busy")}
    pid = (folder / "daemon.pid").read_text(encoding="ascii").strip()
    wanted = {
        "well": "camera +ok +virtual, 640x480, 320x240 for the model, first frame after",
        "plain": "camera +FAIL +this Python has no picamera2 with libcamera",
        "nobody": "camera +FAIL +no permission for /dev/",
        "busy": rf"camera +FAIL +virtual: in use by process {pid} \(\S*python -m edgepose run",
    }
    lines = {
        name: next(line for line in text.splitlines() if line.startswith("camera ")) for name, text in texts.items()
    }
    rows = [(f"`edgepose check`, {TOLD[name]}", " ".join(line.split()[1:])) for name, line in lines.items()]
    return rows, {f"check, {TOLD[name]}": re.match(wanted[name], line) is not None for name, line in lines.items()}


def _about_the_source(folder: Path) -> Part:
    found = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    reopen, timeouts, dead, close = (found[name] for name in ("reopen", "timeouts", "dead_loop", "close"))
    planes, luma, whole = found["pixels"].values()
    early, late = reopen["after_the_fifth"], reopen["after_the_last"]
    rows = [
        ("grey levels from the file: planes, luma, whole frame", f"{planes}, {luma}, {whole}, mean"),
        (
            f"opened, read and closed {reopen['cycles']} times",
            f"{late[0]} descriptors, {late[1]} thread; after five times {early[0]}, {early[1]}",
        ),
        (
            "waits for a frame that timed out; frames read after them",
            f"{timeouts['timeouts']}; {timeouts['frames_after']}",
        ),
        ("picamera2's thread died: `restart`, a reader waiting", f"frames again after {dead['restart_s']} s"),
        ("`close`, a reader waiting", f"{close['seconds']} s"),
    ]
    return rows, {
        "pictures as the files": max(planes, luma, whole) <= MOST_GREY_LEVELS,
        "reopening leaves nothing behind": early == late,
        "waiting in vain loses no buffer": timeouts["timeouts"] >= 50 and timeouts["frames_after"] == 10,
        "a dead event loop is revived": dead["died"] and dead["frames_after"] == 3,
    }


def read_messages(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """(leaf of the topic, payload) each, and what in them breaks their schemas."""
    validators = {leaf: jsonschema.Draft202012Validator(schema) for leaf, schema in schemas().items()}
    messages, broken = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        topic, payload = line.split(" ", 1)
        place = split_topic(topic)
        assert place is not None, topic
        messages.append((place[1], json.loads(payload)))
        broken += [error.message for error in validators[place[1]].iter_errors(messages[-1][1])]
    return messages, broken


def write_report(rows: list[tuple[str, str]]) -> None:
    """The last section of the report is this program's own."""
    text = REPORT.read_text(encoding="utf-8").split(f"\n{TITLE}\n")[0].rstrip("\n")
    table = "\n".join(f"| {what} | {result} |" for what, result in rows)
    intro = (
        "    make rig-camera\n\n"
        "Real picamera2 0.3.38 on real libcamera 0.4.0, whose virtual camera plays JPEG files of the synthetic mouse,\n"
        "640x480; Debian 13 in QEMU ([how](../tests/rig/README.md)); the demo's model."
    )
    REPORT.write_text(f"{text}\n\n{TITLE}\n\n{intro}\n\n| what | result |\n|---|---|\n{table}\n", encoding="utf-8")


def _index(number: int) -> int:
    """Of the scene's frame that a picture is."""
    return number * LOOP_FRAMES // PICTURES


if __name__ == "__main__":
    sys.exit(main())
