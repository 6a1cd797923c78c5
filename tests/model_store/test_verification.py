"""Verification: real files that are damaged, and real processes that crash, hang, are killed, or lack memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from model_files import interpreter, variant

from edgepose.errors import ModelError
from edgepose.inference.model_file import read_model
from edgepose.model_store.verification import VerificationError, verify_model, verify_once


def test_a_model_that_is_fit_gives_its_id(demo_model: Path) -> None:
    assert verify_model(demo_model) == read_model(demo_model).id


@pytest.mark.slow
def test_damaged_files_whose_card_calls_them_right_are_refused_or_harmless(demo_model: Path, tmp_path: Path) -> None:
    """Some crash the interpreter, so another process runs it. benchmarks/damaged_models.py tries a thousand files."""
    chance, whole, said = random.Random(3), demo_model.read_bytes(), []
    for number in range(12):
        data = bytearray(whole)
        if number % 2:
            del data[chance.randrange(len(data)) :]
        else:
            for _ in range(4):
                data[chance.randrange(4096)] ^= 1 << chance.randrange(8)
        model = variant(demo_model, tmp_path, f"damaged{number}", data=bytes(data))
        try:
            verify_model(model)
        except ModelError as exc:
            said.append(str(exc))
    assert len(said) >= 6
    assert all("\n" not in line and "Traceback" not in line for line in said)


@pytest.mark.slow
def test_what_crashes_or_hangs_the_interpreter_is_reported(
    demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter(monkeypatch, tmp_path, "if 'crash.tflite' in sys.argv[-1]: os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(ModelError, match=r"crash.tflite: crashes the interpreter \(SIGSEGV\)"):
        verify_model(variant(demo_model, tmp_path, "crash"))
    with pytest.raises(ModelError, match=r"slow.tflite: hangs the interpreter"):
        verify_model(variant(demo_model, tmp_path, "slow"), seconds=3)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_verification_that_is_killed_says_nothing_about_the_model(
    name: str, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills it when memory is short, or systemd ends it when the unit stops."""
    interpreter(monkeypatch, tmp_path, f"os.kill(os.getpid(), signal.{name})")
    with pytest.raises(VerificationError, match=f"could not be verified .its process was ended by {name}.") as raised:
        verify_model(demo_model)
    assert raised.value.exit_code == 1  # systemd starts the daemon again


LIMITED = """
import resource, sys
from pathlib import Path
from edgepose.model_store.verification import VerificationError, verify_model
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
most = used + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    print(verify_model(Path(sys.argv[1])))
except VerificationError as exc:
    print("unfinished:", exc)
"""


@pytest.mark.parametrize("line", ["bytearray(2_500_000_000)", "os.abort()", "return real(model, *rest)"])
def test_under_a_lower_limit_of_memory_a_failure_says_nothing_about_the_model(
    line: str, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C++ aborts where it gets no memory."""
    interpreter(monkeypatch, tmp_path, line)
    words = [sys.executable, "-c", LIMITED, str(demo_model), "500_000_000"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = read_model(demo_model).id if line.startswith("return") else "unfinished: "
    assert done.stdout.startswith(expected)


def test_a_model_that_needs_more_memory_than_any_model_may_have_is_refused(
    demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter(monkeypatch, tmp_path, "bytearray(4_000_000_000)")
    with pytest.raises(ModelError, match="needs more memory than there is"):
        verify_model(demo_model)


def test_a_model_is_verified_once_for_each_version_of_the_runtime(
    demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed, count = tmp_path / "passed.json", tmp_path / "count"
    interpreter(monkeypatch, tmp_path, f"open({str(count)!r}, 'a').write('x'); return real(model, *rest)")
    for _ in range(2):
        verify_once(demo_model, passed)
    assert count.read_text() == "x"
    passed.write_text(passed.read_text().replace("ai-edge-litert ", "ai-edge-litert 0."))
    verify_once(demo_model, passed)
    assert count.read_text() == "xx"
    verify_once(variant(demo_model, tmp_path, "another"), passed)
    assert count.read_text() == "xxx"
    passed.write_text("{")
    verify_once(demo_model, passed)
    assert count.read_text() == "xxxx"


def test_a_model_that_did_not_pass_is_verified_again(
    demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = tmp_path / "passed.json"
    interpreter(monkeypatch, tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(VerificationError):
        verify_once(demo_model, passed)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.environ["PYTHONPATH"].split(os.pathsep)[1:]))
    verify_once(demo_model, passed)
    assert passed.exists()
