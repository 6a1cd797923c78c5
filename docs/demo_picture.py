"""Draws `docs/demo.svg`: the screen of `edgepose demo` after some seconds of a real run.

Run it with `.venv/bin/python docs/demo_picture.py`.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from edgepose.cli.demo import demo_truth
from edgepose.cli.terminal_view import TerminalView, compose
from edgepose.mqtt.demo_broker import end
from edgepose.mqtt.subscriber import Subscriber

COLUMNS, ROWS = 113, 30
SHOWN_S = 15.0
NOTES = ("Ctrl-C ends; look at the messages from another terminal:", "  mosquitto_sub -v -t 'edgepose/#'")
# The template of rich loads its font from the network, which a picture in a README must not do.
TEMPLATE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs>{lines}</defs>
<rect fill="#1b1e23" width="{width}" height="{height}" rx="8"/>
<text class="{unique_id}-matrix" fill="#868887" x="20" y="32">$ make demo</text>
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def main() -> None:
    port = 18830
    demo = subprocess.Popen([sys.executable, "-m", "edgepose", "demo", "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        with contextlib.closing(Subscriber(f"mqtt://127.0.0.1:{port}")) as subscriber:
            view = TerminalView(subscriber, NOTES, demo_truth())
            until_s = time.monotonic() + SHOWN_S
            while time.monotonic() < until_s:
                view.receive(0.1)
            console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
            console.print(compose(view, time.monotonic(), COLUMNS, ROWS))
    finally:
        end(demo)
    path = Path(__file__).with_name("demo.svg")
    path.write_text(console.export_svg(title="", code_format=TEMPLATE, unique_id="demo"), encoding="utf-8")


if __name__ == "__main__":
    main()
