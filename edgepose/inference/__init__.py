"""Frames to poses: `runtime` finds an interpreter that can run a model, `estimator` is all that others use."""
