"""Numbers that several sections of a report need."""

from __future__ import annotations

import numpy as np

from edgepose_train.report.report_data import worst_first


def test_the_worst_frame_is_first_and_those_without_labels_last():
    errors = np.array([[1.0, 2], [np.nan, np.nan], [9, np.nan], [4, 4]])
    assert worst_first(errors).tolist() == [2, 3, 0, 1]
