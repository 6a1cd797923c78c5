"""`edgepose demo`: the whole device side on this computer, on a synthetic mouse or a video.

The daemon is the real one in its own process; this process is only its broker and a subscriber.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepose.errors import CameraError, EdgeposeError, ModelError, UsageError
from edgepose.system.arguments import above_zero, model_path
from edgepose.system.shipped_files import DEMO_MODEL
from edgepose.system.wording import count

if TYPE_CHECKING:
    from edgepose.cli.terminal_view import TerminalView
    from edgepose.collect.device_state import DeviceState, Truth
    from edgepose.daemon.child import ChildDaemon

DEVICE = "demo"
SEED, SIZE_WH, RATE_HZ = 1, (640, 480), 30.0
DEFAULT_S = 20.0
FIRST_POSE_S = 30.0
_ENDING_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs camera, model, daemon and broker on this computer. Without a video, the camera shows a rendered mouse, "
        "so the error of the keypoints is known. It ends at Ctrl-C; outside a terminal it ends after 20 seconds."
    )
    parser.epilog = (
        "examples:\n  edgepose demo\n  edgepose demo --seconds 10\n  edgepose demo --video mouse.mp4 --model RUN"
    )
    parser.add_argument("--video", type=Path, metavar="FILE", help="a video in place of the rendered mouse")
    parser.add_argument(
        "--model", type=model_path, metavar="MODEL", help="a .tflite file or the folder of a fit (default: the demo's)"
    )
    parser.add_argument("--seconds", type=above_zero, metavar="N", help="end N seconds after the first keypoints")
    parser.add_argument("--port", type=int, metavar="P", help="the broker's port (default: a free one)")


def run(args: argparse.Namespace) -> int:
    seconds = args.seconds
    if args.port is not None and not 0 < args.port < 65536:
        raise UsageError(f"--port {args.port}: must be 1 to 65535")
    if args.video is not None and not args.video.is_file():
        raise CameraError(f"--video {args.video}: no such video file; check the path")
    if seconds is None and not sys.stdout.isatty():
        seconds = DEFAULT_S
    print(run_demo(args.model or DEMO_MODEL, seconds, args.port, args.video))
    return 0


def run_demo(model: Path, seconds: float | None, port: int | None, video: Path | None = None) -> str:
    """Runs the demo until the time is up or a signal comes.

    Args:
        model: the .tflite file.
        seconds: how long after the first keypoints; None runs until a signal.
        port: the broker's; None takes a free one.
        video: the file to show in place of the synthetic mouse, again and again.

    Returns:
        The summary for the terminal.

    Raises:
        EdgeposeError: no keypoints come.
    """
    from edgepose.cli.terminal_view import TerminalView, follow
    from edgepose.daemon.child import child_daemon
    from edgepose.mqtt.demo_broker import HOST, demo_broker
    from edgepose.mqtt.subscriber import Subscriber
    from edgepose.system.signals import stop_on_signals

    if not model.is_file():
        advice = (
            "`make demo-model` trains it" if model == DEMO_MODEL else "give the .tflite that `edgepose-train fit` wrote"
        )
        raise ModelError(f"{model}: no such model file; {advice}")
    stop = stop_on_signals(once=False)
    with demo_broker(port) as broker, contextlib.closing(Subscriber(f"mqtt://{HOST}:{broker.port}")) as subscriber:
        ending = "Ctrl-C ends" if seconds is None else f"ends after {seconds:g} s"
        notes = (
            f"broker: {broker.name}; {ending}; to see the messages in another terminal:",
            f"  mosquitto_sub -h {HOST} -p {broker.port} -v -t 'edgepose/#'",
        )
        view = TerminalView(subscriber, notes, demo_truth() if video is None and model == DEMO_MODEL else None)
        if not sys.stdout.isatty():
            print("\n".join(notes), flush=True)
        # The first pose counts as well, so nobody publishes before we listen.
        _wait_for_broker(view)
        config = {
            "device": DEVICE,
            "model": str(model.resolve()),
            "camera": _camera(video),
            "mqtt": {"host": HOST, "port": broker.port, "protocol": broker.protocol},
        }
        with child_daemon(config) as daemon:
            follow(view, lambda: not stop.is_set() and not _is_over(view, daemon, seconds))
            daemon.process.terminate()
            _receive_the_rest(view, daemon)
    state = view.devices.get(DEVICE)
    if state is None or not state.poses:
        raise EdgeposeError("the demo was stopped before the first keypoints came")
    return summary(state)


def summary(state: DeviceState) -> str:
    p50, p95 = state.latency()
    error = state.mean_error_px()
    return (
        f"demo: {count(state.poses, 'pose')} delivered of {count(state.frames, 'frame')} ({state.skipped()} skipped, "
        f"{state.lost} lost), {state.mean_fps():.1f} fps, latency {p50:.1f} ms (p95 {p95:.1f})"
        + ("" if error is None else f", mean error {error:.2f} px")
    )


def _camera(video: Path | None) -> dict[str, Any]:
    if video is not None:
        return {"source": "video", "path": str(video.resolve()), "loop": True}
    return {"source": "synthetic", "size_wh": list(SIZE_WH), "rate_hz": RATE_HZ, "seed": SEED}


def demo_truth() -> Truth:
    """Returns the function that gives the true keypoints of the synthetic mouse for a frame."""
    from edgepose.camera.synthetic.mouse import SKELETON, Mouse

    mouse = Mouse(SEED, SIZE_WH)
    return lambda index: dict(zip(SKELETON.keypoints, mouse.truth(index), strict=True))


def _wait_for_broker(view: TerminalView) -> None:
    deadline_s = time.monotonic() + _ENDING_S
    while not view.subscriber.connected:
        if time.monotonic() > deadline_s:
            raise EdgeposeError(f"the demo's broker does not answer: {view.subscriber.trouble or 'no reason given'}")
        view.receive(0.05)


def _is_over(view: TerminalView, daemon: ChildDaemon, seconds: float | None) -> bool:
    """Returns True when the time is up. Raises EdgeposeError when the daemon has ended or sends nothing."""
    if (status := daemon.process.poll()) is not None:
        raise EdgeposeError(f"the daemon has ended with status {status}: {daemon.last_line()}")
    now_s = time.monotonic()
    state = view.devices.get(DEVICE)
    if state is None or not state.poses:
        if now_s - daemon.started_s > FIRST_POSE_S:
            raise EdgeposeError(f"no keypoints came within {FIRST_POSE_S:.0f} s; the daemon: {daemon.last_line()}")
        return False
    return seconds is not None and now_s - state.first_s >= seconds


def _receive_the_rest(view: TerminalView, daemon: ChildDaemon) -> None:
    """Receives poses under way and the message that the device has stopped."""
    deadline_s = time.monotonic() + _ENDING_S
    while daemon.process.poll() is None and time.monotonic() < deadline_s:
        view.receive(0.1)
    view.receive(0.2)
