"""Short videos of the synthetic mouse."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgepose.camera.synthetic.scene import Scene


def write_clip(path: Path, count: int = 12, size_wh: tuple[int, int] = (320, 240)) -> Path:
    """`count` frames at 25 a second, as an .avi."""
    scene = Scene(0, size_wh)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, size_wh)
    for i in range(count):
        writer.write(scene.render(i))
    writer.release()
    return path
