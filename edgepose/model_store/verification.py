"""Verification: is a model file fit to run on this computer?

A damaged or hostile file may crash the interpreter, hang it, or use all memory. So a process of its own loads it:

    python -m edgepose.model_store.verification MODEL

It prints the model's id, or one line that says why the model cannot run.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from edgepose.errors import EdgeposeError, ModelError
from edgepose.inference.model_card import sha256_of
from edgepose.inference.model_file import read_model
from edgepose.inference.runtime import installed_runtimes
from edgepose.system.state_files import locked, read_state, write_state

VERIFY_S = 120.0  # a Pi Zero needs seconds for the imports, and as long again for a large model's golden picture
MOST_PASSED = 50
_MOST_BYTES = 3_000_000_000  # of address space, most of which is never used
_NICE = 10
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}


class VerificationError(EdgeposeError):
    """A verification could not be finished. This says nothing about the model."""


class PassedModels(msgspec.Struct, frozen=True):
    """Models that passed.

    Attributes:
        runtimes: the runtimes that were installed then, by the SHA-256 of the model as one file.
    """

    v: int = 1
    runtimes: dict[str, str] = {}


def verify_once(model: Path, passed: Path) -> None:
    """Verifies a model, unless it passed before with the runtimes that are installed now.

    passed: the file that keeps which models passed. Raises as `verify_model` does.
    """
    digest, runtimes = sha256_of(read_model(model).packed()), installed_runtimes()
    if _read(passed).runtimes.get(digest) == runtimes:
        return
    verify_model(model)
    with contextlib.suppress(OSError), locked(passed):  # else the model is verified again
        found = {**_read(passed).runtimes, digest: runtimes}
        newest = dict(list(found.items())[-MOST_PASSED:])
        write_state(passed, PassedModels(runtimes=newest))


def _read(passed: Path) -> PassedModels:
    return read_state(passed, PassedModels, "the models are verified again") or PassedModels()


def verify_model(model: Path, seconds: float = VERIFY_S) -> str:
    """Checks the card, the hash, that a runtime of this computer has every operation, and the golden output.

    Returns:
        The model's id.

    Raises:
        ModelError: the model cannot run here.
        VerificationError: that could not be found out, because memory is short or the process was ended from outside.
    """
    read_model(model)
    command = [sys.executable, "-m", "edgepose.model_store.verification", str(model)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{model}: hangs the interpreter; export it again") from None
    except OSError as exc:
        raise _unfinished(model, exc.strerror or str(exc)) from None
    if done.returncode == 0:
        return done.stdout.strip()
    said = [line for line in done.stderr.splitlines() if line.strip()] or ["the process gave no reason"]
    why = said[-1].removeprefix("verify: ")
    if done.returncode < 0:
        number = signal.Signals(-done.returncode)
        if number in _CRASHES and not _is_memory_limited():
            raise ModelError(
                f"{model}: crashes the interpreter ({number.name}); the file is damaged, copy or export it again"
            )
        raise _unfinished(model, f"its process was ended by {number.name}")
    if done.returncode != ModelError.exit_code or _is_memory_limited():
        raise _unfinished(model, why)
    raise ModelError(why)


def _unfinished(model: Path, why: str) -> VerificationError:
    return VerificationError(f"{model}: could not be verified ({why}); make memory free, and try again")


def _is_memory_limited() -> bool:
    """Whether this process, and so its children, may use less memory than a verification needs at most."""
    return 0 <= resource.getrlimit(resource.RLIMIT_AS)[0] < _MOST_BYTES


def main(model: Path) -> int:
    _confine()
    from edgepose.inference.estimator import Estimator

    try:
        print(Estimator(model, 1).model.id)
    except ModelError as exc:
        print(f"verify: {exc}", file=sys.stderr)
    except MemoryError:
        print(f"verify: {model}: needs more memory than there is; export a smaller model", file=sys.stderr)
    except Exception as exc:  # nobody knows what a hostile file makes a library raise
        print(f"verify: {model}: cannot be run ({exc!r}); export it again", file=sys.stderr)
    else:
        return 0
    return ModelError.exit_code


def _confine() -> None:
    """When memory gets short, this process is ended and not the daemon; and the daemon's frames go first."""
    if not _is_memory_limited():
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # systemd's hardening may forbid these two
        os.nice(_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
