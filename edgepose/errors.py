"""The tree of errors. Each message is one line that says what is wrong, where, and what to do.

EdgeposeError        1   failed at run time; systemd restarts the daemon
├── UsageError       2   the command line is wrong
├── ConfigError     78   the configuration is wrong; systemd does not restart the daemon
├── ModelError      78   a model cannot be used; systemd does not restart the daemon
├── CameraError      1   a camera or video that gives no frames
├── BrokerError      1   the MQTT broker is absent or refuses
└── DatasetError     1   labels or images that cannot be used
"""

from __future__ import annotations


class EdgeposeError(Exception):
    """The root of all errors that an operator may see. exit_code: the exit status of the process."""

    exit_code = 1


class UsageError(EdgeposeError):
    """The command line is wrong."""

    exit_code = 2


class ConfigError(EdgeposeError):
    """The configuration is wrong."""

    exit_code = 78


class ModelError(EdgeposeError):
    """A model cannot be used."""

    exit_code = 78


class CameraError(EdgeposeError):
    """A camera or a video gives no frames."""


class BrokerError(EdgeposeError):
    """The MQTT broker cannot be reached, or refuses."""


class DatasetError(EdgeposeError):
    """Labels or images cannot be used."""
