"""The network: its outputs, where its weights come from, and which of them are not trained."""

from __future__ import annotations

import shutil
import socket

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.backend import config as keras_config

from edgepose.errors import EdgeposeError, UsageError
from edgepose_train.network import network
from edgepose_train.network.backbone import Backbone, Head, parse_backbone
from edgepose_train.network.network import build
from edgepose_train.training.trainer import Trainer, TrainingPlan

SMALL = Backbone(1, 0.25, 11)


@pytest.mark.parametrize(("version", "stride"), [(1, 4), (2, 8), (1, 16)])
def test_outputs_are_named_and_have_the_strides_cells(version, stride):
    model = build(parse_backbone(f"v{version}_0.05"), Head(5, stride, 16), (96, 64), "none")
    assert model.input.shape == (None, 64, 96, 3)
    assert {name: tensor.shape for name, tensor in model.output.items()} == {
        "heatmap": (None, 64 // stride, 96 // stride, 5),
        "offset": (None, 64 // stride, 96 // stride, 10),
    }


def test_weights_fit_every_size(pretrained):
    other = build(SMALL, Head(3, 8, 16), (160, 96), "none")
    assert [w.shape for w in other.weights] == [w.shape for w in pretrained.weights]


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("mobilenet_v2_1.0", Backbone(2, 1.0, 13)),
        ("MobileNetV2-0.35", Backbone(2, 0.35, 13)),
        ("v1_0.5", Backbone(1, 0.5, 11)),
        ("mobilenet_v1_1", Backbone(1, 1.0, 11)),
        ("mobilenet_v1_0.5:7", Backbone(1, 0.5, 7)),
        ("v2_0.5:13", Backbone(2, 0.5, 13)),
    ],
)
def test_backbone_names(name, backbone):
    assert parse_backbone(name) == backbone
    assert parse_backbone(str(backbone)) == backbone


@pytest.mark.parametrize("name", ["", "resnet_50", "mobilenet_v3_1.0", "mobilenet_v2", "v2_0.0", "v1_9", "v1_0.5x"])
def test_other_backbones_are_refused(name):
    with pytest.raises(UsageError, match="not a MobileNet; give mobilenet_v1_ALPHA or mobilenet_v2_ALPHA"):
        parse_backbone(name)


@pytest.mark.parametrize("name", ["v1_0.5:5", "v1_0.5:12", "v2_1.0:6"])
def test_a_trunk_ends_at_stride_16(name):
    with pytest.raises(UsageError, match="the trunk can end after blocks"):
        parse_backbone(name)


def test_a_shorter_trunk_has_the_same_outputs_and_fewer_weights():
    whole, short = (build(parse_backbone(f"v1_0.05{end}"), Head(3, 8, 16), (96, 64), "none") for end in ("", ":6"))
    assert short.output_shape == whole.output_shape
    assert short.count_params() < whole.count_params()


# --- weights -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained(weights_folder):
    return build(SMALL, Head(3, 8, 16), (64, 64), str(weights_folder))


def trunk_of_file(weights_folder) -> keras.Model:
    trunk = keras.applications.MobileNet(input_shape=(128, 128, 3), alpha=0.25, include_top=False, weights=None)
    trunk.load_weights(weights_folder / "mobilenet_v1_0.25_128_imagenet_no_top.weights.h5")
    return trunk


def test_a_folder_offers_the_file_of_the_backbone(pretrained, weights_folder):
    trunk = trunk_of_file(weights_folder)
    for name in ("conv1", "conv_pw_2", "conv_pw_11"):
        np.testing.assert_array_equal(pretrained.get_layer(name).get_weights(), trunk.get_layer(name).get_weights())


def refused(backbone, weights, error=EdgeposeError) -> str:
    with pytest.raises(error) as raised:
        build(backbone, Head(3, 8, 16), (64, 64), str(weights))
    line = str(raised.value)
    assert len(line.splitlines()) == 1, line
    return line


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("mobilenet_v2_0.35_96_imagenet_no_top.weights.h5", Backbone(2, 0.35, 13)),
        ("mobilenet_7_5_192_tf_no_top.h5", Backbone(1, 0.75, 11)),
        ("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", Backbone(2, 1.0, 13)),
    ],
)
def test_files_as_keras_downloads_them_are_known_by_their_names(tmp_path, name, backbone):
    (tmp_path / "mobilenet_1_0_224_tf.h5").touch()
    (tmp_path / name).touch()
    assert network._weights_file(tmp_path, backbone) == tmp_path / name


