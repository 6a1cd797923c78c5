"""One tree of errors. Each message is one line that says what, where and what to do.

EdgeposeError        1   failed at run time; systemd restarts
├── UsageError       2   the command line is wrong
├── ConfigError     78   bad configuration; systemd does not restart
├── ModelError      78   no model that loads
├── CameraError      1   a camera or video that gives no frames
├── BrokerError      1   the MQTT broker is absent or refuses
└── DatasetError     1   labels or images that cannot be used
"""

from __future__ import annotations


class EdgeposeError(Exception):
    """Root of all errors an operator may see; `exit_code` is the process' exit status."""

    exit_code = 1


class UsageError(EdgeposeError):
    exit_code = 2


class ConfigError(EdgeposeError):
    exit_code = 78


class ModelError(EdgeposeError):
    exit_code = 78


class CameraError(EdgeposeError):
    pass


class BrokerError(EdgeposeError):
    pass


class DatasetError(EdgeposeError):
    pass
