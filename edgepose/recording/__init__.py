"""This room keeps video, times and poses on the device, and hard frames that are worth labelling.

Belongs here: what gets the pipeline's frames and poses and keeps some of them. `recorder` takes every frame and never
makes the pipeline wait; `retention` puts segments onto the disk, repairs them and makes room. To keep something else,
write a class with `start`, `posed`, `scorer` and `close`, and add it to `Recording` in `recorder`.
"""
