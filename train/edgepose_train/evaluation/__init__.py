"""This room measures the file that ships: its px error on unseen frames, and what a score is worth.

To add a measure, add it to `metrics.summarize` and to `Score` in edgepose/inference/model_card.py.
"""
