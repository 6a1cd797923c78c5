"""`edgepose init`: writes a configuration file, from a few questions or from a ready configuration."""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgepose.config import init_answers, ready
from edgepose.config.loading import config_at
from edgepose.config.schema import Config
from edgepose.config.starter import starter_file
from edgepose.errors import UsageError
from edgepose.system.arguments import LOCAL_CONFIG, STDOUT, add_output_argument, check_output, model_path
from edgepose.system.shipped_files import DEMO_MODEL

_BOARD_MODEL = Path("/proc/device-tree/model")

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes a configuration file in which every setting is explained. On a terminal it asks for what no option "
        "gives; elsewhere it takes the defaults. With --from it copies a ready configuration with its comments."
    )
    parser.epilog = (
        "examples:\n"
        "  edgepose init\n"
        "  edgepose init --board pi-4 --camera picamera2 --broker mqtt://192.168.1.10 --device cage-07\n"
        "  edgepose init --list\n"
        "  edgepose init --from home-cage --device cage-07 --model RUN"
    )
    parser.add_argument("--board", metavar="NAME", help="the board, such as pi-4; `other` for any other computer")
    parser.add_argument(
        "--camera",
        metavar="CAMERA",
        help="picamera2, usb, synthetic, a device such as /dev/video0, the URL of a network camera, a video file, or a "
        "folder of images",
    )
    parser.add_argument("--broker", metavar="URL", help="mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS")
    parser.add_argument("--device", metavar="NAME", help="the device's name in the topics (default: the host name)")
    parser.add_argument(
        "--model",
        type=model_path,
        metavar="MODEL",
        help="a .tflite file, the folder of a fit, or `demo` for the model that comes with edgepose",
    )
    parser.add_argument("--from", dest="ready", metavar="NAME", help="copy this ready configuration")
    parser.add_argument("--list", action="store_true", help="list the ready configurations")
    add_output_argument(parser, "FILE", f"where to write (default: {LOCAL_CONFIG}; - prints it)", required=False)


def run(args: argparse.Namespace) -> int:
    if args.list:
        for name, path in ready.ready_configs().items():
            print(f"{name:<14} {ready.purpose(path)}")
        return 0
    output = args.output or LOCAL_CONFIG
    folder = output.absolute().parent
    if args.ready:
        text, source = _from_ready(args, folder)
        check_output(output, force=args.force)
    else:
        _check_options(args)
        check_output(output, force=args.force)
        text, source = starter_file(_chosen(args, folder)), folder
    config = config_at(text, str(output), source)
    if output == STDOUT:
        print(text, end="")
        return 0
    if args.ready and config.processor:
        _copy_processor(config.processor.load, source, folder, force=args.force)
    output.write_text(text, encoding="utf-8")
    _print_next_steps(output, text, config_at(text, str(output), folder))
    return 0


def _print_next_steps(output: Path, text: str, config: Config) -> None:
    camera = str(config.camera.__struct_config__.tag)
    print(f"{output}: device {config.device_name()}, camera {camera}, broker {config.mqtt.host}:{config.mqtt.port}")
    if config.model == str(DEMO_MODEL) and camera != "synthetic":
        print("The model `demo` knows the rendered mouse only; write your own model into the file.")
    elif not Path(config.model).is_file():
        print(f"The model is still missing: copy it to {config.model}")
    for path in ready.companions(text):
        print(f"Read this file too; its first line says where its settings belong: {path}")
    option = "" if output == LOCAL_CONFIG else f" -c {output}"
    print(f"Next:\n  edgepose check{option}\n  edgepose run{option}")


