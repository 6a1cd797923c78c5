"""The base of every section of the configuration."""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section refuses unknown keys, so that a misspelt one is reported and not ignored."""
