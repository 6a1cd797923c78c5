"""Video, times and poses on this device's disk, and the frames that are worth labelling.

recorder   takes every frame, never holds the pipeline up      segments   one video, its times and poses
h264, mjpeg   what a video file is made of                     keeper     syncs, finishes, repairs, bounds the space
uncertain   frames on which the model is unsure, with its predictions, in DeepLabCut's layout
"""
