"""The estimator makes a pose of any frame, in its own pixels, and refuses every model file that is wrong."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from model_files import rewrite

from edgepose.camera.synthetic.scene import Scene
from edgepose.errors import ModelError
from edgepose.geometry.letterbox import PAD_VALUE, FrameMap
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_file import read_card, read_model
from edgepose.types import Frame


@pytest.fixture(scope="module")
def estimator(demo_model):
    return Estimator(demo_model, 1)


def frame(image, order="bgr") -> Frame:
    return Frame(np.ascontiguousarray(image), order, 0, 0, 0)


@pytest.fixture(scope="module")
def picture(estimator):
    """A picture of a mouse, (h, w, 3), as large as the model's input."""
    return Scene(7, estimator.card.input.size_wh).render(30)


def assert_same(one, other) -> None:
    np.testing.assert_array_equal(one.xy_px, other.xy_px)
    np.testing.assert_array_equal(one.score, other.score)


# --- frames to poses ---------------------------------------------------------------------------------------


def test_the_shipped_model_runs_on_the_fast_kernels_and_gives_its_golden_output(estimator):
    assert estimator.golden_exact is True
    assert estimator.runtime.xnnpack is True
    assert "XNNPACK" in estimator.runtime.describe()


def test_a_pose_is_a_point_and_a_score_for_every_keypoint(estimator, picture):
    pose, count = estimator.estimate(frame(picture)), len(estimator.card.skeleton.keypoints)
    assert (pose.xy_px.shape, pose.xy_px.dtype) == ((count, 2), np.float32)
    assert (pose.score.shape, pose.score.dtype) == ((count,), np.float32)
    assert ((pose.score >= 0) & (pose.score <= 1)).all()


@pytest.mark.parametrize("threads", [0, 2])
def test_threads_change_nothing_but_speed(estimator, demo_model, picture, threads):
    other = Estimator(demo_model, threads)
    assert other.runtime.threads == threads or threads == 0 < other.runtime.threads
    assert_same(other.estimate(frame(picture)), estimator.estimate(frame(picture)))


@pytest.mark.parametrize("size_wh", [None, (640, 480), (333, 251)], ids=str)
def test_colours_are_told_by_the_frames_order(estimator, size_wh):
    image = Scene(8, size_wh or estimator.card.input.size_wh).render(50)
    image[..., 0] //= 2  # so that blue and red differ
    assert_same(estimator.estimate(frame(image)), estimator.estimate(frame(image[..., ::-1], "rgb")))
    grey = image[..., 1]
    for order in ("bgr", "rgb"):
        assert_same(
            estimator.estimate(frame(grey, "gray")), estimator.estimate(frame(np.stack([grey] * 3, axis=2), order))
        )


def test_a_pose_comes_back_in_the_pixels_of_a_larger_frame(estimator, picture):
    """A picture that is enlarged twice and averaged again gives the same input."""
    pose, (w, h) = estimator.estimate(frame(picture)), estimator.card.input.size_wh
    large = estimator.estimate(frame(picture.repeat(2, axis=0).repeat(2, axis=1)))
    expected = FrameMap.fit((2 * w, 2 * h), (w, h), "letterbox").to_frame(pose.xy_px)
    np.testing.assert_allclose(large.xy_px, expected, atol=1e-4)
    np.testing.assert_allclose(expected, (pose.xy_px + 0.5) * 2 - 0.5, atol=1e-4)
    np.testing.assert_array_equal(large.score, pose.score)


@pytest.mark.parametrize("axis", [0, 1], ids=["bars above and below", "bars left and right"])
def test_letterbox_bars_are_taken_off_again(estimator, picture, axis):
    """A frame that lacks 16 rows or columns on both sides gives the same input as a whole one that is grey there."""
    inside = [slice(None), slice(None)]
    inside[axis] = slice(16, -16)
    whole = np.full_like(picture, PAD_VALUE)
    whole[tuple(inside)] = picture[tuple(inside)]
    cut, full = estimator.estimate(frame(picture[tuple(inside)])), estimator.estimate(frame(whole))
    np.testing.assert_allclose(cut.xy_px + np.array([16.0, 0] if axis == 1 else [0, 16.0]), full.xy_px, atol=1e-4)
    np.testing.assert_array_equal(cut.score, full.score)


def test_frames_of_several_sizes_in_turn(estimator, demo_model, picture):
    """Nothing of an earlier frame remains: neither its map nor its pixels under the bars."""
    sizes = [(640, 480), (320, 100), (100, 320), (64, 48), (2000, 30), (1, 1)]
    frames = [
        frame(Scene(9, size).render(3)) if min(size) > 20 else frame(np.zeros((*size[::-1], 3), np.uint8))
        for size in sizes
    ]
    for one in frames * 2:
        estimator.estimate(frame(255 - picture))
        assert_same(estimator.estimate(one), Estimator(demo_model, 1).estimate(one))


