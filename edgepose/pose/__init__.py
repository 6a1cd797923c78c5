"""This room computes what keypoints mean, from arrays alone.

Belongs here: heatmap decoding, smoothing, kinematics, quality of a pose, drawing and colours. To add a measure, write a
function of `xy_px` and `score` in the file of its subject and give its shapes and units in the docstring.
"""
