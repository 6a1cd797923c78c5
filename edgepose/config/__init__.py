"""This room reads the daemon's YAML file, says what it may hold, and brings older files up to date.

To add a setting, add a field with its description to its struct (a `...Config` class); the JSON Schema and the starter
file show it then. To rename or remove one, add a step to `migrations`, so that older files keep working.
"""
