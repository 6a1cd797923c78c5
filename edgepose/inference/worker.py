"""A model on an accelerator, in a process of its own, so that a driver that crashes or hangs does not end the daemon.

Both processes share the memory of pictures and outputs. A byte through a pipe says that the other one may go on.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import asdict
from typing import Any, cast

import numpy as np

from edgepose.errors import ModelError
from edgepose.inference.network import OUTPUTS, LocalEngine, Tensor
from edgepose.inference.runtime import DelegateLibrary, open_runtime

START_S = 60.0  # to load library and model; a Coral on USB loads its firmware first
INVOKE_S = 3.0  # a hundred times as long as a frame takes
_TURN = b"."


class WorkerError(Exception):
    """The accelerator cannot be used, or not any longer. The message says why."""


class Worker:
    """An `Engine` whose work is done by the process.

    Args:
        network: the content of the `.tflite` that the library runs.
        where: its name, for messages.

    Attributes:
        name: the name of the runtime.

    Raises:
        WorkerError: the network does not run there.
    """

    def __init__(self, library: DelegateLibrary, network: bytes, where: str) -> None:
        memory, size = os.memfd_create("edgepose-worker"), len(network)
        with open(memory, "wb", closefd=False) as file:
            file.write(network)
        settings = json.dumps({"library": asdict(library), "where": where, "memory": memory, "size": size})
        command = [sys.executable, "-m", "edgepose.inference.worker", settings]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[memory]
        )
        self._said: deque[str] = deque(maxlen=20)
        self._listener = threading.Thread(target=self._listen, name="accelerator-log", daemon=True)
        self._listener.start()
        self._pipe_in, self._pipe_out = cast(Any, self._process.stdin), cast(Any, self._process.stdout)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe_out, selectors.EVENT_READ)
        try:
            found = json.loads(self._line(START_S))
            self.name = str(found["name"])
            self.input = _read_tensor(found["input"])
            self.outputs = {name: _read_tensor(one) for name, one in found["outputs"].items()}
            size = found["size"]
            self._memory = mmap.mmap(memory, size)
        except (ValueError, KeyError, TypeError) as exc:
            self.close()
            raise WorkerError(f"{library.path}: its process sent an answer that cannot be read ({exc!r})") from None
        except WorkerError:
            self.close()
            raise
        finally:
            os.close(memory)
        self._views = _views(self._memory, [self.input, *self.outputs.values()])

    def input_view(self) -> Any:
        return self._views[self.input.index]

    def output(self, tensor: Tensor) -> Any:
        return self._views[tensor.index]

    def invoke(self) -> None:
        try:
            self._pipe_in.write(_TURN)
            self._pipe_in.flush()
        except OSError:
            raise WorkerError(self._how_it_ended()) from None
        if not self._selector.select(INVOKE_S):
            raise WorkerError(f"the accelerator gave no answer within {INVOKE_S:g} s")
        if os.read(self._pipe_out.fileno(), 1) != _TURN:
            raise WorkerError(self._how_it_ended())

    def close(self) -> None:
        """Kills the process: one that hangs in a driver does not react to anything else."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel
            self._process.wait(2)
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def _line(self, seconds: float) -> bytes:
        if not self._selector.select(seconds):
            raise WorkerError(f"the accelerator could not be opened within {seconds:g} s")
        line: bytes = self._pipe_out.readline()
        if not line:
            raise WorkerError(self._how_it_ended())
        return line

    def _how_it_ended(self) -> str:
        """Says how the process ended."""
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "the accelerator's process does not answer"
        self._listener.join(1)
        if status < 0:
            return f"the accelerator's library crashed ({signal.Signals(-status).name})"
        return " ".join(self._said[-1].split()) if self._said else f"the accelerator's process ended ({status})"

    def _listen(self) -> None:
        """Reads what libraries print, since they block when the pipe is full.

        The last lines say why the process ended.
        """
        with contextlib.suppress(OSError, ValueError):
            for line in cast(Any, self._process.stderr):
                if text := line.decode(errors="replace").strip():
                    self._said.append(text)


def main(settings: dict[str, Any]) -> int:
    """The work of the process."""
    library = DelegateLibrary(**settings["library"])
    turns = os.dup(1)
    os.dup2(2, 1)  # libraries print to stdout
    try:
        network = os.pread(settings["memory"], settings["size"], 0)
        runtime = open_runtime(network, 1, settings["where"], library)
        engine = LocalEngine(runtime)
    except (ModelError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 1
    tensors = [engine.input, *(engine.outputs[name] for name in OUTPUTS if name in engine.outputs)]
    size = sum(_bytes(tensor) for tensor in tensors)
    os.ftruncate(settings["memory"], size)
    views = _views(mmap.mmap(settings["memory"], size), tensors)
    outputs = {name: asdict(tensor) for name, tensor in engine.outputs.items() if name in OUTPUTS}
    hello = {"name": runtime.name, "input": asdict(engine.input), "outputs": outputs, "size": size}
    os.write(turns, json.dumps(hello).encode() + b"\n")
    while os.read(0, 1):
        try:
            engine.input_view()[...] = views[engine.input.index]
            engine.invoke()
        except Exception as exc:  # whatever a delegate raises
            print(f"the accelerator failed ({' '.join(str(exc).split())})", file=sys.stderr)
            return 1
        for tensor in tensors[1:]:
            views[tensor.index][...] = engine.output(tensor)
        os.write(turns, _TURN)
    return 0


def _views(memory: mmap.mmap, tensors: list[Tensor]) -> dict[int, Any]:
    """Returns each tensor's part of the memory; they lie one after the other."""
    views, offset = {}, 0
    for tensor in tensors:
        flat = np.frombuffer(memory, tensor.dtype, int(np.prod(tensor.shape)), offset)
        views[tensor.index] = flat.reshape(tensor.shape)
        offset += _bytes(tensor)
    return views


def _bytes(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize


def _read_tensor(data: dict[str, Any]) -> Tensor:
    scale, zero = data["quantization"]
    return Tensor(data["index"], data["dtype"], tuple(data["shape"]), (scale, zero))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which then ends this process
    sys.exit(main(json.loads(sys.argv[1])))
