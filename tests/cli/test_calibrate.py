"""`edgepose calibrate`: pictures or a video give a file that the configuration takes, and mistakes are reported."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from board_pictures import corners_mm, corners_px, floor_picture, poses, render, rendered

from edgepose.cli.main import main
from edgepose.config.geometry_files import read_ground, read_lens
from edgepose.config.loading import parse_config

pytestmark = pytest.mark.slow  # boards are rendered and found

MINIMAL = "model: m.tflite\ncamera: {source: synthetic}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """12 pictures of the board, one without, one of it on the floor, and a video of it."""
    path = tmp_path_factory.mktemp("pictures")
    for i, picture in enumerate(rendered(12)):
        cv2.imwrite(str(path / f"board{i:02}.png"), picture)
    cv2.imwrite(str(path / "nothing.png"), np.full((480, 640), 120, np.uint8))
    cv2.imwrite(str(path / "floor.png"), floor_picture())
    video = cv2.VideoWriter(str(path / "board.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 480))
    for picture in rendered(12):
        video.write(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    video.release()
    return path


def calibrate(*words) -> int:
    return main(["calibrate", *map(str, words), "--square-mm", "20"])


def pictures(folder, count=12) -> list:
    return sorted(folder.glob("board*.png"))[:count]


def test_pictures_to_a_geometry_that_the_config_takes(folder, tmp_path, capsys):
    out = tmp_path / "camera.yaml"
    sources = [*pictures(folder), folder / "nothing.png"]
    assert calibrate(*sources, "--board", "9x6", "-o", out, "--floor", folder / "floor.png") == 0
    message, error = capsys.readouterr()
    assert error == ""
    assert message.startswith("board in 12 of 13 pictures, 12 of them used, tilted by up to ")
    assert "px (RMS) from where this lens puts them: very good\n" in message
    assert read_lens(out).size_wh == (640, 480)
    look_at = cv2.imread(str(tmp_path / "camera.png"))
    assert (look_at[..., 1].astype(int) - look_at[..., 2] > 100).sum() > 1000  # the lines
    section = message[message.index("geometry:\n") :]
    geometry = parse_config(MINIMAL + section, "f.yaml").geometry
    assert geometry.calibration == "camera.yaml"
    ground = read_ground(
        parse_config(MINIMAL + section.replace("camera.yaml", str(out)), "f.yaml").geometry, (640, 480)
    )
    true = corners_px((np.radians([25.0, -15, 20]), np.array([-60.0, -40, 330])))
    found = ground.to_mm(true)
    # Which corner is the first one, the picture does not tell: a board is the same turned by half.
    assert min(np.abs(found - mm).max() for mm in (corners_mm(), corners_mm()[::-1])) < 0.2


def test_a_video_does_as_well(folder, tmp_path, capsys):
    assert calibrate(folder / "board.avi", "--board", "9x6", "-o", tmp_path / "camera.yaml") == 0
    assert "board in 12 of 12 pictures" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} >= {"camera.yaml", "camera.png"}


def test_a_part_of_the_picture_without_a_board_is_reported(tmp_path, capsys):
    left = [pose for pose in poses(150) if corners_px(pose)[:, 0].max() < 380][:8]
    for i, pose in enumerate(left):
        cv2.imwrite(str(tmp_path / f"{i}.png"), render(pose))
    assert calibrate(*tmp_path.glob("*.png"), "--board", "9x6", "-o", tmp_path / "camera.yaml") == 0
    assert (
        "of the picture, where the lens is a guess: add pictures with the board at the edges" in capsys.readouterr().out
    )


def test_mistakes_are_reported_in_one_line(folder, tmp_path, capsys):
    out, board = tmp_path / "camera.yaml", ("--board", "9x6")
    cv2.imwrite(str(tmp_path / "small.png"), np.full((240, 320), 120, np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    small = tmp_path / "small.png"
    for words, status, line in (
        (
            [*pictures(folder, 3), "--board", "10x7"],
            1,
            "no board of 10x7 inner corners in 3 pictures, but one of 9x6: give",
        ),
        ([*pictures(folder, 3), "--board", "12x5"], 1, "--board counts the inner corners, where four squares meet"),
        ([*pictures(folder, 3), *board], 1, "3 boards in 3 pictures are too few; 8 or more are needed"),
        ([*pictures(folder, 2), small, *board], 2, "small.png: is 320x240, but the pictures before it are 640x480"),
        ([tmp_path / "text.png", *board], 2, "neither a picture nor a video that OpenCV reads"),
        ([tmp_path / "none.png", *board], 2, "neither a picture nor a video that OpenCV reads"),
        ([*pictures(folder), *board, "-o", tmp_path / "camera.json"], 2, "the calibration is a .yaml"),
        ([*pictures(folder), *board, "-o", tmp_path / "none" / "camera.yaml"], 2, "there is no folder"),
    ):
        assert calibrate("-o", out, *words) == status
        error = capsys.readouterr().err
        assert line in error
        assert len(error.splitlines()) == 1
        assert not out.exists()


def test_a_floor_without_a_board_is_reported_and_the_calibration_is_kept(folder, tmp_path, capsys):
    out = tmp_path / "camera.yaml"
    assert calibrate(*pictures(folder), "--board", "9x6", "-o", out, "--floor", folder / "nothing.png") == 2
    assert "--floor" in capsys.readouterr().err
    assert out.exists()


@pytest.mark.parametrize("words", [["--board", "9"], ["--board", "2x6"], ["--board", "axb"], ["--square-mm", "0"]])
def test_what_the_parser_refuses(words, capsys):
    given = {"--board": "9x6", "--square-mm": "20"} | dict([words])
    with pytest.raises(SystemExit, match="2"):
        main(["calibrate", "a.png", "-o", "c.yaml", *(word for pair in given.items() for word in pair)])
    assert f"argument {words[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["camera.yaml", "camera.png"])
def test_nothing_is_overwritten_unless_forced(folder, tmp_path, capsys, name):
    (tmp_path / name).write_text("precious")
    words = [*pictures(folder), "--board", "9x6", "-o", tmp_path / "camera.yaml"]
    assert calibrate(*words) == 2
    assert f"{name} exists already; give another --output, or --force" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "precious"
    assert calibrate(*words, "--force") == 0
    assert (tmp_path / name).read_bytes() != b"precious"


def test_the_file_is_yaml_to_others_too(folder, tmp_path):
    out = tmp_path / "camera.yaml"
    assert calibrate(*pictures(folder), "--board", "9x6", "-o", out) == 0
    text = out.read_text().replace("%YAML:1.0\n", "").replace("!!opencv-matrix", "")
    assert yaml.safe_load(text)["image_width"] == 640
