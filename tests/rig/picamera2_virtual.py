"""Lets the real picamera2 use libcamera's "virtual" pipeline handler. For test rigs, never for a Pi.

In site-packages, with a picamera2_virtual.pth whose line is "import picamera2_virtual": nothing happens until a program
imports picamera2, which is then patched by picamera2_virtual_patch. PICAMERA2_VIRTUAL=0 switches it all off.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Pykms:
    """pykms is not in Debian; only preview windows use it, but "import picamera2" needs it."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, _Pykms) if name == "pykms" else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(_spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: Any) -> None:
        class Names(type):
            def __getattr__(cls, name: str) -> None:
                return None

        module.PixelFormat = Names("PixelFormat", (), {})


class _Hook:
    """First on sys.meta_path until picamera2 is imported, which it patches right afterwards."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "picamera2":
            return None
        sys.meta_path.remove(_Hook)  # type: ignore[arg-type]
        sys.meta_path.append(_Pykms)  # type: ignore[arg-type]  a real one comes first
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            import picamera2_virtual_patch

            picamera2_virtual_patch.apply()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if os.environ.get("PICAMERA2_VIRTUAL", "1") != "0" and "picamera2" not in sys.modules and _Hook not in sys.meta_path:
    sys.meta_path.insert(0, _Hook)  # type: ignore[arg-type]
