"""This room holds what all others need from the computer: clock, atomic files, state folder, secrets, exit status.

Belongs here: code that touches the clock, the disk or the process and that knows nothing about cameras, models or
MQTT. To add a helper of this kind, write one file and name it after the thing that it touches.
"""
