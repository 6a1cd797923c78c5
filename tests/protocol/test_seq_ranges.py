"""Sets of numbers, added in whatever order."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edgepose.protocol.seq_ranges import SeqRanges


@given(st.lists(st.integers(0, 60), max_size=100))
def test_is_a_set_that_knows_its_gaps(numbers: list[int]) -> None:
    seqs, model = SeqRanges(), set[int]()
    for number in numbers:
        assert seqs.add(number) == (number not in model)
        model.add(number)
    assert len(seqs) == len(model)
    assert [number for number in range(70) if number in seqs] == sorted(model)
    missing = set(range(min(model), max(model))) - model if model else set()
    assert {n for first, last in seqs.gaps() for n in range(first, last + 1)} == missing
    assert seqs.missing() == len(missing)
    ranges = seqs.ranges()
    assert ranges == sorted(ranges)
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(ranges))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=40))
def test_ranges_may_overlap(spans: list[tuple[int, int]]) -> None:
    seqs, model = SeqRanges(), set[int]()
    for first, more in spans:
        numbers = set(range(first, first + more + 1))
        assert seqs.add_range(first, first + more) == len(numbers - model)
        model |= numbers
    assert {n for first, last in seqs.ranges() for n in range(first, last + 1)} == model
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(seqs.ranges()))


def test_a_stream_in_order_is_one_range() -> None:
    seqs = SeqRanges()
    for number in range(10_000):
        seqs.add(number)
    assert seqs.ranges() == [(0, 9_999)]
