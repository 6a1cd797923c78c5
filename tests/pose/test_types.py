"""A skeleton refuses names that do not fit together; its mirror image is its own inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.types import Frame, Skeleton


@st.composite
def skeletons(draw):
    names = draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=12, unique=True))
    order = draw(st.permutations(names))
    pairs = draw(st.integers(0, len(names) // 2))
    return Skeleton(tuple(names), (), tuple((order[2 * i], order[2 * i + 1]) for i in range(pairs)))


@given(skeletons())
def test_flip_order_is_an_involution(skeleton):
    order = skeleton.flip_order()
    assert [order[i] for i in order] == list(range(len(skeleton.keypoints)))


@given(skeletons())
def test_flip_order_swaps_the_pairs_and_nothing_else(skeleton):
    mirrored = [skeleton.keypoints[i] for i in skeleton.flip_order()]
    partner = {a: b for left, right in skeleton.flip_pairs for a, b in ((left, right), (right, left))}
    assert mirrored == [partner.get(name, name) for name in skeleton.keypoints]


@given(st.lists(st.tuples(*[st.sampled_from("abcde")] * 2), max_size=4))
def test_whatever_pairs_are_accepted_the_mirror_is_a_permutation(pairs):
    named = [name for pair in pairs for name in pair]
    if len(set(named)) < len(named):
        with pytest.raises(ValueError, match="occurs twice in the flip pairs"):
            Skeleton(tuple("abcde"), (), tuple(pairs))
    else:
        assert sorted(Skeleton(tuple("abcde"), (), tuple(pairs)).flip_order()) == list(range(5))


def test_edge_indices_follow_the_keypoints():
    skeleton = Skeleton(("snout", "back", "tail"), edges=(("tail", "snout"), ("snout", "back")))
    assert skeleton.edge_indices() == [(2, 0), (0, 1)]


@pytest.mark.parametrize(
    ("keypoints", "edges", "pairs", "told"),
    [
        ((), (), (), "at least one keypoint"),
        (("a", "b", "a"), (), (), "repeat"),
        (("a", "b"), (("a", "c"),), (), "'c'"),
        (("a", "b"), (), (("d", "b"),), "'d'"),
    ],
    ids=["empty", "repeated", "edge", "pair"],
)
def test_a_skeleton_refuses_names_it_does_not_have(keypoints, edges, pairs, told):
    with pytest.raises(ValueError, match=told):
        Skeleton(keypoints, edges, pairs)


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_a_frame_knows_its_size(shape):
    assert Frame(np.zeros(shape, np.uint8), "gray", 0, 0, 0).size_wh == (64, 48)