def _from_ready(args: argparse.Namespace, folder: Path) -> tuple[str, Path]:
    """Returns the text of the copy, and the folder that the original lies in."""
    for name in ("board", "camera"):
        if getattr(args, name):
            raise UsageError(f"--from {args.ready} brings its own {name}; leave out --{name}")
    path = ready.find_ready(args.ready, ready.ready_configs(), "--from")
    settings = init_answers.device_settings(args.device) if args.device else {}
    if args.model:
        settings["model"] = init_answers.model_setting(args.model, folder)
    if args.broker:
        settings["mqtt"] = _broker(args.broker)
    return ready.with_settings(path.read_text(encoding="utf-8"), settings), path.parent


def _copy_processor(load: str, source: Path, folder: Path, *, force: bool) -> None:
    name = f"{load.partition(':')[0]}.py"
    if (source / name).is_file() and source != folder:
        check_output(folder / name, force=force)
        (folder / name).write_bytes((source / name).read_bytes())
        print(f"{folder / name}: the Python code that it runs; change it for your experiment")


def _check_options(args: argparse.Namespace) -> None:
    """Raises UsageError for a wrong option, before it is noticed that the file exists, and before any question."""
    parsers: dict[str, Callable[[str], Any]] = {
        "board": init_answers.board_settings,
        "camera": init_answers.camera_settings,
        "broker": _broker,
        "device": init_answers.device_settings,
    }
    for name, parse in parsers.items():
        if (given := getattr(args, name)) is not None:
            parse(given)


def _chosen(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns the settings that options give, and on a terminal the answers to questions about the others."""
    here = ""
    with contextlib.suppress(OSError):
        here = _BOARD_MODEL.read_text(encoding="utf-8", errors="replace")
    board = init_answers.board_from_model(here)
    if _is_interactive():
        print("Press Enter for the answer in brackets.")
    names = ", ".join([*ready.boards(), init_answers.OTHER_BOARD])
    settings = _ask(args.board, f"Which board? ({names})", board, init_answers.board_settings)
    usual = "picamera2" if settings else "usb" if Path("/dev/video0").exists() else "synthetic"
    question = "Which camera? (picamera2, usb, synthetic, a device file, a URL, a video file, a folder of images)"
    camera = _ask(args.camera, question, usual, init_answers.camera_settings)
    if camera["source"] == "picamera2":
        camera |= settings.get("camera", {})
    broker = _ask(args.broker, "Which broker?", "mqtt://localhost", _broker)
    device = _ask(args.device, "What is this device called?", socket.gethostname(), init_answers.device_settings)
    model = _ask(
        args.model and str(args.model),
        "Which model? (a .tflite file, the folder of a fit, demo)",
        "model.tflite" if (folder / "model.tflite").exists() else "demo",
        lambda text: init_answers.model_setting(_model(text), folder),
    )
    return settings | device | {"model": model, "camera": camera, "mqtt": broker}


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask(given: str | None, question: str, default: str, parse: Callable[[str], T]) -> T:
    """Returns what an option gives, what somebody answers, or the default where nobody is there to answer."""
    if given is not None:
        return parse(given)
    if not _is_interactive():
        return parse(default)
    while True:
        try:
            return parse(input(f"{question} [{default}]: ").strip() or default)
        except UsageError as exc:
            print(str(exc).partition(": ")[2] or exc)  # without the option, which nobody has given
        except EOFError:
            raise UsageError("the input has ended; nothing is written") from None


def _model(text: str) -> Path:
    try:
        return model_path(text)
    except argparse.ArgumentTypeError as exc:
        raise UsageError(str(exc)) from None


def _broker(url: str) -> dict[str, Any]:
    """Returns the settings of `mqtt` that a URL gives. Raises UsageError."""
    from edgepose.mqtt.subscriber import parse_url

    mqtt, password = parse_url(url)
    if password is not None:
        raise UsageError("--broker: leave out the password; write it into a file and name that as mqtt.password_file")
    settings: dict[str, Any] = {"host": mqtt.host, "port": mqtt.port}
    settings |= {"username": mqtt.username} if mqtt.username else {}
    return settings | ({"tls": {}} if mqtt.tls else {})
