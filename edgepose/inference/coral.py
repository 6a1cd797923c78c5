"""Is there an Edge TPU? The kernel knows; the library says only that it failed, and not why."""

from __future__ import annotations

import contextlib
from pathlib import Path

LIBRARY = "libedgetpu.so.1"
# USB ids before and after its first use, in which it gets its firmware and comes back as another device.
_FRESH, _USED = ("1a6e", "089a"), ("18d1", "9302")


def find_coral(sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> str:
    """Returns which Edge TPU there is, in words; empty where there is none. sys, dev: the kernel's folders."""
    if apex := sorted(dev.glob("apex_*")):
        return f"Edge TPU on PCIe ({apex[0].name})"
    for device in sorted(sys.glob("bus/usb/devices/*")):
        with contextlib.suppress(OSError):
            ids = tuple((device / name).read_text(encoding="ascii").strip() for name in ("idVendor", "idProduct"))
            if ids in {_FRESH, _USED}:
                return f"Edge TPU on USB ({':'.join(ids)})"
    return ""


def why_not(library_error: str) -> str:
    """Explains the library's failure, and what to do."""
    if "cannot open shared object file" in library_error:
        return "its library is not installed; install libedgetpu1-std"
    if "undefined symbol" in library_error:
        return f"{library_error}; this is not a library for the Edge TPU, correct inference.library"
    if "Failed to load delegate" in library_error:
        return "its library could not open it; is another program using it, may this user (group plugdev)?"
    return library_error
