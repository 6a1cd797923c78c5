"""The vendor's `edgetpu_compiler`: int8 model to the file a Coral runs, and what its log says about it.

Usage and log as coral.ai's "Edge TPU Compiler" describes them and compiler 16.0 prints them. It is a program for
64-bit Debian on x86; where it is not installed, `command_line` is what to type on a machine that has it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgepose.errors import EdgeposeError
from edgepose.inference.model_card import ModelFile, read_model, sha256_of, write_card

PROGRAM = "edgetpu_compiler"
TIMEOUT_S = 600
# "CONV_2D                        62         Mapped to Edge TPU"
_ROW = re.compile(r"^([A-Za-z0-9_]+)\s+(\d+)\s+(\S.*?)\s*$", re.MULTILINE)
_MAPPED = "Mapped to Edge TPU"
_CAUSE = re.compile(r"^(?:ERROR: .*|Compilation failed: .*|Invalid model.*|Internal compiler error.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CompilerLog:
    """rows: operation, how many of it, and what became of them, as printed. version: of the compiler, "" unknown."""

    version: str
    rows: tuple[tuple[str, int, str], ...]

    @property
    def mapped(self) -> int:
        return sum(count for _, count, status in self.rows if status == _MAPPED)

    @property
    def on_cpu(self) -> int:
        return sum(count for _, count, status in self.rows if status != _MAPPED)

    def verdict(self) -> str:
        """One line."""
        if not self.on_cpu:
            return f"compiled: all {self.mapped} operations run on the Edge TPU"
        total = self.mapped + self.on_cpu
        left = "; ".join(f"{count} {kind}: {status}" for kind, count, status in self.rows if status != _MAPPED)
        return f"compiled, but {self.on_cpu} of {total} operations run on the CPU ({left})"


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None


def compiled_path(model: Path) -> Path:
    """`model.tflite` becomes `model_edgetpu.tflite`, as the compiler itself names it."""
    return model.with_name(f"{model.stem}_edgetpu.tflite")


def command_line(model: Path) -> str:
    """What to type on a machine with the compiler; the file then lies beside the model."""
    return shlex.join(_command(model, model.parent))


def compile_model(model: Path) -> CompilerLog:
    """Leaves the compiled file beside `model` and its name and hash in the card.

    Raises ModelError for a model that does not agree with its card, and EdgeposeError when the compiler is missing,
    fails, or does not end within `TIMEOUT_S`; then nothing has changed.
    """
    _, card = read_model(model)
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        log = parse_log(_run(model, Path(folder)))
        made = compiled_path(Path(folder) / model.name)
        try:
            compiled = made.read_bytes()
        except FileNotFoundError:
            raise EdgeposeError(f"{PROGRAM} said that it succeeded, but left no {made.name}") from None
        if not log.rows:
            raise EdgeposeError(
                f"{PROGRAM} {log.version} says of no operation what became of it; its own words: {command_line(model)}"
            )
        # The card last: until it names the compiled file, nobody looks for it.
        made.replace(compiled_path(model))
    entry = ModelFile(made.name, sha256_of(compiled))
    write_card(msgspec.structs.replace(card, files=msgspec.structs.replace(card.files, edgetpu=entry)), model)
    return log


def parse_log(text: str) -> CompilerLog:
    """text: what the compiler prints with --show_operations."""
    version = re.search(r"^Edge TPU Compiler version (\S+)", text, re.MULTILINE)
    _, _, table = text.partition("Operator ")  # its heading; before it, lines that look alike
    rows = tuple((kind, int(count), status) for kind, count, status in _ROW.findall(table))
    return CompilerLog(version[1] if version else "", rows)


def _command(model: Path, folder: Path) -> list[str]:
    return [PROGRAM, "--show_operations", "--out_dir", str(folder), str(model)]


def _run(model: Path, folder: Path) -> str:
    if not is_installed():
        raise EdgeposeError(
            f"{PROGRAM} is not installed; where it is (64-bit Debian, coral.ai/docs/edgetpu/compiler): "
            + command_line(model)
        )
    try:
        done = subprocess.run(
            _command(model, folder),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError as exc:
        raise EdgeposeError(f"{PROGRAM} cannot be run ({exc.strerror}); install it again") from None
    except subprocess.TimeoutExpired:
        raise EdgeposeError(f"{PROGRAM} did not end within {TIMEOUT_S} s; try by hand: {command_line(model)}") from None
    text = done.stdout + done.stderr
    if done.returncode or "Compilation failed" in text:
        cause = _CAUSE.search(text)
        raise EdgeposeError(
            f"{PROGRAM} failed with status {done.returncode}"
            + (f" ({cause[0]})" if cause else "")
            + f"; its own words: {command_line(model)}"
        )
    return text
