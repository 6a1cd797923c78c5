"""Finds where the spool of a device lies, and locks it so that only one daemon uses it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO

from edgepose.config.schema import SpoolConfig
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.delivery.spool_memory import SpoolMemory
from edgepose.delivery.timing import DeliveryTiming
from edgepose.errors import EdgeposeError
from edgepose.system.reporter import Reporter
from edgepose.system.state_dir import state_dir


def spool_disk_folder(spool: SpoolConfig, device: str) -> Path:
    """Returns the folder of the config, or one in systemd's StateDirectory= or the user's own state folder."""
    if spool.folder:
        return Path(spool.folder) / device
    return state_dir() / "spool" / device


def spool_memory_folder(spool: SpoolConfig, device: str) -> Path:
    """Returns the folder of the config, or one in systemd's RuntimeDirectory=, the user's, or /dev/shm."""
    if spool.ram_folder:
        return Path(spool.ram_folder) / device
    if runtime := os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        return Path(runtime) / "spool" / device
    if user := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(user) / "edgepose" / "spool" / device
    return Path(f"/dev/shm/edgepose-{os.getuid()}/spool") / device  # noqa: S108  of this user alone


class SpoolLock:
    """The spool of one device, locked until `close`.

    Attributes:
        memory: what is on its way to the broker.
        disk: what waits longer.
        wait: True when the camera can wait while the disk is full, as a video can.
        drop_newest: True when a full disk drops the poses that come, not the oldest.
    """

    def __init__(
        self,
        spool: SpoolConfig,
        device: str,
        *,
        wait: bool,
        reporter: Reporter,
        timing: DeliveryTiming = DeliveryTiming(),
    ) -> None:
        """Raises EdgeposeError when another daemon uses the spool."""
        self.wait, self.drop_newest = wait, spool.when_full == "drop_newest"
        self._lock: IO[bytes] | None = None
        memory = spool_memory_folder(spool, device)
        with contextlib.suppress(OSError):  # SpoolMemory reports what is wrong with its folder
            memory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock(memory / "lock", device)
        self.memory = SpoolMemory(memory, reporter)
        path = spool_disk_folder(spool, device) / "spool.db"
        self.disk = SpoolDisk(path, spool.max_mb * 1e6, spool.max_age_h * 3600, timing.reopen_s)

    def close(self) -> None:
        self.memory.close()
        if self._lock is not None:
            self._lock.close()

    def _take_lock(self, path: Path, device: str) -> None:
        self._lock = path.open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise EdgeposeError(
                f"another edgepose already runs as device {device}; stop it, or give this one another `device`"
            ) from None
