"""How good the file that ships is: px error on unseen frames, and what a score is worth.

To add a measure, add it to `metrics.summarize` and to `Score` in edgepose/inference/model_card.py.
"""
