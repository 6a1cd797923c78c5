"""This room defines what travels over MQTT: messages, commands, topics, their encoding and schemas. It is pure.

To add a field, add it to its struct in `messages` or `commands` with a description, and to `examples`; the schemas and
the AsyncAPI document follow. To add a topic, add a row to `TOPICS` in `topics`. A change that an older
reader would misunderstand needs a new version of the messages: see `versions`.
"""
