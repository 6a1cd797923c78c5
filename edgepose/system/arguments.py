"""Gives `edgepose` and `edgepose-train` their common options, and reports mistakes in the same way."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import math
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from edgepose.errors import ConfigError, UsageError
from edgepose.system.shipped_files import DEMO_MODEL
from edgepose.system.wording import did_you_mean

INSTALLED_CONFIG = Path("/etc/edgepose/edgepose.yaml")
LOCAL_CONFIG = Path("edgepose.yaml")
STDOUT = Path("-")
"""The value of `--json` that prints the JSON document in place of the table."""

_PROGRAMS = {  # whose commands each program can name where they are given to the other one
    "edgepose": "demo init check run snapshot calibrate bench install upgrade uninstall watch collect analyze purge",
    "edgepose-train": "extract inspect fit evaluate audit suggest merge convert",
}
_REQUIRED = "the following arguments are required: "  # argparse's own words


class CommandParser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line with a suggestion, and takes options and arguments in any order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter} | kwargs)
        self._is_intermixing = False
        self._needed: list[argparse.Action] = []
        self._found = argparse.Namespace()

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with status 2."""
        if message.startswith(_REQUIRED):
            names = [*filter(None, [message.removeprefix(_REQUIRED)]), *self._missing_options()]
            message = _REQUIRED + ", ".join(names)
        advice = "" if message.endswith("?") else f"; see `{self.prog} --help`"
        self.exit(2, f"{self.prog}: {message}{advice}\n")

    # These signatures follow argparse's own stubs.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Every parser, also that of a command, reports what it does not know: it can name its own options."""
        if self._is_intermixing:
            return super().parse_known_args(args, namespace)
        self._is_intermixing = True
        try:
            if self._subparsers is None:
                found, extras = self._parse_intermixed(args)
            else:
                found, extras = super().parse_known_args(args, namespace)
        finally:
            self._is_intermixing = False
        if extras:
            self._report_unknown(extras)
        return found, extras

    def _parse_intermixed(self, args: Any) -> tuple[argparse.Namespace, list[str]]:
        """Missing options are reported together with missing arguments; argparse itself would name the options only."""
        self.usage = self.usage or self.format_usage().removeprefix("usage: ")  # while it shows what is required
        self._needed += [action for action in self._actions if action.option_strings and action.required]
        self._found = argparse.Namespace()
        for action in self._needed:
            action.required = False
        found, extras = self.parse_known_intermixed_args(args, self._found)
        if self._missing_options():
            self.error(_REQUIRED)
        return found, extras

    def _missing_options(self) -> list[str]:
        return [
            "/".join(action.option_strings)
            for action in self._needed
            if getattr(self._found, action.dest, None) is None
        ]

    def _report_unknown(self, extras: Sequence[str]) -> NoReturn:
        options = [word.partition("=")[0] for word in extras if word.startswith("-")]
        known = [name for action in self._actions for name in action.option_strings]
        if not options:
            is_config = "--config" in known and extras[0].endswith((".yaml", ".yml"))
            self.error(f"unexpected argument: {extras[0]}" + f"; did you mean -c {extras[0]}?" * is_config)
        close = difflib.get_close_matches(options[0], known, n=1)
        self.error(f"unknown option: {options[0]}" + (f"; did you mean {close[0]}?" if close else ""))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Replaces argparse's `invalid choice`, which lists all of them."""
        if action.choices is None or value in action.choices:
            return
        suggestion = did_you_mean(str(value), map(str, action.choices))
        if isinstance(action, argparse._SubParsersAction):
            programs = [program for program, commands in _PROGRAMS.items() if value in commands.split()]
            suggestion = f"; did you mean `{programs[0]} {value}`?" if programs else suggestion
            self.error(f"there is no command {value!r}{suggestion}")
        raise argparse.ArgumentError(action, f"{value!r} is not known{suggestion}")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Fits the terminal: paragraphs are wrapped, and those that hold indented lines, such as examples, are kept."""

    def __init__(self, prog: str) -> None:
        width = max(60, min(shutil.get_terminal_size().columns - 2, 110))
        super().__init__(prog, max_help_position=30, width=width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(part if "\n " in part else textwrap.fill(part, width - len(indent)) for part in paragraphs)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Returns `-o, --output OUT` in place of argparse's `-o OUT, --output OUT`."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `-c, --config`. Read `config_path(args.config)` when the command runs."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the configuration file (default: {INSTALLED_CONFIG}, or else ./{LOCAL_CONFIG})",
    )


def config_path(given: Path | None) -> Path:
    """Returns the given configuration file, or the default one. Raises ConfigError where there is none."""
    if given is not None:
        return given
    for path in (INSTALLED_CONFIG, LOCAL_CONFIG):
        if path.exists():
            return path
    raise ConfigError(
        f"there is no configuration: neither {INSTALLED_CONFIG} nor ./{LOCAL_CONFIG} exists; "
        "make one with `edgepose init`, or name yours with -c FILE"
    )


def add_output_argument(parser: argparse.ArgumentParser, metavar: str, text: str, *, required: bool = True) -> None:
    """Adds `-o, --output` and `--force`. Call `check_output` before the work begins."""
    parser.add_argument("-o", "--output", type=Path, required=required, metavar=metavar, help=text)
    _add_force_argument(parser)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--json` and `--force`. Call `check_output` before the work begins, and `write_json` after it.

    A command prints its table only where `args.json != STDOUT`.
    """
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the result as JSON; - prints the JSON in place of a table"
    )
    _add_force_argument(parser)


