"""`edgepose demo`: the whole device side on a synthetic mouse, measured against the truth.

The daemon is the real one, in its own process; this one is only its broker and a subscriber.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

import edgepose
from edgepose.errors import EdgeposeError, ModelError, UsageError

if TYPE_CHECKING:
    from edgepose.cli.terminal_view import TerminalView
    from edgepose.collect.device_state import DeviceState
    from edgepose.mqtt.demo_broker import DemoBroker

MODEL = Path(edgepose.__file__).parent / "demo" / "demo.tflite"
DEVICE = "demo"
SEED, SIZE_WH, RATE_HZ = 1, (640, 480), 30.0
DEFAULT_S = 20.0
FIRST_POSE_S = 30.0
_LAST_WORDS_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs camera, model, daemon and broker on this machine; the mouse is rendered, so the error is known.\n"
        "On a terminal until Ctrl-C, otherwise 20 seconds."
    )
    parser.epilog = "example:\n  edgepose demo --seconds 10"
    parser.add_argument("--seconds", type=float, metavar="N", help="end N seconds after the first keypoints")
    parser.add_argument("--port", type=int, metavar="P", help="of the broker; default: a free one")


def run(args: argparse.Namespace) -> int:
    seconds = args.seconds
    if seconds is not None and not (0 < seconds < math.inf):
        raise UsageError(f"--seconds {seconds}: must be more than 0")
    if args.port is not None and not 0 < args.port < 65536:
        raise UsageError(f"--port {args.port}: must be 1 to 65535")
    if seconds is None and not sys.stdout.isatty():
        seconds = DEFAULT_S
    print(run_demo(MODEL, seconds, args.port))
    return 0


def run_demo(model: Path, seconds: float | None, port: int | None) -> str:
    """The summary line. seconds: None runs until a signal. Raises EdgeposeError when no keypoints come."""
    from edgepose.camera.synthetic.mouse import SKELETON, Mouse
    from edgepose.cli.terminal_view import TerminalView, follow
    from edgepose.mqtt.demo_broker import HOST, demo_broker
    from edgepose.mqtt.subscriber import Subscriber
    from edgepose.system.signals import stop_on_signals

    if not model.is_file():
        raise ModelError(f"{model}: the demo's model is not there; `make demo-model` trains it")
    stop = stop_on_signals(once=False)
    with demo_broker(port) as broker, contextlib.closing(Subscriber(f"mqtt://{HOST}:{broker.port}")) as subscriber:
        ending = "Ctrl-C ends" if seconds is None else f"ends after {seconds:g} s"
        notes = (
            f"broker: {broker.name}; {ending}; look at the messages from another terminal:",
            f"  mosquitto_sub -h {HOST} -p {broker.port} -v -t 'edgepose/#'",
        )
        mouse = Mouse(SEED, SIZE_WH)
        board = TerminalView(subscriber, notes, lambda i: dict(zip(SKELETON.keypoints, mouse.truth(i), strict=True)))
        if not sys.stdout.isatty():
            print("\n".join(notes), flush=True)
        # The first pose counts as well, so nobody publishes before we listen.
        _listen(board)
        with _daemon(model, broker) as daemon:
            follow(board, lambda: not stop.is_set() and not _over(board, daemon, seconds))
            daemon.process.terminate()
            _hear_last_words(board, daemon)
    state = board.devices.get(DEVICE)
    if state is None or not state.poses:
        raise EdgeposeError("the demo was stopped before the first keypoints came")
    return summary(state)


def summary(state: DeviceState) -> str:
    p50, p95 = state.latency()
    error = state.mean_error_px()
    return (
        f"demo: {state.poses} poses delivered of {state.frames} frames ({state.skipped()} skipped, {state.lost} lost), "
        f"{state.mean_fps():.1f} fps, latency {p50:.1f} ms (p95 {p95:.1f}), "
        f"mean error {'unknown' if error is None else f'{error:.2f} px'}"
    )


@dataclass(frozen=True, slots=True)
class _Daemon:
    """log: the file its messages go to. started_s: monotonic clock."""

    process: subprocess.Popen[bytes]
    log: Path
    started_s: float

    def last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("edgepose: ") if lines else "it says nothing"


@contextlib.contextmanager
def _daemon(model: Path, broker: DemoBroker) -> Iterator[_Daemon]:
    """`edgepose run` as systemd would start it."""
    from edgepose.mqtt.demo_broker import HOST, end

    config: dict[str, object] = {
        "device": DEVICE,
        "model": str(model.resolve()),
        "camera": {"source": "synthetic", "size_wh": list(SIZE_WH), "rate_hz": RATE_HZ, "seed": SEED},
        "mqtt": {"host": HOST, "port": broker.port, "protocol": broker.protocol},
    }
    with tempfile.TemporaryDirectory(prefix="edgepose-demo-") as folder:
        path, log = Path(folder) / "edgepose.yaml", Path(folder) / "edgepose.log"
        config["spool"] = {"folder": folder, "ram_folder": f"{folder}/ram"}
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "edgepose", "run", "-c", str(path)]
        with log.open("wb") as output:
            # Its own session: Ctrl-C reaches only us, and we stop the daemon before its broker.
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            yield _Daemon(process, log, time.monotonic())
        finally:
            end(process)


def _listen(board: TerminalView) -> None:
    deadline_s = time.monotonic() + _LAST_WORDS_S
    while not board.subscriber.connected:
        if time.monotonic() > deadline_s:
            raise EdgeposeError(f"the demo's broker does not answer: {board.subscriber.trouble or 'no reason given'}")
        board.receive(0.05)


def _over(board: TerminalView, daemon: _Daemon, seconds: float | None) -> bool:
    """Whether the time is up. Raises EdgeposeError when the daemon has ended or sends nothing."""
    if (status := daemon.process.poll()) is not None:
        raise EdgeposeError(f"the daemon has ended with status {status}; its last words: {daemon.last_line()}")
    now_s = time.monotonic()
    state = board.devices.get(DEVICE)
    if state is None or not state.poses:
        if now_s - daemon.started_s > FIRST_POSE_S:
            raise EdgeposeError(f"no keypoints came within {FIRST_POSE_S:.0f} s; the daemon: {daemon.last_line()}")
        return False
    return seconds is not None and now_s - state.first_s >= seconds


def _hear_last_words(board: TerminalView, daemon: _Daemon) -> None:
    """Poses under way and the clean stop, until the daemon has ended."""
    deadline_s = time.monotonic() + _LAST_WORDS_S
    while daemon.process.poll() is None and time.monotonic() < deadline_s:
        board.receive(0.1)
    board.receive(0.2)
