"""`edgepose config`: a commented starter file, the schema for editors, the effective config."""

from __future__ import annotations

import argparse
import difflib
import json
from pathlib import Path

import msgspec
import yaml

from edgepose import __version__
from edgepose.config.loading import read_config
from edgepose.config.migrations import migrate
from edgepose.config.schema import Config, config_schema
from edgepose.errors import EdgeposeError, UsageError
from edgepose.system.atomic_files import write_durably

STARTER = """\
# edgepose configuration. Paths are relative to this file's folder. Keys with a # in front show their default.
# Check it:  edgepose check -c edgepose.yaml      Run it:  edgepose run -c edgepose.yaml

# device: cage-07          # name in the MQTT topics edgepose/<device>/...; default: the host name

model: model.tflite        # from `edgepose-train fit`; its card model.json must lie beside it

camera:
  source: synthetic        # a rendered mouse, to try the rest without a camera
  # size_wh: [640, 480]    # pixels, width and height
  # rate_hz: 30.0
  # seed: 0                # another seed, another mouse
# camera:
#   source: usb
#   device: /dev/video0    # better its name in /dev/v4l/by-id, which stays when it is plugged in again
#   size_wh: [640, 480]    # what the camera makes of size and rate, `edgepose check` tells
#   rate_hz: 30.0
#   format: mjpg           # or yuyv: not compressed, for small and slow frames
#   exposure_us: null      # null: automatic, as the next three
#   gain: null
#   focus: null
#   white_balance_k: null
# camera:
#   source: rtsp           # a network camera: rtsp://, rtsps://, or http:// and https:// for MJPEG
#   url: rtsp://192.168.1.20/stream1
#   username: null
#   password_file: null    # a file whose first line is the password; it never stands in this one
#   rate_hz: null          # of streams slower than one frame a second
# camera:
#   source: picamera2      # a Camera Module on the ribbon cable; needs apt's python3-picamera2
#   which: 0               # or a part of its name or Id: rpicam-hello --list-cameras
#   size_wh: [640, 480]    # the frame; the model gets its own, smaller picture of it
#   rate_hz: 30.0          # of the sensor: 60 or more for less delay
#   hflip: false
#   vflip: false
#   sensor_wh: null        # the sensor's mode, such as [1640, 1232]; null: nearest to size_wh, maybe not the whole view
#   sensor_bits: null
#   controls: {}           # by libcamera's names, such as {ExposureTime: 5000, AnalogueGain: 4.0, LensPosition: 5.0}
# camera:
#   source: video          # any file OpenCV reads
#   path: recording.mp4
#   realtime: true         # false: every frame, as fast as possible
#   loop: false            # true: start again at the end
# camera:
#   source: images         # a folder of them, img2 before img10
#   path: frames
#   rate_hz: null          # null: every one, as fast as possible; a number: so many a second, as a camera
#   loop: false

# masks: {}                # privacy: parts that are black everywhere, such as {door: [[0, 0], [90, 0], [90, 480]]}

# inference:
#   threads: 0             # 0 measures at start and takes what is fastest
#   delegate: auto         # a Coral Edge TPU where there is one and the model was compiled for it; or cpu, edgetpu
#   library: null          # the Edge TPU's, where it is not the system's libedgetpu.so.1
#   device: ""             # which Edge TPU, where there are two: usb:0, usb:1
#   soft_limit_c: 75.0     # a hotter board makes fewer poses, before its firmware slows everything down; null: never

# view:
#   region: null           # part of the frame to look at: [x, y, w, h] in pixels; null: all of it
#   follow: false          # true: through a window that follows the animal, for models trained with `fit --follow`
#   zoom: null             # how much smaller than the frame the window is; null: as the model was trained for

# geometry: null           # keypoints in mm: {calibration: camera.yaml, length: {between: [[9, 8], [9, 560]], mm: 400}}
#                          # or, where the camera does not look straight down, four or more points:
#                          # {calibration: camera.yaml, points: [{px: [102, 60], mm: [0, 0]}, ...]}

# mqtt:
#   host: localhost
#   port: 1883
#   protocol: "5"          # or "3.1.1", which cannot tell when the broker refuses a message
#   username: null
#   password_file: null    # a file whose first line is the password; it never stands in this one
#   keepalive_s: 30
#   tls: null              # {ca: ca.pem} encrypts and verifies; cert, key, server_name where the broker wants them
#   frames_per_message: 1  # more: bulk logging, so many poses in a message on .../poses
#   home_assistant: false  # true: Home Assistant shows the device; `edgepose purge` makes it forget it

# spool:                   # where poses wait for the broker
#   folder: null           # on the disk, for long; null: systemd's StateDirectory, or ~/.local/state/edgepose
#   ram_folder: null       # in memory, for short; null: systemd's RuntimeDirectory, or the user's
#   max_mb: 1000.0         # a day of four keypoints at 30 a second takes about 300
#   max_age_h: 720.0
#   when_full: drop_oldest # or drop_newest; either is counted and told

# record: null             # video kept on this device, with times and poses: {folder: recordings}, and where wanted
#                          # segment_s: 600, max_gb: 16, max_age_h: 720,
#                          # when: always (or marked, or {between: ["20:00", "08:00"]})
# hard_frames: null        # frames worth labelling, kept on this device: {folder: hard_frames}, and where wanted
#                          # below: 0.5, per_hour: 20, max_mb: 500

# rules: {}                # {reward: {when: {in_zone: {keypoint: snout, zone: [[9, 9], [90, 9], [90, 90]]}}, pin: 17,
#                          # pulse_ms: 50}}: closed loop; when: also distance, speed, score; see firmware_configs/uses
# gpio: {}                 # {inputs: {ttl: 23}, sync: {pin: 24, every_s: 1.0}}: edges in and out, with their times
# processor: null          # {load: "feeder:Feeder"}: your own Python at each pose, as a DeepLabCut-Live Processor

# prometheus: null         # {port: 9464}: /health as numbers on http://127.0.0.1:9464/metrics; host: others may read it

# tags: {}                 # what is recorded, such as {subject: m3, cage: "7"}; on /info and in the files
# commands: [ping]         # what may be asked over MQTT: also health, snapshot, set, mark, restart, model
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "init    a commented starter file\n"
        "show    the effective config, defaults filled in; passwords stay in their own file\n"
        "schema  its JSON Schema, for editors that complete and check YAML\n"
        "migrate rewrites a file of an earlier version, keeps the old one beside it, and shows what has changed"
    )
    parser.epilog = "example:\n  edgepose config init > edgepose.yaml\n  edgepose config show -c edgepose.yaml"
    parser.add_argument("what", choices=("init", "show", "schema", "migrate"))
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="the file to show or migrate")
    parser.add_argument("--dry-run", action="store_true", help="migrate: only show what would change")


def run(args: argparse.Namespace) -> int:
    if args.what == "init":
        print(STARTER, end="")
    elif args.what == "schema":
        print(json.dumps(config_schema(), indent=2))
    elif args.config is None:
        raise UsageError(f"config {args.what}: which file? Give it with -c FILE")
    elif args.what == "migrate":
        _migrate(args.config, dry=args.dry_run)
    else:
        print(show(read_config(args.config)), end="")
    return 0


def _migrate(path: Path, *, dry: bool) -> None:
    """The result must be a config of this version, before anything is written. Raises EdgeposeError."""
    read_config(path)
    old = path.read_text(encoding="utf-8")
    new, notes = migrate(old)
    if not notes:
        print(f"{path}: is of this version already")
        return
    names = str(path), f"{path} for edgepose {__version__}"
    print("".join(difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), *names)), end="")
    if not dry:
        backup = path.with_name(f"{path.name}.before-{__version__}")
        try:
            write_durably(backup, old.encode(), path.stat().st_mode & 0o777)
            write_durably(path, new.encode(), path.stat().st_mode & 0o777)
        except OSError as exc:
            raise EdgeposeError(f"{path}: cannot write ({exc.strerror}); use sudo") from None
        print(f"the file as it was: {backup}")


def show(config: Config) -> str:
    """YAML of everything in effect, the default device name included. Holds no secret: a password is never part of
    a Config, only the name of its file is."""
    named = msgspec.structs.replace(config, device=config.device_name())
    return yaml.safe_dump(msgspec.to_builtins(named), sort_keys=False)
