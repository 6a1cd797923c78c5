"""A network camera of the simple kind: JPEG after JPEG over HTTP, until somebody cuts it off."""

from __future__ import annotations

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
from brokers import free_port

SIZE_WH = (160, 120)
PERIOD_S = 0.02


class MjpegServer:
    """password: of the user ann, where one is asked for. `frozen`: viewers stay, and get nothing."""

    def __init__(self, password: str | None = None) -> None:
        self.port = free_port()
        self.frozen = False
        self.sent = 0
        self._wanted = None if password is None else base64.b64encode(f"ann:{password}".encode()).decode()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/cam.mjpg"

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _Viewer)
        self._server.camera = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def cut(self) -> None:
        """As pulling the plug: whoever looks is thrown out, and nobody answers any more."""
        if self._server is not None:
            self._server.on = False
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def refuses(self, header: str | None) -> bool:
        return self._wanted is not None and header != f"Basic {self._wanted}"


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    camera: MjpegServer
    on = True


class _Viewer(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        camera = self.server.camera
        if camera.refuses(self.headers.get("Authorization")):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/cam.mjpg":
            self._stream(camera)
        else:
            self.send_error(404)

    def _stream(self, camera: MjpegServer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while self.server.on:
            time.sleep(PERIOD_S)
            if camera.frozen:
                continue
            image = np.full((SIZE_WH[1], SIZE_WH[0], 3), camera.sent * 5 % 256, np.uint8)
            jpeg = cv2.imencode(".jpg", image)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + jpeg + b"\r\n")
            except OSError:
                return
            camera.sent += 1
