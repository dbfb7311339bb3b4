"""The reader: a file of any spreadsheet format in, a `Manifest` of jobs and findings out.

Nothing here sends anything. What a format needs is imported when a file of that format comes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seedance_batch.reader.findings import as_json, grouped
from seedance_batch.reader.options import ReadOptions

if TYPE_CHECKING:
    import pandas

    from seedance_batch.manifest import Manifest

__all__ = ["ReadOptions", "as_json", "grouped", "read", "read_frame"]

_PLAIN = ReadOptions()


def read(path: str | Path, options: ReadOptions = _PLAIN) -> Manifest:
    """The manifest at ``path``, or on standard input where that is ``-``.

    Whatever is wrong with its content is in the manifest's findings, all at once. Raises
    `UsageError` only where the file itself cannot be opened.
    """
    from seedance_batch.reader.assembly import manifest_at

    return manifest_at(path, options)


def read_frame(
    frame: pandas.DataFrame, name: str = "frame", options: ReadOptions = _PLAIN
) -> Manifest:
    """The manifest in a DataFrame; relative paths begin in the working directory.

    ``name`` stands where a file's name would: in places, and for the run folder.
    """
    from seedance_batch.reader.assembly import manifest_of_frame

    return manifest_of_frame(frame, name, options)
