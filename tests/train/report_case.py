"""Labelled frames with predictions whose errors are known, for the tests of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from dlc_project import write_image

import edgepose
from edgepose.inference.model_card import ModelCard, ScoreMap
from edgepose.inference.model_file import read_card
from edgepose.types import Skeleton
from edgepose_train.evaluation.metrics import Predictions, summarize
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.report.report_data import ReportData
from edgepose_train.training.splits import Split

NAMES = ("snout", "leftear", "rightear", "tailbase")
LABELS = np.array([[60.0, 40], [50, 30], [50, 60], [12, 47]])  # one animal, 48 px long
RIGHT_PX = 4.8


@dataclass
class Case:
    """A report's data; a test changes what it is about and then calls `made`.

    Every label is `LABELS`. Every prediction, also that of the float network, is 1 px to the right of its label.
    """

    folder: Path
    frames: int = 12
    names: Sequence[str] = NAMES
    pairs: Sequence[tuple[str, str]] = (("leftear", "rightear"),)
    size_wh: tuple[int, int] = (128, 96)
    file_name: str = "img{:03}.png"
    video: str = "cage1"
    labels: np.ndarray = field(init=False)
    xy_px: np.ndarray = field(init=False)
    float_px: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        base = LABELS if len(self.names) == len(LABELS) else np.linspace([10.0, 10], [90, 60], len(self.names))
        self.labels = np.tile(base, (self.frames, 1, 1))
        self.xy_px, self.float_px = np.add(self.labels, [1, 0]), np.add(self.labels, [1, 0])
        self.score = np.full(self.labels.shape[:2], 0.9)
        self.videos = [self.video] * self.frames

    def made(self, max_int8_loss: float = 0.1, **parts: object) -> tuple[ModelCard, ReportData]:
        split = self._split()
        int8 = Predictions(self.labels, self.xy_px, self.score)
        in_float = Predictions(self.labels, self.float_px, self.score)
        return self._card(split, int8, in_float), ReportData(
            split, int8, in_float, max_int8_loss, **{"model_id": "demo@3fa2c1", "sha256": "3fa2c1" * 10, **parts}
        )

    def _split(self) -> Split:
        total = self.frames + 5
        xy = np.concatenate([self.labels, np.resize(self.labels, (5, *self.labels.shape[1:]))])
        videos = [*self.videos, *[self.video] * 5]
        files = [write_image(self.folder / videos[i] / self.file_name.format(i), self.size_wh) for i in range(total)]
        images = [LabelledImage(file, labels, video) for file, labels, video in zip(files, xy, videos, strict=True)]
        return Split(images[-3:], images[-5:-3], images[:-5])

    def _card(self, split: Split, int8: Predictions, in_float: Predictions) -> ModelCard:
        card = read_card(Path(edgepose.__file__).parent / "demo" / "demo.tflite")
        hashes = {name: tuple(frame_identity(i.path) for i in getattr(split, name)) for name in Split.__slots__}
        return msgspec.structs.replace(
            card,
            skeleton=Skeleton(tuple(self.names), (), tuple(self.pairs)),
            training=msgspec.structs.replace(card.training, splits=hashes),
            scores={"float": summarize(in_float, self.names), "int8": summarize(int8, self.names)},
            score_map=ScoreMap(1.0, 0.0, RIGHT_PX),
        )
