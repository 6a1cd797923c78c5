"""The terminal view: what it shows, without a terminal and without a broker."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from mouse_messages import HEALTH, INFO, pose, status, truth, without
from rich.console import Console
from rich.text import Text

from edgepose.cli import terminal_view
from edgepose.cli.terminal_view import Canvas, TerminalView, compose, plain_line, score_bar
from edgepose.collect.device_state import DeviceState
from edgepose.mqtt.subscriber import Subscriber
from edgepose.protocol.messages import AnimalMessage, Keypoint, Message
from edgepose.types import Skeleton


@pytest.fixture
def view() -> TerminalView:
    subscriber = Subscriber("mqtt://somewhere:1884")
    subscriber.connected = True
    return TerminalView(subscriber, ("a note",), truth)


def feed(view: TerminalView, *messages: Message, at_s: float = 1.0) -> DeviceState:
    for message in messages:
        view.devices.setdefault(message.device, DeviceState(message.device, truth)).update(message, at_s)
    return view.devices[messages[0].device]


def screen(view: TerminalView, now_s: float = 1.1, width: int = 100, height: int = 30) -> str:
    console = Console(width=width, height=height, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(compose(view, now_s, width, height))
    return capture.get()


def test_one_device_in_full(view):
    feed(view, status(), INFO, HEALTH, *(pose(i, off_px=3.0) for i in range(3)))
    text = screen(view)
    for part in ("cage-07 · online", "snout", "tailbase", "0.90", "3.0 px", "mean error 3.00 px", "latency 11.0 ms"):
        assert part in text
    for part in (
        "mouse@123456 · 640x480",
        "89 MB · 4 waiting",
        "litert, 1 thread",
        "3 poses · 0 frames skipped",
        "a note",
    ):
        assert part in text


@pytest.mark.parametrize("several", [False, True])
def test_what_a_stranger_sends_cannot_control_the_terminal(several):
    """It may send any text and any number, which is shown in few characters without control characters."""
    subscriber = Subscriber("mqtt://somewhere:1884")
    subscriber.connected = True
    view, name = TerminalView(subscriber), "[red]\x1b[2J\r\n\x9b"
    animal = AnimalMessage(id=name, id_score=1.0, score=1.0, keypoints={name: Keypoint(1e308, -1e308, 1.0)})
    strange = {"device": name, "model": name, "latency_ms": -1e308, "animals": [animal] * (1 + several)}
    for message in (pose(1), HEALTH) if several else ():
        state = view.devices.setdefault(message.device, DeviceState(message.device))
        state.update(message, 1.0)
    state = view.devices[name] = DeviceState(name)
    for i in range(2):
        state.update(msgspec.structs.replace(pose(i), **strange), 1.0)
    state.update(msgspec.structs.replace(HEALTH, device=name, runtime=name), 1.0)
    subscriber.newer[name] = 3
    for text in (screen(view), plain_line(state, 1.1)):
        assert "[red] [2J" in text
        assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert len(plain_line(state, 1.1).splitlines()) == 1
    assert len(plain_line(state, 1.1)) < 200


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (60, 16), (200, 60)])
def test_fits_the_terminal(view, width, height):
    feed(view, status(), INFO, HEALTH, *(pose(i) for i in range(40)))
    lines = screen(view, width=width, height=height).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) < max(height, 18)  # the figures beside the picture need 18 lines in any case


def test_nothing_heard_says_why(view):
    assert "connected, waiting for a device" in screen(view)
    view.subscriber.connected, view.subscriber.trouble = False, "connection refused"
    assert "broker somewhere:1884: connection refused; trying again" in screen(view)


def test_a_silent_device_and_unreadable_messages_are_reported(view):
    feed(view, status(state="offline"), pose(0))
    view.subscriber.malformed = 2
    text = screen(view, now_s=61.0)
    assert "cage-07 · offline" in text
    assert "no keypoints for 60 s" in text
    assert "2 messages unreadable" in text


def test_several_animals_are_shown_with_their_ids(view):
    (first,) = pose(0).animals
    animals = [msgspec.structs.replace(first, id=name) for name in ("m3", "m4")]
    feed(view, status(), INFO, msgspec.structs.replace(pose(0), animals=animals))
    text = screen(view, width=120, height=40)
    assert all(f"{name} snout" in text for name in ("m3", "m4"))
    feed(view, msgspec.structs.replace(pose(1), animals=[]))
    assert "snout" not in screen(view)


def test_a_device_of_a_newer_version_is_reported(view):
    view.subscriber.newer["cage-09"] = 3
    assert "cage-09 sends messages of version 3; upgrade edgepose here" in screen(view)


def test_foreign_text_cannot_steer_the_terminal(view):
    """Anybody who may publish chooses these texts; [/] is markup of rich, and the others are control characters."""
    bad = "a\x1b[2J\x9b[/]"
    message = msgspec.structs.replace(pose(1, device=bad), model=bad)
    (animal,) = message.animals
    other = msgspec.structs.replace(animal, id=bad, keypoints={bad: animal.keypoints["snout"]})
    state = feed(view, msgspec.structs.replace(message, animals=[animal, other]))
    feed(view, msgspec.structs.replace(HEALTH, device=bad, runtime=bad))
    view.subscriber.newer[bad] = 3
    view.subscriber.others.add(bad)
    shown = [screen(view), plain_line(state, 1.1)]
    feed(view, status())
    shown.append(screen(view))
    view.devices.clear()
    shown.append(screen(view))
    assert all("a [2J [/]" in text for text in shown)
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for text in shown for letter in text if letter != "\n")


def test_several_devices_are_a_table(view):
    feed(view, status(), pose(0))
    feed(view, status(device="cage-08", state="stopped"))
    text = screen(view)
    assert "cage-07" in text
    assert "cage-08" in text
    assert "stopped" in text


def test_plain_line(view):
    state = feed(view, status())
    assert plain_line(state, 1.0) == "cage-07 online, no keypoints yet"
    for i in range(31):
        feed(view, pose(i), at_s=1 + i / 30)
    line = plain_line(state, 2.0)
    assert line.startswith("cage-07 online, 30.0 fps, latency 25.0 ms, error 0.00 px, snout ")
    assert plain_line(state, 9.0) == "cage-07 online, no keypoints for 7 s"


def test_edges_of_another_models_info_are_not_drawn(view):
    """A retained /info may still describe the earlier model, with other keypoints in another order."""
    feed(view, status(), pose(0))
    without = screen(view)
    skeleton = Skeleton(("tailbase", "paw", *"abcd", "snout"), edges=(("paw", "snout"), ("snout", "d")))
    feed(view, msgspec.structs.replace(INFO, skeleton=skeleton))
    assert screen(view) == without
    feed(view, msgspec.structs.replace(INFO, skeleton=Skeleton(("tailbase", "snout"), (("tailbase", "snout"),))))
    assert screen(view) != without


@pytest.mark.parametrize("info", [[], [INFO]])
@pytest.mark.parametrize("devices", [1, 2])
def test_poses_without_some_keypoints_or_all_are_shown(view, info, devices):
    for device in ("cage-07", "cage-08")[:devices]:
        feed(view, *info, pose(0, device=device))
        for i, left_out in enumerate((["snout"], ["snout", "rightear"], list(truth(0)))):
            state = feed(view, without(pose(i + 1, device=device), *left_out))
            screen(view)
    assert "cage-07" in screen(view)
    assert plain_line(state, 1.0).endswith("no keypoint above min_score")


def test_a_keypoint_has_its_colour_whoever_is_missing(view):
    def spans() -> set:
        table = terminal_view._keypoints(view.devices["cage-07"])
        cells = [cell for cell in table.columns[0]._cells if isinstance(cell, Text)]
        return {(cell.plain, cell.style) for cell in cells}

    feed(view, INFO, pose(0))
    before = spans()
    assert len({style for _, style in before}) == 4
    feed(view, without(pose(1), "snout", "rightear"))
    assert spans() == {(name, style) for name, style in before if name in ("● leftear", "● tailbase")}


def test_one_is_not_many(view):
    feed(view, status(), pose(0), pose(2, seq=101))
    view.subscriber.malformed = 1
    text = screen(view)
    assert "2 poses · 1 frame skipped" in text
    assert "1 message unreadable" in text


def test_score_bar():
    assert score_bar(1.0).plain == "████████ 1.00"
    assert score_bar(0.5).plain == "████     0.50"
    assert score_bar(0.0).plain == "         0.00"


def test_canvas_puts_dots_where_they_belong():
    canvas = Canvas(2, 1)
    canvas.dot(np.array([0.0, 0.0]), "red")
    canvas.dot(np.array([3.0, 3.0]), "red")
    canvas.dot(np.array([9.0, 9.0]), "red")
    assert canvas.text().plain == "⠁⢀"
    canvas.line(np.array([0.0, 3.0]), np.array([3.0, 3.0]), "blue")
    assert canvas.text().plain == "⣁⣀"
