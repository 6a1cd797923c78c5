"""Switches the board's GPIO pins by gpiozero, which knows every Pi and has mock pins for other machines."""

from __future__ import annotations

import heapq
import importlib
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgepose.errors import ConfigError


class Pins:
    """Output pins, which begin low, and input pins.

    Args:
        outputs: GPIO numbers.
        inputs: GPIO number by name.
        on_edge: called with (name, rising, monotonic clock in ns) at each edge of an input, by a thread of gpiozero.
        pull_up: True for inputs that are switched to ground.

    Raises:
        ConfigError: The pins cannot be used.
    """

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
        self._due: list[tuple[float, int]] = []  # a heap: monotonic clock when a pulse ends, and its pin
        self._ends: dict[int, float] = {}  # when the newest pulse of each pin ends
        self._closed = False
        try:
            gpiozero: Any = importlib.import_module("gpiozero")
            with warnings.catch_warnings(action="ignore"):  # about each pin library that it tries in vain
                for pin in outputs:
                    self._outputs[pin] = gpiozero.DigitalOutputDevice(pin)
                for name, pin in inputs.items():
                    self._inputs.append(_input_device(gpiozero, name, pin, on_edge, pull_up))
        except ImportError:
            self._release()
            raise ConfigError(
                "rules and gpio: gpiozero is missing; sudo apt install python3-gpiozero python3-lgpio, in an "
                "environment that sees the system's packages"
            ) from None
        except Exception as exc:  # each pin library has errors of its own
            self._release()
            raise ConfigError(
                f"rules and gpio: the pins cannot be used ({type(exc).__name__}: {exc}); correct the pin numbers, or "
                "stop the program that uses them"
            ) from None
        self._thread = threading.Thread(target=self._end_pulses, name="pins", daemon=True)
        self._thread.start()

    def high(self, pin: int, pulse_ms: float | None) -> None:
        """Switches an output high at once, for `pulse_ms`, or until `low` where that is None."""
        self._outputs[pin].on()
        if pulse_ms is not None:
            with self._changed:
                self._ends[pin] = time.monotonic() + pulse_ms / 1e3
                heapq.heappush(self._due, (self._ends[pin], pin))
                self._changed.notify()

    def low(self, pin: int) -> None:
        self._outputs[pin].off()

    def close(self) -> None:
        """Switches all outputs low and releases all pins."""
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


def _input_device(gpiozero: Any, name: str, pin: int, on_edge: Callable[[str, bool, int], None], pull_up: bool) -> Any:
    device = gpiozero.DigitalInputDevice(pin, pull_up=pull_up)
    device.when_activated = lambda: on_edge(name, True, time.monotonic_ns())
    device.when_deactivated = lambda: on_edge(name, False, time.monotonic_ns())
    return device
