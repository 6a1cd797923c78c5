"""Layer attribution: the dequantized graph computes what the file does, and a layer that was damaged is found."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgepose.errors import ModelError
from edgepose.inference.model_file import read_card, read_model
from edgepose.inference.runtime import open_runtime
from edgepose.pose.heatmap import FLOAT, decode
from edgepose_train.export.dequantized_graph import dequantize
from edgepose_train.export.layer_attribution import LayerAttribution, SuspectLayer, attribute_layers
from edgepose_train.export.quantize import to_int8
from edgepose_train.labels.reading import read_dataset
from edgepose_train.network import network
from edgepose_train.network.backbone import Head, parse_backbone

pytestmark = pytest.mark.slow  # a network is trained


@pytest.fixture
def trained(finished_run):
    """The float network of the run: the best weights of its checkpoint."""
    card = read_card(finished_run.model)
    recipe = card.training.settings["recipe"]
    head = Head(len(card.skeleton.keypoints), recipe["stride"], recipe["width"])
    model = network.build(parse_backbone(recipe["backbone"]), head, card.input.size_wh, "none")
    with np.load(finished_run.folder / "checkpoint.npz") as data:
        assert json.loads(str(data["notes"]))["best"]["step"] > 0
        model.set_weights([data[key] for key in sorted(data.files) if key.startswith("best/")])
    return model


@pytest.fixture(scope="module")
def dataset(rendered_project):
    return read_dataset(rendered_project)


def picture_of(card):
    return card.golden.picture(card.input.size_wh, card.input.channels)


def outputs_of_the_file(data, picture):
    """Returns the outputs of the file and their scales by name; the outputs are dequantized."""
    interpreter = open_runtime(data, 1, "the file").interpreter
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
    interpreter.invoke()
    found = {}
    for name, details in interpreter.get_signature_runner().get_output_details().items():
        scale, zero_point = details["quantization"]
        found[name] = (interpreter.get_tensor(details["index"]).astype(np.float32) - zero_point) * scale, scale
    return found


def test_the_graph_is_the_float_network_where_nothing_is_rounded(trained, finished_run):
    model = read_model(finished_run.model)
    picture = picture_of(model.card)
    graph = dequantize(trained, model.network)
    found = graph.run(picture, range(len(graph.operations)))
    expected = trained(picture[None].astype(np.float32) / 127.5 - 1, training=False)
    assert found[graph.outputs["heatmap"]] == pytest.approx(expected["heatmap"].numpy(), abs=1e-3)
    assert found[graph.outputs["offset"]] == pytest.approx(np.clip(expected["offset"].numpy(), -1, 1), abs=1e-3)


def test_the_graph_computes_what_the_file_does(trained, finished_run):
    model = read_model(finished_run.model)
    data, card = model.network, model.card
    graph = dequantize(trained, data)
    rounded = graph.run(picture_of(card), ())
    exact = graph.run(picture_of(card), range(len(graph.operations)))
    for name, (expected, scale) in outputs_of_the_file(data, picture_of(card)).items():
        off = np.abs(rounded[graph.outputs[name]] - expected).mean() / scale
        assert off < 1  # steps of int8; the kernels round in another way between two layers
        assert off < np.abs(exact[graph.outputs[name]] - expected).mean() / scale / 2


def test_layers_have_the_names_of_the_network(trained, finished_run):
    graph = dequantize(trained, finished_run.model.read_bytes())
    layers = [operation.layer for operation in graph.operations]
    assert {"input", "trunk conv1", "trunk conv_dw_3", "trunk conv_pw_11", "heatmap output", "offset output"} <= set(
        layers
    )
    assert any(layer.startswith("head convolution at stride 16 (") for layer in layers)
    assert len(set(layers)) == len(layers)


def rgb(image):
    return cv2.cvtColor(cv2.imread(str(image.path)), cv2.COLOR_BGR2RGB)


def labelled_by(model, images, output):
    """The images with the keypoints that the float network finds, so that its own error is 0.

    After sixty steps of training the network hardly finds the animal: against people's labels, rounding would help as
    often as it harms, another layer on another processor.
    """

    def keypoints_of(image):
        found = model(rgb(image)[None].astype(np.float32) / 127.5 - 1, training=False)
        heatmap, offset = found["heatmap"].numpy()[0], np.clip(found["offset"].numpy()[0], -1, 1)
        return decode(heatmap, offset, output.stride, output.offset_scale, FLOAT)[0].astype(np.float64)

    return [replace(image, xy_px=keypoints_of(image)) for image in images]


# TensorFlow's converter warns of this at every quantization; `fit` hides it from its users.
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected")
def test_a_layer_whose_range_explodes_is_the_cause(trained, finished_run, dataset):
    """One keypoint's logits become 200 times as large.

    Its peak stays at its place, but all keypoints share one int8 scale, in which the logits of the others disappear.
    """
    card = read_card(finished_run.model)
    layer = trained.get_layer("heatmap_conv")
    kernel, bias = layer.get_weights()
    kernel[..., 0] *= 200
    bias[0] *= 200
    layer.set_weights([kernel, bias])
    data = to_int8(trained, [rgb(image) for image in dataset.images])
    attribution = attribute_layers(trained, data, card, labelled_by(trained, dataset.images, card.keypoint_output))
    print(attribution)
    assert attribution.float_px < 0.1
    assert attribution.cause.layer == "heatmap output"
    assert attribution.loss_px > 5
    assert attribution.sentence().startswith(
        "the cause is the layer heatmap output: with it in float, the loss on 16 frames"
    )


def test_another_networks_file_is_refused(trained, finished_run):
    card = read_card(finished_run.model)
    other = network.build(parse_backbone("v2_0.35"), Head(4, 8, 32), card.input.size_wh, "none")
    with pytest.raises(ModelError, match="other operations than the float network"):
        dequantize(other, finished_run.model.read_bytes())


LAYERS = (
    SuspectLayer("trunk conv1", 0.3, 0.1),
    SuspectLayer("heatmap output", 0.2, 0.9),
    SuspectLayer("input", 0.1, 0.9),
)


def test_no_layer_is_the_cause_where_int8_loses_nothing():
    attribution = LayerAttribution(9, float_px=2.0, int8_px=1.9, suspects=LAYERS, together_px=-0.1)
    assert attribution.cause is None
    assert attribution.sentence() == "int8 loses nothing on 9 frames, so no layer causes a loss"


def test_no_layer_is_the_cause_where_several_could_be():
    both = (LAYERS[0], SuspectLayer("input", 0.3, 0.2))
    attribution = LayerAttribution(9, float_px=2.0, int8_px=3.0, suspects=both, together_px=0.05)
    assert attribution.cause is None
    assert "no single layer" in attribution.sentence()
    assert "1.00 px to 0.05 px" in attribution.sentence()


def test_the_only_layer_that_gives_the_loss_back_is_the_cause():
    attribution = LayerAttribution(9, float_px=2.0, int8_px=3.0, suspects=LAYERS, together_px=0.05)
    assert attribution.cause is LAYERS[0]
