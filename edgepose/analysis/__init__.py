"""This room turns whole videos into tables of poses, smoothed motion, measures, plots and overlays. It also calibrates
lenses.

`analyze_video` is the way through the room: it finds the poses and calls the writers of `motion`. Matplotlib (extra
`plots`) is imported in `plots` alone. To add a measure of motion, write it in `pose/kinematics.py`. To add a kind of
result, name its file in `output_files` and write it in `motion_writers`.
"""
