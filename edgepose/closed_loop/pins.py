"""The board's GPIO pins, through gpiozero, which knows every Pi; its mock pins where there is none."""

from __future__ import annotations

import heapq
import importlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgepose.errors import ConfigError


class Pins:
    """outputs: low at first. inputs: name and pin; on_edge(name, rising, monotonic ns) is called for each edge, by a
    thread of gpiozero's. Raises ConfigError where the pins cannot be had."""

    def __init__(
        self,
        outputs: Iterable[int],
        inputs: Mapping[str, int],
        on_edge: Callable[[str, bool, int], None],
        *,
        pull_up: bool = False,
    ) -> None:
        self._outputs: dict[int, Any] = {}
        self._inputs: list[Any] = []
        self._changed = threading.Condition()
        self._due: list[tuple[float, int]] = []  # when a pulse ends, and its pin
        self._ends: dict[int, float] = {}  # of the newest pulse on each pin
        self._closed = False
        try:
            zero: Any = importlib.import_module("gpiozero")
            for pin in outputs:
                self._outputs[pin] = zero.DigitalOutputDevice(pin)
            for name, pin in inputs.items():
                self._inputs.append(_watched(zero, name, pin, on_edge, pull_up))
        except ImportError:
            self._release()
            raise ConfigError(
                "rules and gpio: gpiozero is missing; sudo apt install python3-gpiozero python3-lgpio, in an "
                "environment that sees the system's packages"
            ) from None
        except Exception as exc:  # each pin library has errors of its own
            self._release()
            raise ConfigError(f"rules and gpio: the pins cannot be had ({type(exc).__name__}: {exc})") from None
        self._thread = threading.Thread(target=self._end_pulses, name="pins", daemon=True)
        self._thread.start()

    def high(self, pin: int, pulse_ms: float | None) -> None:
        """At once. pulse_ms: for so long; None: until `low`."""
        self._outputs[pin].on()
        if pulse_ms is not None:
            with self._changed:
                self._ends[pin] = time.monotonic() + pulse_ms / 1e3
                heapq.heappush(self._due, (self._ends[pin], pin))
                self._changed.notify()

    def low(self, pin: int) -> None:
        self._outputs[pin].off()

    def close(self) -> None:
        """All outputs low."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(1)
        self._release()

    def _end_pulses(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    ends, pin = heapq.heappop(self._due)
                    if self._ends[pin] == ends:  # no newer pulse has begun meanwhile
                        self._outputs[pin].off()
                self._changed.wait(self._due[0][0] - now if self._due else None)

    def _release(self) -> None:
        for device in (*self._outputs.values(), *self._inputs):
            device.close()


def _watched(zero: Any, name: str, pin: int, on_edge: Callable[[str, bool, int], None], pull_up: bool) -> Any:
    device = zero.DigitalInputDevice(pin, pull_up=pull_up)
    device.when_activated = lambda: on_edge(name, True, time.monotonic_ns())
    device.when_deactivated = lambda: on_edge(name, False, time.monotonic_ns())
    return device
