"""Calls the vendor's `edgetpu_compiler`, which turns an int8 network into one that a Coral runs, and reads its log.

The command line and the log are as coral.ai's "Edge TPU Compiler" describes them and compiler 16.0 prints them. The
compiler is a program for 64-bit Debian on x86. Where it is not installed, `command_line` returns what to type on a
machine that has it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgepose.errors import EdgeposeError
from edgepose.inference.model_card import EDGETPU_MEMBER
from edgepose.inference.model_file import NETWORK, read_model, write_model

PROGRAM = "edgetpu_compiler"
# A row of the log: "CONV_2D                        62         Mapped to Edge TPU"
_ROW = re.compile(r"^([A-Za-z0-9_]+)\s+(\d+)\s+(\S.*?)\s*$", re.MULTILINE)
_MAPPED = "Mapped to Edge TPU"
_CAUSE = re.compile(r"^(?:ERROR: .*|Compilation failed: .*|Invalid model.*|Internal compiler error.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CompilerLog:
    """The compiler's log.

    Attributes:
        version: the compiler's version, empty where it is unknown.
        rows: operation, count and status as printed.
    """

    version: str
    rows: tuple[tuple[str, int, str], ...]

    @property
    def mapped(self) -> int:
        return sum(count for _, count, status in self.rows if status == _MAPPED)

    @property
    def on_cpu(self) -> int:
        return sum(count for _, count, status in self.rows if status != _MAPPED)

    def verdict(self) -> str:
        """The result in one line."""
        if not self.on_cpu:
            return f"compiled: all {self.mapped} operations run on the Edge TPU"
        total = self.mapped + self.on_cpu
        on_cpu = "; ".join(f"{count} {kind}: {status}" for kind, count, status in self.rows if status != _MAPPED)
        return f"compiled, but {self.on_cpu} of {total} operations run on the CPU ({on_cpu})"


def is_installed() -> bool:
    """Returns True when the compiler is on the PATH."""
    return shutil.which(PROGRAM) is not None


def command_line(model: Path) -> str:
    """Returns the commands for a machine with the compiler, which put the compiled network into the model."""
    parts = model.with_name(f"{model.stem}-parts")
    commands = (
        ["edgepose", "model", "unpack", str(model), "-o", str(parts)],
        _command(parts / NETWORK, parts),
        ["edgepose", "model", "pack", str(parts), "-o", str(model), "--force"],
    )
    return " && ".join(map(shlex.join, commands))


def compile_model(model: Path, timeout_s: float = 600) -> CompilerLog:
    """Compiles the network of a model, and puts the result into the model's file, which gets another id.

    Raises:
        ModelError: the model is damaged.
        EdgeposeError: the compiler is missing, fails, or does not end within `timeout_s`. Nothing has changed then.
    """
    content = read_model(model)
    with tempfile.TemporaryDirectory(dir=model.parent) as name:
        folder = Path(name)
        (folder / NETWORK).write_bytes(content.network)
        log = parse_log(_run(model, _command(folder / NETWORK, folder), timeout_s))
        try:
            compiled = (folder / EDGETPU_MEMBER).read_bytes()
        except FileNotFoundError:
            raise EdgeposeError(
                f"{PROGRAM} reported success, but wrote no {EDGETPU_MEMBER}; run it by hand: {command_line(model)}"
            ) from None
        if not log.rows:
            raise EdgeposeError(
                f"{PROGRAM} {log.version} printed no table of operations; see what it prints: {command_line(model)}"
            )
    write_model(model, content.network, content.card, content.members | {EDGETPU_MEMBER: compiled})
    return log


def parse_log(text: str) -> CompilerLog:
    """Reads what the compiler prints with --show_operations."""
    version = re.search(r"^Edge TPU Compiler version (\S+)", text, re.MULTILINE)
    _, _, table = text.partition("Operator ")  # the table's heading; lines before it may look like rows
    rows = tuple((kind, int(count), status) for kind, count, status in _ROW.findall(table))
    return CompilerLog(version[1] if version else "", rows)


def _command(network: Path, folder: Path) -> list[str]:
    return [PROGRAM, "--show_operations", "--out_dir", str(folder), str(network)]


def _run(model: Path, command: list[str], timeout_s: float) -> str:
    if not is_installed():
        raise EdgeposeError(
            f"{PROGRAM} is not installed; run this where it is (64-bit Debian, coral.ai/docs/edgetpu/compiler): "
            + command_line(model)
        )
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError as exc:
        raise EdgeposeError(f"{PROGRAM} cannot be run ({exc.strerror}); install it again") from None
    except subprocess.TimeoutExpired:
        raise EdgeposeError(
            f"{PROGRAM} did not end within {timeout_s:g} s; run it by hand: {command_line(model)}"
        ) from None
    text = done.stdout + done.stderr
    if done.returncode or "Compilation failed" in text:
        cause = _CAUSE.search(text)
        raise EdgeposeError(
            f"{PROGRAM} failed with status {done.returncode}"
            + (f" ({cause[0]})" if cause else "")
            + f"; see what it prints: {command_line(model)}"
        )
    return text
