"""Video, times and poses on this device's disk, and the frames that are worth labelling.

recorder  takes every frame and pose    segments  a video, its times and poses    h264, mjpeg  the video's file
keeper  syncs, finishes, repairs, makes room    when  whether to record now    uncertain  frames for labelling
"""
