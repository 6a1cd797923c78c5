"""A few faults at random moments; `make chaos` runs many."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from brokers import MOSQUITTO
from chaos import FAULTS, chaos, faults_of

pytest.importorskip("pyarrow")


pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto (apt install mosquitto)")


@pytest.mark.slow
def test_a_storm_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    with chaos(tmp_path, poses=4000, rate_hz=200.0) as storm:
        outcome = storm.run(faults=8, seed=7)
    assert outcome.accepted >= 4000
    assert (outcome.lost, outcome.twice, outcome.gaps) == ([], 0, []), str(outcome)


@pytest.mark.slow
def test_what_a_broker_forgets_while_the_reader_is_away_is_reported_as_a_gap(tmp_path: Path) -> None:
    """The broker had acknowledged these poses, so the device has forgotten them: they are lost, and reported."""
    with chaos(tmp_path, poses=0, rate_hz=100.0, memory_s=1.0) as storm:
        outcome = storm.wipe_while_the_reader_is_away()
    assert outcome.twice == 0
    assert len(outcome.lost) > 10  # a good part of what was sent while the reader was away
    reported = {seq for first, last in outcome.gaps for seq in range(first, last + 1)}
    assert reported == set(outcome.lost)


def test_a_seed_chooses_the_same_faults() -> None:
    first, second = (list(itertools.islice(faults_of(seed=3), 200)) for _ in range(2))
    assert first == second
    assert {fault.name for fault in first} == set(FAULTS)
