"""Is a model file fit to run here? Asked in a process of its own: a hostile or damaged file may crash the interpreter,
hang it, or eat the memory.

    python -m edgepose.model_store.verification MODEL

prints the model's id, or one line why not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from edgepose.errors import EdgeposeError, ModelError

VERIFY_S = 120.0  # a Pi Zero imports for seconds, and a large model's golden picture takes as long
_MOST_BYTES = 3_000_000_000  # of address space, most of it never touched
_NICE = 10


def verify_model(model: Path) -> str:
    """Its id. Checks the card, the hash, that this board's runtime has every operation, and the golden output. Raises
    ModelError."""
    command = [sys.executable, "-m", "edgepose.model_store.verification", str(model)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=VERIFY_S)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{model}: hangs the interpreter; export it again") from None
    if done.returncode == 0:
        return done.stdout.strip()
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ModelError(f"{model}: crashes the interpreter ({name}); the file is damaged, copy or export it again")
    told = [line for line in done.stderr.splitlines() if line.strip()] or ["no word why"]
    raise ModelError(told[-1].removeprefix("verify: "))


def main(model: Path) -> int:
    _confine()
    from edgepose.inference.estimator import Estimator

    try:
        print(Estimator(model, 1).card.model_id())
    except EdgeposeError as exc:
        print(f"verify: {exc}", file=sys.stderr)
        return exc.exit_code
    except MemoryError:
        print(f"verify: {model}: needs more memory than there is; export a smaller model", file=sys.stderr)
        return ModelError.exit_code
    return 0


def _confine() -> None:
    """If anything has to be killed for memory, then this and not the daemon; and the daemon's frames go first."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # what systemd's hardening forbids
        os.nice(_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
