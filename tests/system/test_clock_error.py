"""The bound of the wall clock's error: what time services say, from real programs where they are installed."""

from __future__ import annotations

import getpass
import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import free_port, wait_until
from hypothesis import given
from hypothesis import strategies as st

from edgepose.system.clock_error import (
    ClockErrorReader,
    ClockErrorTiming,
    ask_clock_error_us,
    chrony_bound_us,
    timesyncd_bound_us,
)

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
CHRONYD, CHRONYC = shutil.which("chronyd", path=PATH), shutil.which("chronyc", path=PATH)
BUSCTL, DBUS_DAEMON = shutil.which("busctl"), shutil.which("dbus-daemon")

# What busctl printed of systemd-timesyncd 252, whose server was on the same computer.
RECORDED = (
    b'{"type":"v","data":[{"type":"(uuuuittayttttbtt)","data":[0,4,4,3,-25,0,0,[127,127,1,1],1795969382926008,'
    b"1795969382926029,1795969382926126,1795969382926136,false,2,1]}]}\n"
)
# The example of chronyc(1), as `-c` prints it. The other two are what chronyc 4.3 printed of a chronyd that serves its
# own clock, and of one whose source does not answer.
SYNCHRONISED = (
    b"CB00710F,203.0.113.15,3,1795969690.977911776,-0.000006523,-0.000006747,0.000035822,-3.225,-0.000,0.129,"
    b"0.013639022,0.001100737,64.2,Normal\n"
)
LOCAL = (
    b"7F7F0101,,3,1795969687.174327263,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,"
    b"0.000000000,0.000000000,0.0,Normal\n"
)
UNSYNCHRONISED = (
    b"00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,"
    b"1.000000000,1.000000000,0.0,Not synchronised\n"
)

# The property NTPMessage: no offset, a round trip of 1,000 us, an error of the server of up to 3,500 us.
MESSAGE: dict[str, Any] = {
    "leap": 0,
    "version": 4,
    "mode": 4,
    "stratum": 2,
    "precision": -20,
    "root_delay_us": 5000,
    "root_dispersion_us": 1000,
    "reference": [192, 0, 2, 1],
    "origin_us": 1_000_000_000_000_000,
    "receive_us": 1_000_000_000_000_500,
    "transmit_us": 1_000_000_000_000_600,
    "destination_us": 1_000_000_000_001_100,
    "ignored": False,
    "packets": 7,
    "jitter_us": 40,
}


def printed(fields: dict[str, Any]) -> bytes:
    """What busctl prints of them."""
    message = {"type": "(uuuuittayttttbtt)", "data": list(fields.values())}
    return json.dumps({"type": "v", "data": [message]}).encode()


def bound_us(age_s: float = 0, **changes: Any) -> float | None:
    fields = MESSAGE | changes
    return timesyncd_bound_us(printed(fields), fields["destination_us"] + round(age_s * 1e6))


def test_the_bound_of_a_recorded_answer_is_computed_by_hand() -> None:
    offset_us, delay_us, precision_us, jitter_us = (21 - 10) / 2, 128 - 97, 2**-25 * 1e6, 1
    bound = timesyncd_bound_us(RECORDED, 1795969382926136 + 64_000_000)
    assert bound == pytest.approx(offset_us + delay_us / 2 + precision_us + jitter_us + 15 * 64)


def test_each_cause_adds_to_the_bound() -> None:
    least = (5000 + 1000) / 2 + 1000 + 2**-20 * 1e6 + 40
    assert bound_us() == pytest.approx(least)
    assert bound_us(age_s=100) == pytest.approx(least + 1500)
    assert bound_us(jitter_us=140) == pytest.approx(least + 100)
    assert bound_us(root_delay_us=7000) == pytest.approx(least + 1000)
    assert bound_us(root_dispersion_us=2000) == pytest.approx(least + 1000)
    assert bound_us(precision=-10) == pytest.approx(least - 2**-20 * 1e6 + 2**-10 * 1e6)


@given(
    error_us=st.integers(-2_000_000, 2_000_000),
    server_error=st.floats(-1, 1),
    root_us=st.tuples(st.integers(0, 200_000), st.integers(0, 200_000)),
    ways_us=st.tuples(st.integers(0, 500_000), st.integers(0, 500_000)),
    drift=st.floats(-15e-6, 15e-6),
    age_s=st.integers(0, 100_000),
    ignored=st.booleans(),
)
def test_the_true_error_is_within_the_bound(
    error_us: int,
    server_error: float,
    root_us: tuple[int, int],
    ways_us: tuple[int, int],
    drift: float,
    age_s: int,
    ignored: bool,
) -> None:
    """Whatever the two ways of the question take, and wherever the server is within its own bound."""
    true_us, (there_us, back_us) = 1_800_000_000_000_000, ways_us
    server_us = math.trunc(server_error * (root_us[0] / 2 + root_us[1]))
    origin_us, receive_us = true_us + error_us, true_us + there_us + server_us
    transmit_us, destination_us = receive_us + 70, true_us + there_us + 70 + back_us + error_us
    fields = MESSAGE | {
        "root_delay_us": root_us[0],
        "root_dispersion_us": root_us[1],
        "origin_us": origin_us,
        "receive_us": receive_us,
        "transmit_us": transmit_us,
        "destination_us": destination_us,
        "ignored": ignored,
    }
    offset_us = ((receive_us - origin_us) + (transmit_us - destination_us)) / 2
    stepped_us = 0 if ignored or abs(offset_us) < 400_000 else offset_us  # what timesyncd does at once
    now_us = destination_us + stepped_us + age_s * 1e6
    bound = timesyncd_bound_us(printed(fields), math.ceil(now_us))
    assert bound is not None
    assert abs(error_us + stepped_us + drift * age_s * 1e6) <= bound


