"""From frames to poses: the model file with its card, runtimes, the estimator, accelerators.

`runtime` alone imports an interpreter. `estimator` is what others use; `viewer` shows it a part of the frame. To add an
accelerator, write a file like `coral` that finds it and says why it cannot be used, and choose it in `accelerated`.
"""
