"""This room picks frames worth labelling: `extract` before there is a model, `suggest` with one.

To add a reason for suggesting a frame, compute it in `suggest` and name it in the reason that the table shows.
"""
