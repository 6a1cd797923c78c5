"""Identifies a frame by its decoded pixels, whatever file or container holds them.

Splits, held-out frames, duplicates and merges compare frames by this identity, so that a frame stays the same one when
it is converted, compressed anew, or taken out of its video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import numpy as np

from edgepose.errors import DatasetError
from edgepose.types import U8
from edgepose_train.labels.images import holder, read_image, stored_image


def identity_of(image: U8) -> str:
    """Returns the identity of a frame, from its BGR pixels (H, W, 3)."""
    digest = hashlib.blake2b(np.array(image.shape, np.uint32).tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def frame_identity(path: Path) -> str:
    """Returns the identity of the frame at `path`, as `images.read_image` reads it. Raises DatasetError."""
    try:
        return _identity(path, (holder(path) or path).stat().st_mtime_ns)
    except OSError as exc:
        raise DatasetError(f"{path}: cannot read ({exc.strerror})") from None


@lru_cache(maxsize=100_000)
def _identity(path: Path, changed_ns: int) -> str:
    """Remembers what was decoded once, because a fit compares every frame several times."""
    del changed_ns  # it is part of the key only
    return identity_of(read_image(path))


def is_learnt(path: Path, learnt: Collection[str]) -> bool:
    """Returns True when the frame is one of those that a model card names.

    Cards that edgepose 0.1 wrote name the sha256 of image files instead of identities, so the file is compared, too.
    """
    return bool(learnt) and (frame_identity(path) in learnt or hashlib.sha256(stored_image(path)).hexdigest() in learnt)
