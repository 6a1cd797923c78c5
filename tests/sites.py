"""A web server that models are downloaded from."""

from __future__ import annotations

import contextlib
import http.server
from pathlib import Path


class Site(http.server.SimpleHTTPRequestHandler):
    """A web server that knows ranges, and breaks connections off."""

    breaks: list[int] = []  # noqa: RUF012  after so many bytes the line breaks, one number a request
    asked: list[str] = []  # noqa: RUF012
    folder = Path()

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        path = self.folder / self.path.lstrip("/")
        if self.path.startswith("/elsewhere"):
            self.send_response(302)
            self.send_header("Location", f"file://{self.folder}/model.tflite")
            self.end_headers()
            return
        if not path.is_file():
            self.send_error(404)
            return
        data, begin = path.read_bytes(), 0
        if wanted := self.headers.get("Range"):
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
        if begin >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        end = begin + self.breaks.pop(0) if self.breaks else len(data)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data[begin:end])

    def log_message(self, *args: object) -> None:
        pass
