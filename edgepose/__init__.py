"""edgepose: markerless pose estimation on a Raspberry Pi, keypoints over MQTT."""

import os

__version__ = "0.2.0.dev0"

# A file of a few kilobytes can hold a picture of gigabytes. OpenCV reads its limit once, while it is imported.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
