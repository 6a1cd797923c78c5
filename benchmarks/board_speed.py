"""Measures one frame through networks of several trunks, inputs and heads, relative to MobileNetV2 1.0 at 224x224.

    taskset -c 1 python benchmarks/board_speed.py [TRUNK,WIDTH,STRIDE ...]

Weights are random, which does not change the time. One thread; the time is the thread's own CPU time, so whatever else
runs on the machine counts only by what it evicts from the caches. The reference, the whole classifier with its top, is
measured in turn with every other network. Prints a Markdown table, and the two rates of `targets.TARGETS["desktop"]`
that fit it best.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf  # noqa: TID251

from edgepose.inference.runtime import open_runtime
from edgepose_train.export.quantize import to_int8
from edgepose_train.network import network
from edgepose_train.network.backbone import Backbone, Head, parse_backbone
from edgepose_train.network.network_cost import network_cost
from edgepose_train.quiet import quiet

SIZES = ((256, 192), (304, 224), (320, 240), (384, 288), (448, 336), (640, 480))
NETWORKS = (
    "mobilenet_v1_0.25,32,8",
    "mobilenet_v1_0.5:7,32,8",
    "mobilenet_v1_0.5,32,8",
    "mobilenet_v1_0.5,32,4",
    "mobilenet_v1_0.75,48,8",
    "mobilenet_v2_0.35,32,8",
    "mobilenet_v2_1.0,64,8",
)
KEYPOINTS = 4
ROUNDS, INVOKES = 10, 5


def main() -> None:
    reference = _reference()
    costs, times_ms = [], []
    print("| trunk, width, stride | " + " | ".join(f"{w}x{h}" for w, h in SIZES) + " |")
    print("|---" * (1 + len(SIZES)) + "|")
    for name in sys.argv[1:] or NETWORKS:
        trunk, width, stride = name.split(",")
        backbone, head = parse_backbone(trunk), Head(KEYPOINTS, int(stride), int(width))
        cells = []
        for size_wh in SIZES:
            ms, reference_ms = _compare(_pose_network(backbone, head, size_wh), reference)
            cells.append(f"{ms / reference_ms:.2f}")
            cost = network_cost(backbone, head, size_wh)
            costs.append((cost.macs / 1e6, cost.written / 1e6))
            times_ms.append(ms)
        print(f"| {trunk}, {width}, {stride} | " + " | ".join(cells) + " |", flush=True)
    _print_rates(np.array(costs), np.array(times_ms))


def _reference() -> Callable[[], None]:
    model = keras.applications.MobileNetV2(input_shape=(224, 224, 3), weights=None)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.random.default_rng(0).random((1, 224, 224, 3), np.float32)],)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
    with quiet():
        return _invoke(bytes(converter.convert()), "MobileNetV2")


def _pose_network(backbone: Backbone, head: Head, size_wh: tuple[int, int]) -> Callable[[], None]:
    keras.backend.clear_session()
    model = network.build(backbone, head, size_wh, "none")
    picture = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    return _invoke(to_int8(model, [picture]), f"{backbone} {size_wh}")


def _invoke(model: bytes, where: str) -> Callable[[], Any]:
    return open_runtime(model, 1, where).interpreter.invoke


def _compare(network_invoke: Callable[[], None], reference: Callable[[], None]) -> tuple[float, float]:
    """Returns the median CPU time of both in ms; they run in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _, (found, invoke) in itertools.product(range(ROUNDS), zip(times, (network_invoke, reference), strict=True)):
        invoke()
        invoke()  # now the caches hold its own data again
        for _ in range(INVOKES):
            start = time.thread_time()
            invoke()
            found.append((time.thread_time() - start) * 1e3)
    return statistics.median(times[0]), statistics.median(times[1])


def _print_rates(costs: np.ndarray, times_ms: np.ndarray) -> None:
    """Prints the two rates with the least squares of the relative errors."""
    weight = 1 / times_ms
    rates, *_ = np.linalg.lstsq(costs * weight[:, None], times_ms * weight, rcond=None)
    off = np.abs(costs @ rates / times_ms - 1)
    print(f"\n{rates[0]:.4f} ms a million multiply-accumulates, {rates[1]:.2f} ms a million numbers written:", end=" ")
    print(f"off by {np.median(off):.0%} (median), {off.max():.0%} at most")


if __name__ == "__main__":
    main()
