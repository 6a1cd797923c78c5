"""The service's unit files, without a running systemd. With one, a camera and power cuts: `make rig-test`."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ("edgepose.service", "edgepose@.service")
ANALYZE = shutil.which("systemd-analyze")


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str
    parser.read(ROOT / "systemd" / name, encoding="utf-8")
    return parser


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze (apt install systemd)")
def test_units_are_tight_and_understood(name: str, tmp_path: Path) -> None:
    """For `verify` the program that the units name is replaced by one that is there."""
    text = (ROOT / "systemd" / name).read_text(encoding="utf-8").replace("/opt/edgepose/bin/edgepose", "/bin/true")
    path = tmp_path / name.replace("@", "@x")
    path.write_text(text, encoding="utf-8")
    verified = subprocess.run([ANALYZE, "verify", str(path)], capture_output=True, text=True, check=False)
    assert str(path) not in verified.stderr
    assert path.name not in verified.stderr
    score = subprocess.run(
        [ANALYZE, "security", "--offline=true", str(path)], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", score.stdout)
    assert found is not None, score.stderr
    assert float(found[1]) <= 1.5


def test_the_template_differs_in_names_alone() -> None:
    one, many = (unit(name) for name in UNITS)
    for section in one.sections():
        for key in one[section]:
            if "%i" not in many[section][key]:
                assert many[section][key] == one[section][key], key


def test_the_watchdog_kills_and_everything_but_a_wrong_config_is_tried_again() -> None:
    service = unit("edgepose.service")["Service"]
    assert (service["Type"], service["Restart"], service["WatchdogSignal"]) == ("notify", "on-failure", "SIGKILL")
    assert set(service["RestartPreventExitStatus"].split()) == {"2", "78"}
