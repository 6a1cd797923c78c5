"""Defines the model card: the JSON document in every model that says what the model expects, and how good it is.

Nothing is guessed from the network: names, sizes, stride and resize mode are in the card, and loading checks the
network against them. `edgepose.inference.model_file` reads and writes the file that holds both.

A card with unknown keys is read, and the keys are ignored. A card of version 1 is migrated. A card of a newer version
is refused, because a network whose outputs are not understood must not make poses.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edgepose.errors import ModelError
from edgepose.geometry.letterbox import ModelInput
from edgepose.system.strict import convert
from edgepose.types import MOST_NAME_CHARS, U8, Skeleton

CARD_VERSION = 2
EDGETPU_MEMBER = "model_edgetpu.tflite"  # the name that edgetpu_compiler gives to its result for model.tflite
GOLDEN_REPEAT = 4  # the golden picture is stored so many times smaller; repeating pixels enlarges it exactly
_PNG = b"\x89PNG\r\n\x1a\n"

_Positive = Annotated[int, Meta(ge=1)]
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_Text = Annotated[str, Meta(max_length=MOST_NAME_CHARS, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]
_Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class KeypointOutput(msgspec.Struct, frozen=True, tag_field="kind", tag="keypoints"):
    """Two outputs of the network: int8 `heatmap` (1, h, w, K) and `offset` (1, h, w, 2K), for K keypoints.

    Attributes:
        stride: input pixels for each cell.
        offset_scale: input pixels of an offset of 1.0.
    """

    stride: _Positive
    offset_scale: Annotated[float, Meta(gt=0)]


class Golden(msgspec.Struct, frozen=True):
    """One input with its known output.

    Attributes:
        png: base64 of a small picture, which is enlarged by `GOLDEN_REPEAT`.
        heatmap_sha256, offset_sha256: of the int8 outputs, which are equal bit for bit wherever XNNPACK runs.
        keypoints: the decoded (x, y, score) in model-input pixels, for runtimes that round in another way.
    """

    png: str
    heatmap_sha256: str
    offset_sha256: str
    keypoints: tuple[tuple[float, float, float], ...]

    def picture(self, size_wh: tuple[int, int], channels: int) -> U8:
        """Returns the input, uint8 (H, W, C) in the model's channel order. Raises ModelError when it is damaged."""
        w, h = size_wh
        flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
        small_hw = (-(-h // GOLDEN_REPEAT), -(-w // GOLDEN_REPEAT))
        try:
            data = base64.b64decode(self.png, validate=True)
            # The size is compared before decoding: a few kilobytes of PNG may become gigabytes.
            small = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if _png_hw(data) == small_hw else None
        except (ValueError, cv2.error):  # not base64, or cut off
            small = None
        if small is None or small.shape[:2] != small_hw:
            raise ModelError(
                "the card's golden picture cannot be decoded to the size of the model's input; export the model again"
            )
        big = small.repeat(GOLDEN_REPEAT, axis=0).repeat(GOLDEN_REPEAT, axis=1)[:h, :w]
        return np.ascontiguousarray(big.reshape(h, w, channels))


def _png_hw(data: bytes) -> tuple[int, int] | None:
    """Returns rows and columns from the header of a PNG; None for anything else."""
    if len(data) < 24 or not data.startswith(_PNG):
        return None
    w, h = struct.unpack(">II", data[16:24])
    return h, w


class Certain(msgspec.Struct, frozen=True):
    """The error of only those keypoints whose score is `p_cutoff` or more, which DeepLabCut reports too."""

    p_cutoff: float
    n_points: int
    mean_px: float | None


class Score(msgspec.Struct, frozen=True):
    """The pixel error in the frames' own coordinates: Euclidean distances, one for each labelled keypoint.

    What is None or empty is unknown, as in older cards.

    Attributes:
        per_keypoint: means; the other dicts have the same keys.
        interval_px: 95 % confidence interval of the mean, by a bootstrap over frames.
        length_px: the animal's length, which is the median longer side of the box round a frame's labels.
        pck: the share of keypoints that lie within a fraction of that length, by the fraction.
        oks: the mean object keypoint similarity, as COCO defines it.
    """

    n_frames: int
    n_points: int
    mean_px: float
    median_px: float
    p95_px: float
    per_keypoint: dict[str, float | None]
    median_per_keypoint: dict[str, float | None] = {}
    p95_per_keypoint: dict[str, float | None] = {}
    interval_px: tuple[float, float] | None = None
    length_px: float | None = None
    pck: dict[str, float] = {}
    oks: float | None = None
    certain: Certain | None = None


class ScoreMap(msgspec.Struct, frozen=True):
    """Maps a score of the network to a probability, sigmoid(slope * logit(score) + shift).

    It is the probability that the keypoint lies within `right_px` frame pixels of where a person would put it. It was
    fitted on frames that the model was not trained on.
    """

    slope: Annotated[float, Meta(gt=0)]
    shift: float
    right_px: Annotated[float, Meta(gt=0)]

    def apply(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Maps scores (...) of the network, in 0..1."""
        score = np.clip(score, 1e-9, 1 - 1e-9)
        return np.asarray(1 / (1 + (1 / score - 1) ** self.slope * math.exp(-self.shift)))


class Training(msgspec.Struct, frozen=True):
    """Where the weights come from.

    Attributes:
        splits: the identity of every frame that was used, by the name of the split. It is a hash of the pixels, so that
            no model is evaluated on frames it was trained on, whatever files they are in by then.
        versions: of the software that trained.
    """

    dataset: _Text
    recipe: _Text
    backbone: _Text
    weights: _Text
    seed: int
    epochs: int
    splits: dict[_Text, tuple[str, ...]]
    versions: dict[str, str]
    settings: dict[str, Any] = {}

    def learnt_frames(self) -> frozenset[str]:
        """The frames that the model was trained on or chosen by: they must not test it, nor what starts from it."""
        return frozenset(digest for part in ("train", "validation") for digest in self.splits.get(part, ()))


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """The card.

    Attributes:
        v: the version of the format.
        name: the first part of the model's id.
        created: when the model was made, ISO 8601.
        sha256: of the network without what follows it in the file.
        members: the SHA-256 of each other file that belongs to the model, by its name.
        outputs: what the network computes; each kind of output is a struct of its own.
        golden: a picture with the output that the network computes for it.
        scores: the errors by what was measured, such as `int8`.
        unchanged_since_v1: the SHA-256 of the rest of the card, where it was migrated from version 1. While it is
            right, the model keeps the id that it had; a corrected card makes another model.
    """

    name: _Text
    created: _Text
    sha256: _Sha256
    skeleton: Skeleton
    input: ModelInput
    outputs: Annotated[tuple[KeypointOutput, ...], Meta(min_length=1, max_length=1)]
    golden: Golden
    training: Training
    members: dict[str, _Sha256] = {}
    scores: dict[_Text, Score] = {}
    score_map: ScoreMap | None = None
    unchanged_since_v1: str | None = None
    v: int = CARD_VERSION

    def __post_init__(self) -> None:
        for name in self.skeleton.keypoints:
            if not name or _CONTROL.search(name):
                raise ValueError(f"the keypoint name {name[:40]!r} is empty or has control characters")
        # Otherwise the padding of the convolutions would shift the centres of the cells.
        if any(side % self.keypoint_output.stride for side in self.input.size_wh):
            raise ValueError("input.size_wh is not a multiple of outputs[0].stride")

    @property
    def keypoint_output(self) -> KeypointOutput:
        return self.outputs[0]

    def map_hw(self) -> tuple[int, int]:
        """Returns how many cells the heatmap has, (rows, columns)."""
        w, h = self.input.size_wh
        return h // self.keypoint_output.stride, w // self.keypoint_output.stride


def sha256_of(data: bytes) -> str:
    """Returns the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def parse_card(text: bytes, where: str) -> ModelCard:
    """Reads the JSON of a card. where: the file's name, for messages. Raises ModelError."""
    data = card_document(text, where)
    if data["v"] > CARD_VERSION:
        raise ModelError(f"{where}: the card has version {data['v']}, which a newer edgepose wrote; update edgepose")
    return convert(data, ModelCard, where, ModelError)


def card_document(text: bytes, where: str) -> dict[str, Any]:
    """Returns the JSON object of a card, also with the keys that are not known here, as a card of version 2 or newer.

    Raises:
        ModelError: it is not the JSON of a card.
    """
    try:
        data = msgspec.json.decode(text)
        if not isinstance(data, dict) or type(data.get("v")) is not int or data["v"] < 1:
            raise ModelError(f"{where}: this is not the card of a model; copy the model again")
        return _migrated(data) if data["v"] == 1 else data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ModelError(f"{where}: the card is not JSON ({exc}); copy the model again") from None


def encode_document(document: dict[str, Any]) -> bytes:
    """Returns the JSON of a card as it is written into a model."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def kept_id_digits(card: bytes) -> str | None:
    """Returns the digits of the id that a migrated card keeps; None where the card was never of version 1, or changed.

    card: the JSON of a card that `parse_card` has accepted.
    """
    document = card_document(card, "card")
    return document["sha256"] if document.get("unchanged_since_v1") == _document_sha256(document) else None


def _migrated(data: dict[str, Any]) -> dict[str, Any]:
    """Converts a card of version 1, which describes two or three files that lie side by side."""
    data = {name: value for name, value in data.items() if name != "unchanged_since_v1"} | {"v": 2}
    match data.pop("files", None):
        case {"cpu": {"sha256": sha256}, **others}:
            data["sha256"] = sha256
            match others.get("edgetpu"):
                case {"sha256": compiled}:
                    data["members"] = {EDGETPU_MEMBER: compiled}
    match data.pop("output", None):
        case {**output}:
            data["outputs"] = [{"kind": "keypoints", **output}]
    return data | {"unchanged_since_v1": _document_sha256(data)}


def _document_sha256(document: dict[str, Any]) -> str:
    """Hashes a card without the entry that holds this hash. The standard library's form does not change."""
    rest = {name: value for name, value in document.items() if name != "unchanged_since_v1"}
    try:
        return sha256_of(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())
    except RecursionError:
        raise ModelError("the card is nested too deeply; export the model again") from None
