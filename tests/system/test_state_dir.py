"""Which state folder is taken: by whoever asks, and never because of a folder that is there."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from edgepose.errors import EdgeposeError
from edgepose.system.state_dir import SERVICE_STATE, state_dir

SERVICE_UID = 987


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def asks(monkeypatch: pytest.MonkeyPatch, uid: int, *, installed: bool) -> Path:
    """Returns the folder for a user of a system on which the service's user exists, or does not."""

    def user(name: str) -> pwd.struct_passwd:
        if not installed:
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", SERVICE_UID, SERVICE_UID, "", "/var/lib/edgepose", ""))

    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(pwd, "getpwnam", user)
    return state_dir()


@pytest.mark.parametrize("uid", [0, SERVICE_UID, 1000])
def test_the_folder_that_systemd_names_comes_first(uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/private/edgepose:/other")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert asks(monkeypatch, uid, installed=True) == Path("/var/lib/private/edgepose")


@pytest.mark.parametrize("uid", [0, SERVICE_UID, 1000])
def test_a_state_home_is_taken_whoever_asks(uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert asks(monkeypatch, uid, installed=True) == Path("/xdg/edgepose")


@pytest.mark.parametrize("uid", [0, SERVICE_UID])
def test_where_the_service_is_installed_root_and_its_user_have_its_folder(
    uid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asks(monkeypatch, uid, installed=True) == SERVICE_STATE


def test_everybody_else_has_a_folder_of_his_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert asks(monkeypatch, 1000, installed=True) == tmp_path / ".local" / "state" / "edgepose"


def test_a_state_home_that_is_no_absolute_path_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would be another folder in each folder that somebody works in."""
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert asks(monkeypatch, 1000, installed=True) == tmp_path / ".local" / "state" / "edgepose"


def test_a_user_without_a_home_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a user is usual in a container."""
    monkeypatch.delenv("HOME")
    with pytest.raises(EdgeposeError, match=r"this user has no home folder .*; set XDG_STATE_HOME"):
        asks(monkeypatch, 54321, installed=False)


def test_root_without_the_service_has_a_folder_of_his_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whether /var/lib/edgepose exists does not matter: it may be left from an earlier installation."""
    assert asks(monkeypatch, 0, installed=False) == tmp_path / ".local" / "state" / "edgepose"
