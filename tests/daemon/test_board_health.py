"""The state of the board in /health, read from files as a Pi has them; the soft limit; the numbers for Prometheus."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from brokers import Mosquitto, Subscriber, free_port, wait_until
from daemons import Daemon

from edgepose.config.schema import PrometheusConfig
from edgepose.daemon.board import BoardSensors, board_alerts
from edgepose.daemon.metrics import MetricsServer, metrics
from edgepose.errors import ConfigError
from edgepose.protocol.examples import HEALTH
from edgepose.protocol.messages import Recorded


class Pi:
    """The files of a Pi, in a folder that stands for the root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.set(temperature_c=48.3, throttled=0, free_mb=700)

    def set(self, *, temperature_c: float = 48.3, throttled: int = 0, free_mb: int = 700) -> None:
        self._write("sys/class/thermal/thermal_zone0/temp", f"{temperature_c * 1000:.0f}\n")
        self._write("sys/devices/platform/soc/soc:firmware/get_throttled", f"{throttled:x}\n")
        self._write("proc/meminfo", f"MemTotal: 948304 kB\nMemAvailable: {free_mb * 1000} kB\n")

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(text, encoding="ascii")
        temporary.replace(path)  # as the kernel's own files, never half


@pytest.fixture
def pi(tmp_path: Path) -> Pi:
    return Pi(tmp_path / "pi")


def test_all_sensors_of_a_pi_are_read(pi: Pi, tmp_path: Path) -> None:
    pi.set(temperature_c=61.2, throttled=0x50005, free_mb=300)
    board = BoardSensors(tmp_path / "not" / "yet", pi.root).read()
    assert (board.temperature_c, board.memory_free_mb) == (61.2, 300)
    expected = {"under_voltage": True, "frequency_capped": False, "throttled": True, "soft_temperature_limit": False}
    assert board.throttled == board.throttled_since_boot == expected
    assert board.disk_free_mb is not None
    assert set(board_alerts(board)) == {"under_voltage", "throttled"}


@pytest.mark.parametrize(
    ("state", "alert"),
    [
        ({"temperature_c": 81.0}, "temperature"),
        ({"free_mb": 20}, "free_memory"),
        ({"throttled": 8}, "soft_temperature_limit"),
    ],
)
def test_what_is_wrong_now_is_an_alert(state: dict[str, float], alert: str, pi: Pi, tmp_path: Path) -> None:
    assert board_alerts(BoardSensors(tmp_path, pi.root).read()) == {}
    pi.set(**state)
    assert set(board_alerts(BoardSensors(tmp_path, pi.root).read())) == {alert}


@pytest.mark.parametrize("text", ["", "hot", "\0", "9" * 5000])
def test_nonsense_from_a_board_is_left_out(text: str, pi: Pi, tmp_path: Path) -> None:
    for path in pi.root.rglob("*"):
        if path.is_file():
            path.write_text(text, encoding="ascii")
    board = BoardSensors(tmp_path, pi.root).read()
    assert (board.temperature_c, any(board.throttled.values()), board.memory_free_mb) == (None, False, None)


@pytest.fixture
def start(
    tmp_path: Path, demo_model: Path, mosquitto: Mosquitto, pi: Pi, run: Callable[..., Daemon]
) -> Callable[[str], Daemon]:
    """start(lines) runs the daemon on the board `pi`, with these lines in its config."""

    def start(lines: str) -> Daemon:
        path = tmp_path / "edgepose.yaml"
        path.write_text(
            f"device: cage-07\nmodel: {demo_model}\n{lines}\n"
            "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 25}\n"
            f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\ncommands: [ping, health]\n",
            encoding="utf-8",
        )
        return run(path, timing={"board_s": 0.1, "thermal_step_s": 0.5}, board_root=pi.root)

    return start


