"""`report.html`: what a training run found, with pictures."""
