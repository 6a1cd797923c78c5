"""In the guest: the camera source alone, on real picamera2. Prints JSON; what does not come out fails in camera.py."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgepose.camera.picamera2.camera import Picamera2Source
from edgepose.config.camera import Picamera2Config
from edgepose.geometry.letterbox import ModelInput

MODEL = ModelInput((320, 240), 3, "letterbox")


def resources() -> tuple[int, int]:
    gc.collect()  # a closed Picamera2 keeps a descriptor until its cycles are broken
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


def opened(model: ModelInput = MODEL, wait_s: float = 1.0, **settings: Any) -> Picamera2Source:
    return Picamera2Source(Picamera2Config(**{"rate_hz": 30.0, **settings}), model, wait_s=wait_s)


def pixels() -> dict[str, float]:
    """Grey levels between what the camera gives and the picture that it plays, on average."""
    files = [cv2.imread(str(path)) for path in Path("pictures").glob("*.jpg")]
    small = [cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA) for image in files]
    colour = opened(rate_hz=4.0)
    colour.wants_full = True
    frame = colour.read()
    assert frame is not None
    assert frame.full is not None
    colour.close()
    gray = opened(ModelInput((320, 240), 1, "letterbox"), rate_hz=4.0)
    luma = gray.read()
    assert luma is not None
    gray.close()
    return {
        "planes": nearest(cv2.cvtColor(frame.image, cv2.COLOR_YUV2BGR_I420), small),
        "luma": nearest(luma.image, [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in small]),
        "whole": nearest(frame.full, files),
    }


def nearest(image: Any, known: list[Any]) -> float:
    return round(min(float(np.abs(image.astype(np.int16) - one).mean()) for one in known), 2)


def reopen(cycles: int) -> dict[str, Any]:
    after = []
    for _ in range(cycles):
        camera = opened()
        assert camera.read() is not None
        camera.close()
        after.append(resources())
    return {"cycles": cycles, "after_the_fifth": after[4], "after_the_last": after[-1]}


def wait_in_vain(timeouts: int) -> dict[str, Any]:
    """At one frame a second and with short waits, most waits end without a frame."""
    camera, waits, reads = opened(rate_hz=1.0, wait_s=0.02), 0, 0
    wait = camera._camera.wait

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal waits
        waits += 1
        return wait(*args, **kwargs)

    camera._camera.wait = counted
    while waits < timeouts + reads:
        assert camera.read() is not None
        reads += 1
    more = [camera.read() for _ in range(10)]  # if each timeout cost a buffer, no frame would come any more
    camera.close()
    return {"timeouts": waits - reads, "frames_after": sum(frame is not None for frame in more)}


def dead_loop(pool: ThreadPoolExecutor) -> dict[str, Any]:
    """An exception ends the thread of picamera2 while another thread waits for a frame."""
    camera = opened()
    assert camera.read() is not None
    threading.excepthook = lambda _args: None

    def callback(_request: Any) -> None:
        raise ZeroDivisionError

    loop = camera._camera._preview.thread
    camera._camera.pre_callback = callback
    loop.join(30)
    camera._camera.pre_callback = None
    left_behind = pool.submit(camera.read)
    time.sleep(0.5)
    begin = time.monotonic()
    pool.submit(camera.restart).result(30)
    seconds, gave_up = time.monotonic() - begin, isinstance(left_behind.exception(30), TimeoutError)
    frames = [camera.read() for _ in range(3)]
    camera.close()
    return {"died": not loop.is_alive() and gave_up, "restart_s": round(seconds, 2), "frames_after": len(frames)}


def close_under_a_reader(pool: ThreadPoolExecutor) -> dict[str, Any]:
    camera = opened()

    def read_on() -> int:
        count = 0
        while camera.read() is not None:
            count += 1
        return count

    reading = pool.submit(read_on)
    time.sleep(2)
    begin = time.monotonic()
    camera.close()
    return {"frames": reading.result(30), "seconds": round(time.monotonic() - begin, 2)}


def main() -> None:
    results: dict[str, Any] = {"pixels": pixels()}
    with ThreadPoolExecutor(2) as pool:
        results["close"] = close_under_a_reader(pool)
        results["dead_loop"] = dead_loop(pool)
    results["timeouts"] = wait_in_vain(50)
    results["reopen"] = reopen(int(sys.argv[1]))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
