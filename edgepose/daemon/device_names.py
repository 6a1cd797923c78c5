"""Remembers which device each configuration file has described, in `devices.json` of the state folder.

A device is renamed when the same file names another device than before, or when the host's name has changed, which is
the default. Only then what lies under the former name is ours. Two cameras of one computer have two files, so neither
takes what belongs to the other.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgepose.system.state_dir import state_dir
from edgepose.system.state_files import locked, read_state, write_state

MOST_CONFIGS = 100
MOST_FORMER = 5


class NamedDevice(msgspec.Struct, frozen=True):
    """The device of one configuration file, and the names that it had before, the last one first."""

    device: str
    former: tuple[str, ...] = ()


class DeviceNames(msgspec.Struct, frozen=True):
    """The devices by the path of their configuration file, the one that was started last at the end."""

    v: int = 1
    configs: dict[str, NamedDevice] = {}

    def known(self) -> set[str]:
        """Returns every name that a configuration file has or had."""
        return {name for one in self.configs.values() for name in (one.device, *one.former)}

    def former(self, config: Path, device: str) -> tuple[str, ...]:
        """Returns the names under which a device may have left something, without those that other devices have."""
        mine = self.configs.get(str(config))
        if mine is None:
            return ()
        taken = {device, *(one.device for path, one in self.configs.items() if path != str(config))}
        names = dict.fromkeys((mine.device, *mine.former))
        return tuple(name for name in names if name not in taken)[:MOST_FORMER]


def read_names() -> DeviceNames:
    """Reads the file. Never raises."""
    return read_state(_path(), DeviceNames, "a device that is renamed now leaves its poses behind") or DeviceNames()


def note_name(config: Path, device: str) -> tuple[str, ...]:
    """Writes down that the configuration file describes this device, and returns its former names. Raises OSError."""
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        names = read_names()
        former = names.former(config, device)
        others = {key: one for key, one in names.configs.items() if key != str(config)}
        configs = dict([*others.items(), (str(config), NamedDevice(device, former))][-MOST_CONFIGS:])
        if configs != names.configs:
            write_state(path, DeviceNames(configs=configs))
    return former


def _path() -> Path:
    return state_dir() / "devices.json"