def _add_force_argument(parser: argparse.ArgumentParser) -> None:
    with contextlib.suppress(argparse.ArgumentError):  # the command has both --output and --json
        parser.add_argument("--force", action="store_true", help="overwrite files that exist already")


def check_output(path: Path | None, *, force: bool, option: str = "--output") -> None:
    """Checks that an output may be written, before hours of work are spent on it.

    Args:
        path: the file or folder that the command will write; None and `STDOUT` are accepted.
        force: True when what exists may be overwritten.
        option: the option that names the path, for the message.

    Raises:
        UsageError: the file exists already, the folder is not empty, or its parent folder does not exist.
    """
    if path is None or path == STDOUT:
        return
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.parent}; make it first")
    exists = any(path.iterdir()) if path.is_dir() else path.is_file()
    if exists and not force:
        raise UsageError(f"{path} exists already; give another {option}, or --force")


def write_json(path: Path | None, report: Any) -> None:
    """Writes a report to the file that `--json` names, or to stdout for `-`; does nothing for None."""
    if path is None:
        return
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if path == STDOUT:
        print(text, end="")
    else:
        path.write_text(text, encoding="utf-8")


def above_zero(text: str) -> float:
    """Returns a number above 0. Use it as the `type` of an argument."""
    return number_within(text, 1e-9, 1e6, "give a number above 0, up to a million")


def number_within(text: str, low: float, high: float, advice: str) -> float:
    """Returns the number that an argument gives. Raises ArgumentTypeError with the advice where it is out of bounds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text}: {advice}")
    return value


def model_path(text: str) -> Path:
    """Returns the model that an argument names: a .tflite file, the folder that `edgepose-train fit` made, or `demo`.

    Use it as the `type` of an argument. A .tflite file that does not exist is reported by whoever reads it.
    """
    if text == "demo":
        return DEMO_MODEL
    path = Path(text).expanduser()
    problem = "this folder holds no model.tflite" if path.is_dir() else "this is not a model"
    model = path / "model.tflite" if path.is_dir() else path
    if model.suffix != ".tflite" or (path.is_dir() and not model.is_file()):
        raise argparse.ArgumentTypeError(f"{path}: {problem}; give a .tflite file or the folder of a fit")
    return model
