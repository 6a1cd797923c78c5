"""The discovery message that makes Home Assistant (2024.11 or later) show a device.

It says which values of /health and /status are which entity. Format:
https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from edgepose.protocol.messages import InfoMessage
from edgepose.protocol.topics import topic_name

EXPIRES_S = 100  # a little more than three periods of /health
_MEASURED = {"platform": "sensor", "state_class": "measurement"}
_DIAGNOSTIC = {"entity_category": "diagnostic"}

_OF_HEALTH: dict[str, dict[str, Any]] = {
    "fps": {
        **_MEASURED,
        "name": "Poses per second",
        "device_class": "frequency",
        "unit_of_measurement": "Hz",
        "value_template": "{{ value_json.fps }}",
    },
    "infer_ms": {
        **_MEASURED,
        **_DIAGNOSTIC,
        "name": "Inference, median",
        "device_class": "duration",
        "unit_of_measurement": "ms",
        "value_template": "{{ value_json.stage_ms.infer[0] }}",
    },
    "waiting": {
        **_MEASURED,
        **_DIAGNOSTIC,
        "name": "Poses waiting",
        "unit_of_measurement": "poses",
        "value_template": "{{ value_json.waiting + value_json.spooled }}",
    },
    "dropped": {
        **_DIAGNOSTIC,
        "platform": "sensor",
        "state_class": "total_increasing",  # from 0 again when the daemon is started
        "name": "Poses given up",
        "unit_of_measurement": "poses",
        "value_template": "{{ value_json.dropped.values() | sum }}",
    },
    "rss_mb": {
        **_MEASURED,
        **_DIAGNOSTIC,
        "name": "Memory",
        "device_class": "data_size",
        "unit_of_measurement": "MB",
        "value_template": "{{ value_json.rss_mb }}",
    },
    "problem": {
        **_DIAGNOSTIC,
        "platform": "binary_sensor",
        "name": "Problem",
        "device_class": "problem",
        "value_template": "{{ 'ON' if value_json.alerts else 'OFF' }}",
        "json_attributes_template": "{{ value_json.alerts | tojson }}",
    },
}


def discovery_topic(device: str) -> str:
    """Returns the topic of the retained message that makes the device known; an empty one makes it forgotten.

    Only letters, digits, _ and - are allowed in it. A name with other characters gets a hash, so that no two devices
    share a topic.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", device)
    if plain != device:
        plain = f"{plain}-{hashlib.sha256(device.encode()).hexdigest()[:6]}"
    return f"homeassistant/device/edgepose/{plain}/config"


def discovery(info: InfoMessage) -> dict[str, Any]:
    """Returns the payload of that message, as JSON would hold it. Values are valid while /status says `online`."""
    device, version = info.device, info.versions.get("edgepose", "")
    status, health = topic_name(device, "status"), topic_name(device, "health")
    entities = {
        name: {**entity, "state_topic": health, "expire_after": EXPIRES_S} for name, entity in _OF_HEALTH.items()
    }
    entities["problem"]["json_attributes_topic"] = health
    entities["connected"] = {
        **_DIAGNOSTIC,
        "platform": "binary_sensor",
        "name": "Connected",
        "device_class": "connectivity",
        "state_topic": status,
        "value_template": "{{ 'ON' if value_json.state == 'online' else 'OFF' }}",
        "availability": [],  # this entity itself says whether the device is there
    }
    return {
        "dev": {"ids": [f"edgepose-{device}"], "name": f"edgepose {device}", "mdl": info.model, "sw": version},
        "o": {"name": "edgepose", "sw": version},
        "availability": [
            {
                "topic": status,
                "payload_available": "online",
                "payload_not_available": "offline",
                "value_template": "{{ 'online' if value_json.state == 'online' else 'offline' }}",
            }
        ],
        "cmps": {name: {"unique_id": f"edgepose-{device}-{name}", **entity} for name, entity in entities.items()},
    }
