"""A Processor as DeepLabCut-Live has them, to start from: counts how often the snout enters a zone.

`process` gets pose (K, 3), x, y in pixels of the frame and likelihood, and as keywords frame_time and pose_time
(seconds since 1970), frame (its number) and keypoints (their names). It runs in a thread of its own with the newest
pose: while it is busy, poses go on without it. What it raises switches it off, and is told as an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Counter:
    """zone: x0, y0, x1, y1 in pixels of the frame."""

    def __init__(self, zone: Sequence[float], keypoint: str = "snout") -> None:
        self.zone, self.keypoint = zone, keypoint
        self.entries, self.inside = 0, False

    def process(self, pose: Any, **kwargs: Any) -> Any:
        x, y, likelihood = pose[kwargs["keypoints"].index(self.keypoint)]
        x0, y0, x1, y1 = self.zone
        inside = bool(likelihood > 0.5 and x0 <= x <= x1 and y0 <= y <= y1)
        self.entries += inside and not self.inside
        self.inside = inside
        return pose

    def close(self) -> None:
        """At the end of the daemon."""
        print(f"{self.keypoint} entered the zone {self.entries} times", flush=True)
