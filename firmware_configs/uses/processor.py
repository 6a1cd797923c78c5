"""An example of your own code at each pose, as a Processor of DeepLabCut-Live: it counts visits of the snout to a zone.

`process` gets a pose of shape (K, 3): x and y in pixels of the frame, and the likelihood. Its keyword arguments are
`frame_time` and `pose_time` (seconds since 1970), `frame` (the frame's number) and `keypoints` (their names). It runs
in its own thread with the newest pose, so the daemon does not wait for it. An exception switches it off and is reported
as an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Counter:
    """Counts how often a keypoint enters a zone.

    Args:
        zone: x0, y0, x1, y1 in pixels of the frame.
        keypoint: the keypoint's name.
    """

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
        """Is called when the daemon ends."""
        print(f"{self.keypoint} entered the zone {self.entries} times", flush=True)
