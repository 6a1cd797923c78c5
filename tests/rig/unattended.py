"""`make rig-test`: a machine like a Pi, from a blank system to a service, through every fault that we can make.

    python tests/rig/unattended.py [--only walk,faults,...] [--keep] [--cuts N]

Prints a table, and writes it to benchmarks/README.md where every step was run. --keep: goes on with the disk of the
last run. Steps are functions named step_*; each returns rows (what, result, met).
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.server
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
from brokers import free_port
from camera import ROOT, SIZE_WH, build_image
from machine import Listener, Machine
from model_files import variant

from edgepose.camera.mouse import LOOP_FRAMES
from edgepose.camera.scene import Scene

HERE = Path(__file__).parent
RIG = ROOT / ".rig"
FOLDER = RIG / "unattended"
MODEL = ROOT / "edgepose" / "demo" / "demo.tflite"
REPORT, TITLE = ROOT / "benchmarks" / "README.md", "## Rig: unattended"
WATCHDOG_S = 60
Row = tuple[str, str, bool]
CONFIG = """device: rig
model: first.tflite
camera: {source: picamera2, rate_hz: 4.0}
inference: {threads: 1}
commands: [ping, health, model]
"""


class Rig:
    """The machine, its listener, and a web server that the guest reaches."""

    def __init__(self, keep: bool) -> None:
        build_image()
        disk = RIG / "unattended.qcow2"
        if not keep:
            shutil.rmtree(FOLDER, ignore_errors=True)
            disk.unlink(missing_ok=True)
            fill()
        self.port = free_port()
        self.machine = Machine(RIG / "rig.img", FOLDER, disk, self.port)
        self.listener = Listener(self.port)
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(FOLDER / "models"))
        handler.log_message = lambda *_: None  # type: ignore[attr-defined]
        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()

    def run(self, command: str, seconds: float = 300, *, check: bool = True) -> str:
        return self.machine.run(command, seconds, check=check)

    def show(self, *names: str) -> dict[str, str]:
        lines = self.run(f"systemctl show -p {','.join(names)} edgepose").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def restarts(self) -> int:
        return int(self.show("NRestarts")["NRestarts"])

    def fault(self, what: str) -> float:
        """When it began: host's monotonic clock."""
        self.run(f"echo {what} > /etc/edgepose/fault.new; mv /etc/edgepose/fault.new /etc/edgepose/fault")
        return time.monotonic()

    def heal(self) -> None:
        self.run("rm -f /etc/edgepose/fault")

    def url(self, name: str) -> str:
        return f"http://10.0.2.2:{self.web.server_port}/{name}"


