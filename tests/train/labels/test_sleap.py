"""SLEAP's files: the labels of people at the right pixel, with the frame that was labelled."""

from __future__ import annotations

import shutil
import socket
import unicodedata

import cv2
import h5py
import numpy as np
import pytest
import sleap_io
from clips import number_of, write_clip, write_interlaced, write_uneven
from dlc_project import write_image
from slp_file import NODES, PREDICTED, USER, embed, embedded, image_files, media, write_slp

from edgepose.errors import DatasetError
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.labels.images import holder, read_image
from edgepose_train.labels.reading import read_dataset

NONE = np.full((4, 2), np.nan)


def xy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 40, (4, 2))


@pytest.fixture
def images(tmp_path):
    return [write_image(tmp_path / "images" / "cage1" / f"img{i:03}.png") for i in range(4)]


@pytest.fixture
def slp(tmp_path, images):
    """Makes a file with four labelled images, to which it refers as SLEAP does."""
    frames = [(0, i, [(USER, xy(i))]) for i in range(4)]
    return write_slp(tmp_path / "labels.slp", [image_files([str(image) for image in images])], frames)


def test_labels_images_and_skeleton(slp, images):
    dataset = read_dataset(slp)
    assert dataset.skeleton.keypoints == NODES
    assert dataset.skeleton.edges == (("snout", "tailbase"), ("snout", "leftear"))
    assert dataset.skeleton.flip_pairs == (("leftear", "rightear"),)
    assert dataset.problems == ()
    assert [image.path for image in dataset.images] == images
    assert {image.video for image in dataset.images} == {"cage1"}
    np.testing.assert_array_equal([image.xy_px for image in dataset.images], [xy(i) for i in range(4)])


@pytest.mark.parametrize(("format_id", "shift"), [(1.0, 0.5), (1.1, 0), (1.2, 0), (1.3, 0)])
def test_old_files_are_shifted_by_half_a_pixel_once(tmp_path, images, format_id, shift):
    """Before 1.1, (0, 0) was the corner of the top-left pixel. Since then it is its centre, as in edgepose."""
    video = image_files([str(image) for image in images])
    path = write_slp(tmp_path / "old.slp", [video], [(0, 0, [(USER, xy(0))])], format_id)
    np.testing.assert_array_equal(read_dataset(path).images[0].xy_px, xy(0) - shift)


def test_predictions_are_no_labels(tmp_path, images):
    frames = [(0, 0, [(PREDICTED, xy(9)), (USER, xy(0))]), (0, 1, [(PREDICTED, xy(1))]), (0, 2, [(USER, xy(2))])]
    path = write_slp(tmp_path / "labels.slp", [image_files([str(image) for image in images])], frames)
    dataset = read_dataset(path)
    np.testing.assert_array_equal([image.xy_px for image in dataset.images], [xy(0), xy(2)])
    assert dataset.problems == ("1 frame with predictions only, which are no labels; left out",)


def test_frames_with_two_animals_are_left_out(tmp_path, images):
    video = image_files([str(image) for image in images])
    two = [(USER, xy(0)), (USER, xy(1))]
    dataset = read_dataset(write_slp(tmp_path / "labels.slp", [video], [(0, 0, two), (0, 1, [(USER, xy(1))])]))
    assert len(dataset.images) == 1
    assert dataset.problems == ("1 frame with several labelled animals, edgepose follows one; left out: frame 0",)
    with pytest.raises(DatasetError, match="several labelled animals"):
        read_dataset(write_slp(tmp_path / "two.slp", [video], [(0, 0, two)]))


def test_an_instance_without_a_visible_point_is_none(tmp_path, images):
    """Two such clicks by mistake must not make a frame one of several animals."""
    video = image_files([str(image) for image in images])
    frames = [(0, 0, [(USER, NONE), (USER, xy(0)), (USER, NONE)]), (0, 1, [(USER, xy(1))])]
    dataset = read_dataset(write_slp(tmp_path / "l.slp", [video], frames))
    np.testing.assert_array_equal([image.xy_px for image in dataset.images], [xy(0), xy(1)])
    assert dataset.problems == ()


