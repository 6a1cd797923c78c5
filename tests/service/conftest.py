"""The system's own programs, as scripts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from system_programs import SystemPrograms


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SystemPrograms:
    folder = tmp_path / "system"
    folder.mkdir()
    made = SystemPrograms(folder)
    monkeypatch.setenv("PATH", f"{made.folder}:{os.environ['PATH']}")
    return made
