"""Closed loops: `pins` on the board's header, `loop` from poses to pins and events, `processor` for own code."""