def test_a_clock_that_was_set_by_days_is_known_at_once() -> None:
    """A Pi without a clock of its own starts in the past. The server's answer has the time before the step."""
    day_us = 86_400_000_000
    later = {name: MESSAGE[name] + day_us for name in ("receive_us", "transmit_us")}
    assert bound_us(age_s=86_400, **later) == bound_us()
    ignored_us = bound_us(**later, ignored=True)
    assert ignored_us is not None
    assert ignored_us > day_us


@pytest.mark.parametrize("changes", [{"packets": 0}, {"leap": 3}, {"precision": 5}])
def test_a_service_that_has_no_time_gives_no_bound(changes: dict[str, int]) -> None:
    assert bound_us(**changes) == math.inf


def test_a_clock_that_was_set_back_has_no_bound_until_the_next_answer() -> None:
    assert bound_us(age_s=-3600) == math.inf


def test_the_bound_of_chrony_is_the_sum_that_it_documents() -> None:
    assert chrony_bound_us(SYNCHRONISED) == pytest.approx(6.523 + 13_639.022 / 2 + 1_100.737)
    assert chrony_bound_us(SYNCHRONISED.replace(b"Normal", b"Insert second")) == chrony_bound_us(SYNCHRONISED)


@pytest.mark.parametrize("answer", [LOCAL, UNSYNCHRONISED, SYNCHRONISED.replace(b"Normal", b"Invalid")])
def test_a_chrony_without_a_source_gives_no_bound(answer: bytes) -> None:
    assert chrony_bound_us(answer) == math.inf


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\x00",
        b"506 Cannot talk to daemon\n",
        b"null",
        b'{"type":"v","data":[]}',
        b'{"type":"v","data":[{"type":"s","data":"NTPMessage"}]}',
        printed(MESSAGE | {"packets": "many"}),
        b'{"type":"v","data":[{"type":"(uuuuitt)","data":[0,4,4,3,-25,0,0]}]}',
        b"a,b,c,d,e,f,g,h,i,j,k,l,m,Normal\n",
        SYNCHRONISED[:90],
        printed(MESSAGE | {"root_delay_us": 10**400}),
        printed(MESSAGE | {"precision": -(10**400)}),
        b'{"more":' + b"[" * 10_000 + b"]" * 10_000 + b',"data":[]}',
    ],
)
def test_a_foreign_answer_is_no_answer(answer: bytes) -> None:
    assert timesyncd_bound_us(answer, MESSAGE["destination_us"]) is None
    assert chrony_bound_us(answer) in {None, math.inf}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """program(name, script): the only programs on the PATH; a time service of this computer is not asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for needed in ("cat", "sleep"):
        (folder / needed).symlink_to(shutil.which(needed) or needed)
    monkeypatch.setenv("PATH", str(folder))

    def program(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return program


def saying(answer: bytes, folder: Path) -> str:
    """A script that prints the answer."""
    (folder / "answer").write_bytes(answer)
    return f"cat {folder / 'answer'}"


def test_without_a_time_service_nothing_is_known(program: Callable[[str, str], Path]) -> None:
    assert ask_clock_error_us() is None


def test_chrony_is_asked_where_timesyncd_does_not_answer(program: Callable[[str, str], Path], tmp_path: Path) -> None:
    program("chronyc", saying(SYNCHRONISED, tmp_path))
    expected = math.ceil(6.523 + 13_639.022 / 2 + 1_100.737)
    assert ask_clock_error_us() == expected
    program("busctl", "echo 'Failed to connect to bus' >&2; exit 1")
    assert ask_clock_error_us() == expected
    program("busctl", "sleep 60")
    begin = time.monotonic()
    assert ask_clock_error_us(ClockErrorTiming(answer_s=0.2)) == expected
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("offset", [b"nan", b"inf", b"17", b"1e300"])
def test_an_error_of_more_than_16_s_is_not_a_bound(
    offset: bytes, program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    program("chronyc", saying(SYNCHRONISED.replace(b"-0.000006523", offset), tmp_path))
    assert ask_clock_error_us() is None


@pytest.mark.slow
def test_the_bound_grows_until_it_is_stale(program: Callable[[str, str], Path], tmp_path: Path) -> None:
    chronyc = program("chronyc", saying(SYNCHRONISED, tmp_path))
    reader = ClockErrorReader(ClockErrorTiming(ask_s=0.05, stale_s=2.5))
    try:
        wait_until(lambda: reader.now_us() is not None, "the first answer")
        chronyc.unlink()
        time.sleep(0.2)  # an answer that was on its way has come
        first, begin = reader.now_us(), time.monotonic()
        time.sleep(0.5)
        later, grown_us = reader.now_us(), 15 * (time.monotonic() - begin)
        assert first is not None
        assert later is not None
        assert first < later <= first + grown_us + 2
        wait_until(lambda: reader.now_us() is None, "the end of what is too old", 5)
        program("chronyc", saying(SYNCHRONISED, tmp_path))
        wait_until(lambda: reader.now_us() is not None, "the answer of a service that is back")
        (tmp_path / "answer").write_bytes(UNSYNCHRONISED)
        wait_until(lambda: reader.now_us() is None, "what the service says now", 1.5)
    finally:
        reader.close()


@pytest.fixture
def chronyd(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """chronyd(port, *lines): starts a chronyd that never touches the clock, and takes commands on this port."""
    if CHRONYD is None or CHRONYC is None:
        pytest.skip("needs chronyd and chronyc (apt install chrony)")
    running: list[subprocess.Popen[bytes]] = []

    def chronyd(port: int, *lines: str) -> None:
        config = tmp_path / f"chrony-{port}.conf"
        more = (f"cmdport {port}", "bindcmdaddress 127.0.0.1", "bindcmdaddress /", f"pidfile {tmp_path}/{port}.pid")
        config.write_text("\n".join([*lines, *more]) + "\n", encoding="utf-8")
        words = [CHRONYD, "-x", "-d", "-U", "-u", getpass.getuser(), "-f", str(config)]
        running.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    yield chronyd
    for process in running:
        process.terminate()
        process.wait()


def test_a_real_chronyd_that_follows_another_one(
    chronyd: Callable[..., None], program: Callable[[str, str], Path]
) -> None:
    server, server_commands, client_commands = free_port(), free_port(), free_port()

    def ask(port: int) -> int | None:
        program("chronyc", f'exec {CHRONYC} -h 127.0.0.1 -p {port} "$@"')
        return ask_clock_error_us()

    chronyd(server_commands, "local stratum 3", f"port {server}", "allow 127.0.0.1")
    wait_until(lambda: ask_raw(server_commands) == b"Normal", "the server")
    assert ask(server_commands) is None  # it serves its own clock
    chronyd(client_commands, f"server 127.0.0.1 port {server} minpoll -6 maxpoll -6 iburst", "port 0")
    wait_until(lambda: ask(client_commands) is not None, "the client to follow the server", 30)
    error_us = ask(client_commands)
    assert error_us is not None
    assert 0 < error_us < 1_000_000


def ask_raw(port: int) -> bytes:
    """The leap status as chronyc prints it."""
    words = [str(CHRONYC), "-h", "127.0.0.1", "-p", str(port), "-n", "-c", "tracking"]
    return subprocess.run(words, capture_output=True, check=False).stdout.strip().split(b",")[-1]


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a D-Bus of our own, in the place of the system's."""
    if BUSCTL is None or DBUS_DAEMON is None:
        pytest.skip("needs busctl and dbus-daemon (apt install systemd dbus)")
    path = tmp_path / "bus"
    words = [DBUS_DAEMON, "--session", "--nofork", "--nopidfile", f"--address=unix:path={path}"]
    daemon = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(path.exists, "the bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    yield f"unix:path={path}"
    daemon.terminate()
    daemon.wait()


def test_a_property_on_a_real_bus(bus: str, program: Callable[[str, str], Path]) -> None:
    jeepney = pytest.importorskip("jeepney", reason="needs jeepney")
    blocking = pytest.importorskip("jeepney.io.blocking")
    program("busctl", f'exec {BUSCTL} "$@"')
    assert ask_clock_error_us() is None  # nobody has the name
    with blocking.open_dbus_connection(bus=bus) as service:
        service.send_and_get_reply(jeepney.message_bus.RequestName("org.freedesktop.timesync1"))
        reader = ClockErrorReader()
        try:
            question = service.receive(timeout=10)
            while question.header.message_type is not jeepney.MessageType.method_call:
                question = service.receive(timeout=10)
            assert question.body == ("org.freedesktop.timesync1.Manager", "NTPMessage")
            age_us = time.time_ns() // 1000 - MESSAGE["destination_us"]
            names = ("origin_us", "receive_us", "transmit_us", "destination_us")
            times = {name: MESSAGE[name] + age_us for name in names}
            value = tuple((MESSAGE | times | {"reference": bytes(4)}).values())
            service.send(jeepney.new_method_return(question, "v", (("(uuuuittayttttbtt)", value),)))
            wait_until(lambda: reader.now_us() is not None, "the answer")
            error_us, least_us = reader.now_us(), bound_us()
            assert error_us is not None
            assert least_us is not None
            assert least_us <= error_us < least_us + 15 * 20
        finally:
            reader.close()
