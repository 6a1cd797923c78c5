"""`edgepose run`: the daemon. Wires camera, estimator, pipeline and MQTT together; everything else is theirs."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import platform
import sys
import threading
import time
import uuid
from pathlib import Path

from edgepose import __version__
from edgepose.camera import open_camera
from edgepose.camera.masked import MaskedCamera
from edgepose.camera.watched import Watched
from edgepose.cli.signals import stop_on_signals
from edgepose.clock import boot_id, wall_us
from edgepose.control import Control
from edgepose.core.config import Config, read_config
from edgepose.core.errors import EdgeposeError
from edgepose.core.messages import HealthMessage, InfoMessage, Settings, StatusMessage
from edgepose.core.view import Viewer
from edgepose.delivery.mqtt import MqttDelivery
from edgepose.delivery.place import SpoolPlace, disk_folder
from edgepose.inference.estimator import Estimator
from edgepose.inference.runtime import Runtime
from edgepose.pipeline import Pipeline
from edgepose.recording.both import Recording
from edgepose.settings import read_settings

log = logging.getLogger("edgepose")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Reads frames, finds keypoints and publishes them until SIGTERM or Ctrl-C, or until a video ends.\n"
        "Without a broker it keeps the poses and keeps trying."
    )
    parser.epilog = "example:\n  edgepose run -c edgepose.yaml\n  mosquitto_sub -v -t 'edgepose/#'"
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Config and model are read before anything else is touched, so their errors are told alone."""
    log_to_stderr()
    run_daemon(read_config(args.config), stop_on_signals(once=True))
    return 0


def run_daemon(config: Config, stop: threading.Event) -> None:
    """Returns when the camera ends and all is delivered, or when `stop` is set. Raises EdgeposeError when a command
    asked for a restart: systemd starts again what has failed."""
    estimator = Estimator(Path(config.model), config.inference.threads)
    device, boot = config.device_name(), boot_id()
    status = StatusMessage(device=device, boot=boot, state="online", run=uuid.uuid4().hex)
    file = disk_folder(config.spool, device) / "settings.json"
    settings = read_settings(file)
    info = info_message(device, boot, estimator, config.tags, settings)
    watched = Watched(lambda: open_camera(config.camera, estimator.card.input, wants_full=config.wants_full()))
    place = SpoolPlace(config.spool, device, wait=not watched.live)
    delivery = MqttDelivery(config.mqtt, place, status, info, stop, commands=config.commands)
    watched.tell = delivery.tell
    recording = Recording(config, estimator.card.skeleton, estimator.card.model_id(), delivery.tell)
    masked = MaskedCamera(watched, config.masks.values())
    pipeline = Pipeline(masked, Viewer(estimator, config.view), delivery, device, recording.observers)
    pipeline.settings, pipeline.geometry = settings, config.geometry
    log.info("%s with %s on %s", device, estimator.card.model_id(), estimator.runtime.describe())
    warn_if_slow(estimator.runtime)
    started = time.monotonic()

    def health() -> HealthMessage:
        return health_message(status, started, watched, pipeline, delivery, estimator.runtime.describe(), recording)

    control = Control(pipeline, delivery, file, health, stop)
    control.on_mark = recording.mark
    delivery.start(health, control.handlers(), pipeline.first_seq)
    delivery.tell("started", f"edgepose {__version__}, model {info.model}")
    recording.start()
    try:
        with contextlib.closing(recording):
            pipeline.run(stop)
        seconds = time.monotonic() - started
        delivery.wait_delivered()
    finally:
        watched.close()  # also when it is being revived while everybody else has stopped
        delivery.close()
    log_summary(pipeline, delivery, watched.displaced, seconds)
    if control.restarting:
        raise EdgeposeError("stopped by the command `restart`, to be started again")


def log_summary(pipeline: Pipeline, delivery: MqttDelivery, displaced: int, seconds: float) -> None:
    """displaced: frames that nobody took from the camera."""
    skipped, fps = displaced + sum(pipeline.skipped.values()), pipeline.poses / seconds
    left = delivery.waiting + delivery.spooled
    fate = f"{left} not delivered yet" if left else "all delivered"
    log.info("%d poses, %s, %d frames skipped, %.1f fps", pipeline.poses, fate, skipped, fps)


def warn_if_slow(runtime: Runtime) -> None:
    """Not an error: 32-bit runtimes have no XNNPACK, and still give poses."""
    if not runtime.xnnpack:
        log.warning("%s: XNNPACK did not take the model over, expect a fraction of the frames", runtime.name)


def info_message(device: str, boot: str, estimator: Estimator, tags: dict[str, str], settings: Settings) -> InfoMessage:
    versions = {"edgepose": __version__, "python": platform.python_version(), "runtime": estimator.runtime.name}
    card = estimator.card
    return InfoMessage(
        device=device,
        boot=boot,
        model=card.model_id(),
        skeleton=card.skeleton,
        size_wh=None,
        versions=versions,
        tags=tags,
        settings=settings,
    )


def health_message(  # noqa: PLR0913, PLR0917  everybody who has something to tell
    status: StatusMessage,
    started: float,
    camera: Watched,
    pipeline: Pipeline,
    delivery: MqttDelivery,
    runtime: str,
    recording: Recording,
) -> HealthMessage:
    """started: monotonic clock at start, seconds."""
    displaced, skipped = camera.displaced, pipeline.skipped
    return HealthMessage(
        device=status.device,
        boot=status.boot,
        t_us=wall_us(),
        uptime_s=round(time.monotonic() - started, 1),
        fps=pipeline.fps(),
        captured=pipeline.captured + displaced,
        poses=pipeline.poses,
        delivered=delivery.delivered,
        waiting=delivery.waiting,
        spooled=delivery.spooled,
        spool_mb=delivery.spool_mb,
        connects=delivery.connects,
        alerts={**pipeline.alerts, **delivery.alerts, **camera.alerts, **recording.alerts},
        skipped={**skipped, "newer_frame": skipped["newer_frame"] + displaced},
        dropped={**pipeline.dropped, **delivery.given_up},
        rejected=delivery.rejected,
        camera=dict(camera.counts),
        stage_ms={name: stage.percentiles() for name, stage in pipeline.stages.items()},
        rss_mb=rss_mb(),
        runtime=runtime,
        recorded=recording.recorded(),
    )


def rss_mb() -> float:
    """Memory of this process that is in RAM, MB; 0 where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def log_to_stderr() -> None:
    """One line an event. The journal stamps lines itself."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=f"{stamp}%(levelname)s %(message)s")
    log.setLevel(logging.INFO)
