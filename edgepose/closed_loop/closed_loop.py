"""From poses to pins and events, in the thread that made the pose: nothing is faster."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from edgepose.closed_loop.pins import Pins
from edgepose.closed_loop.rules import Rules
from edgepose.config.closed_loop import GpioConfig, RuleConfig
from edgepose.system.rolling_stats import RollingStats
from edgepose.types import Frame, Pose, Skeleton


class Tell(Protocol):
    def __call__(self, kind: str, text: str, count: int = 0, mono_ns: int | None = None) -> None: ...


class ClosedLoop:
    """An observer of the pipeline. latency: from the pose to the pins, milliseconds, of each pose. tell: events; to be
    set before the first pose. Raises ConfigError."""

    def __init__(self, rules: dict[str, RuleConfig], gpio: GpioConfig, skeleton: Skeleton) -> None:
        self.latency = RollingStats()
        self.alerts: dict[str, str] = {}
        self.tell: Tell = lambda *_args, **_kwargs: None
        self._rules, self._sync, self._settings = Rules(rules, skeleton), gpio.sync, rules
        outputs = [rule.pin for rule in rules.values() if rule.pin is not None]
        outputs += [gpio.sync.pin] if gpio.sync else []
        needed = outputs or gpio.inputs
        self._pins = Pins(outputs, gpio.inputs, self._on_edge, pull_up=gpio.pull_up) if needed else None
        self._edges: Counter[str] = Counter()
        self._pulses = itertools.count(1)
        self._sync_due_s = 0.0

    def start(self) -> None:
        """It has no thread."""

    def captured(self, frame: Frame) -> None:
        """Nothing is known of it yet."""

    def posed(self, frame: Frame, pose: Pose) -> None:
        begin = time.perf_counter()
        told: list[Callable[[], None]] = []  # after the pins: they are what somebody waits for
        for edge in self._rules.judge(pose, frame.captured_mono_ns / 1e9):
            rule = self._settings[edge.name]
            if self._pins is not None and rule.pin is not None:
                if edge.on:
                    self._pins.high(rule.pin, rule.pulse_ms)
                elif rule.pulse_ms is None:
                    self._pins.low(rule.pin)
            if rule.event:
                told.append(self._about(edge.name, edge.on, frame, time.monotonic_ns()))
        if self._pins is not None and self._sync is not None and begin >= self._sync_due_s:
            self._sync_due_s = begin + self._sync.every_s
            self._pins.high(self._sync.pin, self._sync.pulse_ms)
            told.append(self._about_sync(frame, time.monotonic_ns()))
        self.latency.add((time.perf_counter() - begin) * 1e3)
        for tell in told:
            tell()

    def close(self) -> None:
        if self._pins is not None:
            self._pins.close()

    def _about(self, name: str, on: bool, frame: Frame, mono_ns: int) -> Callable[[], None]:
        rule, after_ms = self._settings[name], (mono_ns - frame.captured_mono_ns) / 1e6
        acts = rule.pin is not None and (on or rule.pulse_ms is None)
        pin = f", pin {rule.pin} {'high' if on else 'low'}" if acts else ""
        text = f"{name}: frame {frame.index}{pin}, {after_ms:.2f} ms after the frame"
        return lambda: self.tell("rule_on" if on else "rule_off", text, mono_ns=mono_ns)

    def _about_sync(self, frame: Frame, mono_ns: int) -> Callable[[], None]:
        number, sync = next(self._pulses), self._sync
        assert sync is not None
        text = f"pulse {number} on pin {sync.pin}, frame {frame.index}, monotonic clock {mono_ns} ns"
        return lambda: self.tell("ttl_out", text, number, mono_ns=mono_ns)

    def _on_edge(self, name: str, rising: bool, mono_ns: int) -> None:
        self._edges[name] += 1
        text = f"{name} {'rising' if rising else 'falling'}, monotonic clock {mono_ns} ns"
        self.tell("ttl_in", text, self._edges[name], mono_ns=mono_ns)
