"""`sudo edgepose upgrade`: installs another version, which has to prove itself; otherwise the one before comes back.

The new version is prepared beside the running one; files that stay the same are hard links. Then both folders exchange
their names in one step of the kernel, so that after a power cut one of the two versions is there, complete. An upgrade
that is not judged by then is judged at the next boot.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgepose.errors import EdgeposeError, UsageError
from edgepose.service.install import ETC, PROGRAM
from edgepose.service.steps import Steps, call
from edgepose.system.atomic_files import sync_folder, write_durably

MOST_RESTARTS = 3
_AT_FDCWD, _EXCHANGE = -100, 2  # renameat2(2)


@dataclass(frozen=True, slots=True)
class UpgradePaths:
    """The places of an installed edgepose.

    Attributes:
        program: the virtual environment that is upgraded.
        configs: the folder of the configurations.
        pending: the file of an upgrade that is not judged yet.
    """

    program: Path = Path(PROGRAM)
    configs: Path = Path(ETC)
    pending: Path = Path("/var/lib/edgepose-upgrade/pending.json")

    @property
    def other(self) -> Path:
        """Returns the folder of the version beside `program`: first the new one, then the one before."""
        return self.program.with_name(f"{self.program.name}.previous")


@dataclass(frozen=True, slots=True)
class UpgradeTiming:
    """When a new version counts as healthy, seconds.

    Attributes:
        healthy_s: from the start to the first pose; the unit itself allows 180 s.
        held_s: from the first pose on without a restart.
        poll_s: between two questions to systemd.
    """

    healthy_s: float = 200.0
    held_s: float = 20.0
    poll_s: float = 0.5


class PendingUpgrade(msgspec.Struct, frozen=True):
    """An upgrade that is not judged yet. Either version may have to read what the other one has written.

    Attributes:
        before, after: the versions.
        units: the services that were running.
        configs: each file and what it was before.
    """

    before: str
    after: str
    units: tuple[str, ...]
    configs: tuple[tuple[str, str], ...]


def upgrade(package: Path, paths: UpgradePaths = UpgradePaths(), timing: UpgradeTiming = UpgradeTiming()) -> None:
    """Installs a wheel or a Debian package. Raises EdgeposeError; then the version before runs again."""
    if not package.is_file() or package.suffix not in {".whl", ".deb"}:
        raise UsageError(f"{package}: give a wheel (.whl) or a Debian package (.deb) of edgepose")
    program, other = paths.program, paths.other
    if not (program / "pyvenv.cfg").exists():
        raise UsageError(f"{program}: no edgepose is installed there; see the README for the first installation")
    _check_kind(package, program)
    before, units = version(program), active_units()
    shutil.rmtree(other, ignore_errors=True)
    print(f"preparing {package.name} beside edgepose {before}")
    shutil.copytree(program, other, symlinks=True, copy_function=_link)
    if package.suffix == ".deb":
        _keep(paths, PendingUpgrade(before, "", tuple(units), ()))
        call("dpkg", "--install", str(package))
    else:
        _prepare(package, program, other)
        # This is written first: after a power cut in what follows, every config must become what it was.
        configs = [(str(file), file.read_text(encoding="utf-8")) for file in _configs(paths)]
        _keep(paths, PendingUpgrade(before, version(other), tuple(units), tuple(configs)))
        try:
            for file in _configs(paths):
                python = str(other / "bin" / "python")
                print(call(python, "-m", "edgepose", "config", "migrate", "-c", str(file)), end="")
        except EdgeposeError:
            _forget(paths)
            raise
        exchange(program, other)
    _restart(program, units)
    settle(paths, timing)


def settle(paths: UpgradePaths = UpgradePaths(), timing: UpgradeTiming = UpgradeTiming()) -> None:
    """Judges the upgrade that is pending. Raises EdgeposeError where it went back to the version before."""
    program = paths.program
    try:
        pending = msgspec.json.decode(paths.pending.read_bytes(), type=PendingUpgrade)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        paths.pending.unlink(missing_ok=True)
        raise EdgeposeError(f"{paths.pending}: cannot read ({exc}); the running version is kept") from None
    if version(program) == pending.before and pending.after != pending.before:
        return _forget(paths)  # it was interrupted before the exchange
    why = next((trouble for unit in pending.units if (trouble := unit_trouble(unit, timing))), "")
    if not why:
        paths.pending.unlink()
        print(f"edgepose {version(program)} is running; {pending.before} is kept in {paths.other}")
        return None
    print(f"{why}; going back to edgepose {pending.before}")
    exchange(program, paths.other)
    _forget(paths)
    _restart(program, list(pending.units))
    raise EdgeposeError(f"the new version was given up ({why}); edgepose {pending.before} is running again")


def unit_trouble(unit: str, timing: UpgradeTiming = UpgradeTiming()) -> str:
    """Waits until a service is healthy; returns why it is not, or an empty text once it is.

    A service is healthy when it has handed over its first pose, which makes the unit active, and has not been restarted
    for `held_s` after that.
    """
    deadline, since_s, main_pid = time.monotonic() + timing.healthy_s, None, ""
    first = int(_show(unit).get("NRestarts") or 0)
    while (now_s := time.monotonic()) < deadline:
        state = _show(unit)
        if state.get("ActiveState") == "failed":
            return f"{unit} has failed ({state.get('Result')}, status {state.get('ExecMainStatus')})"
        if int(state.get("NRestarts") or 0) - first >= MOST_RESTARTS:
            return f"{unit} was restarted {MOST_RESTARTS} times"
        if state.get("ActiveState") != "active" or state.get("MainPID") != main_pid:
            since_s, main_pid = None, state.get("MainPID", "")
        if state.get("ActiveState") == "active":
            since_s = now_s if since_s is None else since_s
            if now_s - since_s >= timing.held_s:
                return ""
        time.sleep(timing.poll_s)
    return f"{unit} gave no pose within {timing.healthy_s:g} s"


def active_units() -> list[str]:
    """Returns the services of edgepose that run, or that systemd tries to start."""
    options = ("--plain", "--no-legend", "--state=active,activating")
    lines = _systemctl("list-units", *options, "edgepose*.service")
    units = [line.split()[0] for line in lines if line.strip()]
    return [unit for unit in units if unit != "edgepose-settle.service"]


def version(program: Path) -> str:
    """Returns the version of an installed program. Raises EdgeposeError where it does not even start."""
    return call(str(program / "bin" / "python"), "-m", "edgepose", "--version").split()[-1]


def exchange(one: Path, other: Path) -> None:
    """Exchanges the names of two folders in one step. Raises EdgeposeError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE):
        raise EdgeposeError(f"{one} and {other} cannot change places ({os.strerror(ctypes.get_errno())})")
    sync_folder(one.parent)


