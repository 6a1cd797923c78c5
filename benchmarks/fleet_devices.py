"""Many devices in one process, as cheap as can be: raw sockets, and JSON of which only the numbers change.

    python benchmarks/fleet_devices.py PORT FIRST DEVICES RATE_HZ FRAMES MESSAGES HOUR

Each device has its own connection (MQTT 3.1.1, QoS 1), tells its info and its start with two tags, and then sends
MESSAGES messages of FRAMES poses, RATE_HZ poses a second, the devices evenly after one another. Its clock begins at
HOUR hours after 1970, its seq at HOUR million. Ends when the broker has acknowledged everything; prints what it did as
JSON.
"""

from __future__ import annotations

import json
import random
import resource
import select
import socket
import sys
import time
from dataclasses import dataclass

from edgepose.protocol.codec import encode
from edgepose.protocol.messages import AnimalMessage, EventMessage, InfoMessage, Keypoint, PoseMessage, Settings
from edgepose.protocol.topics import topic_name
from edgepose.types import Skeleton

NAMES = ("snout", "leftear", "rightear", "tailbase")
BOOT, MODEL, SIZE_WH = "6897e9b6-ad95-43e0-94f6-fa64dce10c9d", "openfield@e61171", (640, 480)
_SEQ, _FRAME, _T_US = 1_111_111, 2_222_222, 3_333_333  # numbers in the template that make way
_PLACES = 997  # sets of keypoints that a device goes through
_ACKS_EVERY = 200  # messages
_PACKET = 4  # bytes of a PUBACK, and of a CONNACK


@dataclass
class Device:
    name: str
    link: socket.socket
    template: bytes
    mid: int = 0
    answers: int = 0  # bytes

    def publish(self, leaf: str, payload: bytes, retain: bool = False) -> None:
        self.mid += 1
        topic = topic_name(self.name, leaf).encode()
        body = len(topic).to_bytes(2, "big") + topic + self.mid.to_bytes(2, "big") + payload
        self.link.sendall(bytes([0x33 if retain else 0x32]) + _length(len(body)) + body)


@dataclass(frozen=True)
class Plan:
    port: int
    first: int
    devices: int
    rate_hz: float
    frames: int
    messages: int
    hour: int


def main(plan: Plan) -> None:
    poll = select.epoll()
    fleet = [connect(f"cage-{n:05d}", plan.port) for n in range(plan.first, plan.first + plan.devices)]
    by_number = {device.link.fileno(): device for device in fleet}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    for device in fleet:
        introduce(device, plan.hour)
    collect_answers(poll, by_number, wait=True)
    begin, behind_s, sent = time.monotonic(), 0.0, 0
    for step in range(plan.messages):
        for index, device in enumerate(fleet):
            due = begin + (step + index / plan.devices) * plan.frames / plan.rate_hz
            if (ahead := due - time.monotonic()) > 0.001:
                collect_answers(poll, by_number)
                time.sleep(max(0.0, due - time.monotonic()))
            behind_s = max(behind_s, -ahead)
            send(device, step * plan.frames, plan)
            sent += 1
            if sent % _ACKS_EVERY == 0:
                collect_answers(poll, by_number)
    collect_answers(poll, by_number, wait=True)
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "poses": sent * plan.frames,
        "seconds": time.monotonic() - begin,
        "behind_s": behind_s,
        "cpu_s": used.ru_utime + used.ru_stime,
    }
    print(json.dumps(result))


def connect(name: str, port: int) -> Device:
    link = socket.create_connection(("127.0.0.1", port), 60)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = b"\0\4MQTT\4\2\0\0" + len(name).to_bytes(2, "big") + name.encode()
    link.sendall(b"\x10" + _length(len(body)) + body)
    return Device(name, link, template(name))


def introduce(device: Device, hour: int) -> None:
    device.answers -= _PACKET  # its CONNACK
    about = {"device": device.name, "boot": BOOT}
    info = InfoMessage(
        model=MODEL, skeleton=Skeleton(NAMES), size_wh=SIZE_WH, versions={}, tags={}, settings=Settings(), **about
    )
    event = EventMessage(
        event=hour,
        seq=hour * 1_000_000,
        t_us=hour * 3_600_000_000,
        synced=True,
        replay=False,
        kind="started",
        text="",
        count=0,
        tags={"cage": device.name, "run": str(hour)},
        **about,
    )
    device.publish("info", encode(info), retain=True)
    device.publish("event", encode(event))


def pose(name: str, keypoints: dict[str, Keypoint]) -> PoseMessage:
    return PoseMessage(
        device=name,
        boot=BOOT,
        seq=_SEQ,
        frame=_FRAME,
        t_us=_T_US,
        mono_us=8123456789,
        synced=True,
        clock_error_us=180,
        replay=False,
        latency_ms=23.41,
        model=MODEL,
        size_wh=SIZE_WH,
        animals=[AnimalMessage(id="1", id_score=1.0, score=0.9, keypoints=keypoints)],
    )


def template(name: str) -> bytes:
    """Returns a pose as the daemon encodes it, up to its keypoints, with places for seq, frame and time."""
    text = encode(pose(name, {})).removesuffix(b"{}}")
    for number in (_SEQ, _FRAME, _T_US):
        text = text.replace(str(number).encode(), b"%d")
    return text


def places() -> list[bytes]:
    """Returns ends of poses, with keypoints that are as hard to compress as real ones."""
    chance = random.Random(1)  # noqa: S311  no secret
    start = len(encode(pose("", {}))) - len(b"{}}")
    points = [
        {
            point: Keypoint(
                round(chance.uniform(0, 639), 2), round(chance.uniform(0, 479), 2), round(chance.random(), 3)
            )
            for point in NAMES
        }
        for _ in range(_PLACES)
    ]
    return [encode(pose("", one))[start:] for one in points]


def send(device: Device, frame: int, plan: Plan) -> None:
    seq, t_us, step_us = plan.hour * 1_000_000, plan.hour * 3_600_000_000, 1_000_000 / plan.rate_hz
    poses = [
        device.template % (seq + n, n, t_us + int(n * step_us)) + PLACES[n % _PLACES]
        for n in range(frame, frame + plan.frames)
    ]
    if plan.frames == 1:
        device.publish("pose", poses[0])
    else:
        head = b'{"v":2,"device":"%s","boot":"%s","replay":false,"poses":[' % (device.name.encode(), BOOT.encode())
        device.publish("poses", head + b",".join(poses) + b"]}")


def collect_answers(poll: select.epoll, fleet: dict[int, Device], *, wait: bool = False) -> None:
    """wait: until every message is acknowledged."""
    waiting = {n for n, device in fleet.items() if device.answers < _PACKET * device.mid} if wait else {-1}
    while waiting:
        found = poll.poll(60 if wait else 0)
        if wait and not found:
            sys.exit("no acknowledgement within a minute")
        for number, _ in found:
            data = fleet[number].link.recv(65_536)
            if not data:
                sys.exit(f"the broker closed the connection of {fleet[number].name}")
            fleet[number].answers += len(data)
            if fleet[number].answers >= _PACKET * fleet[number].mid:
                waiting.discard(number)
        if not wait:
            return


def _length(number: int) -> bytes:
    """Returns the length of a packet as MQTT encodes it."""
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


PLACES = places()

if __name__ == "__main__":
    port, first, devices, rate_hz, frames, messages, hour = sys.argv[1:]
    main(Plan(int(port), int(first), int(devices), float(rate_hz), int(frames), int(messages), int(hour)))
