"""Names the files that the analysis of a video writes, and checks that they can be written."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepose.analysis.plots import FORMATS
from edgepose.errors import UsageError
from edgepose.tables.pose_table import PARQUET, format_of, with_part

TABLES = ("smoothed", "kinematics", "zones")
PLOTS = ("trajectory", "occupancy", "speed")


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """Says where the results of one video go; None means not wanted. plots: files of each plot, by name in PLOTS."""

    table: Path
    overlay: Path | None
    smoothed: Path | None
    kinematics: Path | None
    zones: Path | None
    plots: dict[str, tuple[Path, ...]]

    def wanted(self) -> list[Path]:
        """All of them, in the order in which they are written."""
        plots = [path for paths in self.plots.values() for path in paths]
        paths = (self.table, self.smoothed, self.kinematics, self.zones, *plots, self.overlay)
        return [path for path in paths if path is not None]


def output_files(
    table: Path, overlay: Path | None, plots: Path | None, tables: Collection[str], video: str = ""
) -> OutputFiles:
    """Names the files of one video.

    Args:
        table: the table of poses, beside which the other tables go.
        overlay: the video with the poses drawn in; None for none.
        plots: the folder of the plots, which need not exist; None for none.
        tables: the other wanted tables, of TABLES.
        video: what distinguishes this video's files from those of others, a part of every name.
    """
    if video:
        table = with_part(table, f"_{video}")
        overlay = overlay and overlay.with_stem(f"{overlay.stem}_{video}")
    ending = format_of(table)
    stem, measures = table.name[: -len(ending)], PARQUET if ending == PARQUET else ".csv"
    more = {name: table.with_name(f"{stem}_{name}{measures}") for name in tables}
    if "smoothed" in more:
        more["smoothed"] = with_part(table, "_smoothed")
    return OutputFiles(
        table,
        overlay,
        more.get("smoothed"),
        more.get("kinematics"),
        more.get("zones"),
        {plot: tuple(plots / f"{stem}_{plot}{ending}" for ending in FORMATS) for plot in PLOTS} if plots else {},
    )


def check_output_files(videos: Sequence[OutputFiles], inputs: Collection[Path], *, force: bool) -> None:
    """Checks that all files can be written, before hours of work are spent on them.

    Args:
        videos: the files of each video.
        inputs: files that are read, which must not be overwritten.
        force: True when files that exist already may be overwritten.

    Raises:
        UsageError: a file exists already, is an input, is written twice, or its folder cannot be written to.
    """
    read = {path.resolve() for path in inputs}
    paths = [path for files in videos for path in files.wanted()]
    for path in [path for files in videos for path in (files.table, files.overlay) if path]:
        _check_folder(path, path.parent)
    for folder in {path.parent for one in videos for plots in one.plots.values() for path in plots}:
        _check_folder(folder, folder if folder.exists() else folder.parent)
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in read:
            raise UsageError(f"{path}: is both an input and an output; choose another name")
        if path.resolve() in seen and len(videos) > 1:
            raise UsageError(f"{path}: two of the videos would both be written to it; analyze them one by one")
        if path.resolve() in seen:
            raise UsageError(f"{path}: two outputs would both be written to it; choose another name")
        if path.is_file() and not force:
            raise UsageError(f"{path} exists already; give another --output, or --force")
        seen.add(path.resolve())


def _check_folder(path: Path, folder: Path) -> None:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: there is no folder {folder}; make it first") from None
    except OSError as exc:
        raise UsageError(f"{path}: cannot write into its folder ({exc.strerror}); choose another one") from None
