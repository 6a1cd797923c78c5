"""Turns an error into one line on stderr and an exit status, for both command lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from edgepose.errors import EdgeposeError


def exit_status(program: str, command: Callable[[], int]) -> int:
    """Runs a command and returns the exit status.

    It is 0 done, 1 failed, 2 usage, 78 configuration or model, 130 Ctrl-C, 141 broken pipe.

    program: the name that the error line begins with, such as `edgepose`.
    """
    try:
        status = command()
        sys.stdout.flush()
    except EdgeposeError as exc:
        _print_error(program, str(exc))
        return exc.exit_code
    except KeyboardInterrupt:
        _print_error(program, "interrupted")
        return 130
    except BrokenPipeError:  # the reader (head, less) has left
        _give_up_stdout()
        return 141
    except OSError as exc:  # a full disk, a file that may not be written
        _print_error(program, f"{exc.filename or 'output'}: {exc.strerror or exc}")
        _give_up_stdout()
        return 1
    return status


def _print_error(program: str, text: str) -> None:
    print(f"{program}: {' '.join(text.splitlines())}", file=sys.stderr)


def _give_up_stdout() -> None:
    """Discards what cannot be written: the interpreter flushes stdout once more at exit, and would report it again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
