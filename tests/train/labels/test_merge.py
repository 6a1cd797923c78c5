"""`edgepose-train merge`: labels are added to the project, and none of the project's labels is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut reads the files
import pytest
import yaml
from dlc_project import LAYOUTS, NAMES, labels, write_csv, write_image, write_project

from edgepose.errors import DatasetError
from edgepose.types import Skeleton
from edgepose_train.cli import main
from edgepose_train.labels.deeplabcut_writer import create_project, read_config, write_labels
from edgepose_train.labels.machine_labels import write_machine_labels
from edgepose_train.labels.merge import merge
from edgepose_train.labels.reading import read_dataset


def make_project(root: Path, frames: dict[str, list[str]], *, scorer="Ann", offset=0.0, pictures="") -> Path:
    """frames: image names by video. Equal names have equal pictures in every project with the same `pictures`."""
    videos = {f"/videos/{video}.mp4": (64, 48) for video in frames}
    create_project(root, "maze", scorer, Skeleton(NAMES), videos)
    for video, names in frames.items():
        for name in names:
            image = write_image(root.parent / f"pictures{pictures}" / video / name)
            (root / "labeled-data" / video).mkdir(exist_ok=True)
            shutil.copy(image, root / "labeled-data" / video / name)
        write_labels(root / "labeled-data" / video, scorer, NAMES, names, labels(len(names)) / 3 + offset)
    return root


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "project", {"cage1": ["img0.png", "img1.png"], "cage2": ["img0.png"]})


@pytest.fixture
def corrected(tmp_path):
    """Makes labels of another person: a frame of a video that the project has, and two of a video that it lacks."""
    return make_project(tmp_path / "round2", {"cage1": ["img5.png"], "cage3": ["img0.png", "img1.png"]}, scorer="Ben")


def state(project: Path) -> dict[str, np.ndarray]:
    """Returns the labels of every frame by `video/image`."""
    return {f"{image.video}/{image.path.name}": image.xy_px for image in read_dataset(project).images}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, xy in expected.items():
        np.testing.assert_array_equal(found[name], xy, err_msg=name)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_labels_are_added_to_the_last_digit(project, corrected, capsys):
    before = state(project)
    text = (project / "labeled-data/cage1/CollectedData_Ann.csv").read_text("utf-8")
    assert main(["merge", str(corrected), str(project)]) == 0
    assert "3 frames added" in capsys.readouterr().out
    assert_same(state(project), before | state(corrected))
    assert (project / "labeled-data/cage1/CollectedData_Ann.csv").read_text("utf-8").startswith(text)
    for video in ("cage1", "cage3"):
        stem = project / "labeled-data" / video / "CollectedData_Ann"
        table = pd.read_csv(f"{stem}.csv", header=[0, 1, 2], index_col=[0, 1, 2])
        pd.testing.assert_frame_equal(pd.read_hdf(f"{stem}.h5", "df_with_missing"), table, check_names=False)
    names = [path.name for path in project.glob("labeled-data/*/CollectedData*")]
    assert set(names) == {"CollectedData_Ann.csv", "CollectedData_Ann.h5"}
    videos = yaml.safe_load((project / "config.yaml").read_text("utf-8"))["video_sets"]
    assert sorted(videos) == [f"/videos/cage{i}.mp4" for i in (1, 2, 3)]


def test_label_files_are_backed_up(project, corrected):
    before = files(project / "labeled-data" / "cage1")
    main(["merge", str(corrected), str(project)])
    (backup,) = (project / "label-backups").iterdir()
    saved = files(backup)
    assert saved == {f"cage1/{name}": data for name, data in before.items() if name.startswith("Collected")}
    assert len(read_dataset(project).images) == 6  # the backup is not read as labels


def test_merging_again_changes_nothing(project, corrected, capsys):
    main(["merge", str(corrected), str(project)])
    before = files(project)
    assert main(["merge", str(corrected), str(project)]) == 0
    assert "3 frames with the same labels, in the project already" in capsys.readouterr().out
    assert files(project) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_frame_that_both_label(project, tmp_path, overwrite, capsys):
    """A frame is recognised by its pixels, also under another name."""
    other = make_project(tmp_path / "round2", {"renamed": ["img0.png", "img7.png"]}, offset=2.5)
    shutil.copy(tmp_path / "pictures" / "cage1" / "img0.png", other / "labeled-data" / "renamed" / "img0.png")
    before = state(project)
    status = main(["merge", str(other), str(project), *["--force"] * overwrite])
    assert status == (0 if overwrite else 1)
    out = capsys.readouterr().out
    assert "cage1/img0.png" in out
    new = state(other)
    expected = before | {"renamed/img7.png": new["renamed/img7.png"]}
    assert_same(state(project), expected | ({"cage1/img0.png": new["renamed/img0.png"]} if overwrite else {}))


def test_another_picture_of_the_same_name_is_left_out(project, tmp_path, capsys):
    other = make_project(tmp_path / "round2", {"cage1": ["img0.png", "img9.png"]}, pictures="of another camera")
    before = state(project)
    assert main(["merge", str(other), str(project), "--force"]) == 1
    assert "another picture of that name: cage1/img0.png" in capsys.readouterr().out
    assert_same(state(project), before | {"cage1/img9.png": state(other)["cage1/img9.png"]})


def test_predictions_nobody_changed_come_only_on_demand(project, tmp_path, capsys):
    other = make_project(tmp_path / "round2", {"cage3": [f"img{i}.png" for i in range(4)]})
    frames = state(other)
    predicted = {name.split("/")[1]: np.column_stack([xy, np.full(3, 0.9)]) for name, xy in frames.items()}
    predicted["img2.png"][0, 0] += 1  # moved by hand
    write_machine_labels(other / "labeled-data" / "cage3", 0, "maze@1", NAMES, predicted)
    before = state(project)
    assert main(["merge", str(other), str(project)]) == 0
    assert "3 images with predictions that nobody changed; left out" in capsys.readouterr().err
    assert_same(state(project), before | {"cage3/img2.png": frames["cage3/img2.png"]})
    assert main(["merge", str(other), str(project), "--unchanged"]) == 0
    assert capsys.readouterr().err == ""
    assert_same(state(project), before | frames)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_projects_own_layout_stays(tmp_path, corrected, layout):
    root = tmp_path / "project"
    images = [write_image(root / "labeled-data" / "cage1" / f"img{i}.png") for i in range(2)]
    rows = [LAYOUTS[layout]("cage1", image.name) for image in images]
    table = write_csv(images[0].parent / "CollectedData_Eve.csv", rows, labels(2))
    (root / "config.yaml").write_text(f"scorer: Zoe\nbodyparts: {list(NAMES)}\n", "utf-8")  # not who labelled
    text, before = table.read_text("utf-8"), state(root)
    assert main(["merge", str(corrected), str(root)]) == 0
    assert table.read_text("utf-8").startswith(text)
    after = state(root)
    assert len(after) == 5
    assert all((after[name] == xy).all() for name, xy in before.items())
    assert {path.stem for path in root.glob("labeled-data/*/Collected*")} == {"CollectedData_Eve"}


def test_labels_saved_as_h5_only_are_kept(project, corrected):
    before = state(project)
    for path in project.glob("labeled-data/*/*.csv"):
        path.unlink()
    assert main(["merge", str(corrected), str(project)]) == 0
    assert_same(state(project), before | state(corrected))


def test_frames_can_come_from_another_format(project, corrected, tmp_path):
    """A person who corrects in SLEAP has a .slp file."""
    expected = state(project) | state(corrected)
    assert main(["convert", str(corrected), str(tmp_path / "corrected.slp")]) == 0
    assert main(["merge", str(tmp_path / "corrected.slp"), str(project)]) == 0
    found = state(project)
    assert len(found) == len(expected)
    by_digits = sorted(xy.tolist() for xy in found.values())
    np.testing.assert_allclose(by_digits, sorted(xy.tolist() for xy in expected.values()), atol=1e-6)


class Killed(BaseException):
    """No code catches it, as no code can catch a power cut."""


@pytest.mark.parametrize("step", [0, 2, 3, 4, 5, 6, 7])
def test_killed_at_any_moment_the_project_is_as_before_or_goes_on(project, corrected, monkeypatch, step):
    """The process dies before the n-th file takes its name, and nothing is cleaned up. The same call completes it."""
    source, before = read_dataset(corrected), state(project)
    complete = before | state(corrected)
    calls = []
    whole, unlink = Path.replace, Path.unlink

    def dying(path, target):
        calls.append(target)
        if len(calls) > step:
            raise Killed
        return whole(path, target)

    monkeypatch.setattr(Path, "replace", dying)
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    try:
        merge(source, project, overwrite=False)
    except Killed:
        killed = True
    else:
        killed = False
    monkeypatch.setattr(Path, "replace", whole)
    monkeypatch.setattr(Path, "unlink", unlink)
    assert killed == (step < 7)  # three images, two label files of two videos
    left = state(project)
    for video in ("cage1", "cage2", "cage3"):  # each video is as before, or complete
        part = {name: xy for name, xy in left.items() if name.startswith(video)}
        wanted = complete if any(name not in before for name in part) else before
        assert_same(part, {name: xy for name, xy in wanted.items() if name.startswith(video)})
    if step < 4:
        assert_same(left, before)
    merge(source, project, overwrite=False)
    assert_same(state(project), complete)
    for path in project.glob("labeled-data/*/CollectedData*.csv"):
        table = pd.read_csv(path, header=[0, 1, 2], index_col=[0, 1, 2])
        pd.testing.assert_frame_equal(pd.read_hdf(path.with_suffix(".h5")), table, check_names=False)


def test_a_full_disk_changes_no_label(project, corrected, capsys, request):
    with (project / "labeled-data/cage1/CollectedData_Ann.csv").open("a") as file:
        file.writelines(f"labeled-data,cage1,lost{i}.png,1,2,3,4,5,6\n" for i in range(1000))
    before = state(project)
    request.getfixturevalue("full_disk")
    assert main(["merge", str(corrected), str(project)]) == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert_same(state(project), before)
    assert not list(project.rglob("*.part*"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("scorer: A\nbodyparts: [snout, elbow]\n", "its body parts are snout, elbow"),
        ("scorer: A\nbodyparts: MULTI!\n", "several animals"),
        ("scorer: A\n", "names no bodyparts"),
        ("scorer: [\n", "cannot read as YAML"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, corrected, config, message, capsys):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "config.yaml").write_text(config, "utf-8")
    assert main(["merge", str(corrected), str(tmp_path / "p")]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["config.yaml"]


def test_project_and_source_may_not_be_one_folder(tmp_path, project, corrected, capsys):
    assert main(["merge", str(project), str(project)]) == 2
    assert main(["merge", str(corrected), str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_labels_of_several_people_are_not_mixed(project, corrected):
    config = (project / "config.yaml").read_text("utf-8")
    (project / "config.yaml").write_text(config.replace("scorer: Ann", "scorer: Zoe"), "utf-8")
    write_labels(project / "labeled-data" / "cage2", "Eve", NAMES, ["img0.png"], labels(1))
    before = files(project / "labeled-data")
    with pytest.raises(DatasetError, match="labels of several people"):
        merge(read_dataset(corrected), project, overwrite=False)
    assert before.items() <= files(project / "labeled-data").items()


@pytest.mark.parametrize(
    ("entry", "crop"),
    [
        ("", "0, 64, 0, 48"),
        ("{}", "0, 64, 0, 48"),
        ("{crop: null}", "0, 64, 0, 48"),
        ("{crop: [0, 50, 0, 40]}", "0, 50, 0, 40"),
        ("{crop: '0,50,0,40'}", "0, 50, 0, 40"),
    ],
)
def test_a_video_without_a_crop_gets_the_size_of_its_images(tmp_path, entry, crop):
    root = write_project(tmp_path / "maze")
    second = write_project(tmp_path / "second", video="cage2", config=f"video_sets:\n  /x/cage2.mp4: {entry}\n")
    assert main(["merge", str(second), str(root)]) == 0
    assert read_config(root)["video_sets"] == {"/x/cage2.mp4": {"crop": crop}}


def test_a_body_part_that_the_older_file_lacks_gets_columns(tmp_path):
    root = write_project(tmp_path / "maze")
    rows = [[f"labeled-data/cage1/img{i:03}.png"] for i in range(4)]
    write_csv(root / "labeled-data" / "cage1" / "CollectedData_Ann.csv", rows, labels(4)[:, :2], names=NAMES[:2])
    second = write_project(tmp_path / "second")
    write_image(second / "labeled-data" / "cage1" / "other.png")
    csv = second / "labeled-data" / "cage1" / "CollectedData_Ann.csv"
    write_csv(csv, [["labeled-data/cage1/other.png"]], labels(4)[3:])
    assert main(["merge", str(second), str(root)]) == 0
    by_name = {image.path.name: image.xy_px for image in read_dataset(root).images}
    np.testing.assert_array_equal(by_name["other.png"], labels(4)[3])
    np.testing.assert_array_equal(by_name["img000.png"][:2], labels(4)[0, :2])