def _prepare(wheel: Path, program: Path, other: Path) -> None:
    """Installs the wheel into `other`, whose scripts then name `program` as their place."""
    pip = [str(other / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    call(*pip, "--force-reinstall", "--no-deps", str(wheel))
    call(*pip, str(wheel))  # packages that it needs and that are not there yet
    for script in (other / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and (data := script.read_bytes()).startswith(b"#!"):
            fixed = data.replace(os.fsencode(other), os.fsencode(program), 1)
            if fixed != data:
                write_durably(script, fixed, script.stat().st_mode & 0o777)
    os.sync()  # all of it is on the disk before the system may boot from it


def _configs(paths: UpgradePaths) -> list[Path]:
    return sorted(paths.configs.glob("*.yaml"))


def _keep(paths: UpgradePaths, pending: PendingUpgrade) -> None:
    paths.pending.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(paths.pending, msgspec.json.encode(pending), 0o600)


def _forget(paths: UpgradePaths) -> None:
    """Forgets an upgrade that did not happen: every config becomes what it was."""
    pending = msgspec.json.decode(paths.pending.read_bytes(), type=PendingUpgrade)
    for file, text in pending.configs:
        if Path(file).read_text(encoding="utf-8") != text:
            write_durably(Path(file), text.encode())
    paths.pending.unlink()


def _restart(program: Path, units: list[str]) -> None:
    """Installs the unit files of the version that is there now, and restarts the services."""
    call(str(program / "bin" / "python"), "-m", "edgepose", "install", "--no-start")
    steps = Steps()
    for unit in units:
        steps.run("systemctl", "reset-failed", unit, needed=False)
        steps.run("systemctl", "restart", "--no-block", unit)


def _check_kind(package: Path, program: Path) -> None:
    """Only Debian's package manager may change what it has put there. Raises UsageError."""
    packaged = shutil.which("dpkg") is not None and (
        subprocess.run(["dpkg", "--search", str(program)], capture_output=True, check=False).returncode == 0
    )
    if packaged != (package.suffix == ".deb"):
        kind = "a Debian package: give a .deb" if packaged else "a wheel: give a .whl"
        raise UsageError(f"{package}: edgepose was installed here from {kind}")


def _show(unit: str) -> dict[str, str]:
    names = "ActiveState,Result,ExecMainStatus,NRestarts,MainPID"
    lines = _systemctl("show", f"--property={names}", unit)
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _systemctl(*words: str) -> list[str]:
    """Returns the lines that systemctl prints; none where it fails."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def _link(source: str, target: str) -> None:
    """Makes a hard link, or a copy where the file system has no links. These files are replaced, never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
