"""Builds the data of a report from a finished fit: measures the speed, and finds out where int8 loses accuracy."""

from __future__ import annotations

from pathlib import Path

from edgepose.inference.model_file import read_model
from edgepose_train.export.layer_attribution import attribute_layers
from edgepose_train.export.model_speed import measure_speed
from edgepose_train.report.report_data import ReportData
from edgepose_train.report.verdict import int8_loss_px
from edgepose_train.training.fit import FitResult
from edgepose_train.training.samples import frame_size


def build_report_data(
    result: FitResult, model: Path, max_int8_loss: float | None, project: Path, command: str
) -> ReportData:
    """Returns the data of a report.

    Where int8 loses more than is allowed, the layers that cause the loss are searched; this takes a minute.

    Args:
        result: the finished fit.
        model: the file that ships.
        max_int8_loss: pixels that int8 may add to the mean error. None allows one pixel of the model's input, and then
            the frame to which int8 adds most does not count.
        project: the labelled folder or file.
        command: the command that made the model.
    """
    content, attribution = read_model(model), None
    allowed_px, one_frame_excused = max_int8_loss or _input_pixel(result), max_int8_loss is None
    if int8_loss_px(result.in_int8, result.in_float, one_frame_excused) > allowed_px:
        print("searching for the layer in which int8 loses accuracy ...", flush=True)
        attribution = attribute_layers(result.network, content.network, result.card, result.split.test)
    return ReportData(
        result.split,
        result.in_int8,
        result.in_float,
        allowed_px,
        one_frame_excused,
        result.curve,
        result.reliability,
        measure_speed(content.network, str(model)),
        attribution,
        project,
        command,
        content.id,
        content.sha256,
    )


def _input_pixel(result: FitResult) -> float:
    """Returns the number of frame pixels that one pixel of the model's input spans."""
    frame_wh, input_wh = frame_size(result.split.test), result.card.input.size_wh
    return round(max(1.0, *(frame / side for frame, side in zip(frame_wh, input_wh, strict=True))), 2)
