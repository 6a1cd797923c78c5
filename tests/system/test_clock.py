"""Clocks, also where there is no Linux: the desktop side and `bench` import them on Windows."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import wait_until

from edgepose.system import clock


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """timedatectl's answer is remembered."""
    clock.timedatectl.cache_clear()
    yield
    clock.timedatectl.cache_clear()


def test_the_boot_id_is_the_kernels() -> None:
    assert clock.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_without_the_kernels_id_one_process_has_one_boot_id(tmp_path: Path) -> None:
    assert clock.boot_id(tmp_path / "none") == clock.boot_id(tmp_path / "none") != ""


def test_the_boot_clock_runs_where_there_is_only_a_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "clock_gettime_ns"):
        monkeypatch.delattr(time, name)
    first = clock.boot_us()
    assert 0 < first <= clock.boot_us()


def test_only_linux_is_asked_whether_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def library(name: str | None) -> None:
        raise TypeError("LoadLibrary() argument 1 must be str, not None")

    assert clock.SyncFlag().synced() in {True, False}
    monkeypatch.setattr(ctypes, "CDLL", library)
    monkeypatch.setattr(sys, "platform", "win32")
    assert clock.SyncFlag().synced() is False


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(("answer", "synced"), [("yes", True), ("no", False), ("", False)])
def test_where_the_kernel_may_not_be_asked_systemd_is(
    answer: str, synced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a hardened service, system calls that could set the clock end with EPERM."""
    program = tmp_path / "timedatectl"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\necho {answer}\n', encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    flag = clock.SyncFlag(lambda _timex: -1)
    flag.synced()
    wait_until((tmp_path / "words").exists, "the question")
    wait_until(lambda: flag.synced() is synced, "the answer")
    assert (tmp_path / "words").read_text(encoding="ascii") == "show --property=NTPSynchronized --value\n"
