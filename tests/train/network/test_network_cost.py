"""The costs that are computed from the description equal those of the converted network."""

from __future__ import annotations

from importlib import resources

import pytest

from edgepose_train.export.tflite_graph import read_graph
from edgepose_train.network.backbone import Backbone, Head
from edgepose_train.network.network_cost import NetworkCost, network_cost


def _counted(graph) -> NetworkCost:
    return NetworkCost(graph.macs, sum(tensor.size for op in graph.ops for tensor in op.outputs))


def test_the_demos_int8_file():
    demo = resources.files("edgepose") / "demo" / "demo.tflite"
    graph = read_graph(demo.read_bytes(), "demo.tflite")
    assert network_cost(Backbone(1, 0.25, 11), Head(4, 8, 32), (320, 240)) == _counted(graph)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "head", "size_wh"),
    [
        (Backbone(2, 0.35, 13), Head(3, 4, 24), (96, 64)),
        (Backbone(1, 0.5, 8), Head(5, 16, 16), (64, 96)),
    ],
)
def test_other_trunks_sizes_and_strides(backbone, head, size_wh):
    """A float file lacks the first operation of the int8 file, from uint8 to int8."""
    import tensorflow as tf  # noqa: TID251

    from edgepose_train.network import network
    from edgepose_train.quiet import quiet

    model = network.build(backbone, head, size_wh, "none")
    with quiet():
        graph = read_graph(tf.lite.TFLiteConverter.from_keras_model(model).convert(), "made")
    counted = _counted(graph)
    counted.written += 3 * size_wh[0] * size_wh[1]
    assert network_cost(backbone, head, size_wh) == counted


def test_cost_grows_with_the_pixels():
    small, large = (network_cost(Backbone(2, 1.0, 13), Head(4, 8, 64), size) for size in ((160, 128), (320, 256)))
    assert (large.macs, large.written) == (4 * small.macs, 4 * small.written)
