"""Reads the Raspberry Pi's Camera Module, by picamera2 and libcamera."""
