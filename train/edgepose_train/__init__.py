"""Desktop side: labelled frames to an int8 model."""
