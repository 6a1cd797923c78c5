"""Turns poses into pins and events, in the thread that made the pose: no other way is faster."""

from __future__ import annotations

import itertools
import time
from collections import Counter

from edgepose.closed_loop.pins import Pins
from edgepose.closed_loop.rules import Rules
from edgepose.config.closed_loop import GpioConfig, RuleConfig
from edgepose.geometry.zones import require_within
from edgepose.system.reporter import Reporter
from edgepose.system.rolling_stats import RollingStats
from edgepose.types import Frame, Pose, Skeleton


class ClosedLoop:
    """An observer of the pipeline that applies the rules of the config to each pose.

    Attributes:
        latency: time from the pose to the return of all rules, milliseconds, for each pose.

    Raises:
        ConfigError: A rule names a keypoint that the model does not have, or a pin cannot be used.
    """

    def __init__(
        self, rules: dict[str, RuleConfig], gpio: GpioConfig, skeleton: Skeleton, *, reporter: Reporter
    ) -> None:
        self.latency = RollingStats()
        self._rules, self._sync, self._rule_configs = Rules(rules, skeleton), gpio.sync, rules
        self._reporter = reporter
        self._edges: Counter[str] = Counter()
        self._pulses = itertools.count(1)
        self._sync_due_s = 0.0
        self._checked_wh: tuple[int, int] | None = None  # the zones lie within frames of this size
        outputs = [rule.pin for rule in rules.values() if rule.pin is not None]
        outputs += [gpio.sync.pin] if gpio.sync else []
        needed = outputs or gpio.inputs
        self._pins = Pins(outputs, gpio.inputs, self._on_edge, pull_up=gpio.pull_up) if needed else None

    def start(self) -> None:
        """Does nothing: the closed loop has no thread of its own."""

    def posed(self, frame: Frame, pose: Pose) -> None:
        begin = time.perf_counter()
        self.require_zones_within(frame.size_wh)
        for edge in self._rules.judge(pose, frame.captured_mono_ns / 1e9):
            rule = self._rule_configs[edge.name]
            if self._pins is not None and rule.pin is not None:
                if edge.on:
                    self._pins.high(rule.pin, rule.pulse_ms)
                elif rule.pulse_ms is None:
                    self._pins.low(rule.pin)
            if rule.event:
                self._report_edge(edge.name, edge.on, frame, time.monotonic_ns())
        if self._pins is not None and self._sync is not None and begin >= self._sync_due_s:
            self._sync_due_s = begin + self._sync.every_s
            self._pins.high(self._sync.pin, self._sync.pulse_ms)
            mono_ns, number = time.monotonic_ns(), next(self._pulses)
            text = f"pulse {number} on pin {self._sync.pin}, frame {frame.index}, monotonic clock {mono_ns} ns"
            self._reporter.event("ttl_out", text, number, mono_ns=mono_ns)
        self.latency.add((time.perf_counter() - begin) * 1e3)

    def require_zones_within(self, size_wh: tuple[int, int]) -> None:
        """Raises ConfigError where the zone of a rule was drawn for another size of frame."""
        if size_wh != self._checked_wh:
            zones = {name: rule.when.in_zone.zone for name, rule in self._rule_configs.items() if rule.when.in_zone}
            require_within(zones, size_wh, "rules")
            self._checked_wh = size_wh

    def close(self) -> None:
        if self._pins is not None:
            self._pins.close()

    def _report_edge(self, name: str, on: bool, frame: Frame, mono_ns: int) -> None:
        rule, after_ms = self._rule_configs[name], (mono_ns - frame.latency_from_ns) / 1e6
        switches = rule.pin is not None and (on or rule.pulse_ms is None)
        pin = f", pin {rule.pin} {'high' if on else 'low'}" if switches else ""
        text = f"{name}: frame {frame.index}{pin}, {after_ms:.2f} ms after the frame"
        self._reporter.event("rule_on" if on else "rule_off", text, mono_ns=mono_ns)

    def _on_edge(self, name: str, rising: bool, mono_ns: int) -> None:
        self._edges[name] += 1
        text = f"{name} {'rising' if rising else 'falling'}, monotonic clock {mono_ns} ns"
        self._reporter.event("ttl_in", text, self._edges[name], mono_ns=mono_ns)
