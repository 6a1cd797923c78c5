"""CSV files: texts of strangers are no formulas, and nothing is lost on the way."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd  # noqa: TID251  as users read the files
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.tables.csv_files import cell_text, csv_cells, text_cell, write_csv

STARTS = st.text("'=+-@\t\n1", max_size=4)


@given(st.builds(str.__add__, STARTS, st.text(st.characters(exclude_characters="\r"), max_size=5)))
def test_a_text_comes_back_as_it_was_and_is_no_formula(text: str) -> None:
    cell = text_cell(text)
    assert cell_text(cell) == text
    if cell[:1] in {*"=+-@\t\n"} - {""}:
        float(cell)  # a number is harmless


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\uff1d1", "'=1"])
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert text_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-5", "+3.5", "-1e-3", "m3", "", "a=b", "'s"])
def test_numbers_and_plain_texts_stay_as_they_are(text: str) -> None:
    assert text_cell(text) == text


def test_pandas_reads_every_type(tmp_path: Path) -> None:
    times = [datetime(2026, 11, 24, 9, 0, 0, 5, tzinfo=UTC), datetime(2026, 11, 24, 9, 0, 1, tzinfo=UTC)]
    columns = {
        "name": ["=x", None],
        "frame": np.array([3, 4]),
        "x": np.array([0.1, np.nan], np.float32),
        "t_s": np.array([1 / 3, np.nan]),
        "time": times,
        "synced": [True, False],
        "=1+1": ["a,b", 'c"d\ne'],
    }
    write_csv(tmp_path / "a.csv", [columns])
    found = pd.read_csv(tmp_path / "a.csv", parse_dates=["time"])
    assert [*found.columns] == ["name", "frame", "x", "t_s", "time", "synced", "'=1+1"]
    assert found["name"].isna().tolist() == [False, True]
    assert found["x"][0] == 0.1
    assert found["t_s"][0] == 1 / 3
    assert found["x"].isna().tolist() == [False, True]
    assert found["time"].tolist() == times
    assert found["synced"].tolist() == [True, False]
    assert found["'=1+1"].tolist() == ["a,b", 'c"d\ne']


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_single_precision_is_exact_and_short(values: list[float]) -> None:
    cells = csv_cells(np.array(values, np.float32))
    np.testing.assert_array_equal(np.array(cells, np.float32), np.array(values, np.float32))
    assert max(map(len, map(str, cells)), default=0) < 16


def test_rows_beyond_one_chunk_are_there(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "a.csv",
        [{"n": np.arange(24_000), "s": ["a"] * 24_000}, {"n": [*range(24_000, 25_000)], "s": [None] * 1000}],
    )
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [row["n"] for row in csv.DictReader(file)] == [*map(str, range(25_000))]
