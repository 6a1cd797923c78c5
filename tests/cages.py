"""A running daemon with a subscriber, in tests that exchange its model."""

from __future__ import annotations

import itertools

from brokers import Subscriber, wait_until
from daemons import Daemon

from edgepose.model_store.selection import ModelSelection, read_selection
from edgepose.model_store.startup import selection_path
from edgepose.model_store.store import Store
from edgepose.system.state_dir import state_dir


class Cage:
    """A running daemon with its subscriber."""

    def __init__(self, subscriber: Subscriber, daemon: Daemon) -> None:
        self.subscriber, self.daemon = subscriber, daemon

    def wait_model(self, name: str, poses: int = 10) -> None:
        """Waits until the newest poses are of that model."""

        def come() -> bool:
            newest = self.subscriber.of("pose")[-poses:]
            return len(newest) == poses and all(pose["model"].startswith(f"{name}@") for pose in newest)

        wait_until(come, f"poses of {name}", 40)

    def events(self, kind: str) -> list[str]:
        return [event["text"] for event in self.subscriber.of("event") if event["kind"] == kind]

    def wait_event(self, kind: str, count: int = 1) -> str:
        wait_until(lambda: len(self.events(kind)) >= count, f"the event {kind}", 40)
        return self.events(kind)[count - 1]

    def gap_s(self) -> float:
        """The longest pause between two poses."""
        times = sorted(pose["t_us"] for pose in self.subscriber.poses())
        return max(after - before for before, after in itertools.pairwise(times)) / 1e6

    def selection(self) -> ModelSelection:
        return read_selection(selection_path(Store(state_dir() / "models"), "cage-07"))