@pytest.mark.slow
def test_each_change_for_the_worse_is_an_event(
    start: Callable[[str], Daemon], mosquitto: Mosquitto, subscribe: Callable[..., Subscriber], pi: Pi
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    start("inference: {threads: 1}")
    wait_until(lambda: subscriber.of("pose") and subscriber.of("health"), "poses and the first /health", 30)
    assert subscriber.of("health")[0]["board"]["temperature_c"] == 48.3
    pi.set(throttled=0x10001)

    def alerts() -> list[str]:
        return [event["text"] for event in subscriber.of("event") if event["kind"] == "alert"]

    wait_until(alerts, "the alert")
    assert alerts()[0].startswith("under_voltage: too little voltage")


@pytest.mark.slow
def test_a_hot_board_gets_fewer_frames_and_more_again(
    start: Callable[[str], Daemon], mosquitto: Mosquitto, subscribe: Callable[..., Subscriber], pi: Pi
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    start("inference: {threads: 1, soft_limit_c: 70}")
    wait_until(lambda: len(subscriber.of("pose")) > 30, "poses", 30)

    def heat() -> list[str]:
        return [event["text"] for event in subscriber.of("event") if event["kind"] == "heat"]

    pi.set(temperature_c=71.0)
    wait_until(lambda: len(heat()) >= 3, "three steps", 30)
    rates = [float(re.search(r"at most ([\d.]+) poses", text)[1]) for text in heat()[:3]]
    assert rates == sorted(rates, reverse=True)
    assert rates[2] < 0.7 * 25
    pi.set(temperature_c=50.0)
    wait_until(lambda: heat()[-1] == "50 °C: as many poses as before", "the end of it", 30)


def test_prometheus_reads_the_numbers(start: Callable[[str], Daemon], mosquitto: Mosquitto) -> None:
    mosquitto.start()
    port = free_port()
    start(f"inference: {{threads: 1}}\nprometheus: {{port: {port}}}").wait_for("metrics on")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    assert 'edgepose_board_temperature_c{device="cage-07"} 48.3' in text
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)


def test_every_line_of_the_metrics_is_as_the_format_says() -> None:
    lines = metrics(HEALTH).splitlines()
    label = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(rf"[a-z_]+\{{{label}(?:,{label})*\}} -?[\d.e+-]+")
    comment = re.compile(r"# TYPE [a-z_]+ (?:gauge|counter)")
    assert [line for line in lines if not sample.fullmatch(line) and not comment.fullmatch(line)] == []
    names = [line.split("{")[0] for line in lines if not line.startswith("#")]
    assert names == sorted(names, key=names.index)  # samples of one name stand together
    assert 'edgepose_alert{device="cage-07",about="pose"} 1' in lines


def test_the_metrics_have_all_numbers_of_health_and_counters_that_are_zero() -> None:
    recorded = Recorded(on=True, segments=3, mb=12.5, frames=900, dropped={"slow": 2}, uncertain=4)
    lines = metrics(msgspec.structs.replace(HEALTH, recorded=recorded, dropped={}, rejected={})).splitlines()
    labels = '{device="cage-07"'
    for line in (
        f"edgepose_recorded_on{labels}}} 1",
        f"edgepose_recorded_segments{labels}}} 3",
        f"edgepose_recorded_mb{labels}}} 12.5",
        f"edgepose_recorded_frames_total{labels}}} 900",
        f"edgepose_recorded_uncertain_total{labels}}} 4",
        f'edgepose_recorded_dropped_total{labels},reason="slow"}} 2',
        f'edgepose_recorded_dropped_total{labels},reason="disk"}} 0',
        f'edgepose_dropped_total{labels},reason="spool_full"}} 0',
        f'edgepose_rejected_total{labels},reason="malformed"}} 0',
        f'edgepose_skipped_total{labels},reason="rate"}} 0',
    ):
        assert line in lines


def test_a_port_that_is_taken_is_a_wrong_config() -> None:
    server = MetricsServer(PrometheusConfig(port=free_port()), lambda: HEALTH)
    try:
        with pytest.raises(ConfigError, match=r"prometheus: cannot listen on 127.0.0.1:\d+ \(Address already in use\)"):
            MetricsServer(PrometheusConfig(port=server._server.server_port), lambda: HEALTH)
    finally:
        server.close()
