"""Kills, hangs, exceptions, a dead broker, a full disk, a jumping clock."""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Callable, Iterator

from rig import Rig, Row, missing

WATCHDOG_S = 60


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
    for part in ("link", "spool", "models"):
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


def step_disk(rig: Rig) -> Iterator[Row]:
    """While the broker is away, so that poses should go to the disk."""
    for what, spoil, mend in (
        ("disk full", "fallocate -l 20G /filler; dd if=/dev/zero of=/filler2 bs=1M; true", "rm -f /filler /filler2"),
        # As after an error of the card: nothing on any disk can be written any more.
        (
            "/var read-only",
            "echo u > /proc/sysrq-trigger; sleep 3; ! touch /var/lib/edgepose/x",
            "mount -o remount,rw /",
        ),
    ):
        before, begin = rig.restarts(), time.monotonic()
        rig.run(f"systemctl stop mosquitto; {spoil}")
        time.sleep(30)
        rig.run(f"{mend}; systemctl start mosquitto")
        rig.listener.live(90, time.monotonic())
        time.sleep(10)
        lost, count = missing(rig, begin), rig.restarts() - before
        yield what, f"broker away for 30 s meanwhile: {lost} poses missing, {count} restarts", not lost and not count
    rig.run(
        "systemctl stop edgepose; cp -a /var/lib/edgepose /run/state; mount -t tmpfs tmpfs /var/lib/edgepose; "
        "cp -a /run/state/. /var/lib/edgepose/; chown edgepose: /var/lib/edgepose; "
        "echo u > /proc/sysrq-trigger; sleep 3"
    )
    begin = time.monotonic()
    rig.run("systemctl restart --no-block edgepose")
    live = rig.listener.live(240, begin)
    refused = rig.run("touch /etc/edgepose/x 2>&1 || true")
    rig.run("mount -o remount,rw /; umount -l /var/lib/edgepose; systemctl restart edgepose")
    text = f"first pose {live.arrived_s - begin:.0f} s after its start"
    yield "read-only disk, its state directory alone writable", text, "Read-only" in refused


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
    return [*rows, from_1970(rig), time_service(rig)]


def from_1970(rig: Rig) -> Row:
    rig.run("date -s @86400; systemctl restart edgepose")
    begin = time.monotonic()
    old, before = rig.listener.live(120, begin), rig.restarts()
    now = round(time.time())
    rig.run(f"date -s @{now}")
    stepped = time.monotonic()
    new = rig.listener.live(120, stepped + 15)
    lost, count = missing(rig, begin), rig.restarts() - before
    poses = [pose for pose in rig.listener.poses if pose.arrived_s > begin]
    seqs = [pose.seq for pose in poses if not pose.replay]
    years = [time.gmtime(pose.t_us / 1e6).tm_year for pose in (old, new)]
    # The daemon's own pause; the live poses' is mosquitto's, which counts through the seconds of all those years.
    taken_s = [now, *sorted(pose.t_us / 1e6 for pose in poses if pose.t_us / 1e6 > now)]
    pause_s, gap_s = max(map(operator.sub, taken_s[1:], taken_s)), rig.listener.gap_s(stepped, time.monotonic())
    met = years[0] == 1970 and years[1] >= 2026 and len(set(seqs)) == len(seqs) and not lost and not count
    text = (
        f"poses of {years[0]} and of {years[1]}, {pause_s:.1f} s between two at most, {lost} missing, no key twice, "
        f"{count} restarts; mosquitto passes none on for {gap_s:.1f} s"
    )
    if not (met and pause_s < 10):
        print(rig.run("tail -30 /var/log/mosquitto/mosquitto.log; journalctl -b -n 40 --no-pager -o short-monotonic"))
    return "started in 1970, then NTP", text, met and pause_s < 10


def time_service(rig: Rig) -> Row:
    # What one tells the kernel: status 0, no longer STA_UNSYNC, and an error of 0, which systemd goes by.
    rig.run("python3 -c \"import ctypes; ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(b'\\x14', 512))\"")
    begin = time.monotonic()
    rig.listener.synced(150)
    text = f"poses say so after {time.monotonic() - begin:.0f} s, from within the hardened unit"
    return "a time service sets the clock", text, True
