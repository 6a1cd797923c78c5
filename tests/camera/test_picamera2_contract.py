"""The fake has the real picamera2's names and signatures: compared with the sources, which cannot be imported off a Pi.

By hand, for any version:  pip download --no-deps picamera2==0.3.38
                           EDGEPOSE_PICAMERA2=$PWD/picamera2-0.3.38-py3-none-any.whl pytest tests/device -k contract
"""

from __future__ import annotations

import ast
import os
import zipfile
from pathlib import Path

import fake_picamera2
import pytest

FILES = {"Picamera2": "picamera2/picamera2.py", "CompletedRequest": "picamera2/request.py", "Job": "picamera2/job.py"}
OWN = {"held"}  # what tests ask the fake


def signatures(source: str, name: str) -> dict[str, list[str]]:
    """The parameters of each public method of a class; of overloaded ones the last, which is the method."""
    kind = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name)
    methods = [node for node in kind.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    parameters = {method.name: [argument.arg for argument in method.args.args] for method in methods}
    return {key: [name for name in names if name not in {"self", "cls"}] for key, names in parameters.items()}


@pytest.mark.parametrize("name", FILES)
def test_the_fake_has_the_real_names_and_signatures(name: str) -> None:
    wheel = os.environ.get("EDGEPOSE_PICAMERA2")
    if not wheel:
        pytest.skip("EDGEPOSE_PICAMERA2 does not name a wheel of picamera2")
    with zipfile.ZipFile(wheel) as opened:
        real = signatures(opened.read(FILES[name]).decode("utf-8"), name)
    fake = signatures(Path(fake_picamera2.__file__).read_text(encoding="utf-8"), name)
    assert {key: real.get(key) for key in fake.keys() - OWN} == {key: fake[key] for key in fake.keys() - OWN}
