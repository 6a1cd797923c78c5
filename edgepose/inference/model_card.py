"""The model card: a JSON file beside every `.tflite` that says what the model expects, and how good it is.

The card of `model.tflite` is `model.json`. Nothing is guessed from the model file: names, sizes, stride and resize mode
are in the card, and loading checks the file against them.
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
from edgepose.system.atomic_files import write_durably
from edgepose.system.strict import convert
from edgepose.types import U8, Skeleton

CARD_VERSION = 1
GOLDEN_REPEAT = 4  # the golden picture is stored so many times smaller; repeating pixels enlarges it exactly
_PNG = b"\x89PNG\r\n\x1a\n"


_Positive = Annotated[int, Meta(ge=1)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ModelOutput(_Part, frozen=True):
    """How outputs are read. stride: input pixels per heatmap cell. offset_scale: input pixels of an offset of 1.0."""

    stride: _Positive
    offset_scale: Annotated[float, Meta(gt=0)]


class ModelFile(_Part, frozen=True):
    """A file beside the card."""

    name: str
    sha256: str


class ModelFiles(_Part, frozen=True):
    """The model's files. cpu: int8, for every runtime. edgetpu: the same model, compiled for a Coral."""

    cpu: ModelFile
    edgetpu: ModelFile | None = None


class Golden(_Part, frozen=True):
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


class Certain(_Part, frozen=True):
    """The error of only those keypoints whose score is `p_cutoff` or more, which DeepLabCut reports too."""

    p_cutoff: float
    n_points: int
    mean_px: float | None


class Score(_Part, frozen=True):
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


class ScoreMap(_Part, frozen=True):
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


class Training(_Part, frozen=True):
    """Where the weights come from.

    Attributes:
        splits: the sha256 of every image file that was used, by the name of the split. A hash survives moving and
            renaming, so that no model is evaluated on frames it was trained on.
        versions: of the software that trained.
    """

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
        """The frames that the model was trained on or chosen by: they must not test it, nor what starts from it."""
        return frozenset(digest for part in ("train", "validation") for digest in self.splits.get(part, ()))


class ModelCard(_Part, frozen=True):
    """The card. scores: by what was measured, such as `int8`. v: the version of the format."""

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
        # Otherwise the padding of the convolutions would shift the centres of the cells.
        if any(side % self.output.stride for side in self.input.size_wh):
            raise ValueError("input.size_wh is not a multiple of output.stride")

    def model_id(self) -> str:
        """Returns the short name that messages use, such as `openfield@3fa2c1`."""
        return f"{self.name}@{self.files.cpu.sha256[:6]}"

    def map_hw(self) -> tuple[int, int]:
        """Returns how many cells the heatmap has, (rows, columns)."""
        w, h = self.input.size_wh
        return h // self.output.stride, w // self.output.stride


def card_path(model: Path) -> Path:
    """Where the card of a model is."""
    return model.with_suffix(".json")


def sha256_of(data: bytes) -> str:
    """Returns the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read_card(model: Path) -> ModelCard:
    """Reads the card beside `model`. Raises ModelError when it is missing or not a card."""
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
    """Writes the card beside `model`. Raises OSError."""
    text = msgspec.json.format(msgspec.json.encode(card), indent=1)
    write_durably(card_path(model), text)


def read_model(model: Path) -> tuple[bytes, ModelCard]:
    """Returns the content of a `.tflite` and its card. Raises ModelError.

    The file's hash is compared with the card's: a model with flipped bits in its weights loads and runs, but is wrong.
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
