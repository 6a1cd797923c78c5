"""Warm start: all weights of an earlier run are used, or all but those that depend on the keypoints."""

from __future__ import annotations

import shutil

import msgspec
import numpy as np
import pytest
from model_files import rewrite

from edgepose.errors import EdgeposeError
from edgepose.inference.model_file import read_card
from edgepose_train.network import network
from edgepose_train.network.backbone import Head, parse_backbone
from edgepose_train.training import checkpoint
from edgepose_train.training.warm_start import start_from

pytestmark = pytest.mark.slow  # a network is trained

SIZE_WH = (96, 96)


def like(run, keypoints=4, backbone="mobilenet_v1_0.25"):
    recipe = read_card(run.model).training.settings["recipe"]
    head = Head(keypoints, recipe["stride"], recipe["width"])
    return network.build(parse_backbone(backbone), head, SIZE_WH, "given")


def test_the_same_network_begins_where_the_earlier_one_ended(finished_run, capsys):
    target = like(finished_run)
    start_from(str(finished_run.folder), target)
    best = checkpoint.read(finished_run.folder / "checkpoint.npz")[0]["best"]
    for ours, theirs in zip(target.get_weights(), best, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert capsys.readouterr().out == f"starting with all weights of {finished_run.folder.name}\n"


def test_other_keypoints_leave_out_the_layers_that_depend_on_them(finished_run, capsys):
    target = like(finished_run, keypoints=6)
    before = {layer.name: layer.get_weights() for layer in target.layers}
    start_from(str(finished_run.folder), target)
    assert "the weights of all but 2 layers (the keypoints are different)" in capsys.readouterr().out
    same = {
        layer.name
        for layer in target.layers
        if layer.get_weights() and all(map(np.array_equal, layer.get_weights(), before[layer.name]))
    }
    assert same >= {"heatmap_conv", "offset_conv"}
    assert "conv_pw_5" not in same


def test_a_network_of_another_kind_is_refused(finished_run):
    with pytest.raises(EdgeposeError, match=r"a network of another kind \(mobilenet_v1_0.25\); give its --recipe or"):
        start_from(str(finished_run.folder), like(finished_run, backbone="mobilenet_v2_0.35"))


def test_files_that_do_not_belong_together_are_an_error(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run.folder, run)
    training = read_card(run / "model.tflite").training
    recipe = {**training.settings["recipe"], "backbone": "mobilenet_v1_0.5"}
    settings = {**training.settings, "recipe": recipe}
    rewrite(run / "model.tflite", training=msgspec.structs.replace(training, settings=settings))
    with pytest.raises(EdgeposeError, match=r"its checkpoint and model\.tflite do not fit together") as error:
        start_from(str(run), like(finished_run))
    assert len(str(error.value).splitlines()) == 1
