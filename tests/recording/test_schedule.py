"""When frames are recorded: always, by local time, or while an experiment is marked."""

from __future__ import annotations

from pathlib import Path

from edgepose.config.schema import BetweenConfig
from edgepose.recording.schedule import RecordingSchedule

NOON_US = 1_795_348_800_000_000  # 2026-11-22T12:00:00Z


def test_the_schedule_is_local_time(in_berlin: None, tmp_path: Path) -> None:
    night = RecordingSchedule(BetweenConfig(between=("20:00", "08:00")), tmp_path / "marked")
    day = RecordingSchedule(BetweenConfig(between=("8:00", "20:00")), tmp_path / "marked")
    for utc_h, is_night in ((18.99, False), (19, True), (23.5, True), (6.9, True), (7, False), (12, False)):
        t_us = NOON_US + int((utc_h - 12) * 3.6e9)
        assert night.wants(t_us) == is_night
        assert day.wants(t_us) != is_night


def test_a_mark_outlives_a_restart(tmp_path: Path) -> None:
    marker = tmp_path / "recordings" / "marked"
    schedule = RecordingSchedule("marked", marker)
    assert not schedule.wants(NOON_US)
    schedule.mark("start")
    assert RecordingSchedule("marked", marker).wants(NOON_US)
    schedule.mark("note")
    assert schedule.wants(NOON_US)
    schedule.mark("stop")
    assert not schedule.wants(NOON_US)
    assert not RecordingSchedule("marked", marker).wants(NOON_US)
    assert RecordingSchedule("always", marker).wants(NOON_US)
