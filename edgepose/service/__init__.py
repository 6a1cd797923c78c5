"""This room makes the daemon a service of this computer: install, uninstall, and upgrade with a way back.

Every change to the system is a step in `steps`, which prints it. To install one more file, put it into the folder
`systemd` and into `install.FILES`.
"""