def test_a_folder_without_the_backbone_names_what_it_has(weights_folder):
    line = refused(Backbone(2, 1.0, 13), weights_folder, UsageError)
    assert "no weights of mobilenet_v2_1 there (found: mobilenet_v1_0.25_128_imagenet_no_top.weights.h5, " in line


def test_an_empty_folder_and_no_folder(tmp_path):
    assert "found: no .h5 file" in refused(SMALL, tmp_path, UsageError)
    assert "no such file or folder; or give imagenet, or none" in refused(SMALL, tmp_path / "nowhere", UsageError)


@pytest.mark.parametrize("name", ["weights.h5", "some.weights.h5", "weights.bin"])
def test_a_file_that_holds_no_weights(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights")
    assert f"{name}: not weights of mobilenet_v1_0.25 without top (" in refused(SMALL, tmp_path / name)


def test_weights_of_another_backbone(weights_folder, tmp_path):
    """The file has the name of the right backbone."""
    other = tmp_path / "mobilenet_v1_0.05_128_imagenet_no_top.weights.h5"
    shutil.copy(weights_folder / "mobilenet_v1_0.25_128_imagenet_no_top.weights.h5", other)
    assert "not weights of mobilenet_v1_0.05 without top (" in refused(Backbone(1, 0.05, 11), tmp_path)


def test_imagenet_without_a_network_names_the_other_choices(tmp_path, monkeypatch, capsys):
    def nowhere(*_args, **_kwargs):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr(keras_config, "_KERAS_DIR", str(tmp_path))  # a file that was downloaded earlier is not used
    assert refused(Backbone(1, 0.25, 7), "imagenet") == (
        "cannot download the ImageNet weights of mobilenet_v1_0.25 "
        "([Errno -3] Temporary failure in name resolution); download "
        "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/mobilenet_2_5_224_tf_no_top.h5 "
        "on another computer and give it with --weights FILE, or give --weights none to train from scratch"
    )
    assert capsys.readouterr() == ("", "")


def test_imagenet_weights_that_do_not_exist(tmp_path, monkeypatch):
    line = refused(Backbone(1, 0.3, 11), "imagenet")
    assert "mobilenet_v1_0.3 (If imagenet weights are being loaded" in line


# --- what is trained ---------------------------------------------------------------------------------------


def batch_norms(model) -> list[layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def test_without_pretrained_weights_everything_is_trained():
    model = build(Backbone(2, 0.05, 13), Head(3, 8, 16), (64, 64), "none")
    assert all(layer.trainable for layer in model.layers)
    # After a short training, Keras' own momentum for MobileNetV2 leaves statistics that are useless in inference.
    assert {layer.momentum for layer in batch_norms(model)} == {0.9}


def test_training_leaves_pretrained_statistics_and_first_blocks_bit_identical(pretrained, weights_folder, eagerly):
    trunk = {layer.name for layer in trunk_of_file(weights_folder).layers}
    before = {layer.name: layer.get_weights() for layer in pretrained.layers}
    train(pretrained, steps=2)
    changed = {
        layer.name
        for layer in pretrained.layers
        if any(not np.array_equal(a, b) for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
    }
    norms = {layer.name for layer in batch_norms(pretrained)}
    assert not changed & norms & trunk
    assert not changed & {"conv1", "conv_dw_1", "conv_pw_1", "conv_dw_2", "conv_pw_2"}
    assert changed & trunk >= {"conv_dw_3", "conv_pw_3", "conv_pw_11"}
    assert changed - trunk >= {"heatmap_conv", "offset_conv"} | (norms - trunk)
    assert {layer.momentum for layer in batch_norms(pretrained) if layer.trainable} == {0.9}


def train(model, steps) -> None:
    """Trains on noise."""
    random = np.random.default_rng(0)
    trainer = Trainer(model, TrainingPlan(steps, 2, 1e-3, 8, 0))
    for _ in range(steps):
        views = random.integers(0, 256, (2, 64, 64, 3), np.uint8)
        maps = [random.uniform(0, 1, (2, 8, 8, channels)).astype(np.float32) for channels in (3, 6, 3)]
        trainer.step(views, *maps, np.ones((2, 3), np.float32))