def test_skeletons_that_differ_in_order_only_are_one(tmp_path, images):
    skeletons = [sleap_io.Skeleton([sleap_io.Node(name) for name in order]) for order in (NODES, NODES[::-1])]
    video = sleap_io.Video.from_filename([str(image) for image in images])
    points = [dict(zip(NODES, xy(i), strict=True)) for i in range(2)]
    frames = [
        sleap_io.LabeledFrame(
            video=video,
            frame_idx=i,
            instances=[sleap_io.Instance.from_numpy(np.array([points[i][n] for n in s.node_names]), s)],
        )
        for i, s in enumerate(skeletons)
    ]
    sleap_io.save_slp(sleap_io.Labels(frames), str(tmp_path / "l.slp"), embed=False, verbose=False)
    dataset = read_dataset(tmp_path / "l.slp")
    names = dataset.skeleton.keypoints
    assert set(names) == set(NODES)
    for i in range(2):
        np.testing.assert_array_equal(dataset.images[i].xy_px, [points[i][name] for name in names])


def test_what_is_marked_as_not_visible_is_no_label(tmp_path, images):
    """In SLEAP, such a point stays where the template has put it."""
    points = xy(0)
    points[3] = np.nan
    visible = np.array([True, False, True, False])
    video = image_files([str(image) for image in images])
    image = read_dataset(write_slp(tmp_path / "labels.slp", [video], [(0, 0, [(USER, points, visible)])])).images[0]
    np.testing.assert_array_equal(np.isfinite(image.xy_px).all(axis=1), [True, False, True, False])
    np.testing.assert_array_equal(image.hidden_px, [NONE[0], points[1], NONE[0], NONE[0]])


def test_images_of_another_machine_are_found_beside_the_file(tmp_path, images):
    written = [f"C:\\Users\\Ann\\maze\\images\\cage1\\{image.name}" for image in images]
    path = write_slp(tmp_path / "labels.slp", [image_files(written)], [(0, 3, [(USER, xy(3))])])
    assert read_dataset(path).images[0].path == images[3]
    images[2].unlink()
    path = write_slp(tmp_path / "more.slp", [image_files(written)], [(0, i, [(USER, xy(i))]) for i in (1, 2)])
    assert read_dataset(path).problems[0].startswith("1 image or video file missing, looked for ")


# --- packages ----------------------------------------------------------------------------------------------


def test_a_package_that_sleap_io_writes_holds_the_image_files(tmp_path, images, slp):
    labels = sleap_io.load_slp(str(slp))
    labels.save(str(tmp_path / "labels.pkg.slp"), embed="user", verbose=False)
    hashes = [frame_identity(image) for image in images]
    pixels = [read_image(image) for image in images]
    shutil.rmtree(images[0].parent)
    dataset = read_dataset(tmp_path / "labels.pkg.slp")
    assert dataset.name == "labels"
    assert [frame_identity(image.path) for image in dataset.images] == hashes
    assert [(image.video, image.path.name) for image in dataset.images][3] == ("cage1", "img003.png")
    for image, expected in zip(dataset.images, pixels, strict=True):
        np.testing.assert_array_equal(read_image(image.path), expected)


def test_a_package_of_sleap_has_its_colours_right(tmp_path):
    """SLEAP gives RGB to OpenCV, which expects BGR, so that red and blue are swapped in its packages."""
    pictures = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(2)]
    encoded = [cv2.imencode(".png", bgr[..., ::-1])[1].tobytes() for bgr in pictures]
    frames = [(4, 17, [(USER, xy(0))]), (4, 230, [(USER, xy(1))])]  # video4: its number, not its place in the list
    path = write_slp(tmp_path / "labels.pkg.slp", [embedded(4)], frames)
    embed(path, 4, encoded, [17, 230], media("/home/ann/session1.mp4", 300))
    dataset = read_dataset(path)
    assert [(image.video, image.path.name) for image in dataset.images] == [
        ("session1", "img017.png"),
        ("session1", "img230.png"),
    ]
    for image, bgr in zip(dataset.images, pictures, strict=True):
        np.testing.assert_array_equal(read_image(image.path), bgr)
    assert len({frame_identity(image.path) for image in dataset.images}) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.pkg.slp"]


def test_a_damaged_picture_inside_a_package_is_left_out(tmp_path):
    good = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    path = write_slp(tmp_path / "l.pkg.slp", [embedded(0)], [(0, i, [(USER, xy(i))]) for i in range(3)])
    embed(path, 0, [good, good[:50]], [0, 1])
    dataset = read_dataset(path)
    assert len(dataset.images) == 1
    assert dataset.problems == ("2 image files damaged or not an image: video0/img1.png, video0/img2.png",)


# --- videos ------------------------------------------------------------------------------------------------


