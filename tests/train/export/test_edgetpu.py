"""The audit: one operation for each rule of the Edge TPU's list, and the graphs of whole files."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from edgepose_train.export.edgetpu import audit_graph
from edgepose_train.export.tflite_graph import GraphTensor, TfliteGraph, TfliteOp, read_graph

MAP = (1, 8, 10, 16)


def tensor(shape=MAP, dtype="INT8", data=None, scale=(0.1,)) -> GraphTensor:
    return GraphTensor("t", shape, dtype, data, scale)


def constant(*values: int) -> GraphTensor:
    return GraphTensor("c", (len(values),), "INT32", np.array(values, "<i4").view(np.uint8), ())


def weights(*shape: int) -> GraphTensor:
    return tensor(shape, data=np.ones(int(np.prod(shape)), np.uint8))


def refusal(kind: str, *inputs: GraphTensor, output: GraphTensor | None = None, **options) -> str | None:
    """Returns why an operation with these inputs is refused, or None."""
    op = TfliteOp(0, kind, inputs or (tensor(),), (output or tensor(),), options)
    found = audit_graph(TfliteGraph((op,))).refusals
    return found[0].why if found else None


@pytest.mark.parametrize("kind", ["ADD", "MUL", "RELU6", "RELU_N1_TO_1", "QUANTIZE", "MINIMUM", "MAXIMUM", "PAD"])
def test_listed_operations_pass(kind):
    assert refusal(kind, tensor(), tensor()) is None


@pytest.mark.parametrize("kind", ["ARG_MAX", "LEAKY_RELU", "DEQUANTIZE", "HARD_SWISH", "DEPTH_TO_SPACE", "SHAPE"])
def test_others_do_not(kind):
    assert "not in the Edge TPU's list" in refusal(kind)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (tensor((-1, 8, 10, 16)), "size of t is not fixed"),
        (tensor((2, 8, 10, 16)), "three innermost"),
        (tensor(dtype="FLOAT32", scale=()), "not quantized"),
        (tensor(scale=()), "not quantized"),
        (tensor(dtype="INT16"), "not quantized"),
        (tensor((16,), "FLOAT32", np.ones(64, np.uint8), ()), r"parameters t are float32 16"),
    ],
)
def test_what_every_tensor_must_be(bad, why):
    assert refusal("ADD", tensor(), tensor()) is None
    assert why in refusal("ADD", tensor(), bad)


def test_uint8_is_quantized_as_well():
    assert refusal("QUANTIZE", tensor(dtype="UINT8")) is None


def test_weights_must_be_in_the_file():
    good, bias = weights(16, 1, 1, 16), constant(*range(16))
    assert refusal("CONV_2D", tensor(), good, bias) is None
    assert "computed" in refusal("CONV_2D", tensor(), tensor((1, 1, 1, 16)), bias)


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_dilation_is_the_same_both_ways(kind):
    kernel = weights(16, 1, 1, 16)
    assert refusal(kind, tensor(), kernel, dilationWFactor=2, dilationHFactor=2) is None
    assert "2 across and 1 down" in refusal(kind, tensor(), kernel, dilationWFactor=2, dilationHFactor=1)


@pytest.mark.parametrize("kind", ["MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION"])
def test_no_fused_activation(kind):
    assert refusal(kind, fusedActivationFunction="NONE") is None
    assert "fused activation RELU6" in refusal(kind, fusedActivationFunction="RELU6")


def test_concatenation_with_a_constant_only_appends_zeros():
    zeros = tensor(data=np.zeros(1280, np.uint8))
    assert refusal("CONCATENATION", tensor(), zeros) is None
    assert "append zeros" in refusal("CONCATENATION", tensor(), tensor(), zeros)
    assert "append zeros" in refusal("CONCATENATION", tensor(), weights(*MAP))


def test_mean_over_the_picture_or_over_a_multiple_of_four_channels():
    assert refusal("MEAN", tensor(), constant(1, 2)) is None
    assert refusal("MEAN", tensor(), constant(-1)) is None
    assert "18 channels" in refusal("MEAN", tensor((1, 8, 10, 18)), constant(3))
    assert "batch" in refusal("MEAN", tensor(), constant(0))


def test_prelu_with_one_parameter_for_each_channel():
    assert refusal("PRELU", tensor(), weights(1, 1, 16)) is None
    assert "alpha" in refusal("PRELU", tensor(), weights(8, 10, 16))


def test_resizing():
    enlarged = tensor((1, 16, 20, 16))
    bilinear = {"output": enlarged, "alignCorners": False}
    assert refusal("RESIZE_BILINEAR", tensor(), constant(16, 20), halfPixelCenters=False, **bilinear) is None
    why = refusal("RESIZE_BILINEAR", tensor(), constant(16, 20), halfPixelCenters=True, **bilinear)
    assert "half-pixel" in why
    assert "--target coral" in why
    large = tensor((1, 128, 160, 16))
    assert "160 pixels a side" in refusal("RESIZE_NEAREST_NEIGHBOR", tensor(), constant(128, 160), output=large)


def test_softmax_of_one_row():
    row = tensor((1, 16_000))
    assert refusal("SOFTMAX", row, output=row) is None
    for shape in ((1, 16_001), (1, 2, 8, 8)):
        assert "at most 16,000" in refusal("SOFTMAX", tensor(shape), output=tensor(shape))


def test_strided_slice_without_strides_or_new_axes():
    masks = {"ellipsisMask": 0, "newAxisMask": 0}
    edges = (constant(0, 0, 0, 0), constant(1, 4, 4, 4))
    assert refusal("STRIDED_SLICE", tensor(), *edges, constant(1, 1, 1, 1), **masks) is None
    assert "strides" in refusal("STRIDED_SLICE", tensor(), *edges, constant(1, 2, 1, 1), **masks)
    assert "new axis" in refusal("STRIDED_SLICE", tensor(), *edges, constant(1, 1, 1, 1), ellipsisMask=0, newAxisMask=1)


def test_split_not_of_the_batch():
    assert refusal("SPLIT", constant(3), tensor()) is None
    assert "batch" in refusal("SPLIT", constant(0), tensor())


def test_transposed_convolution_without_bias_and_not_too_large():
    shape = constant(1, 16, 20, 16)
    assert refusal("TRANSPOSE_CONV", shape, weights(16, 4, 4, 16), tensor()) is None
    assert "bias" in refusal("TRANSPOSE_CONV", shape, weights(16, 4, 4, 16), tensor(), constant(*range(16)))
    assert "2.1 million" in refusal("TRANSPOSE_CONV", shape, weights(512, 2, 2, 1024), tensor((1, 8, 10, 1024)))


# --- whole graphs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo():
    """The graph of a trained model with bilinear resizing."""
    return read_graph((resources.files("edgepose") / "demo" / "demo.tflite").read_bytes(), "demo.tflite")


def _with_open_batch(graph: TfliteGraph) -> TfliteGraph:
    """Returns the graph as a converter makes it that does not know the batch."""

    def opened(found: GraphTensor | None) -> GraphTensor | None:
        return replace(found, shape=(-1, *found.shape[1:])) if found and len(found.shape) == 4 else found

    ops = tuple(
        replace(op, inputs=tuple(map(opened, op.inputs)), outputs=tuple(map(opened, op.outputs))) for op in graph.ops
    )
    return replace(graph, ops=ops)


def test_the_first_operation_of_a_file_without_fixed_batch_is_named(demo):
    found = audit_graph(_with_open_batch(demo))
    assert found.mapped == 0
    assert "from operation 0, QUANTIZE (uint8 ?x240x320x3 to int8 ?x240x320x3" in found.verdict()
    assert "batch of 1" in found.verdict()


def test_of_the_demo_only_the_resizing_is_refused(demo):
    found = audit_graph(demo)
    assert [refused.op.kind for refused in found.refusals] == ["RESIZE_BILINEAR"]
    assert found.verdict().startswith("runs 25 of 32 operations; the CPU runs the rest from operation 25")
    assert "int8 1x15x20x32 to int8 1x30x40x32" in found.verdict()
    assert "\n" not in found.verdict()


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "stride"), [("v2_0.35", 4), ("mobilenet_v1_0.5:7", 8)])
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected")
def test_the_network_that_is_built_for_a_coral_passes(backbone, stride):
    from edgepose_train.export.quantize import to_int8
    from edgepose_train.network import network
    from edgepose_train.network.backbone import Head, parse_backbone

    head = Head(3, stride, 16, edge_tpu=True)
    model = network.build(parse_backbone(backbone), head, (64, 96), "none")
    picture = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    found = audit_graph(read_graph(to_int8(model, [picture]), "made"))
    assert found.refusals == ()
    assert found.verdict().startswith(f"all {found.operations} operations are in the Edge TPU's list")


def test_weights_beyond_the_chips_memory_are_reported():
    large = TfliteOp(0, "FULLY_CONNECTED", (tensor((1, 4096)), weights(2048, 4096)), (tensor((1, 2048)),), {})
    assert "its weights take 8.0 of about 7 MiB on the chip" in audit_graph(TfliteGraph((large,))).verdict()
