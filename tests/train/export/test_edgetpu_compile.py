"""The vendor's compiler, replaced by a program with the same command line, files and output.

The output is that of compiler 16.0 in public logs. The file that it writes is the model itself, which is enough here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from edgepose.errors import EdgeposeError, ModelError
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_file import read_model
from edgepose_train.export.edgetpu_compile import command_line, compile_model, is_installed, parse_log

PROGRAM = r'''#!{python}
"""edgetpu_compiler [options] model..."""
import argparse, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("-o", "--out_dir", default=".")
parser.add_argument("-s", "--show_operations", action="store_true")
parser.add_argument("model", type=pathlib.Path)
args = parser.parse_args()
print("Edge TPU Compiler version 16.0.384591198")
print("Started a compilation timeout timer of 180 seconds.")
{behaviour}
'''
HEAD = """
out = pathlib.Path(args.out_dir) / (args.model.stem + "_edgetpu.tflite")
out.write_bytes(args.model.read_bytes())
out.with_suffix(".log").write_text("log")
print("\\nModel compiled successfully in 1524 ms.\\n")
print(f"Input model: {args.model}\\nInput size: 188.65KiB\\nOutput model: {out}\\nOutput size: 305.00KiB")
print("On-chip memory used for caching model parameters: 152.00KiB")
print("On-chip memory remaining for caching model parameters: 7.50MiB")
print("Off-chip memory used for streaming uncached model parameters: 0.00B")
print("Number of Edge TPU subgraphs: 1\\nTotal number of operations: 33")
print(f"Operation log: {out.with_suffix('.log')}")
"""
TAIL = """
print("Compilation child process completed within timeout period.\\nCompilation succeeded! ")
"""
TABLE = """
if args.show_operations:
    print("\\nOperator                       Count      Status\\n")
    print("ADD                            1          Mapped to Edge TPU")
    print("CONV_2D                        18         Mapped to Edge TPU")
    print("DEPTHWISE_CONV_2D              12         Mapped to Edge TPU")
    print("QUANTIZE                       1          Mapped to Edge TPU")
    {last}
"""
MAPPED = HEAD + TABLE.replace("{last}", 'print("MUL                            1          Mapped to Edge TPU")') + TAIL
PARTIAL = (
    HEAD
    + 'print("\\nModel successfully compiled but not all operations are supported by the Edge TPU. A percentage of the '
    'model will instead run on the CPU, which is slower.")\n'
    + 'print("Number of operations that will run on Edge TPU: 32\\nNumber of operations that will run on CPU: 1")\n'
    + TABLE.replace("{last}", 'print("RESIZE_BILINEAR                1          Operation version not supported")')
    + TAIL
)
REFUSED = """
print("ERROR: Encountered unresolved custom op: Atan.")
print("\\nCompilation failed: Model failed in Tflite interpreter. Please ensure model can be loaded/run.")
print("Compilation child process completed within timeout period.\\nCompilation failed! ")
sys.exit(1)
"""


@pytest.fixture
def model(tmp_path) -> Path:
    """A copy of the demo's model, in a folder with a space in its name."""
    folder = tmp_path / "my run"
    folder.mkdir()
    return Path(shutil.copy(str(resources.files("edgepose") / "demo" / "demo.tflite"), folder))


@pytest.fixture
def install(tmp_path, monkeypatch):
    def put(behaviour: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "edgetpu_compiler"
        program.write_text(PROGRAM.replace("{python}", sys.executable).replace("{behaviour}", behaviour))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return put


def _unchanged(model: Path) -> bool:
    return read_model(model).members == {} and list(model.parent.iterdir()) == [model]


def test_a_compiled_network_becomes_a_member_of_the_model(model, install):
    install(MAPPED)
    assert is_installed()
    before = read_model(model)
    log = compile_model(model)
    assert (log.version, log.mapped, log.on_cpu) == ("16.0.384591198", 33, 0)
    assert log.verdict() == "compiled: all 33 operations run on the Edge TPU"
    after = read_model(model)
    assert after.members == {"model_edgetpu.tflite": after.network}
    assert after.network == before.network
    assert after.id == f"demo@{after.sha256[:6]}" != before.id
    assert list(model.parent.iterdir()) == [model]
    Estimator(model, threads=1)


def test_an_operation_on_the_cpu_is_reported(model, install):
    install(PARTIAL)
    log = compile_model(model)
    assert (log.mapped, log.on_cpu) == (32, 1)
    assert log.verdict() == (
        "compiled, but 1 of 33 operations run on the CPU (1 RESIZE_BILINEAR: Operation version not supported)"
    )


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (
            REFUSED,
            r"failed with status 1 \(ERROR: Encountered unresolved custom op: Atan\.\); see what it prints: edgepose",
        ),
        ('print("Internal compiler error. Aborting! "); sys.exit(1)', r"status 1 \(Internal compiler error"),
        ('print("Compilation failed! ")', "failed with status 0"),  # the child process timed out
        ("pass", "reported success, but wrote no model_edgetpu.tflite"),
        (MAPPED.replace("if args.show_operations:", "if False:"), "printed no table of operations"),
    ],
)
def test_a_failure_is_one_line_and_changes_nothing(model, install, behaviour, words):
    install(behaviour)
    with pytest.raises(EdgeposeError, match=words) as caught:
        compile_model(model)
    assert "\n" not in str(caught.value)
    assert _unchanged(model)


def test_a_compiler_that_hangs_is_ended(model, install):
    install("import time; time.sleep(60)")
    with pytest.raises(EdgeposeError, match="did not end within 1 s"):
        compile_model(model, timeout_s=1)
    assert _unchanged(model)


def test_without_compiler_the_error_names_the_command(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not is_installed()
    assert command_line(model).startswith(f"edgepose model unpack '{model}' -o '{model.parent}/demo-parts' && edgetpu_")
    with pytest.raises(EdgeposeError, match="not installed") as caught:
        compile_model(model)
    assert str(caught.value).endswith(command_line(model))
    assert _unchanged(model)


def test_the_named_commands_put_the_compiled_network_into_the_model(model, install):
    install(MAPPED)
    path = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    subprocess.run(command_line(model), shell=True, check=True, capture_output=True, env={**os.environ, "PATH": path})
    assert list(read_model(model).members) == ["model_edgetpu.tflite"]


def test_a_damaged_model_is_not_compiled(model, install):
    install(MAPPED)
    data = model.read_bytes()
    model.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
    with pytest.raises(ModelError, match="sha256"):
        compile_model(model)
    assert list(model.parent.iterdir()) == [model]


def test_lines_before_the_table_are_no_rows():
    head = "Edge TPU Compiler version 16.0.1\nConverting 12 Mapped to Edge TPU\n\n"
    text = head + "Operator   Count   Status\n\nADD 2 Mapped to Edge TPU\n"
    assert parse_log(text).rows == (("ADD", 2, "Mapped to Edge TPU"),)
