"""This room makes weights from labelled images: splits, augmented views, losses, training loop, distillation.

To add an option of `fit`, add a field to `fit_options` and use it where the step is done.
"""
