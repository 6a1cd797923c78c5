"""`sudo edgepose upgrade`: another version of the program, which has to prove itself; else the one before comes back.

The new version is prepared beside the running one, as hard links to what stays the same. Both then change places in one
step of the kernel, so that a power cut finds one or the other. What is not judged yet is judged at the next boot.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgepose.errors import EdgeposeError, UsageError
from edgepose.service.install import ETC, PROGRAM
from edgepose.service.steps import Steps
from edgepose.system.atomic_files import sync_folder, write_durably

PENDING = Path("/var/lib/edgepose-upgrade/pending.json")
HEALTHY_S = 200.0  # to the first pose; the unit's own patience is 180 s
HELD_S = 20.0  # without a restart, after it
MOST_RESTARTS = 3
_AT_FDCWD, _EXCHANGE = -100, 2  # renameat2(2)


class Pending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An upgrade that is not judged yet. units: that were at work before. configs: (file, what it was before)."""

    before: str
    after: str
    units: tuple[str, ...]
    configs: tuple[tuple[str, str], ...]


def previous(program: Path) -> Path:
    return program.with_name(f"{program.name}.previous")


def upgrade(package: Path, program: Path = Path(PROGRAM)) -> None:
    """package: a wheel, or a Debian package. Raises EdgeposeError, with the version before at work."""
    if not package.is_file() or package.suffix not in {".whl", ".deb"}:
        raise UsageError(f"{package}: give a wheel (.whl) or a Debian package (.deb) of edgepose")
    if not (program / "pyvenv.cfg").exists():
        raise UsageError(f"{program}: no edgepose is installed there; see the README for the first installation")
    _check_kind(package, program)
    before, units, other = version(program), active_units(), previous(program)
    shutil.rmtree(other, ignore_errors=True)
    print(f"preparing {package.name} beside edgepose {before}")
    shutil.copytree(program, other, symlinks=True, copy_function=_link)
    if package.suffix == ".deb":
        _keep(Pending(before, "", tuple(units), ()))
        _call("dpkg", "--install", str(package))
    else:
        _prepare(package, program, other)
        # Written down first: a power cut in what follows must find the way back to each of them.
        _keep(Pending(before, version(other), tuple(units), tuple(_configs())))
        try:
            _migrate(other)
        except EdgeposeError:
            _forget()
            raise
        exchange(program, other)
    _restart(program, units)
    settle(program)


def settle(program: Path = Path(PROGRAM)) -> None:
    """Judges the upgrade that is pending. Raises EdgeposeError where it went back."""
    try:
        pending = msgspec.json.decode(PENDING.read_bytes(), type=Pending)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        PENDING.unlink(missing_ok=True)
        raise EdgeposeError(f"{PENDING}: cannot read ({exc}); the version at work is kept") from None
    if version(program) == pending.before and pending.after != pending.before:
        return _forget()  # interrupted before the two changed places
    why = next((told for unit in pending.units if (told := trouble(unit))), "")
    if not why:
        PENDING.unlink()
        print(f"edgepose {version(program)} is at work; {pending.before} is kept in {previous(program)}")
        return None
    print(f"{why}; going back to edgepose {pending.before}")
    exchange(program, previous(program))
    _forget()
    _restart(program, list(pending.units))
    raise EdgeposeError(f"the new version was given up ({why}); edgepose {pending.before} is at work again")


def trouble(unit: str, clock: Callable[[], float] = time.monotonic) -> str:
    """Why it is not healthy; empty once it is. Healthy: the first pose has been handed over (that is what makes the
    unit active), and no restart for `HELD_S` after that."""
    deadline, since, seen = clock() + HEALTHY_S, None, ""
    first = int(_show(unit).get("NRestarts") or 0)
    while clock() < deadline:
        state = _show(unit)
        if state.get("ActiveState") == "failed":
            return f"{unit} has failed ({state.get('Result')}, status {state.get('ExecMainStatus')})"
        if int(state.get("NRestarts") or 0) - first >= MOST_RESTARTS:
            return f"{unit} was restarted {MOST_RESTARTS} times"
        if state.get("ActiveState") != "active" or state.get("MainPID") != seen:
            since, seen = None, state.get("MainPID", "")
        if state.get("ActiveState") == "active":
            since = clock() if since is None else since
            if clock() - since >= HELD_S:
                return ""
        time.sleep(0.5)
    return f"{unit} gave no pose within {HEALTHY_S:g} s"


