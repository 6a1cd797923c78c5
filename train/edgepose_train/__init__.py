"""Desktop side: labelled frames to an int8 model."""

import edgepose as edgepose  # it sets a limit that OpenCV reads while it is imported