def test_poses_are_the_callers_own(estimator, picture):
    first = estimator.estimate(frame(picture))
    kept = first.xy_px.copy(), first.score.copy()
    second = estimator.estimate(frame(255 - picture))
    np.testing.assert_array_equal(first.xy_px, kept[0])
    np.testing.assert_array_equal(first.score, kept[1])
    assert not np.array_equal(first.score, second.score)


def test_the_frame_is_left_alone(estimator, picture):
    image = picture.copy()
    image.flags.writeable = False
    estimator.estimate(frame(image))
    np.testing.assert_array_equal(image, picture)


# --- wrong files -------------------------------------------------------------------------------------------


@pytest.fixture
def model(demo_model, tmp_path):
    """A copy that a test may damage."""
    path = tmp_path / "model.tflite"
    path.write_bytes(demo_model.read_bytes())
    return path


def refused(model) -> str:
    with pytest.raises(ModelError) as raised:
        Estimator(model, 1)
    line = str(raised.value)
    assert len(line.splitlines()) == 1, line
    assert str(model.parent) in line
    return line


def test_missing_model(tmp_path):
    assert "no such model file" in refused(tmp_path / "model.tflite")


def test_missing_card(model):
    model.write_bytes(read_model(model).network)
    assert "holds no card, and none lies beside it (model.json: No such file" in refused(model)


@pytest.mark.parametrize("damage", ["truncated", "bit flipped", "emptied", "other file"])
def test_a_file_that_is_damaged(model, damage):
    data = bytearray(model.read_bytes())
    if damage == "bit flipped":
        data[len(data) // 2] ^= 1
    model.write_bytes({"truncated": data[: len(data) // 2], "emptied": b"", "other file": b"x"}.get(damage, data))
    assert ("sha256 differs" if damage == "bit flipped" else "holds no card") in refused(model)


@pytest.mark.parametrize("data", [b"", b"no model at all", b"\x1c\0\0\0TFL3" + b"\xff" * 200], ids=len)
def test_no_model_though_the_card_vouches_for_it(model, data):
    rewrite(model, data)
    assert "no TFLite runtime can run it" in refused(model)


def test_a_card_of_another_model(model):
    card = read_card(model)
    w, h = card.input.size_wh
    rewrite(model, input=msgspec.structs.replace(card.input, size_wh=(w + 16, h)))
    assert f"input is uint8 [1, {h}, {w}, 3], but the card says uint8 [1, {h}, {w + 16}, 3]" in refused(model)
    coarse = msgspec.structs.replace(card.keypoint_output, stride=card.keypoint_output.stride * 2)
    rewrite(model, input=card.input, outputs=(coarse,))
    assert "heatmap is int8 [1, " in refused(model)
    fewer = msgspec.structs.replace(card.skeleton, keypoints=card.skeleton.keypoints[:3], edges=(), flip_pairs=())
    rewrite(model, outputs=card.outputs, skeleton=fewer)
    assert "the card is of another model" in refused(model)


def test_outputs_of_other_names(model):
    """Outputs are found by their names only, and never by order or size."""
    data = read_model(model).network
    assert b"heatmap\0" in data
    rewrite(model, data.replace(b"heatmap\0", b"warmmap\0"))
    assert "no output named 'heatmap' (it has: offset, warmmap)" in refused(model)


def golden(model, **changed) -> None:
    rewrite(model, golden=msgspec.structs.replace(read_card(model).golden, **changed))


def test_the_golden_keypoints_decide_where_the_outputs_differ_in_bits(model):
    points = read_card(model).golden.keypoints
    golden(model, heatmap_sha256="0" * 64)
    assert Estimator(model, 1).golden_exact is False
    golden(model, keypoints=tuple((x + 1, y, 0.9) for x, y, _ in points))
    assert Estimator(model, 1).golden_exact is False
    golden(model, keypoints=tuple((x + 3, y, 0.9) for x, y, _ in points))
    assert "computes another pose than the card's golden one (3.0 px away)" in refused(model)
    golden(model, keypoints=points[1:])
    assert "another number of keypoints" in refused(model)


@pytest.mark.parametrize("png", ["", "AAAA", "A", "no base64!"])
def test_a_golden_picture_that_is_none(model, png):
    golden(model, png=png)
    with pytest.raises(ModelError, match="golden picture cannot be decoded"):
        Estimator(model, 1)
