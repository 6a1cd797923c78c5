"""What every room needs from the computer: clock, files that survive a power cut, state folder, secrets, exit status.

Belongs here: code that touches the clock, the disk or the process and that knows nothing about cameras, models or
MQTT. To add a helper of this kind, write one file and name it after the thing that it touches.
"""
