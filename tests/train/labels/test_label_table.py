"""CSV and H5 in every layout give the same labels, and every fault is one line that says where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut writes its files
import pytest
from dlc_project import LAYOUTS, NAMES, label_file, labels, rewrite, write_csv, write_project, xy_of

from edgepose.errors import DatasetError
from edgepose_train.labels.label_table import read_label_table
from edgepose_train.labels.reading import read_dataset


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "maze")


def test_likelihood_columns_are_dropped(tmp_path):
    values = np.concatenate([labels(1), np.full((1, 3, 1), 0.5)], axis=2)
    root = write_project(tmp_path, count=1)
    write_csv(label_file(root), [["labeled-data/cage1/img000.png"]], values, coords=("x", "y", "likelihood"))
    np.testing.assert_array_equal(xy_of(read_dataset(root)), labels(1))


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN"])
def test_missing_labels_are_nan(project, cell):
    rewrite(project, f"{labels(1)[0, 1, 0]},{labels(1)[0, 1, 1]}", f"{cell},{cell}")
    xy = xy_of(read_dataset(project))
    assert np.isnan(xy[0, 1]).all()
    assert np.isfinite(np.delete(xy.reshape(-1, 2), 1, axis=0)).all()


def test_one_individual_is_one_animal(tmp_path):
    root = write_project(tmp_path, individuals=["mouse1"])
    np.testing.assert_array_equal(xy_of(read_dataset(root)), labels(4))


@pytest.mark.parametrize("suffix", [".csv", ".h5"])
def test_animals_that_nobody_labelled_do_not_count(tmp_path, suffix):
    """A multi-animal project lists every animal there might be; and points that exist once, as `single`."""
    rows = pd.MultiIndex.from_tuples([("labeled-data", "cage1", f"img{i}.png") for i in range(3)])
    columns = [("Ann", animal, name, coord) for animal in ("mouse1", "mouse2") for name in NAMES for coord in "xy"]
    columns += [("Ann", "single", "door", coord) for coord in "xy"]
    values = np.arange(3 * len(columns), dtype=np.float64).reshape(3, -1)
    values[:, : 2 * len(NAMES)] = np.nan
    levels = ["scorer", "individuals", "bodyparts", "coords"]
    frame = pd.DataFrame(values, rows, pd.MultiIndex.from_tuples(columns, names=levels))
    path = tmp_path / f"CollectedData_Ann{suffix}"
    if suffix == ".csv":
        frame.to_csv(path)
    else:
        frame.to_hdf(path, key="df_with_missing", mode="w")
    table = read_label_table(path)
    assert table.names == (*NAMES, "door")
    np.testing.assert_array_equal(table.xy_px.reshape(3, -1), values[:, 2 * len(NAMES) :])


def test_several_individuals_are_refused(tmp_path):
    root = write_project(tmp_path)
    values = np.concatenate([labels(4), labels(4)], axis=1)
    rows = [[f"labeled-data/cage1/img{i:03}.png"] for i in range(4)]
    write_csv(label_file(root), rows, values, individuals=["mouse1", "mouse2"])
    with pytest.raises(DatasetError, match=r"2 animals.*mouse1, mouse2"):
        read_dataset(root)


@pytest.mark.parametrize(
    ("layout", "index", "key"),
    [
        ("table", "one column", "df_with_missing"),
        ("fixed", "one column", "keypoints"),
        ("fixed", "three columns", "df_with_missing"),
    ],
)
def test_h5_is_read_as_the_csv(project, layout, index, key):
    expected = read_dataset(project)
    rows = [LAYOUTS[index]("cage1", f"img{i:03}.png") for i in range(4)]
    header = pd.MultiIndex.from_product([["Ann"], NAMES, ["x", "y"]], names=["scorer", "bodyparts", "coords"])
    keys = pd.MultiIndex.from_tuples([tuple(r) for r in rows]) if len(rows[0]) > 1 else [r[0] for r in rows]
    frame = pd.DataFrame(labels(4).reshape(4, -1), columns=header, index=keys)
    label_file(project).unlink()
    frame.to_hdf(label_file(project).with_suffix(".h5"), key=key, mode="w", format=layout)
    dataset = read_dataset(project)
    assert [image.path for image in dataset.images] == [image.path for image in expected.images]
    np.testing.assert_array_equal(xy_of(dataset), xy_of(expected))


FAULTS = {
    "not a number": (f"{labels(4)[1, 1, 0]}", "abc", "line 5, leftear x: 'abc' is not a number"),
    "infinite": (f"{labels(4)[1, 1, 0]}", "inf", "line 5, leftear x: 'inf' is not a number"),
    "ragged": (f",{labels(4)[1, 1, 0]}", "", "line 5: 5 values, but the header has 6 columns"),
    "no y": ("coords,x,y", "coords,x,likelihood", "body part 'snout' has no column 'y'"),
    "repeated": ("leftear,leftear", "snout,snout", "body part 'snout' has two columns 'x'"),
    "unknown column": ("coords,x,y", "coords,x,z", "body part 'snout' has a column 'z'"),
    "short header": ("coords,x,y", "coords,x", "header rows differ in length"),
    "nameless": ("bodyparts,snout,snout,leftear,leftear", "bodyparts,snout,snout,leftear,", "column 5 has no name"),
    "no coords": ("coords,", "kinds,", "line 3: expected a header row `coords`, got 'kinds'"),
    "no bodyparts": ("bodyparts,", "scorer,", "got 'scorer'"),
    "no scorer": ("scorer,", "name,", "expected `scorer` first, got 'name'"),
    "semicolons": ("scorer,", "scorer;", "separated by semicolons"),
}


@pytest.mark.parametrize(("old", "new", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_faulty_label_file_is_one_line_that_says_where(project, old, new, message):
    rewrite(project, old, new)
    with pytest.raises(DatasetError) as error:
        read_dataset(project)
    assert str(error.value).startswith(str(label_file(project)))
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["CollectedData_Ann.csv", "CollectedData_Ann.h5", "picture.png", "notes.txt"])
def test_a_file_that_is_no_label_file_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\x00" if name != "notes.txt" else b"day one\nday two\n")
    with pytest.raises(DatasetError, match=name):
        read_dataset(path)


def test_an_h5_without_labels_is_refused(tmp_path):
    for key in ("poses", "other"):
        pd.DataFrame({"x": [1.0]}).to_hdf(tmp_path / "a.h5", key=key)
    with pytest.raises(DatasetError, match="df_with_missing"):
        read_dataset(tmp_path / "a.h5")
    pd.DataFrame({"x": [1.0]}).to_hdf(tmp_path / "b.h5", key="df_with_missing")
    with pytest.raises(DatasetError, match="not a label file"):
        read_dataset(tmp_path / "b.h5")
