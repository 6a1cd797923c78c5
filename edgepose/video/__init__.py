"""This room reads video files, from the start or a frame by its number, and writes H.264.

Belongs here: everything that decodes or encodes a video file. PyAV, which writes H.264, is the extra `video`.

To read another property of a file, add it to `video_reader`; to write another kind of file, add it beside `h264`.
"""
