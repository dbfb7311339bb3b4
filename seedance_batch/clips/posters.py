"""A still of each clip, kept in the run folder's ``posters/``.

Made beside a run while it waits for other clips, or when first asked for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from seedance_batch.core.attempt import Clip
from seedance_batch.publish import replacing, size_of
from seedance_batch.run_folder import POSTERS


def poster_name(clip: Clip) -> str:
    """Where the clip's poster lies, relative to the run folder.

    The clip's hash is in the name: another clip under the same name has another poster.
    """
    return f"{POSTERS}/{Path(clip.file).stem}.{clip.sha256[:8]}.jpg"


def poster(folder: Path, clip: Clip, source: Path | None = None) -> Path | None:
    """The poster of a clip of this run folder, made if need be; None where none can be made.

    ``source``: where its file is, if not in the folder. Raises ``OSError`` where the disk refuses
    to hold the poster.
    """
    target, source = folder / poster_name(clip), source or folder / clip.file
    if size_of(target):  # an empty one was forgotten by a disk without power
        return target
    if not source.is_file() or (picture := _picture(source)) is None:
        return None
    target.parent.mkdir(exist_ok=True)
    with replacing(target, durable=False) as temporary:
        temporary.write_bytes(picture)
    return target


class PosterMaker:
    """Makes posters one by one in a thread of its own, to which all other work is preferred.

    They are never flushed to the disk, so that no clip waits for one there either.
    """

    def __init__(self, folder: Path, then: Callable[[Clip], None] = lambda clip: None) -> None:
        """``then`` is called once a clip's poster is made, or cannot be."""
        self._folder = folder
        self._then = then
        self._pool = ThreadPoolExecutor(1, "posters", initializer=_give_way)

    def add(self, clip: Clip) -> None:
        """Make this clip's poster some time, or never: the page makes those that it lacks."""
        self._pool.submit(self._make, clip)

    def _make(self, clip: Clip) -> None:
        with contextlib.suppress(OSError):  # who writes the page meets it again, and tells
            poster(self._folder, clip)
        self._then(clip)

    def close(self) -> None:
        """Leave those that are not begun, and wait for the one at work."""
        self._pool.shutdown(cancel_futures=True)


def _give_way() -> None:
    """Run this thread only where no other wants to, where the system has that by thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


_NICENESS: Final = 10
"""A tenth of the share of a thread that has said nothing, where all CPUs are busy."""


def _picture(source: Path) -> bytes | None:
    from seedance_batch.clips import media  # PyAV takes a tenth of a second to load

    try:
        return media.still(source)
    except media.MediaUnreadable:
        return None


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small JPEG and its size in pixels."""

    jpeg: bytes
    width: int
    height: int


def thumbnail(path: Path, box: tuple[int, int]) -> Thumbnail | None:
    """A poster made small, to fit ``box`` (width, height in pixels).

    None where the file is no picture any more.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.draft("RGB", box)
            picture.thumbnail(box)
            out = BytesIO()
            picture.convert("RGB").save(out, "JPEG", quality=82)
            return Thumbnail(out.getvalue(), *picture.size)
    except OSError:  # Pillow's own errors for a damaged file are of this kind
        return None
