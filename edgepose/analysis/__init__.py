"""What is made of whole videos: keypoint tables, smoothed motion, plots, overlay videos.

Matplotlib (extra `plots`) is imported in `plots` alone. To add a measure of motion, add it to `pose/kinematics.py` and
show it here.
"""
