"""Finds the layer in which int8 loses accuracy, and how much of it returns when that layer stays in float."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import keras
import numpy as np

from edgepose.geometry.letterbox import FrameMap
from edgepose.inference.model_card import ModelCard
from edgepose.pose.heatmap import FLOAT, decode
from edgepose.system.wording import count
from edgepose.types import F32, F64, U8
from edgepose_train.export.dequantized_graph import DequantizedGraph, dequantize
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.labels.images import read_image

# These bound the time.
PICTURES = 16  # labelled frames
_RANKED_ON = 3  # frames on which every layer is tried alone
_SUSPECTS = 3  # layers that are tried on all frames
_MOST = 0.5  # the share of the loss that a layer must give back to be its cause


@dataclass(frozen=True, slots=True)
class SuspectLayer:
    """A layer that may cause the loss.

    Attributes:
        layer: the layer in words.
        alone_px: how far the keypoints move when only this layer is int8; the mean over the frames that int8 changes
            most.
        without_px: the loss of int8 when only this layer stays in float.
    """

    layer: str
    alone_px: float
    without_px: float


@dataclass(frozen=True, slots=True)
class LayerAttribution:
    """The layers in which int8 loses accuracy.

    Attributes:
        pictures: the number of labelled frames.
        float_px: mean px error on them of the float network.
        int8_px: mean px error on them as the int8 file computes it.
        suspects: the suspect layers, the worst first.
        together_px: the loss of int8 when all of them stay in float.
    """

    pictures: int
    float_px: float
    int8_px: float
    suspects: tuple[SuspectLayer, ...]
    together_px: float

    @property
    def loss_px(self) -> float:
        """The pixels that int8 adds to the mean error."""
        return self.int8_px - self.float_px

    @property
    def cause(self) -> SuspectLayer | None:
        """The only layer without which most of the loss disappears.

        It is None where several layers seem to be the cause: then the loss is no larger than the effect that any change
        of rounding has.
        """
        found = [suspect for suspect in self.suspects if suspect.without_px <= (1 - _MOST) * self.loss_px]
        return found[0] if self.loss_px > 0 and len(found) == 1 else None

    def sentence(self) -> str:
        """Returns the result in one sentence."""
        on = f"on {count(self.pictures, 'frame')}"
        if self.loss_px <= 0:
            return f"int8 loses nothing {on}, so no layer causes a loss"
        falls = f"in float, the loss {on} falls from {self.loss_px:.2f} px to"
        if self.cause:
            return f"the cause is the layer {self.cause.layer}: with it {falls} {self.cause.without_px:.2f} px"
        names = ", ".join(suspect.layer for suspect in self.suspects)
        return f"no single layer is the cause; with the worst ({names}) {falls} {self.together_px:.2f} px"


def attribute_layers(
    model: keras.Model, tflite: bytes, card: ModelCard, images: Sequence[LabelledImage]
) -> LayerAttribution:
    """Finds the layers in which the int8 file loses accuracy.

    Args:
        model: the float network that the int8 file was made from.
        tflite: the int8 file.
        card: its card.
        images: labelled images, of which the first `PICTURES` are used.

    Raises:
        ModelError: the file was made from another network.
    """
    graph, views = dequantize(model, tflite), [_LabelledView(image, card) for image in images[:PICTURES]]
    everything = range(len(graph.operations))
    exact = [view.keypoints(graph, everything) for view in views]
    rounded = [view.keypoints(graph, ()) for view in views]
    float_px, int8_px = _mean_px(views, exact), _mean_px(views, rounded)
    moved_px = [float(np.linalg.norm(a - b, axis=1).mean()) for a, b in zip(exact, rounded, strict=True)]
    most_moved = [views[i] for i in np.argsort(moved_px)[::-1][:_RANKED_ON]]
    alone_px = np.mean([_moves_alone(view, graph) for view in most_moved], axis=0)
    worst = np.argsort(alone_px)[::-1][:_SUSPECTS].tolist()

    def loss_without(in_float: Collection[int]) -> float:
        return _mean_px(views, [view.keypoints(graph, in_float) for view in views]) - float_px

    suspects = [SuspectLayer(graph.operations[i].layer, float(alone_px[i]), loss_without({i})) for i in worst]
    return LayerAttribution(len(views), float_px, int8_px, tuple(suspects), loss_without(worst))


class _LabelledView:
    """One labelled frame as the network sees it."""

    def __init__(self, image: LabelledImage, card: ModelCard) -> None:
        frame = read_image(image.path)
        self._map = FrameMap.fit((frame.shape[1], frame.shape[0]), card.input.size_wh, card.input.resize)
        w, h = card.input.size_wh
        fitted = np.empty((h, w, 3), np.uint8)
        self._map.resize(frame, fitted)
        self.picture: U8 = np.asarray(cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB), np.uint8)
        self.xy_px, self._output = image.xy_px, card.keypoint_output

    def keypoints(self, graph: DequantizedGraph, in_float: Collection[int]) -> F64:
        """Runs the network and returns the keypoints (K, 2) in frame pixels; in_float: places not quantized."""
        return self.decode(graph, graph.run(self.picture, in_float))

    def decode(self, graph: DequantizedGraph, tensors: dict[int, F32]) -> F64:
        """Returns the keypoints (K, 2) in frame pixels from the tensors of a run."""
        heatmap, offset = (tensors[graph.outputs[name]][0] for name in ("heatmap", "offset"))
        xy, _ = decode(heatmap, offset, self._output.stride, self._output.offset_scale, FLOAT)
        return self._map.to_frame(xy)


def _mean_px(views: list[_LabelledView], found: list[F64]) -> float:
    errors_px = [np.linalg.norm(xy_px - view.xy_px, axis=1) for view, xy_px in zip(views, found, strict=True)]
    return float(np.nanmean(errors_px))


def _moves_alone(view: _LabelledView, graph: DequantizedGraph) -> list[float]:
    """Returns for each operation how many px the keypoints move when it alone is int8."""
    everything = set(range(len(graph.operations)))
    exact = graph.run(view.picture, everything)
    before = view.decode(graph, exact)
    moves_px = []
    for place in sorted(everything):
        kept = {number: tensor for number, tensor in exact.items() if number not in graph.after(place)}
        after = view.decode(graph, graph.run(view.picture, everything - {place}, kept))
        moves_px.append(float(np.linalg.norm(after - before, axis=1).mean()))
    return moves_px
