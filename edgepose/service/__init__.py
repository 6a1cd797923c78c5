"""The daemon as a service of this computer: install, uninstall, and upgrade with a way back.

Every change to the system is a step of `steps`, which prints it.
"""