@pytest.fixture
def video(tmp_path):
    """(path, frames as they decode from the first to the last)."""
    path = tmp_path / "session1.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for i in range(40):
        picture = np.full((48, 64, 3), 60, np.uint8)
        cv2.circle(picture, (i + 10, 24), 6, (0, 6 * i, 255), -1)
        writer.write(picture)
    writer.release()
    capture = cv2.VideoCapture(str(path))
    return path, [capture.read()[1] for _ in range(40)]


def test_frames_of_a_video(tmp_path, video):
    pictures = video[1]
    indices = [31, 2, 3, 39]
    slp = write_slp(tmp_path / "l.slp", [media("/lost/session1.avi", 40)], [(0, i, [(USER, xy(i))]) for i in indices])
    dataset = read_dataset(slp)
    assert [image.path.name for image in dataset.images] == ["img31.png", "img02.png", "img03.png", "img39.png"]
    assert {image.video for image in dataset.images} == {"session1"}
    for image, i in zip(dataset.images, indices, strict=True):
        np.testing.assert_array_equal(read_image(image.path), pictures[i])
    assert len({frame_identity(image.path) for image in dataset.images}) == 4
    assert frame_identity(read_dataset(slp).images[0].path) == frame_identity(dataset.images[0].path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"l.slp", "session1.avi"}


def test_labels_on_a_video_of_changing_rate_are_on_the_frame_of_their_number(tmp_path):
    path = write_uneven(tmp_path / "phone.mp4")
    indices = [150, 5, 99, 100, 160]
    dataset = read_dataset(
        write_slp(tmp_path / "l.slp", [media(str(path))], [(0, i, [(USER, xy(i))]) for i in indices])
    )
    assert [number_of(read_image(image.path)) for image in dataset.images] == indices
    assert "phone.mp4: its frame rate changes" in dataset.problems[0]


def test_a_video_that_is_too_short_or_not_there(tmp_path, video):
    slp = write_slp(tmp_path / "l.slp", [media(str(video[0]))], [(0, i, [(USER, xy(i))]) for i in (1, 400)])
    assert read_dataset(slp).problems == ("1 image file damaged or not an image: session1/img400.png",)
    video[0].unlink()
    with pytest.raises(DatasetError, match=r"1 image or video file missing, looked for .*session1\.avi"):
        read_dataset(slp)


def test_videos_of_one_name_stay_apart(tmp_path, video):
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
        shutil.copy(video[0], tmp_path / folder)
    videos = [media(str(tmp_path / folder / "session1.avi")) for folder in ("left", "right")]
    dataset = read_dataset(write_slp(tmp_path / "l.slp", videos, [(v, 5, [(USER, xy(v))]) for v in (0, 1)]))
    assert [image.video for image in dataset.images] == ["left-session1", "right-session1"]


def test_labels_of_a_video_that_was_resized_are_scaled(tmp_path, video):
    labelled = media(str(video[0]), 40)
    labelled["backend"]["shape"] = [40, 96, 128, 3]
    dataset = read_dataset(write_slp(tmp_path / "l.slp", [labelled], [(0, 5, [(USER, xy(0))])]))
    np.testing.assert_allclose(dataset.images[0].xy_px, (xy(0) + 0.5) / 2 - 0.5)
    resized = "1 image resized since the labels were made; labels scaled to the pixels: "
    assert dataset.problems == (resized + "session1/img5.png (128x96, now 64x48)",)


def test_a_video_of_another_frame_count_is_reported(tmp_path, video):
    slp = write_slp(tmp_path / "l.slp", [media(str(video[0]), 80)], [(0, 5, [(USER, xy(0))])])
    assert read_dataset(slp).problems[0].startswith("session1.avi: has 40 frames, where the labelled video had 80;")


def test_labels_on_an_interlaced_video_are_left_out(tmp_path):
    path = write_interlaced(tmp_path / "camcorder.mp4")
    with pytest.raises(DatasetError, match="1 image file damaged or not an image"):
        read_dataset(write_slp(tmp_path / "l.slp", [media(str(path))], [(0, 5, [(USER, xy(0))])]))


def two_sessions(tmp_path, video):
    """Makes a file beside the first of two videos of one name; each session's folder has its own."""
    home, nas = tmp_path / "home" / "project", tmp_path / "nas" / "recordings" / "monday"
    for folder in (home, nas):
        folder.mkdir(parents=True)
        shutil.copy(video[0], folder)
    videos = [media(str(folder / "session1.avi")) for folder in (home, nas)]
    frames = [(v, 5 + v, [(USER, xy(v))]) for v in (0, 1)]
    return write_slp(home / "labels.slp", videos, frames), home, nas


