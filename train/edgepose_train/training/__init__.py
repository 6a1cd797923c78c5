"""From labelled images to weights: splits, views, losses, the loop, checkpoints, distillation."""
