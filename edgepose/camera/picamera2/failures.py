"""Says in words why a Camera Module cannot be used, and what to do about it."""

from __future__ import annotations

import errno
import getpass
import os
from collections.abc import Iterator
from pathlib import Path

DEV = Path("/dev")
_PROC = Path("/proc")
_HEAPS = ("vidbuf_cached", "linux,cma")  # of /dev/dma_heap; picamera2 takes the first that exists
NO_CAMERA = (
    "no Camera Module is detected; see what `rpicam-hello --list-cameras` says, check both ends of the ribbon cable, "
    "and that /boot/firmware/config.txt has camera_auto_detect=1"
)


def import_failure(exc: Exception) -> str:
    """Returns why picamera2 cannot be imported."""
    # A picamera2 built for NumPy 1 says "numpy.dtype size changed" or "numpy.core.multiarray failed to import".
    if "numpy" in str(exc) and not isinstance(exc, ModuleNotFoundError):
        return (
            f"this environment's NumPy is too new for apt's picamera2 ({_first_line(exc)}); "
            "pip install 'numpy<2' 'opencv-python-headless<4.12'"
        )
    return (
        f"this Python has no picamera2 with libcamera ({_first_line(exc)}); sudo apt install python3-picamera2, and "
        "make edgepose's environment with /usr/bin/python3 -m venv --system-site-packages"
    )


def no_permission(dev: Path = DEV) -> str | None:
    """Returns which camera device this user may not open; None where nothing is forbidden. dev: usually /dev."""
    heap = next((path for name in _HEAPS if (path := dev / "dma_heap" / name).exists()), None)
    for path in [*([heap] if heap else []), *_media_devices(dev)]:
        # It is not tried by opening the device: closing it again would give up every lock this process has on it.
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            return f"no permission for {path}; sudo usermod -aG video {getpass.getuser()}, then log in again"
    return None


def open_failure(exc: BaseException, name: str, dev: Path = DEV) -> str:
    """Returns why the camera `name` cannot be opened, from what picamera2 raised. dev: usually /dev."""
    texts = [str(one) for one in _chain(exc)]
    numbers = [one.errno for one in _chain(exc) if isinstance(one, OSError)]
    if any("busy" in text.lower() for text in texts):
        user = _lock_holder(dev) or "another program"
        return f"{name}: in use by {user}; stop that one, or choose another camera with camera.which"
    if errno.ENOMEM in numbers or any("Cannot allocate memory" in text for text in texts):
        return (
            f"{name}: no memory for its pictures; make camera.size_wh smaller, or give the camera more with "
            "dtoverlay=vc4-kms-v3d,cma-256 in /boot/firmware/config.txt"
        )
    causes = ", because: ".join(text.strip().rstrip(".") for text in texts if text.strip())
    return f"{name}: {' '.join(causes.split())}; see whether `rpicam-hello` shows a picture"


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__


def _lock_holder(dev: Path) -> str | None:
    """Returns the process that has locked a media device. libcamera locks those of a camera in use (lockf)."""
    try:
        locks = [line.split() for line in (_PROC / "locks").read_text(encoding="ascii").splitlines()]
        devices = {path.stat().st_ino for path in _media_devices(dev)}
    except OSError:
        return None
    for fields in locks:  # 1: POSIX  ADVISORY  WRITE 812 00:06:513 0 EOF
        if len(fields) >= 6 and fields[1] == "POSIX" and fields[5].rsplit(":", 1)[-1] in map(str, devices):
            try:
                command = (_PROC / fields[4] / "cmdline").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            return f"process {fields[4]} ({' '.join(command.replace(chr(0), ' ').split())[:60]})"
    return None


def _media_devices(dev: Path) -> list[Path]:
    return sorted(dev.glob("media[0-9]*"))


def _first_line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
