"""A renamed device takes over, at its next start, what lies under its former name.

Poses that are not delivered yet are sent under the name that they were made with, since (device, boot, seq) must never
repeat. The activated model and the settings are taken over. Recordings are moved, so that they count in the quota.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from edgepose.config.schema import Config
from edgepose.daemon.device_names import note_name, read_names
from edgepose.delivery.batching import Item, pack
from edgepose.delivery.spool_disk import SpoolDiskError, count_poses, hand_over
from edgepose.delivery.spool_lock import SpoolLock, spool_disk_folder, spool_memory_folder
from edgepose.errors import EdgeposeError
from edgepose.model_store.startup import selection_path
from edgepose.model_store.store import Store
from edgepose.system.clock import SyncFlag
from edgepose.system.reporter import Reporter
from edgepose.system.state_dir import state_dir
from edgepose.system.wording import count

log = logging.getLogger(__name__)


def take_over_former_names(config: Config, config_file: Path, reporter: Reporter) -> None:
    """Takes over what lies under the former names of the device. Never raises: what fails is tried again at the next
    start, and is an alert until then."""
    try:
        for former in note_name(config_file.resolve(), config.device_name()):
            take_over(former, config, reporter)
    except (OSError, EdgeposeError, SpoolDiskError) as exc:
        why = getattr(exc, "strerror", None) or exc
        reporter.alert("renamed", f"what lies under the former name of this device is not taken over: {why}")
    for device, poses in left_behind(config).items():
        text = f"{count(poses, 'message')} of device {device} wait in {spool_disk_folder(config.spool, device)}"
        log.warning("%s", text)
        reporter.event("left_behind", f"{text}; start it once as `device: {device}`, also before you rename it", poses)


def take_over(former: str, config: Config, reporter: Reporter) -> None:
    """Takes over what lies under one former name. What the new name has already is not replaced.

    Raises OSError, EdgeposeError, SpoolDiskError: another daemon has that name, or the disk failed.
    """
    device, store = config.device_name(), Store(state_dir() / "models")
    old_spool, new_spool = (spool_disk_folder(config.spool, name) for name in (former, device))
    old_model, new_model = (selection_path(store, name) for name in (former, device))
    recordings = Path(config.record.folder) / former if config.record else None
    memory = spool_memory_folder(config.spool, former)
    folders = [old_spool, *([recordings] if recordings else [])]
    if not any(place.exists() for place in (*folders, old_model)) and not any(memory.glob("sent.*.log")):
        return
    found = []
    with contextlib.closing(SpoolLock(config.spool, former, wait=True, reporter=reporter)) as spool:
        if messages := _hand_over_spool(spool, old_spool / "spool.db", new_spool / "spool.db"):
            found.append(f"{count(messages, 'message')} to be delivered under the former name")
        if _move(old_spool / "settings.json", new_spool / "settings.json"):
            found.append("what commands have set")
        if _move(old_model, new_model):
            found.append("which model is activated")
        files = sorted(recordings.iterdir()) if recordings and recordings.is_dir() else []
        if moved := sum(_move(file, file.parent.with_name(device) / file.name) for file in files):
            found.append(f"{count(moved, 'file')} of recordings")
    for folder in folders:
        with contextlib.suppress(OSError):  # something else is in it, or it was not there
            folder.rmdir()
    if found:
        text = f"this device was {former} before; it has taken over: {', '.join(found)}"
        log.info("%s", text)
        reporter.event("renamed", f"{text}; `edgepose purge {former}` removes what the broker keeps of that name")


def left_behind(config: Config) -> dict[str, int]:
    """Returns the devices that no configuration file is known to describe, with the number of their messages that wait
    in the same folder. Nothing is changed."""
    known = {*read_names().known(), config.device_name()}
    folder = spool_disk_folder(config.spool, config.device_name()).parent
    spools = {path.parent.name: path for path in sorted(folder.glob("*/spool.db"))}
    return {device: poses for device, path in spools.items() if device not in known and (poses := count_poses(path))}


def _hand_over_spool(spool: SpoolLock, path: Path, target: Path) -> int:
    """Returns the number of messages that the other spool will take up. Raises OSError, SpoolDiskError."""
    left = spool.memory.leftovers
    if left or path.exists():
        spool.disk.open()
    if left:
        batches = [batch for batch, _ in pack([Item(one.number, one.leaf, one.payload, 0.0) for one in left])]
        spool.disk.append(batches, SyncFlag().synced())
        spool.memory.remove([one.number for one in left])
    spool.disk.close()
    hand_over(path, target)
    return spool.disk.poses + spool.disk.refused.total()


def _move(file: Path, target: Path) -> bool:
    """Returns True when the file was there and has moved. A file in its new place is not replaced."""
    if not file.exists() or target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    file.rename(target)
    return True