def test_a_video_elsewhere_is_not_mistaken_for_one_beside_the_file(tmp_path, video):
    slp, home, nas = two_sessions(tmp_path, video)
    assert [holder(image.path) for image in read_dataset(slp).images] == [home / video[0].name, nas / video[0].name]
    shutil.rmtree(nas)
    dataset = read_dataset(slp)
    assert [holder(image.path) for image in dataset.images] == [home / video[0].name]
    assert dataset.problems[0].startswith("1 file missing, as the one of that name here belongs to another video")


def test_of_two_videos_that_are_both_elsewhere_now_none_gets_the_labels_of_the_other(tmp_path, video):
    videos = [media(f"/lost/{day}/session1.avi") for day in ("monday", "tuesday")]
    slp = write_slp(tmp_path / "l.slp", videos, [(v, 5, [(USER, xy(v))]) for v in (0, 1)])
    with pytest.raises(DatasetError, match="2 files missing, as the one of that name here belongs to another video"):
        read_dataset(slp)


def test_names_that_differ_by_ending_or_after_a_dot_are_two_videos(tmp_path, images):
    """A folder has no ending, so nothing after its dot is one."""
    folders = []
    for day in ("day1", "day2"):
        folders.append(tmp_path / f"mouse1.{day}" / "img0.png")
        write_image(folders[-1])
    for name in ("cage1.avi", "cage1.mp4"):
        write_clip(tmp_path / "clip.avi", 3).rename(tmp_path / name)
    videos = [image_files([str(path)]) for path in folders] + [
        media(str(tmp_path / f"cage1.{e}")) for e in ("avi", "mp4")
    ]
    dataset = read_dataset(write_slp(tmp_path / "l.slp", videos, [(v, 0, [(USER, xy(v))]) for v in range(4)]))
    assert [image.video for image in dataset.images] == ["mouse1.day1", "mouse1.day2", "cage1.avi", "cage1.mp4"]


def test_a_name_in_another_unicode_form_is_found(tmp_path, video):
    video[0].rename(tmp_path / unicodedata.normalize("NFD", "M\u00e4use.avi"))
    written = unicodedata.normalize("NFC", "/lost/M\u00e4use.avi")
    assert len(read_dataset(write_slp(tmp_path / "l.slp", [media(written)], [(0, 5, [(USER, xy(0))])])).images) == 1


@pytest.mark.parametrize("scheme", ["http", "HTTP", "\\n http"])
@pytest.mark.parametrize("where", ["video", "source of a package"])
def test_a_video_at_an_address_is_not_fetched(tmp_path, scheme, where):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/session1.mp4"
        videos = [media(url)] if where == "video" else [embedded(0)]
        slp = write_slp(tmp_path / "l.slp", videos, [(0, 5, [(USER, xy(0))])])
        if where == "video":
            with pytest.raises(DatasetError, match="1 image or video file missing, looked for"):
                read_dataset(slp)
        else:
            embed(slp, 0, [cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()], [5], media(url))
            assert len(read_dataset(slp).images) == 1
        with pytest.raises(TimeoutError):
            server.accept()


def test_links_inside_a_file_are_refused(slp, tmp_path):
    with h5py.File(slp, "a") as file:
        file["video0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/video0")
    with pytest.raises(DatasetError, match="video0 is a link"):
        read_dataset(slp)


# --- bad files ---------------------------------------------------------------------------------------------


def truncated(path):
    path.write_bytes(path.read_bytes()[:1500])


def text(path):
    path.write_text("{}")


def empty(path):
    path.write_bytes(b"")


def of_something_else(path):
    with h5py.File(path, "w") as file:
        file["tracks"] = np.zeros(3)


def without_its_points(path):
    with h5py.File(path, "a") as file:
        del file["points"]


def with_broken_metadata(path):
    with h5py.File(path, "a") as file:
        file["metadata"].attrs["json"] = np.bytes_(b'{"skeletons": [')


@pytest.mark.parametrize(
    "damage", [truncated, text, empty, of_something_else, without_its_points, with_broken_metadata]
)
def test_a_damaged_file_is_one_line(slp, damage):
    damage(slp)
    with pytest.raises(DatasetError, match="cannot read as a SLEAP file") as error:
        read_dataset(slp)
    assert len(str(error.value).splitlines()) == 1