def active_units() -> list[str]:
    """Of ours, those that are at work, or try to be."""
    done = subprocess.run(
        ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", "edgepose*.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    units = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    return [unit for unit in units if unit != "edgepose-settle.service"]


def version(program: Path) -> str:
    """Raises EdgeposeError where that program does not even start."""
    told = _call(str(program / "bin" / "python"), "-m", "edgepose", "--version")
    return told.split()[-1]


def exchange(one: Path, other: Path) -> None:
    """They take each other's name, at once. Raises EdgeposeError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE):
        raise EdgeposeError(f"{one} and {other} cannot change places ({os.strerror(ctypes.get_errno())})")
    sync_folder(one.parent)


def _prepare(wheel: Path, program: Path, other: Path) -> None:
    python = str(other / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _call(*pip, "--force-reinstall", "--no-deps", str(wheel))
    _call(*pip, str(wheel))  # what it needs and is not there yet
    for script in (other / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and (data := script.read_bytes()).startswith(b"#!"):
            fixed = data.replace(os.fsencode(other), os.fsencode(program), 1)
            if fixed != data:
                write_durably(script, fixed, script.stat().st_mode & 0o777)
    os.sync()  # all of it is on the disk before it may be booted from


def _configs() -> list[tuple[str, str]]:
    """(file, content) of each."""
    return [(str(file), file.read_text(encoding="utf-8")) for file in sorted(Path(ETC).glob("*.yaml"))]


def _migrate(other: Path) -> None:
    """Every config as the new version wants it. Raises EdgeposeError."""
    for file, _ in _configs():
        print(_call(str(other / "bin" / "python"), "-m", "edgepose", "config", "migrate", "-c", file), end="")


def _forget() -> None:
    """The upgrade that is pending did not come about: every config is what it was."""
    pending = msgspec.json.decode(PENDING.read_bytes(), type=Pending)
    for file, text in pending.configs:
        if Path(file).read_text(encoding="utf-8") != text:
            write_durably(Path(file), text.encode())
    PENDING.unlink()


def _restart(program: Path, units: list[str]) -> None:
    """With the units of the version that is there now."""
    _call(str(program / "bin" / "python"), "-m", "edgepose", "install", "--no-start")
    steps = Steps()
    for unit in units:
        steps.run("systemctl", "reset-failed", unit, needed=False)
        steps.run("systemctl", "restart", "--no-block", unit)


def _check_kind(package: Path, program: Path) -> None:
    """What Debian's package manager has put there, it alone may change. Raises UsageError."""
    owner = subprocess.run(["dpkg", "--search", str(program)], capture_output=True, check=False)
    packaged = owner.returncode == 0
    if packaged != (package.suffix == ".deb"):
        kind = "a Debian package: give a .deb" if packaged else "a wheel: give a .whl"
        raise UsageError(f"{package}: edgepose was installed here from {kind}")


def _keep(pending: Pending) -> None:
    PENDING.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(PENDING, msgspec.json.encode(pending), 0o600)


def _show(unit: str) -> dict[str, str]:
    names = "ActiveState,Result,ExecMainStatus,NRestarts,MainPID"
    done = subprocess.run(
        ["systemctl", "show", f"--property={names}", unit], capture_output=True, text=True, check=False
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def _call(*words: str) -> str:
    """What it prints. Raises EdgeposeError."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as exc:
        raise EdgeposeError(f"{words[0]}: cannot be run ({exc.strerror})") from None
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no word why"]
        raise EdgeposeError(f"`{' '.join(words)}` failed: {told[-1]}")
    return done.stdout


def _link(source: str, target: str) -> None:
    """A hard link, or a copy where the file system has none: nobody writes into these files, they are replaced."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
