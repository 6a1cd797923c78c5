"""From labelled images to weights: splits, augmented views, losses, the training loop, checkpoints, distillation."""
