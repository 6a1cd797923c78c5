"""A message that paho cannot read costs a collector its session, but nothing of what came before."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from asker import asking
from brokers import Mosquitto, wait_until
from collecting import poses_in, send
from delivering import pose
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgepose.collect.archive import Archive
from edgepose.collect.collector import Collector
from edgepose.config.schema import MqttConfig
from edgepose.protocol.codec import encode
from edgepose.protocol.topics import topic_name

pytest.importorskip("pyarrow")


def test_a_message_that_nobody_can_read_ends_no_collection(
    tmp_path: Path, mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """U+FEFF is allowed in MQTT, but paho calls the packet broken, and the session would bring it again for ever."""
    mosquitto.start()
    archive = Archive(tmp_path)
    collector = Collector(MqttConfig(host="127.0.0.1", port=mosquitto.port), None, "collector", archive)
    stop = threading.Event()
    thread = threading.Thread(target=collector.run, args=(stop,))
    caplog.set_level("INFO")
    thread.start()
    wait_until(lambda: "listening" in caplog.text, "it to listen")
    odd = Properties(PacketTypes.PUBLISH)
    odd.UserProperty = ("by", "\ufeff")
    with asking(mosquitto.port) as other:
        for seq in range(10):
            more = {"properties": odd} if seq == 5 else {}
            other.client.publish(topic_name("cage-07", "pose"), encode(pose(seq)), qos=1, **more)
        wait_until(lambda: caplog.text.count("listening") == 2, "it to listen again")
    assert "a message that cannot be read; beginning a new session" in caplog.text
    send(mosquitto.port, *(pose(seq) for seq in range(10, 20)))
    wait_until(lambda: len(archive.streams["cage-07", "b"]) >= 15, "the last poses")
    stop.set()
    thread.join(20)
    found = [seq for _, _, seq in poses_in(tmp_path)]
    assert 5 not in found
    assert {*range(5), *range(10, 15)} <= set(found)  # what came before it is not lost with the session
