"""This room turns frames into poses: the model's file with its card, runtimes, the estimator, accelerators.

Only `runtime` imports an interpreter. Other rooms use `estimator`, and `viewer`, which gives it a part of the frame. To
add an accelerator, write a file like `coral` that finds it and says why it cannot be used, and choose it in
`accelerated`.
"""
