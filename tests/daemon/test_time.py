"""From 1970 to today, and back and forth by hours: no stall, no key twice, nothing that a reader could not put
right."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon

SOURCE = Path(__file__).parents[1] / "clock.c"
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (apt install gcc)")


@pytest.fixture
def set_clock(tmp_path: Path) -> Callable[[float], None]:
    """set_clock(seconds): from here on the daemon's wall clock is so far from ours."""
    file = tmp_path / "clock"

    def set_clock(seconds: float) -> None:
        new = file.with_suffix(".new")
        new.write_text(f"{seconds:.0f}", encoding="ascii")
        new.replace(file)

    set_clock(0)
    return set_clock


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    library = tmp_path / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-w", str(SOURCE), "-o", str(library), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "TEST_CLOCK": str(tmp_path / "clock")}


@pytest.mark.slow
def test_poses_go_on_whatever_the_clock_does(
    set_clock: Callable[[float], None],
    environ: dict[str, str],
    tmp_path: Path,
    demo_model: Path,
    mosquitto: Mosquitto,
    subscribe: Callable[..., Subscriber],
    run: Callable[..., Daemon],
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {demo_model}\ninference: {{threads: 1}}\n"
        "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 25}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n",
        encoding="utf-8",
    )
    to_1970 = 3600 - time.time()
    set_clock(to_1970)
    daemon = run(config, environ)
    wait_until(lambda: len(subscriber.of("pose")) > 20, "poses of 1970", 30)
    for seconds in (0, 3600, -3600, to_1970, 0):
        set_clock(seconds)
        count = len(subscriber.of("pose"))
        wait_until(lambda count=count: len(subscriber.of("pose")) > count + 20, "poses", 10)
        pose = subscriber.of("pose")[-1]
        assert abs(pose["t_us"] / 1e6 - (time.time() + seconds)) < 5
        assert 0 <= pose["latency_ms"] < 5000
    poses = subscriber.poses()
    assert time.gmtime(poses[0]["t_us"] / 1e6).tm_year == 1970
    seqs = [pose["seq"] for pose in poses]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert not [event for event in subscriber.of("event") if event["kind"].startswith("camera")]
    assert not daemon.warnings()
    assert "all delivered" in daemon.stop()
