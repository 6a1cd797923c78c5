"""The reporter: events wait until they are taken, alerts begin and end, and nobody ever waits for either."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from edgepose.system.reporter import Reporter


def taken(reporter: Reporter) -> list[tuple[str, str]]:
    events = []
    while event := reporter.take(0.0):
        events.append((event.kind, event.text))
    return events


def test_events_are_taken_in_order_with_the_number_of_the_next_pose_and_their_own_time() -> None:
    reporter = Reporter()
    reporter.next_seq = 7
    reporter.event("mark_start", "trial 1")
    reporter.next_seq = 8
    reporter.event("ttl_in", "lick", 3, mono_ns=time.monotonic_ns() - 2_000_000_000)
    first, second = reporter.take(1.0), reporter.take(1.0)
    assert first is not None
    assert second is not None
    assert (first.kind, first.text, first.count, first.seq) == ("mark_start", "trial 1", 0, 7)
    assert (second.kind, second.count, second.seq) == ("ttl_in", 3, 8)
    assert 1.9e6 < first.t_us - second.t_us < 2.5e6
    assert reporter.take(0.0) is None


def test_too_many_events_are_counted_and_nobody_waits() -> None:
    reporter = Reporter(most_events=10)
    for i in range(15):
        reporter.event("rule_on", str(i))
    assert reporter.dropped == 5
    assert taken(reporter)[-1] == ("rule_on", "9")


def test_an_alert_is_logged_and_told_once_until_it_has_been_away_for_long(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(quiet_s=0.1)
    for _ in range(3):
        reporter.alert("broker", "127.0.0.1:1883: refused")
    assert reporter.alerts == {"broker": "127.0.0.1:1883: refused"}
    reporter.alert("broker", None)
    reporter.alert("broker", "127.0.0.1:1883: refused")  # back at once: it is the same trouble
    assert taken(reporter) == [("alert", "broker: 127.0.0.1:1883: refused")]
    assert len(caplog.records) == 1
    reporter.alert("broker", None)
    assert reporter.alerts == {}
    time.sleep(0.15)
    reporter.alert("broker", "127.0.0.1:1883: refused")
    assert taken(reporter) == [("alert", "broker: 127.0.0.1:1883: refused")]
    assert len(caplog.records) == 2


def test_another_text_of_the_same_trouble_is_logged_but_is_no_new_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    reporter = Reporter()
    reporter.alert("disk", "90 % full")
    reporter.alert("disk", "95 % full")
    assert reporter.alerts == {"disk": "95 % full"}
    assert [record.message for record in caplog.records] == ["90 % full", "95 % full"]
    assert taken(reporter) == [("alert", "disk: 90 % full")]


def test_texts_that_take_turns_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(quiet_s=0.2)
    logged = [reporter.alert("broker", text) for text in ("lost", "refused", "lost", "lost", "refused")]
    assert logged == [True, True, False, False, False]
    assert [record.message for record in caplog.records] == ["lost", "refused"]
    reporter.alert("broker", None)
    time.sleep(0.25)
    assert reporter.alert("broker", "lost")


def test_whoever_tells_events_of_its_own_gets_no_second_one() -> None:
    reporter = Reporter()
    reporter.alert("camera", "no frame for 4 s", event=False)
    assert taken(reporter) == []
    assert reporter.alerts == {"camera": "no frame for 4 s"}


def test_alerts_are_read_while_others_change_them() -> None:
    reporter, ended = Reporter(), threading.Event()

    def change() -> None:
        i = 0
        while not ended.is_set():
            reporter.alert(f"part {i % 50}", None if i % 3 else "broken", event=False)
            i += 1

    threads = [threading.Thread(target=change) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        assert all(text == "broken" for text in reporter.alerts.values())
    ended.set()
    for thread in threads:
        thread.join()


def test_take_wakes_up_for_an_event_and_for_the_end() -> None:
    reporter = Reporter()
    timer = threading.Timer(0.05, reporter.event, ("started", "now"))
    timer.start()
    assert reporter.take(10.0) is not None
    closing = threading.Timer(0.05, reporter.close)
    closing.start()
    began = time.monotonic()
    assert reporter.take(10.0) is None
    assert time.monotonic() - began < 5


def test_text_that_utf_8_cannot_express_is_made_sendable() -> None:
    """A file's name in another encoding may be in it, and JSON could not be written."""
    reporter = Reporter()
    reporter.event("processor_off", "caf\udce9.py failed")
    reporter.alert("disk", "caf\udce9: full", event=False)
    event = reporter.take(0.0)
    assert event is not None
    assert event.text == "caf?.py failed"
    assert reporter.alerts == {"disk": "caf?: full"}
