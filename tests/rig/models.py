"""Models over MQTT, good and bad; accelerators that fail in every way."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from rig import FOLDER, Rig, Row


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
        "systemctl stop edgepose; cd /etc/edgepose; cp edgepose.yaml plain.yaml; "
        "/opt/edgepose/bin/edgepose model unpack first.tflite -o parts; "
        "cp parts/model.tflite parts/model_edgetpu.tflite; "
        "/opt/edgepose/bin/edgepose model pack parts -o first.tflite --force; rm -r parts; "
        "install -m 755 /host/good.so /host/wrong.so /usr/local/lib/; "
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
