"""Which layer int8 loses the accuracy in, and how much of it comes back when that layer stays in float."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import keras
import numpy as np

from edgepose.geometry.letterbox import FrameMap
from edgepose.inference.model_card import ModelCard
from edgepose.pose.heatmap import FLOAT, decode
from edgepose.types import F64, U8
from edgepose_train.export.dequantized_graph import DequantizedGraph, dequantize
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.labels.images import read_image

# What bounds the time.
PICTURES = 16
_RANKED_ON = 3
_WEIGHED = 3
_MOST = 0.5  # of the loss: a layer that gives back less is not what is wrong


@dataclass(frozen=True, slots=True)
class Suspect:
    """layer: in words. alone_px: how far the keypoints move when only this layer is int8, mean of the pictures that
    int8 moves most. without_px: what int8 loses when only this layer stays in float."""

    layer: str
    alone_px: float
    without_px: float


@dataclass(frozen=True, slots=True)
class LayerAttribution:
    """Mean px errors on `pictures` labelled frames, of the network in float and as the int8 file computes it.
    suspects: the worst first. together_px: what int8 loses when all of them stay in float."""

    pictures: int
    float_px: float
    int8_px: float
    suspects: tuple[Suspect, ...]
    together_px: float

    @property
    def loss_px(self) -> float:
        return self.int8_px - self.float_px

    @property
    def guilty(self) -> Suspect | None:
        """The one layer that most of the loss goes away with. Where several seem to be, the loss is no larger than
        what any change of rounding brings."""
        found = [suspect for suspect in self.suspects if suspect.without_px <= (1 - _MOST) * self.loss_px]
        return found[0] if self.loss_px > 0 and len(found) == 1 else None

    def sentence(self) -> str:
        on = f"on {self.pictures} frames"
        if self.loss_px <= 0:
            return f"int8 loses nothing {on}, so no layer is to blame"
        falls = f"in float, the loss {on} goes from {self.loss_px:.2f} px to"
        if self.guilty:
            return f"the layer to blame is {self.guilty.layer}: with it {falls} {self.guilty.without_px:.2f} px"
        names = ", ".join(suspect.layer for suspect in self.suspects)
        return f"no single layer is to blame; with the worst ({names}) {falls} {self.together_px:.2f} px"


def attribute_layers(
    model: keras.Model, tflite: bytes, card: ModelCard, images: Sequence[LabelledImage]
) -> LayerAttribution:
    """model: the float network that the int8 file `tflite` was made of. images: labelled ones, of which the first
    `PICTURES` are looked at. Raises ModelError when the two do not belong together."""
    twin, views = dequantize(model, tflite), [_View(image, card) for image in images[:PICTURES]]
    everything = range(len(twin.operations))
    exact = [view.keypoints(twin, everything) for view in views]
    rounded = [view.keypoints(twin, ()) for view in views]
    float_px, int8_px = _mean_px(views, exact), _mean_px(views, rounded)
    moved = [float(np.linalg.norm(a - b, axis=1).mean()) for a, b in zip(exact, rounded, strict=True)]
    telling = [views[i] for i in np.argsort(moved)[::-1][:_RANKED_ON]]
    alone_px = np.mean([_moves_alone(view, twin) for view in telling], axis=0)
    worst = np.argsort(alone_px)[::-1][:_WEIGHED].tolist()

    def loss_without(places: Collection[int]) -> float:
        return _mean_px(views, [view.keypoints(twin, places) for view in views]) - float_px

    suspects = [Suspect(twin.operations[i].layer, float(alone_px[i]), loss_without({i})) for i in worst]
    return LayerAttribution(len(views), float_px, int8_px, tuple(suspects), loss_without(worst))


class _View:
    """One labelled frame as the network sees it."""

    def __init__(self, image: LabelledImage, card: ModelCard) -> None:
        frame = read_image(image.path)
        self._map = FrameMap.fit((frame.shape[1], frame.shape[0]), card.input.size_wh, card.input.resize)
        w, h = card.input.size_wh
        fitted = np.empty((h, w, 3), np.uint8)
        self._map.resize(frame, fitted)
        self.picture: U8 = np.asarray(cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB), np.uint8)
        self.xy_px, self._output = image.xy_px, card.output

    def keypoints(self, twin: DequantizedGraph, in_float: Collection[int]) -> F64:
        return self.read(twin, twin.run(self.picture, in_float))

    def read(self, twin: DequantizedGraph, tensors: dict) -> F64:
        """Keypoints (K, 2) in the frame's own pixels."""
        heatmap, offset = (tensors[twin.outputs[name]][0] for name in ("heatmap", "offset"))
        xy, _ = decode(heatmap, offset, self._output.stride, self._output.offset_scale, FLOAT)
        return self._map.to_frame(xy)


def _mean_px(views: list[_View], found: list[F64]) -> float:
    errors = [np.linalg.norm(xy - view.xy_px, axis=1) for view, xy in zip(views, found, strict=True)]
    return float(np.nanmean(errors))


def _moves_alone(view: _View, twin: DequantizedGraph) -> list[float]:
    """For each operation, how far it moves the keypoints when it alone is int8."""
    everything = set(range(len(twin.operations)))
    exact = twin.run(view.picture, everything)
    before = view.read(twin, exact)
    moves = []
    for place in sorted(everything):
        kept = {number: tensor for number, tensor in exact.items() if number not in twin.after(place)}
        after = view.read(twin, twin.run(view.picture, everything - {place}, kept))
        moves.append(float(np.linalg.norm(after - before, axis=1).mean()))
    return moves
