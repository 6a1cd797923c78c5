"""`sudo edgepose install` and `uninstall`: the service's units, its user, its rules, and a checked configuration."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from edgepose.config.camera import ImageFolderConfig, VideoFileConfig
from edgepose.config.loading import config_at, read_config
from edgepose.config.migrations import migrate
from edgepose.config.schema import Config
from edgepose.errors import ConfigError, UsageError
from edgepose.inference.model_file import read_model
from edgepose.service.steps import Steps
from edgepose.system.shipped_files import shipped
from edgepose.system.state_dir import SERVICE_STATE, SERVICE_USER

PROGRAM = "/opt/edgepose"
ETC, STATE, UNITS = "/etc/edgepose", str(SERVICE_STATE), "/etc/systemd/system"
USER = SERVICE_USER
FILES = {
    "edgepose.service": f"{UNITS}/edgepose.service",
    "edgepose@.service": f"{UNITS}/edgepose@.service",
    "edgepose-settle.service": f"{UNITS}/edgepose-settle.service",
    "sysusers.conf": "/etc/sysusers.d/edgepose.conf",
    "tmpfiles.conf": "/etc/tmpfiles.d/edgepose.conf",
    "udev.rules": "/etc/udev/rules.d/70-edgepose.rules",
}
# The hardening of the service hides these folders from it.
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108


def install(steps: Steps, config: Path | None, instance: str, *, start: bool = True) -> None:
    """Installs the service.

    Args:
        config: the configuration to check and to copy, with the files that it names; None keeps the installed one.
        instance: the name of one of several cameras, else empty.
        start: True starts the service, or starts it again.

    Raises:
        EdgeposeError: where config or model are wrong, before anything is changed.
    """
    name = instance or "edgepose"
    unit = f"edgepose@{instance}.service" if instance else "edgepose.service"
    checked = read_config(config) if config else None
    text = _text(config, checked) if config and checked else ""
    copies = _copies(config, checked) if config and checked else []
    there = config_at(text, str(config), Path(ETC)) if text else None
    packaged = steps.place("/usr/lib/systemd/system/edgepose.service").exists()
    for file, path in FILES.items():
        if not packaged:  # a Debian package brought them
            steps.write(path, _with_program(shipped(f"systemd/{file}").read_bytes(), steps))
    if not packaged:
        steps.run("systemd-sysusers", *steps.root_option(), "edgepose.conf")
        create = ("systemd-tmpfiles", *steps.root_option(), "--create", "edgepose.conf")
        steps.run(*create, needed=not steps.root_option())
        steps.run("udevadm", "control", "--reload", needed=False)
        steps.run("udevadm", "trigger", "--subsystem-match=dma_heap", "--subsystem-match=usb", needed=False)
    group = USER if steps.root == Path("/") and not steps.dry else ""
    for path, data, mode in copies:
        steps.write(path, data, mode, group)
    if there:
        _folders(steps, unit, there)
        steps.write(f"{ETC}/{name}.yaml", text.encode(), 0o644)
    if not steps.place(f"{ETC}/{name}.yaml").exists() and not (steps.dry and config):
        print(f"no configuration yet: sudo edgepose install --config FILE, or put one at {ETC}/{name}.yaml")
        return
    _enable(steps, unit, start=start)


def _enable(steps: Steps, unit: str, *, start: bool) -> None:
    if steps.root != Path("/"):
        steps.run("systemctl", *steps.root_option(), "enable", unit, "edgepose-settle.service")
        return
    steps.run("systemctl", "daemon-reload")
    steps.run("systemctl", "enable", unit, "edgepose-settle.service")
    if start:
        # A service that runs goes on where nothing has changed.
        verb = "restart" if steps.changed else "start"
        steps.run("systemctl", "reset-failed", unit, needed=False)
        steps.run("systemctl", verb, "--no-block", unit)
        print(f"inspect it with: systemctl status {unit}; journalctl -u {unit} -f")


def uninstall(steps: Steps, *, purge: bool) -> None:
    """Removes the service. purge: also configuration, undelivered poses, models and recordings."""
    units = sorted({path.name for path in steps.place(f"{UNITS}/multi-user.target.wants").glob("edgepose*.service")})
    for unit in units or ["edgepose.service"]:
        if steps.root == Path("/"):
            steps.run("systemctl", "disable", "--now", unit, needed=False)
        else:
            steps.run("systemctl", *steps.root_option(), "disable", unit, needed=False)
    for path in FILES.values():
        steps.remove(path)
    for folder in steps.place(UNITS).glob("edgepose*.service.d"):
        steps.remove(f"{UNITS}/{folder.name}")
    steps.run("systemctl", "daemon-reload", needed=False)
    if purge:
        for path in (ETC, STATE, "/run/edgepose", "/var/lib/edgepose-upgrade"):
            steps.remove(path)
        steps.run("userdel", USER, needed=False)
    else:
        print(f"kept: {ETC} and {STATE}, with poses that are not delivered yet; --purge removes them")
    print(f"the program itself: sudo rm -r {PROGRAM}")


def _with_program(data: bytes, steps: Steps) -> bytes:
    """Puts the place of this program into a unit, where it is not the usual one.

    Raises UsageError for a place that the service cannot read.
    """
    if steps.root != Path("/") or sys.prefix == PROGRAM:
        return data
    if sys.prefix.startswith(_HIDDEN):
        raise UsageError(
            f"{sys.prefix}: the service may not read it; make the environment in {PROGRAM}: "
            f"sudo python3 -m venv --system-site-packages {PROGRAM}"
        )
    return data.replace(f"{PROGRAM}/".encode(), f"{sys.prefix}/".encode())


def _copies(file: Path, config: Config) -> list[tuple[str, bytes, int]]:
    """Returns path, content and mode of what is copied with the config: the model, and files beside it that it names.

    Raises EdgeposeError where a file is missing or wrong.
    """
    model = Path(config.model)
    copies = [(f"{ETC}/{model.name}", read_model(model).packed(), 0o644)]
    found = []
    for key, path in _named(config):
        try:
            place = Path(path).relative_to(file.resolve().parent)
        except ValueError:
            if path.startswith(_HIDDEN):
                raise ConfigError(f"{file}: {key}: the service may not read {path}; put it beside the config") from None
            continue
        found.append((f"{ETC}/{place}", Path(path)))
    try:
        copies += [(path, source.read_bytes(), 0o640 if _is_secret(path) else 0o644) for path, source in found]
    except OSError as exc:
        raise ConfigError(f"{file}: cannot read {exc.filename} ({exc.strerror}), which it names") from None
    return copies


def _is_secret(path: str) -> bool:
    return "key" in path or "password" in path


def _named(config: Config) -> list[tuple[str, str]]:
    """Returns key and path of each file that the config names, except the model."""
    tls, geometry, processor = config.mqtt.tls, config.geometry, config.processor
    paths: dict[str, Any] = {
        "mqtt.password_file": config.mqtt.password_file,
        "camera.password_file": getattr(config.camera, "password_file", None),
        "geometry.calibration": geometry.calibration if geometry else None,
    }
    if tls:
        paths |= {"mqtt.tls.ca": tls.ca, "mqtt.tls.cert": tls.cert, "mqtt.tls.key": tls.key}
    if processor:
        module = Path(processor.folder, *processor.load.split(":")[0].split("."))
        paths["processor"] = str(module.with_suffix(".py"))
    if isinstance(config.camera, VideoFileConfig | ImageFolderConfig):
        paths["camera.path"] = config.camera.path if Path(config.camera.path).is_file() else None
    return [(key, str(path)) for key, path in paths.items() if path]


def _text(file: Path, config: Config) -> str:
    """Returns the config's own text, with the model beside it."""
    text, _ = migrate(file.read_text("utf-8"))
    return re.sub(r"(?m)^model:[^#\n]*", lambda _: f"model: {Path(config.model).name}  ", text, count=1)


def _folders(steps: Steps, unit: str, config: Config) -> None:
    """Lets the service write into folders outside its state folder.

    Raises ConfigError for a folder that it must not have.
    """
    wanted = {
        f"{key}.folder": section.folder
        for key, section in (("spool", config.spool), ("record", config.record), ("hard_frames", config.hard_frames))
        if section and section.folder
    }
    more = []
    for key, folder in wanted.items():
        if folder.startswith((*_HIDDEN, f"{ETC}/")):
            raise ConfigError(f"{key}: the service may not write to {folder}; choose a folder in {STATE}, or a disk's")
        if not folder.startswith(f"{STATE}/"):  # the daemon makes the folders there by itself
            steps.folder(folder, USER)
            more.append(folder)
    path = f"{UNITS}/{unit}.d/folders.conf"
    if more:
        steps.write(path, f"[Service]\nReadWritePaths={' '.join(more)}\n".encode())
    else:
        steps.remove(path)
