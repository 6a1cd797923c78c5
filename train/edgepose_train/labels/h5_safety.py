"""Refuses HDF5 files that reach other files or need far more memory than a label file.

HDF5 can take data from any file on the computer, by a link, by external storage or by a virtual data set, and a small
file can hold an array of gigabytes.
"""

from __future__ import annotations

import h5py

MOST_BYTES = 200_000_000  # of one array when it is read; frames of a package are read one by one


def check_h5(file: h5py.File) -> None:
    """Raises ValueError where a file must not be read."""
    if link := file.visititems_links(lambda name, link: None if isinstance(link, h5py.HardLink) else name):
        raise ValueError(f"{link} is a link to another place")
    if refused := file.visititems(lambda name, node: _problem(name, node) if isinstance(node, h5py.Dataset) else None):
        raise ValueError(refused)


def _problem(name: str, data: h5py.Dataset) -> str | None:
    if data.external or data.is_virtual:
        return f"{name} takes its data from another file"
    if data.size is not None and data.size * data.dtype.itemsize > MOST_BYTES and not name.endswith("/video"):
        return f"{name} needs {data.size * data.dtype.itemsize / 1e6:.0f} MB, which no labels do"
    return None
