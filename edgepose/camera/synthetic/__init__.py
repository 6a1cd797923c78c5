"""A rendered mouse whose keypoints are known: the camera of demos and tests."""
