"""Serves the numbers of /health to Prometheus over HTTP, in version 0.0.4 of its text format."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgepose.config.schema import PrometheusConfig
from edgepose.errors import ConfigError
from edgepose.protocol.messages import HealthMessage

log = logging.getLogger(__name__)

_QUANTILES = ("0.5", "0.95", "0.99")
_GAUGES = ("uptime_s", "fps", "waiting", "spooled", "spool_mb", "rss_mb")
_COUNTERS = ("captured", "poses", "delivered", "connects")
_BY_REASON: dict[str, tuple[str, ...]] = {
    "skipped": ("newer_frame", "rate"),
    "dropped": ("delivery_full", "memory_full", "spool_full", "spool_old", "spool_damaged"),
    "rejected": ("disabled", "failed", "malformed", "too_large", "unanswered", "unknown"),
    "camera": (),
}
"""Counters by reason, with the reasons that are shown as 0 before they first happen, so that a rise is seen."""
_BOARD = ("temperature_c", "memory_free_mb", "disk_free_mb", "load", "up_s")


class MetricsServer:
    """Answers GET /metrics in a thread of its own. Raises ConfigError when it cannot listen."""

    def __init__(self, config: PrometheusConfig, health: Callable[[], HealthMessage]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # seconds, for a client that sends nothing
            server_version, sys_version = "edgepose", ""

            def do_GET(self) -> None:
                if self.path.split("?")[0] != "/metrics":
                    self.send_error(HTTPStatus.NOT_FOUND, "the numbers are at /metrics")
                    return
                body = metrics(health()).encode()
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name
                """Logs nothing: the journal is not for every request."""

        where = f"{config.host}:{config.port}"
        try:
            self._server = ThreadingHTTPServer((config.host, config.port), Handler)
        except OSError as exc:
            raise ConfigError(f"prometheus: cannot listen on {where} ({exc.strerror}); choose another port") from None
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="prometheus", daemon=True).start()
        log.info("metrics on http://%s/metrics", where)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def metrics(health: HealthMessage) -> str:
    """Returns the numbers of a /health message in the text format."""
    device = {"device": health.device}
    lines: list[str] = []
    for name in _GAUGES:
        _add(lines, f"edgepose_{name}", "gauge", [(device, getattr(health, name))])
    for name in _COUNTERS:
        _add(lines, f"edgepose_{name}_total", "counter", [(device, getattr(health, name))])
    for name, reasons in _BY_REASON.items():
        _add_reasons(lines, name, device, {**dict.fromkeys(reasons, 0), **getattr(health, name)})
    stages = [
        ({**device, "stage": stage, "quantile": quantile}, value)
        for stage, values in health.stage_ms.items()
        for quantile, value in zip(_QUANTILES, values, strict=True)
    ]
    _add(lines, "edgepose_stage_ms", "gauge", stages)
    _add(lines, "edgepose_alert", "gauge", [({**device, "about": about}, 1) for about in health.alerts])
    _add(lines, "edgepose_delegate", "gauge", [({**device, "delegate": health.delegate}, 1)])
    _add(lines, "edgepose_runtime", "gauge", [({**device, "runtime": health.runtime}, 1)])
    if recorded := health.recorded:
        _add(lines, "edgepose_recorded_on", "gauge", [(device, int(recorded.on))])
        for name in ("segments", "mb"):
            _add(lines, f"edgepose_recorded_{name}", "gauge", [(device, getattr(recorded, name))])
        for name in ("frames", "uncertain"):
            _add(lines, f"edgepose_recorded_{name}_total", "counter", [(device, getattr(recorded, name))])
        _add_reasons(lines, "recorded_dropped", device, {"slow": 0, "disk": 0, **recorded.dropped})
    if board := health.board:
        for name in _BOARD:
            if (value := getattr(board, name)) is not None:
                _add(lines, f"edgepose_board_{name}", "gauge", [(device, value)])
        _add(lines, "edgepose_board_clock_synced", "gauge", [(device, int(board.clock_synced))])
        for name in ("throttled", "throttled_since_boot"):
            rows = [({**device, "reason": reason}, int(is_so)) for reason, is_so in getattr(board, name).items()]
            _add(lines, f"edgepose_board_{name}", "gauge", rows)
    return "\n".join(lines) + "\n"


def _add_reasons(lines: list[str], name: str, device: Mapping[str, str], counts: Mapping[str, int]) -> None:
    rows = [({**device, "reason": reason}, count) for reason, count in counts.items()]
    _add(lines, f"edgepose_{name}_total", "counter", rows)


def _add(lines: list[str], name: str, kind: str, rows: Sequence[tuple[Mapping[str, str], float]]) -> None:
    if rows:
        lines.append(f"# TYPE {name} {kind}")
    for labels, value in rows:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
