"""Fixtures that several tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import MOSQUITTO, Mosquitto, Subscriber

import edgepose


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """Not yet started, so that a test can choose its users, or its absence."""
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto (apt install mosquitto)")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    yield broker
    broker.kill()


@pytest.fixture
def subscribe() -> Iterator[Callable[[int], Subscriber]]:
    """subscribe(port) makes a Subscriber; the test fails if any message it saw broke its schema."""
    made: list[Subscriber] = []

    def make(port: int) -> Subscriber:
        made.append(Subscriber(port))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()
    assert [problem for subscriber in made for problem in subscriber.problems] == []


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The int8 model that ships with the package."""
    return Path(edgepose.__file__).parent / "demo" / "demo.tflite"