def fill() -> None:
    """What the guest finds in /host: the sources, wheels of what they need, models, pictures for the camera."""
    FOLDER.mkdir(parents=True)
    FOLDER.chmod(0o777)
    sources = FOLDER / "edgepose"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    sources.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in ("edgepose", "train", "systemd", "firmware_configs"):
        shutil.copytree(ROOT / name, sources / name, ignore=ignore)
    variant(MODEL, sources, "first")
    (sources / "edgepose.yaml").write_text(CONFIG, encoding="utf-8")
    for name in ("second", "raises", "hangs"):
        variant(MODEL, FOLDER / "models", name)
    for name in ("guest_agent", "rig_faults.py"):
        shutil.copy(HERE / name, FOLDER)
    pictures, scene = FOLDER / "pictures", Scene(1, SIZE_WH)
    pictures.mkdir()
    for number in range(24):
        cv2.imwrite(str(pictures / f"{number}.jpg"), scene.render(number * LOOP_FRAMES // 24))
    wheels = RIG / "wheels"
    if not wheels.exists():
        words = ["--only-binary=:all:", "--python-version", "3.13", "-d", str(wheels)]
        needs = [
            "ai-edge-litert>=2.1",
            "numpy",
            "opencv-python-headless",
            "paho-mqtt>=2.2,<3",
            "msgspec",
            "pyyaml",
            "rich",
        ]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", *words, *needs, "setuptools>=77"], check=True)
    (FOLDER / "wheels").symlink_to(wheels) if False else shutil.copytree(wheels, FOLDER / "wheels")
    for name, more in (("good", []), ("wrong", ["-DWRONG_LIBRARY"])):
        command = ["cc", "-shared", "-fPIC", "-O2", "-w", *more, str(HERE.parent / "accelerator.c")]
        subprocess.run([*command, "-o", str(FOLDER / f"{name}.so")], check=True)


def readme_commands() -> list[str]:
    """Of the README's section on the service."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## As a service\n")[1]
    block = re.search(r"(?:^    sudo .*\n)+", section, re.MULTILINE)
    assert block is not None
    return [line.strip() for line in block[0].splitlines()]


def step_walk(rig: Rig) -> list[Row]:
    """The README's own commands. picamera2 is from PyPI, and packages come from a folder: the machine has no
    network."""
    rig.machine.boot()
    rig.run(
        "rig-camera /host/pictures; "
        "printf '[global]\\nno-index = true\\nfind-links = /host/wheels\\n' > /etc/pip.conf; timedatectl set-ntp false"
    )
    commands = readme_commands()
    begin = time.monotonic()
    for command in commands:
        rig.run(f"cd /host/edgepose; {command.replace(' python3-picamera2', '')}", 900)
    rig.listener.live(240)
    seconds = time.monotonic() - begin
    rig.run(
        "cp /host/rig_faults.py /opt/edgepose/; mkdir -p /etc/systemd/system/edgepose.service.d; "
        "printf '[Service]\\nExecStart=\\nExecStart=/opt/edgepose/bin/python /opt/edgepose/rig_faults.py run "
        "-c /etc/edgepose/edgepose.yaml\\n' > /etc/systemd/system/edgepose.service.d/faults.conf; "
        "systemctl daemon-reload; systemctl restart edgepose"
    )
    rig.listener.live(240)
    security = rig.run("systemd-analyze security edgepose.service --no-pager | tail -1")
    exposure = float(re.search(r"(\d+\.\d)", security)[1])  # type: ignore[index]
    verified = rig.run("systemd-analyze verify edgepose.service edgepose@x.service 2>&1 | grep -i edgepose || true")
    again = rig.run("cd /host/edgepose; /opt/edgepose/bin/edgepose install --config edgepose.yaml")
    return [
        (
            "a newcomer's walk, README only, to the first pose",
            f"{len(commands)} commands, {seconds:.0f} s",
            len(commands) <= 5,
        ),
        ("`systemd-analyze security`, the camera at work", f"exposure {exposure}", exposure <= 1.5),
        ("`systemd-analyze verify`", verified.strip() or "clean", not verified.strip()),
        ("`install` again", "changes nothing" if "write" not in again else again, "write" not in again),
    ]


def step_boot(rig: Rig) -> list[Row]:
    rig.machine.stop()
    begin = time.monotonic()
    rig.machine.boot()
    first = rig.listener.live(240, begin)
    return [("cold boot to the first pose on the broker, no hands", f"{first.arrived_s - begin:.0f} s", True)]


def revived(rig: Rig, what: str, act: Callable[[], float], most_s: float, *, restarts: bool) -> Row:
    """act: makes the trouble, and says when. Until a live pose comes after the trouble was seen."""
    before = rig.restarts()
    begin = act()
    deadline = begin + most_s + 120
    while True:  # a pose, and after it no silence
        pose = rig.listener.live(deadline - time.monotonic())
        time.sleep(3)
        if rig.listener.gap_s(time.monotonic() - 3, time.monotonic()) < 2.9 and rig.restarts() >= before + restarts:
            break
        assert pose
    seconds = rig.listener.gap_s(begin, time.monotonic())
    count = rig.restarts() - before
    return what, f"{count} restarts, {seconds:.0f} s without a pose", seconds <= most_s and bool(count) == restarts


def step_faults(rig: Rig) -> Iterator[Row]:
    def kill() -> float:
        rig.run("kill -9 $(systemctl show -p MainPID --value edgepose)")
        return time.monotonic()

    def freeze() -> float:
        rig.run("kill -STOP $(systemctl show -p MainPID --value edgepose)")
        return time.monotonic()

    long_s = WATCHDOG_S + 60
    yield safely(rig, "kill -9 of the daemon", lambda what: revived(rig, what, kill, 60, restarts=True))
    yield safely(rig, "SIGSTOP", lambda what: revived(rig, what, freeze, long_s, restarts=True))
    for part, words in (("infer", "interpreter"), ("publish", "hand-over"), ("link", "delivery")):
        act = functools.partial(rig.fault, f"hang-{part}")
        yield safely(rig, f"a hung {words}", functools.partial(revived, rig, act=act, most_s=long_s, restarts=True))
    yield safely(rig, "a hung camera", functools.partial(hung_camera, rig))
    for part in ("capture", "infer", "publish", "monitor"):
        act = functools.partial(rig.fault, f"raise-{part}")
        row = functools.partial(revived, rig, act=act, most_s=60, restarts=True)
        yield safely(rig, f"an exception in `{part}`", row)
    for part in ("link", "backlog", "models"):
        yield safely(rig, f"exceptions in `{part}` for 20 s", functools.partial(survived, rig, part=part))


def safely(rig: Rig, what: str, row: Callable[[str], Row]) -> Row:
    """One that fails does not keep the others from being tried."""
    try:
        return row(what)
    except (RuntimeError, TimeoutError) as exc:
        return what, f"failed: {exc}", False
    finally:
        rig.heal()


def hung_camera(rig: Rig, what: str) -> Row:
    before, begin = rig.restarts(), rig.fault("hang-camera")
    told_s, _ = rig.listener.event("camera_stalled", begin, 60)
    rig.heal()
    rig.listener.live(180)
    seconds = rig.listener.gap_s(begin, time.monotonic())
    text = f"told after {told_s - begin:.1f} s, {rig.restarts() - before} restarts, {seconds:.0f} s without a pose"
    return what, text, told_s - begin < 10


def survived(rig: Rig, what: str, part: str) -> Row:
    """An exception again and again for 20 s; what had to wait comes."""
    before, begin = rig.restarts(), rig.fault(f"raise-{part}")
    time.sleep(20)
    rig.heal()
    rig.listener.live(90)
    count = rig.restarts() - before
    return what, f"{count} restarts, {missing(rig, begin)} poses missing", not count


def missing(rig: Rig, begin_s: float) -> int:
    """Poses since then, of the last boot, that never came: between the least and the greatest."""
    boot = rig.listener.poses[-1].boot
    deadline = time.monotonic() + 60
    while True:
        starts = rig.listener.poses
        seqs = sorted({pose.seq for pose in starts if pose.boot == boot and pose.arrived_s > begin_s})
        # A new start of the daemon begins at another number, far above.
        gaps = sum(after - before - 1 for before, after in itertools.pairwise(seqs) if after - before < 10_000)
        if not gaps or time.monotonic() > deadline:
            return gaps
        time.sleep(1)


def step_outage(rig: Rig, seconds: float = 600) -> list[Row]:
    before, stopped = rig.restarts(), time.monotonic()
    rig.run("systemctl stop mosquitto")
    time.sleep(seconds)
    rig.run("systemctl start mosquitto")
    started = time.monotonic()
    live = rig.listener.live(90, started)
    time.sleep(30)
    lost, count = missing(rig, stopped), rig.restarts() - before
    late = sum(pose.replay for pose in rig.listener.poses if pose.arrived_s > started)
    text = f"{late} poses of the outage came, {lost} missing, live again after {live.arrived_s - started:.1f} s"
    return [(f"mosquitto gone for {seconds:.0f} s", f"{text}, {count} restarts", not lost and not count and late > 0)]


def step_disk(rig: Rig) -> list[Row]:
    rows = []
    for what, spoil, mend in (
        ("disk full", "fallocate -l 20G /filler; dd if=/dev/zero of=/filler2 bs=1M; true", "rm -f /filler /filler2"),
        (
            "/var read-only",
            "mount --bind /var/lib/edgepose /var/lib/edgepose; mount -o remount,ro,bind /var/lib/edgepose",
            "umount /var/lib/edgepose",
        ),
    ):
        before = rig.restarts()
        rig.run(spoil, check=False)
        begin = time.monotonic()
        rig.run("systemctl stop mosquitto")
        time.sleep(30)
        rig.run("systemctl start mosquitto", check=False)
        rig.listener.live(90, time.monotonic())
        rig.run(mend)
        time.sleep(10)
        lost, count = missing(rig, begin), rig.restarts() - before
        text = f"broker away for 30 s meanwhile: {lost} poses missing, {count} restarts"
        rows.append((what, text, not lost and not count))
    rig.run(
        "mount --bind /var/lib/edgepose /var/lib/edgepose; mount -o remount,bind,ro /; systemctl restart edgepose",
        check=False,
    )
    begin = time.monotonic()
    live = rig.listener.live(240, begin)
    refused = rig.run("touch /etc/edgepose/x 2>&1 || true")
    rig.run("mount -o remount,bind,rw /; umount -l /var/lib/edgepose; systemctl restart edgepose", check=False)
    met = "Read-only" in refused
    rows.append(
        (
            "read-only root, its state directory alone writable",
            f"first pose {live.arrived_s - begin:.0f} s after its start",
            met,
        )
    )
    return rows


def step_clock(rig: Rig) -> list[Row]:
    rows = []
    for what, step in (("+1 h", "+1 hour"), ("-1 h", "-1 hour")):
        before, begin = rig.restarts(), time.monotonic()
        rig.run(f"date -s '{step}'")
        time.sleep(15)
        gap, count = rig.listener.gap_s(begin, time.monotonic()), rig.restarts() - before
        rows.append(
            (
                f"clock stepped by {what}",
                f"{gap:.1f} s without a pose at most, {count} restarts",
                gap < 10 and not count,
            )
        )
    rig.run("date -s @86400; systemctl restart edgepose")
    begin = time.monotonic()
    old = rig.listener.live(120, begin)
    rig.run(f"date -s @{time.time():.0f}")
    stepped = time.monotonic()
    time.sleep(15)
    new = rig.listener.live(60, stepped + 5)
    seqs = [pose.seq for pose in rig.listener.poses if pose.arrived_s > begin and not pose.replay]
    years = [time.gmtime(pose.t_us / 1e6).tm_year for pose in (old, new)]
    gap = rig.listener.gap_s(stepped, time.monotonic())
    met = years[0] == 1970 and years[1] >= 2026 and len(set(seqs)) == len(seqs) and gap < 10
    text = f"poses of {years[0]} and of {years[1]}, {gap:.1f} s without one at most, no key twice"
    return [*rows, ("started in 1970, then NTP", text, met)]


def command(rig: Rig, name: str) -> float:
    sha256 = hashlib.sha256((FOLDER / "models" / f"{name}.tflite").read_bytes()).hexdigest()
    rig.listener.send(
        "model", {"action": "install", "url": rig.url(f"{name}.tflite"), "sha256": sha256, "activate": True}
    )
    return time.monotonic()


def step_models(rig: Rig) -> list[Row]:
    rows = []
    for name in ("raises", "hangs"):
        begin = command(rig, name)
        arrived, event = rig.listener.event("model_rolled_back", begin, 240)
        rig.listener.live(60)
        time.sleep(5)
        gap = rig.listener.gap_s(begin, time.monotonic())
        text = f"rolled back {arrived - begin:.0f} s after the command, {gap:.0f} s without a pose at most"
        rows.append((f"a model that {name}, fetched and activated over MQTT", text, gap < 30))
        assert name in event["text"]
    begin = command(rig, "second")
    arrived, _ = rig.listener.event("model_activated", begin, 180)
    gap = rig.listener.gap_s(begin, time.monotonic())
    text = f"at work {arrived - begin:.0f} s after the command, {gap:.1f} s without a pose at most"
    return [*rows, ("a good one", text, gap < 10)]


def step_delegates(rig: Rig) -> list[Row]:
    rows = []
    rig.run(
        "cd /etc/edgepose; cp edgepose.yaml plain.yaml; cp first.tflite first_edgetpu.tflite; "
        "python3 -c \"import json; c=json.load(open('first.json')); "
        "c['files']['edgetpu']={'name':'first_edgetpu.tflite','sha256':c['files']['cpu']['sha256']}; "
        "json.dump(c, open('first.json','w'))\"; install -m 755 /host/good.so /host/wrong.so /usr/local/lib/; "
        "rm -rf /var/lib/edgepose/models; mkdir -p /run/systemd/system/edgepose.service.d"
    )
    cases = {
        "missing library": ("/usr/local/lib/none.so", "", "is not installed"),
        "wrong library": ("/usr/local/lib/wrong.so", "", "not a library for the Edge TPU"),
        "segfaulting library": ("/usr/local/lib/good.so", "crash", "crashed (SIGSEGV)"),
        "library without a device": ("/usr/local/lib/good.so", "null", "could not open it"),
    }
    for what, (library, opening, text) in cases.items():
        begin = restart_with(rig, library, opening)
        rig.listener.live(240, begin)
        rows.append(told(rig, what, text, begin))
    begin = restart_with(rig, "/usr/local/lib/good.so", "ok")
    rig.listener.live(240, begin)
    live = wait_health(rig, lambda health: health.get("delegate") == "edgetpu")
    rows.append(("library with a device", "at work" if live else "not at work", live))
    for mood, text in (("lost", "the accelerator failed"), ("hang", "gave no answer within 3 s")):
        begin = time.monotonic()
        rig.run(f"echo {mood} > /etc/edgepose/mood")
        arrived, _ = rig.listener.event("delegate_lost", begin, 60)
        rig.listener.live(30, arrived)
        row = told(rig, f"device {'lost' if mood == 'lost' else 'hangs'} at work", text, begin)
        rows.append((row[0], f"{row[1]}, CPU after {arrived - begin:.0f} s", row[2] and arrived - begin < 10))
        rig.run("echo ok > /etc/edgepose/mood; systemctl restart edgepose")
        rig.listener.live(240)
    rig.run("cp /etc/edgepose/plain.yaml /etc/edgepose/edgepose.yaml; rm -r /run/systemd/system/edgepose.service.d")
    rig.run("systemctl daemon-reload; systemctl restart edgepose")
    rig.listener.live(240)
    return rows


def restart_with(rig: Rig, library: str, opening: str) -> float:
    rig.run(
        f"sed 's|inference: .*|inference: {{threads: 1, delegate: edgetpu, library: {library}}}|' "
        "/etc/edgepose/plain.yaml > /etc/edgepose/edgepose.yaml; echo ok > /etc/edgepose/mood; "
        "printf '[Service]\\nEnvironment=TEST_ACCELERATOR_MOOD=/etc/edgepose/mood "
        f"TEST_ACCELERATOR_OPEN={opening}\\n' > /run/systemd/system/edgepose.service.d/rig.conf; "
        "systemctl daemon-reload"
    )
    begin = time.monotonic()
    rig.run("systemctl restart --no-block edgepose")
    return begin


def told(rig: Rig, what: str, text: str, begin: float) -> Row:
    said = wait_health(rig, lambda health: text in health.get("alerts", {}).get("delegate", ""))
    alert = rig.listener.health.get("alerts", {}).get("delegate", "nothing")
    return f"delegate: {what}", f"poses from the CPU; /health: {alert}" if said else f"/health: {alert}", said


def wait_health(rig: Rig, wanted: Callable[[dict], bool]) -> bool:  # type: ignore[type-arg]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rig.listener.health = {}
        rig.listener.send("health", {})
        time.sleep(2)
        for reply in rig.listener.replies[-3:]:
            if reply.get("command") == "health" and reply.get("ok"):
                rig.listener.health = reply["result"]
        if wanted(rig.listener.health):
            return True
    return False


def make_wheel(version: str, *, broken: bool) -> str:
    """A later edgepose; a broken one fails before its first pose."""
    sources = FOLDER / "later"
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(FOLDER / "edgepose", sources)
    (sources / "edgepose" / "__init__.py").write_text(
        f'"""edgepose."""\n\n__version__ = "{version}"\n', encoding="utf-8"
    )
    if broken:
        with (sources / "edgepose" / "cli" / "daemon.py").open("a", encoding="utf-8") as file:
            file.write("\n\nDaemon.run = None\n")
    code = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    words = [sys.executable, "-c", code, str(FOLDER)]
    return subprocess.run(words, cwd=sources, check=True, capture_output=True, text=True).stdout.split()[-1]


def step_upgrade(rig: Rig) -> list[Row]:
    rows = []
    good, broken = make_wheel("0.9.1", broken=False), make_wheel("0.9.2", broken=True)
    begin = time.monotonic()
    out = rig.run(f"/opt/edgepose/bin/edgepose upgrade /host/{good}", 900)
    gap = rig.listener.gap_s(begin, time.monotonic())
    rows.append(
        ("upgrade to a good version", f"{out.splitlines()[-1]}; {gap:.0f} s without a pose", "0.9.1 is at work" in out)
    )
    begin = time.monotonic()
    out = rig.run(f"/opt/edgepose/bin/edgepose upgrade /host/{broken} 2>&1", 900, check=False)
    rig.listener.live(120)
    gap = rig.listener.gap_s(begin, time.monotonic())
    met = "0.9.1 is at work again" in out
    rows.append(
        (
            "upgrade to one that makes no poses",
            f"back by itself, {gap:.0f} s without a pose" if met else out[-300:],
            met,
        )
    )
    rig.run(
        f"(/opt/edgepose/bin/edgepose upgrade /host/{broken} >/var/log/upgrade.log 2>&1 &); "
        "until [ -e /var/lib/edgepose-upgrade/pending.json ]; do sleep 0.2; done; sleep 4",
        600,
    )
    cut = time.monotonic()
    rig.machine.cut()
    rig.machine.boot()
    rig.listener.live(400, cut)
    told = rig.run(
        "/opt/edgepose/bin/edgepose --version; journalctl -u edgepose-settle -b --no-pager -o cat | tail -2",
        check=False,
    )
    seconds = rig.listener.gap_s(cut, time.monotonic())
    rows.append(
        (
            "power cut in an upgrade that makes no poses",
            f"{' '.join(told.split())[:160]}; pose after {seconds:.0f} s",
            "0.9.1" in told,
        )
    )
    return rows


def step_cuts(rig: Rig, count: int = 20) -> list[Row]:
    """Power cuts at random moments: every other one in an outage or a model switch."""
    chance, worst_s, inconsistent, lost_s = random.Random(7), 0.0, [], []
    names = ["first", "second"]
    rig.run(
        "cd /host; /opt/edgepose/bin/edgepose model install /etc/edgepose/first.tflite; "
        "/opt/edgepose/bin/edgepose model install models/second.tflite",
        300,
    )
    for number in range(count):
        kind = ("running", "outage", "running", "switch")[number % 4]
        offset_s = time.time() - float(rig.run("date +%s.%N"))
        if kind == "outage":
            rig.run("systemctl stop mosquitto")
        if kind == "switch":
            name = names[(number // 4) % 2]
            model = rig.run(f"/opt/edgepose/bin/edgepose model list | grep -o '{name}@[0-9a-f]*' | head -1").strip()
            rig.listener.send("model", {"action": "activate", "model": model})
        time.sleep(chance.uniform(1, 12))
        cut_wall_s, cut_s = time.time(), time.monotonic()
        rig.machine.cut()
        rig.machine.boot()
        first = rig.listener.live(240, cut_s)
        worst_s = max(worst_s, first.arrived_s - cut_s)
        time.sleep(12)  # what waited on the disk
        old = [pose for pose in rig.listener.poses if pose.boot != first.boot]
        lost_s.append(cut_wall_s - (max(old, key=lambda pose: pose.t_us).t_us / 1e6 + offset_s))
        checks = rig.run(
            "/opt/edgepose/bin/edgepose config show -c /etc/edgepose/edgepose.yaml >/dev/null && "
            "cat /var/lib/edgepose/models/choice-rig.json && /opt/edgepose/bin/edgepose model list && "
            "ls /var/lib/edgepose/spool/rig/ /var/lib/edgepose/models; systemctl is-active edgepose",
            check=False,
        )
        if "active" not in checks.splitlines()[-1] or "damaged" in checks:
            inconsistent.append(f"{number} ({kind}): {checks}")
        print(
            f"cut {number + 1} ({kind}): first pose after {first.arrived_s - cut_s:.0f} s, {lost_s[-1]:.2f} s lost",
            flush=True,
        )
    row = f"every one booted, first pose after {worst_s:.0f} s at most; {len(inconsistent)} inconsistent"
    text = (
        f"{max(lost_s):.2f} s at most, {sorted(lost_s)[len(lost_s) // 2]:.2f} s median (a pose each 0.25 s or slower)"
    )
    return [
        (f"{count} power cuts, half of them in an outage or a model switch", row, not inconsistent),
        ("poses lost at a power cut, up to the cut", text, max(lost_s) < 2),
        *[(f"cut {text.split(':')[0]}", text, False) for text in inconsistent],
    ]


STEPS = {name.removeprefix("step_"): one for name, one in list(globals().items()) if name.startswith("step_")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"of {','.join(STEPS)}")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--cuts", type=int, default=20)
    args = parser.parse_args()
    chosen = args.only.split(",") if args.only else list(STEPS)
    rig = Rig(args.keep)
    rows: list[Row] = []
    if "walk" not in chosen:
        rig.machine.boot()
        rig.listener.live(240)
    try:
        for name in chosen:
            step = functools.partial(STEPS[name], count=args.cuts) if name == "cuts" else STEPS[name]
            rows += attempt(name, step, rig)
    finally:
        rig.machine.stop()
        rig.web.shutdown()
    if not args.only and all(met for _, _, met in rows):
        write_report(rows)
    return int(not all(met for _, _, met in rows))


def attempt(name: str, step: Callable[[Rig], Iterable[Row]], rig: Rig) -> list[Row]:
    rows: list[Row] = []
    try:
        rows.extend(map(note, step(rig)))
    except Exception as exc:  # the other steps are worth their time all the same
        rows.append(note((name, f"failed: {type(exc).__name__}: {str(exc)[-500:]}", False)))
    return rows


def note(row: Row) -> Row:
    what, result, met = row
    print(f"| {what} | {result} | {'' if met else 'NOT MET'}", flush=True)
    with (FOLDER / "rows.json").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    return row


def write_report(rows: list[Row]) -> None:
    """Its own section of the benchmarks."""
    text = REPORT.read_text(encoding="utf-8")
    table = "\n".join(f"| {what} | {result} |" for what, result, _ in rows)
    section = (
        f"{TITLE}\n\n    make rig-test\n\nDebian 13 with systemd in QEMU ([how](../tests/rig/README.md)), a hundred "
        f"times slower than the host: times are\nthat machine's.\n\n| what | result |\n|---|---|\n{table}\n\n"
    )
    before, _, rest = text.partition(f"{TITLE}\n")
    after = rest[rest.index("\n## ") + 1 :] if "\n## " in rest else ""
    if not rest:
        before, mark, after = text.partition("## Rig: camera\n")
        after = mark + after
    REPORT.write_text(before + section + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
