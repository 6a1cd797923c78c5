"""The only place that imports an interpreter, and chooses one: by constructing it, not by importing it.

tflite-runtime 2.14 imports under NumPy 2 and then fails to construct; ai-edge-litert has no wheel for 32-bit
boards. Whichever runs the model first is taken, ai-edge-litert before the older one.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import Any

from edgepose.errors import ModelError
from edgepose.system.native_output import without_native_notes

_RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
)


@dataclass(frozen=True, slots=True)
class Runtime:
    """An interpreter with its tensors allocated. xnnpack: whether its fast CPU kernels took the graph over."""

    interpreter: Any
    name: str
    threads: int
    xnnpack: bool

    def describe(self) -> str:
        return f"{self.name}, {self.threads} thread{'s' * (self.threads > 1)}" + (
            ", XNNPACK" if self.xnnpack else ", without XNNPACK (slow)"
        )


@dataclass(frozen=True, slots=True)
class DelegateLibrary:
    """An external delegate of TFLite's plug-in interface. path: of the shared library. options: its own."""

    path: str
    options: dict[str, str]


def open_runtime(model: bytes, threads: int, where: str, library: DelegateLibrary | None = None) -> Runtime:
    """Raises ModelError when no installed runtime can run the model. A library that was built for another runtime may
    crash the process."""
    failures = []
    for package, module in _RUNTIMES:
        try:
            runtime = importlib.import_module(module)
        except ImportError as exc:
            failures.append(f"{package}: {exc}")
            continue
        try:
            delegates = [runtime.load_delegate(library.path, library.options)] if library else None
            # What a library that crashes has printed must not be lost, so it prints as it likes.
            with contextlib.nullcontext() if library else without_native_notes():
                interpreter = runtime.Interpreter(
                    model_content=model, num_threads=threads, experimental_delegates=delegates
                )
                interpreter.allocate_tensors()
        # Whatever a runtime raises here (ValueError, RuntimeError, SystemError, AttributeError under a NumPy
        # it was not built for) means the same: this one cannot run the model.
        except Exception as exc:
            failures.append(f"{package}: {str(exc).strip().splitlines()[0] if str(exc).strip() else exc!r}")
            continue
        name = f"{package} {importlib.metadata.version(package)}"
        return Runtime(interpreter, name, threads, _delegated(interpreter))
    what = f" with {library.path}" if library else ""
    raise ModelError(f"{where}: no TFLite runtime can run it{what} ({'; '.join(failures)})")


def _delegated(interpreter: Any) -> bool:
    return any(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())
