"""The daemon's YAML file: what it may hold, how it is read, and how older files are brought up to date.

To add a setting, add a field with its description to its struct (a `...Config` class); the JSON Schema and the starter
file show it then. To rename or remove one, add a step to `migrations`, so that older files keep working.
"""
