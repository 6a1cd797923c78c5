"""A frame that is found by its number is the same that reading from the start gives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from clips import number_of, write_clip, write_interlaced, write_uneven

from edgepose.errors import CameraError
from edgepose.video.frames import FrameFinder, open_video, read_frames
from edgepose_train.labels.frame_identity import identity_of

COUNT = 260


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """An MPEG-4 video. Its frames depend on earlier ones, so that seeking can go wrong."""
    path = tmp_path_factory.mktemp("clip") / "mouse.mp4"
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for i in range(COUNT):
        image = np.full((48, 64, 3), 40, np.uint8)
        image[i % 40 : i % 40 + 8, i % 56 : i % 56 + 8] = rng.integers(0, 256, 3)
        writer.write(image)
    writer.release()
    return path


@pytest.fixture(scope="module")
def digests(clip):
    return [identity_of(image) for _, image in read_frames(open_video(clip), range(COUNT))]


@pytest.mark.parametrize("indices", [[0], [COUNT - 1], [3, 4, 9, 120, 121, 259], range(0, COUNT, 7), [150, 259]])
def test_frames_are_those_of_the_whole_video(clip, digests, indices):
    found = list(read_frames(open_video(clip), indices))
    assert [index for index, _ in found] == list(indices)
    assert [identity_of(image) for _, image in found] == [digests[i] for i in indices]


def test_a_video_has_size_rate_and_count(clip):
    video = open_video(clip)
    assert (video.size_wh, video.fps, video.count, video.stem) == ((64, 48), 25.0, COUNT, "mouse")


def test_a_cut_off_video_gives_what_it_has(tmp_path):
    whole = write_clip(tmp_path / "whole.avi", 60).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    video = open_video(cut)
    found = [index for index, _ in read_frames(video, range(60))]
    assert 10 < len(found) < 60
    assert found == list(range(len(found)))
    assert [index for index, _ in read_frames(video, [5, 10, 59])] == [5, 10]


def test_no_video(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(CameraError, match="not a video"):
        open_video(tmp_path / "empty.mp4")


def test_a_video_of_changing_rate_gives_the_frame_of_the_number_in_every_order(tmp_path):
    path = write_uneven(tmp_path / "phone.mp4")
    finder = FrameFinder(path)
    asked = [99, 150, 3, 100, 101, 150, 199]
    assert [number_of(finder.read(index)) for index in asked] == asked
    assert finder.read(200) is None
    assert {150, 199} <= finder.uneven
    found = list(read_frames(open_video(path), [5, 99, 100, 160]))
    assert [(index, number_of(image)) for index, image in found] == [(i, i) for i in (5, 99, 100, 160)]


def test_a_video_of_one_rate_has_no_uneven_frames(clip):
    finder = FrameFinder(clip)
    assert all(finder.read(index) is not None for index in range(0, COUNT, 13))
    assert finder.uneven == set()


def test_an_interlaced_video_is_refused(tmp_path):
    """OpenCV gives what was in the memory before as its pictures, and no error."""
    with pytest.raises(CameraError, match="is interlaced, and OpenCV makes wrong pictures of it"):
        open_video(write_interlaced(tmp_path / "camcorder.mp4"))
