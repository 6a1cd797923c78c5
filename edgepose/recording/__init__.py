"""Video, times and poses that are kept on the device, and hard frames that are worth labelling.

`recorder` takes every frame and never holds the pipeline up; `retention` synchronises, repairs and makes room.
"""
