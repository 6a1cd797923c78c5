"""From labelled images to weights: splits, augmented views, losses, the training loop, checkpoints, distillation.

To add an option of `fit`, add a field to `fit_options` and use it where the step is done.
"""
