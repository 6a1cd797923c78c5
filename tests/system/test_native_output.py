"""The notes of native libraries stay away; everything else arrives."""

from __future__ import annotations

import os
import threading

import pytest

from edgepose.system.native_output import without_native_notes


def test_notes_are_left_out_and_errors_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    with without_native_notes():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nERROR: the model is damaged\n")
    os.write(2, b"INFO: later\n")
    assert capfd.readouterr().err == "ERROR: the model is damaged\nINFO: later\n"


def test_the_output_comes_back_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="as it was"), without_native_notes():
        raise ValueError("as it was")
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"


def test_threads_do_not_lose_the_output(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        for _ in range(50):
            with without_native_notes():
                os.write(2, b"INFO: one\n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"
