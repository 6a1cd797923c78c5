"""Renders a mouse whose keypoints are known: the camera of demos and tests."""
