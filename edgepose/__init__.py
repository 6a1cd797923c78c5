"""edgepose: markerless pose estimation on a Raspberry Pi, keypoints over MQTT."""

__version__ = "0.1.0"
