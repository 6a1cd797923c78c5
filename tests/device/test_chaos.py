"""A short storm; `make chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from brokers import MOSQUITTO
from chaos import chaos

pytest.importorskip("pyarrow")


@pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto (apt install mosquitto)")
def test_a_storm_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    with chaos(tmp_path, poses=4000, rate_hz=200.0) as storm:
        outcome = storm.run(faults=8, seed=7)
    assert outcome.accepted >= 4000
    assert (outcome.lost, outcome.twice) == ([], 0), str(outcome)
