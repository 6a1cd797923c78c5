"""Interpreters of TFLite models. No other file imports one.

An interpreter is chosen by constructing it, since importing it proves nothing: tflite-runtime 2.14 can be imported
beside NumPy 2, but cannot be constructed. ai-edge-litert is tried first; it has no wheel for 32-bit boards.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import Any

from edgepose.errors import ModelError
from edgepose.system.native_output import without_native_notes
from edgepose.system.wording import printable

_RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
)


@dataclass(frozen=True, slots=True)
class Runtime:
    """An interpreter with its tensors allocated.

    Attributes:
        name: package and version, such as `ai-edge-litert 1.4.0`.
        xnnpack: whether XNNPACK, the fast kernels for the CPU, runs the graph.
    """

    interpreter: Any
    name: str
    threads: int
    xnnpack: bool

    def describe(self) -> str:
        """What runs the model, in words."""
        return f"{self.name}, {self.threads} thread{'s' * (self.threads > 1)}" + (
            ", XNNPACK" if self.xnnpack else ", without XNNPACK (slow)"
        )


@dataclass(frozen=True, slots=True)
class DelegateLibrary:
    """An external delegate: a shared library with TFLite's plug-in interface, and the options that it is given."""

    path: str
    options: dict[str, str]


def open_runtime(model: bytes, threads: int, where: str, library: DelegateLibrary | None = None) -> Runtime:
    """Constructs an interpreter for a model.

    Args:
        model: the content of a `.tflite`.
        where: the file's name, for messages.
        library: a delegate. One that was built for another runtime may crash the process.

    Raises:
        ModelError: no installed runtime can run the model.
    """
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
        except MemoryError:  # which says nothing about the model
            raise
        # Whatever else a runtime raises (ValueError, RuntimeError, SystemError, or AttributeError beside a NumPy that
        # it was not built for) means that it cannot run the model.
        except Exception as exc:
            failures.append(f"{package}: {printable(str(exc).strip().split(chr(10))[0] or repr(exc))}")
            continue
        name = f"{package} {importlib.metadata.version(package)}"
        return Runtime(interpreter, name, threads, _delegated(interpreter))
    what = f" with {library.path}" if library else ""
    raise ModelError(f"{where}: no TFLite runtime can run it{what} ({'; '.join(failures)})")


def installed_runtimes() -> str:
    """Names and versions of the runtimes that are installed, and of NumPy, which they depend on."""
    found = []
    for package in (*(package for package, _ in _RUNTIMES), "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(found)


def _delegated(interpreter: Any) -> bool:
    return any(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())
