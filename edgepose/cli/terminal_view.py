"""Shows devices live in a terminal. The view is composed as values, so that it can be tested without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgepose.collect.device_state import DeviceState, Truth
from edgepose.geometry.letterbox import FrameMap
from edgepose.mqtt.broker import where
from edgepose.mqtt.subscriber import Subscriber
from edgepose.pose.colours import keypoint_hex, keypoint_shapes
from edgepose.protocol.messages import Keypoint
from edgepose.system.wording import count, listing, printable
from edgepose.types import F64

_SIGNS = {"circle": "●", "square": "■", "diamond": "◆", "triangle": "▲"}
_STATES = {"online": "green", "stopped": "yellow", "offline": "red", "unknown": "dim"}
_BAR = 8  # characters
_SIDE = 53  # characters beside the picture
_SURE, _DOUBTFUL = 0.8, 0.5  # from these scores on, a bar is green and yellow
_SILENT_S = 3.0
_REFRESH_S = 0.1
# The bits of the dots of a braille character, by row and column (Unicode 2800..28FF).
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


class TerminalView:
    """The devices that have sent a message so far.

    Attributes:
        subscriber: receives the messages.
        notes: lines below the view.
        devices: the state of each device, by name.
    """

    def __init__(self, subscriber: Subscriber, notes: tuple[str, ...] = (), truth: Truth | None = None):
        self.subscriber, self.notes = subscriber, notes
        self.devices: dict[str, DeviceState] = {}
        self._truth = truth

    def receive(self, seconds: float) -> None:
        for message in self.subscriber.receive(seconds):
            state = self.devices.setdefault(message.device, DeviceState(message.device, self._truth))
            state.update(message, time.monotonic())


def follow(view: TerminalView, proceed: Callable[[], bool]) -> None:
    """Shows the view as long as `proceed()` is true: it is redrawn on a terminal; elsewhere each device gets a line a
    second."""
    if not sys.stdout.isatty():
        _follow_as_lines(view, proceed)
        return
    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        while proceed():
            view.receive(_REFRESH_S)
            live.update(compose(view, time.monotonic(), console.width, console.height), refresh=True)


def _follow_as_lines(view: TerminalView, proceed: Callable[[], bool]) -> None:
    due_s = time.monotonic()
    while proceed():
        view.receive(_REFRESH_S)
        if (now_s := time.monotonic()) >= due_s:
            due_s = now_s + 1
            lines = [plain_line(state, now_s) for state in view.devices.values()] + _newer_lines(view.subscriber)
            print("\n".join(lines if lines and view.subscriber.connected else [_connection(view)]), flush=True)


def compose(view: TerminalView, now_s: float, width: int, height: int) -> RenderableType:
    """Returns one device in full, or several as a table. width, height: size of the terminal, characters."""
    states = list(view.devices.values())
    if len(states) == 1:
        body: RenderableType = _device(states[0], now_s, width, height - 5 - len(view.notes))
    elif states:
        body = _fleet(states, now_s)
    else:
        body = Text("no device heard of yet", "dim")
    notes = [Text(note, "dim") for note in view.notes]
    if not view.subscriber.connected or not states:
        notes.insert(0, Text(_connection(view), "yellow"))
    if view.subscriber.malformed:
        unreadable = count(view.subscriber.malformed, "message")
        notes.append(Text(f"{unreadable} unreadable", "red"))
    notes += [Text(line, "red") for line in _newer_lines(view.subscriber)]
    return Group(body, *notes)


def _newer_lines(subscriber: Subscriber) -> list[str]:
    return [
        f"{printable(device)} sends messages of version {version}; upgrade edgepose here to read them"
        for device, version in subscriber.newer.items()
    ]


def plain_line(state: DeviceState, now_s: float) -> str:
    """Returns the state of a device in one line, for logs and pipes."""
    parts = [f"{printable(state.device)} {_state_name(state)}"]
    if state.pose is None:
        return f"{parts[0]}, no keypoints yet"
    if now_s - state.last_s > _SILENT_S:
        return f"{parts[0]}, no keypoints for {now_s - state.last_s:.0f} s"
    points = " ".join(f"{name} {_number(p.x)},{_number(p.y)} ({p.score:.2f})" for name, _, p in _points(state))
    parts += [f"{state.fps(now_s):.1f} fps", f"latency {_number(state.latency()[0])} ms"]
    if (error := state.mean_error_px()) is not None:
        parts.append(f"error {error:.2f} px")
    return ", ".join([*parts, points or "no keypoint above min_score"])


def _connection(view: TerminalView) -> str:
    subscriber = view.subscriber
    broker = where(subscriber.mqtt)
    if subscriber.connected:
        wanted = "a device" if subscriber.device == "+" else subscriber.device
        others = f"; online here: {listing([*map(printable, sorted(subscriber.others))])}" if subscriber.others else ""
        return f"{broker}: connected, waiting for {wanted}{others}"
    return f"{broker}: {subscriber.trouble}; trying again" if subscriber.trouble else f"{broker}: connecting"


def _state_name(state: DeviceState) -> str:
    return state.status.state if state.status else "unknown"


def _device(state: DeviceState, now_s: float, width: int, height: int) -> Panel:
    columns = max(12, min(60, width - _SIDE))
    side = Group(_keypoints(state), Text(), *_figures(state, now_s))
    grid = Table.grid(padding=(0, 1, 0, 0))
    if state.pose is None:
        grid.add_row(side)
    else:
        picture = _arena(state, columns, max(4, height - 2))
        grid.add_row(Panel(picture, padding=0, border_style="dim", expand=False), side)
    name = _state_name(state)
    title = Text.assemble("edgepose · ", (printable(state.device), "bold"), " · ", (name, _STATES[name]))
    return Panel(grid, title=title, title_align="left", border_style="cyan", padding=0, expand=False)


def _keypoints(state: DeviceState) -> RenderableType:
    if state.pose is None:
        return Text("no keypoints yet", "dim")
    error = state.error_px()
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("keypoint", no_wrap=True, max_width=12)
    for head in ("x", "y"):
        table.add_column(head, justify="right", min_width=6)
    table.add_column("score", no_wrap=True)
    if error:
        table.add_column("error", justify="right", min_width=7)
    for shown, name, point in _points(state):
        sign, colour = _sign(state, name)
        row: list[RenderableType] = [
            Text(f"{sign} {shown}", colour),
            _number(point.x),
            _number(point.y),
            score_bar(point.score),
        ]
        if error:
            row.append(f"{error[name]:.1f} px" if name in error else "")
        table.add_row(*row)
    return table


def _number(value: float) -> str:
    """Returns a number of a message, which may be as large as a float can be."""
    return f"{value:.1f}" if abs(value) < 1e6 else f"{value:.1g}"


def score_bar(score: float) -> Text:
    """Returns a bar of eight characters, exact to an eighth of one, and the number."""
    eighths = round(min(max(score, 0.0), 1.0) * _BAR * 8)
    full, part = divmod(eighths, 8)
    bar = ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(_BAR)
    style = "green" if score >= _SURE else "yellow" if score >= _DOUBTFUL else "red"
    return Text.assemble((bar, style), f" {score:.2f}")


def _figures(state: DeviceState, now_s: float) -> list[Text]:
    lines = []
    if state.pose is not None:
        p50, p95 = state.latency()
        lines.append(Text(f"{state.fps(now_s):.1f} fps · latency {_number(p50)} ms, p95 {_number(p95)} ms"))
        if (error := state.mean_error_px()) is not None:
            lines.append(Text(f"mean error {error:.2f} px", "bold"))
        lost = f" · {state.lost} lost" if state.lost else ""
        lines.append(Text(f"{count(state.poses, 'pose')} · {count(state.skipped(), 'frame')} skipped{lost}"))
        if now_s - state.last_s > _SILENT_S:
            lines.append(Text(f"no keypoints for {now_s - state.last_s:.0f} s", "yellow"))
        w, h = state.pose.size_wh
        lines.append(Text(f"{printable(state.pose.model)} · {w}x{h}", "dim"))
    if state.health is not None:
        lines.append(Text(printable(state.health.runtime), "dim"))
        left = state.health.waiting + state.health.spooled
        waiting = f" · {left} waiting" if left else ""
        lines.append(Text(f"{state.health.rss_mb:.0f} MB{waiting}", "dim"))
    return lines


def _fleet(states: list[DeviceState], now_s: float) -> Table:
    table = Table(title="edgepose devices", title_justify="left", caption="--device NAME shows one in full")
    for head in ("device", "state", "fps", "latency", "poses", "skipped", "score"):
        table.add_column(head, justify="left" if head in ("device", "state") else "right")
    for state in sorted(states, key=lambda one: one.device):
        name = _state_name(state)
        scores = [point.score for _, _, point in _points(state)]
        score = sum(scores) / len(scores) if scores else 0.0
        figures = (
            f"{state.fps(now_s):.1f}",
            f"{_number(state.latency()[0])} ms",
            f"{state.poses}",
            f"{state.skipped()}",
        )
        table.add_row(Text(printable(state.device)), Text(name, _STATES[name]), *figures, f"{score:.2f}")
    return table


def _arena(state: DeviceState, columns: int, rows: int) -> Text:
    """Returns the frame in braille dots: where the animal was, its skeleton, its keypoints."""
    assert state.pose is not None
    pose = state.pose
    # A character is about twice as high as wide and has 2x4 dots, so the distances between dots are equal.
    w, h = pose.size_wh
    dots = min(columns * 2, rows * 4 * w / h)
    columns = max(1, int(dots / 2))
    canvas = Canvas(columns, max(1, round(columns * 2 * h / w / 4)))
    to_dots = FrameMap.fit(pose.size_wh, canvas.dots_wh, "stretch").to_model
    for past in state.trail:
        canvas.dot(to_dots(past), "grey37")
    for animal in pose.animals:
        points = {name: to_dots([p.x, p.y]) for name, p in animal.keypoints.items()}
        for a, b in state.info.skeleton.edges if state.info else ():
            if a in points and b in points:  # a retained /info may still describe the earlier model
                canvas.line(points[a], points[b], "white")
        for name, keypoint in animal.keypoints.items():
            canvas.blob(points[name], _sign(state, name)[1] if keypoint.score >= _DOUBTFUL else "grey50")
    return canvas.text()


class Canvas:
    """A picture of braille characters. Each has 2x4 dots and one style, that of the last dot in it.

    Attributes:
        dots_wh: width and height in dots.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.dots_wh = (2 * columns, 4 * rows)
        self._bits = np.zeros((rows, columns), np.uint8)
        self._styles: dict[tuple[int, int], str] = {}

    def dot(self, xy: F64, style: str) -> None:
        """Sets the dot nearest to `xy`; a place outside the canvas changes nothing."""
        x, y = round(float(xy[0])), round(float(xy[1]))
        if 0 <= x < self.dots_wh[0] and 0 <= y < self.dots_wh[1]:
            self._bits[y // 4, x // 2] |= _DOTS[y % 4][x % 2]
            self._styles[y // 4, x // 2] = style

    def line(self, start: F64, end: F64, style: str) -> None:
        for part in np.linspace(0, 1, int(np.abs(end - start).max()) + 2):
            self.dot(start + part * (end - start), style)

    def blob(self, xy: F64, style: str) -> None:
        for step in ((0, 0), (1, 0), (0, 1), (1, 1)):
            self.dot(xy + np.array(step) - 0.5, style)

    def text(self) -> Text:
        text = Text(no_wrap=True)
        for row, line in enumerate(self._bits):
            for column, bits in enumerate(line):
                text.append(chr(0x2800 + int(bits)), self._styles.get((row, column)))
            if row < len(self._bits) - 1:
                text.append("\n")
        return text


def _points(state: DeviceState) -> list[tuple[str, str, Keypoint]]:
    """Returns the keypoints of the last pose: how each is called on the screen, its name, and where it is.

    Where there are several animals, the id of the animal is part of what is shown.
    """
    animals = state.pose.animals if state.pose else []
    return [
        (printable(name if len(animals) == 1 else f"{animal.id} {name}"), name, point)
        for animal in animals
        for name, point in animal.keypoints.items()
    ]


def _sign(state: DeviceState, name: str) -> tuple[str, str]:
    """Returns the sign and the colour of a keypoint; they stay the same in poses that lack other keypoints."""
    assert state.pose is not None
    known = state.info.skeleton.keypoints if state.info else ()  # a retained /info may still describe another model
    names = known if name in known else tuple(dict.fromkeys(name for _, name, _ in _points(state)))
    k = names.index(name)
    return _SIGNS[keypoint_shapes(k + 1)[k]], keypoint_hex(k + 1)[k]
