"""ModelCard: the JSON file beside every `.tflite`. What the file is, what it expects, how good it is.

`model.tflite` has its card in `model.json`. Nothing is guessed from the model file: names, sizes, stride and
resize mode are the card's, and loading checks the file against them.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edgepose.errors import ModelError
from edgepose.geometry.letterbox import ModelInput
from edgepose.system.strict import convert
from edgepose.types import U8, Skeleton

CARD_VERSION = 1
GOLDEN_REPEAT = 4  # the golden picture is stored this much smaller, and enlarged by repeating pixels: exact anywhere
_PNG = b"\x89PNG\r\n\x1a\n"


_Positive = Annotated[int, Meta(ge=1)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ModelOutput(_Part, frozen=True):
    """stride: input pixels per heatmap cell. offset_scale: input pixels that an offset of 1.0 stands for."""

    stride: _Positive
    offset_scale: Annotated[float, Meta(gt=0)]


class ModelFile(_Part, frozen=True):
    name: str
    sha256: str


class ModelFiles(_Part, frozen=True):
    """cpu: the int8 file any runtime can run. edgetpu: the same model, compiled for a Coral."""

    cpu: ModelFile
    edgetpu: ModelFile | None = None


class Golden(_Part, frozen=True):
    """One input with its known output. png: base64 of a small picture, enlarged by `GOLDEN_REPEAT`.

    heatmap_sha256, offset_sha256: of the int8 outputs, equal bit for bit wherever XNNPACK runs.
    keypoints: decoded (x, y, score) in model-input pixels, for runtimes that round otherwise.
    """

    png: str
    heatmap_sha256: str
    offset_sha256: str
    keypoints: tuple[tuple[float, float, float], ...]

    def picture(self, size_wh: tuple[int, int], channels: int) -> U8:
        """The input, uint8 (H, W, C) in the model's channel order. Raises ModelError when it is damaged."""
        w, h = size_wh
        flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
        small_hw = (-(-h // GOLDEN_REPEAT), -(-w // GOLDEN_REPEAT))
        try:
            data = base64.b64decode(self.png, validate=True)
            # Looked at before decoding: a few kilobytes of PNG can unfold to gigabytes.
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
    """Rows and columns, as the header of a PNG says; None for anything else."""
    if len(data) < 24 or not data.startswith(_PNG):
        return None
    w, h = struct.unpack(">II", data[16:24])
    return h, w


class Certain(_Part, frozen=True):
    """Error of the keypoints with a score of `p_cutoff` or more alone, as DeepLabCut reports it beside that of all."""

    p_cutoff: float
    n_points: int
    mean_px: float | None


class Score(_Part, frozen=True):
    """Pixel error in the frames' own coordinates: Euclidean distance, one per labelled keypoint.

    interval_px: 95 % confidence interval of the mean, frames drawn again. per_keypoint: means. length_px: of the
    animal, the median longer side of the box round a frame's labels. pck: share of the keypoints that lie within so
    much of that length. oks: mean similarity as COCO defines it. What is None is unknown, as in older cards.
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


class ScoreMap(_Part, frozen=True):
    """What a score of the network is worth: the share of keypoints with that score that lie within `right_px` frame
    pixels of where a person puts them is sigmoid(slope * logit(score) + shift). Found on frames not trained on."""

    slope: Annotated[float, Meta(gt=0)]
    shift: float
    right_px: Annotated[float, Meta(gt=0)]

    def apply(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """score: (...) in 0..1, of the network."""
        score = np.clip(score, 1e-9, 1 - 1e-9)
        return np.asarray(1 / (1 + (1 / score - 1) ** self.slope * math.exp(-self.shift)))


class Training(_Part, frozen=True):
    """Where the weights come from. versions: of the software that trained.

    splits: sha256 of every image file used, by split name. A hash survives moving and renaming, so nobody
    scores a model on frames it has seen."""

    dataset: str
    recipe: str
    backbone: str
    weights: str
    seed: int
    epochs: int
    splits: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    settings: dict[str, Any] = {}

    def learnt_frames(self) -> frozenset[str]:
        """What was trained on or chosen by: the model, and whatever starts from it, must not be tested on these."""
        return frozenset(digest for part in ("train", "validation") for digest in self.splits.get(part, ()))


class ModelCard(_Part, frozen=True):
    name: str
    created: str
    skeleton: Skeleton
    input: ModelInput
    output: ModelOutput
    files: ModelFiles
    golden: Golden
    training: Training
    scores: dict[str, Score] = {}
    score_map: ScoreMap | None = None
    v: int = CARD_VERSION

    def __post_init__(self) -> None:
        # With a part of a cell left over, the padding of the convolutions shifts the cells' centres.
        if any(side % self.output.stride for side in self.input.size_wh):
            raise ValueError("input.size_wh is not a multiple of output.stride")

    def model_id(self) -> str:
        """Short name for messages, such as `openfield@3fa2c1`."""
        return f"{self.name}@{self.files.cpu.sha256[:6]}"

    def map_hw(self) -> tuple[int, int]:
        """Cells of the heatmap, (rows, columns)."""
        w, h = self.input.size_wh
        return h // self.output.stride, w // self.output.stride


def card_path(model: Path) -> Path:
    return model.with_suffix(".json")


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_card(model: Path) -> ModelCard:
    """The card beside `model`; raises ModelError when it is missing or not a card."""
    path = card_path(model)
    try:
        data = msgspec.json.decode(path.read_bytes())
    except OSError as exc:
        raise ModelError(
            f"{path}: cannot read the model's card ({exc.strerror}); it must lie beside {model.name}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ModelError(f"{path}: not JSON ({exc}); copy the card again from the training run") from None
    if not isinstance(data, dict) or data.get("v") != CARD_VERSION:
        raise ModelError(f"{path}: not a model card of version {CARD_VERSION}; copy it again or update edgepose")
    return convert(data, ModelCard, str(path), ModelError)


def write_card(card: ModelCard, model: Path) -> None:
    path = card_path(model)
    text = msgspec.json.format(msgspec.json.encode(card), indent=1)
    temporary = path.with_suffix(".json.tmp")
    temporary.write_bytes(text)
    temporary.replace(path)


def read_model(model: Path) -> tuple[bytes, ModelCard]:
    """The `.tflite` bytes and their card, the file checked against the card's sha256.

    Only the hash tells a damaged file from a good one: flipped bits in the weights load and run silently.
    """
    try:
        data = model.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{model}: no such model file; give the .tflite that edgepose-train fit wrote") from None
    except (OSError, ValueError) as exc:  # ValueError: a path that cannot be one
        raise ModelError(f"{model}: cannot read the model ({getattr(exc, 'strerror', exc)})") from None
    card = read_card(model)
    if sha256_of(data) != card.files.cpu.sha256:
        raise ModelError(f"{model}: damaged or not the file its card describes (sha256 differs); copy both files again")
    return data, card
