"""What travels over MQTT: messages, commands, topics, their encoding, JSON Schemas, AsyncAPI, Home Assistant. Pure.

To add a field, add it to its struct in `messages` or `commands` with a description, and to `examples`; the schemas and
the AsyncAPI document follow. To add a topic, add a row to `TOPICS` in `topics`.
"""
