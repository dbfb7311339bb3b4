"""A still of each clip, kept in the run folder's ``posters/`` and made when first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from seedance_batch.core.attempt import Clip
from seedance_batch.publish import replacing
from seedance_batch.run_folder import POSTERS


def poster_name(clip: Clip) -> str:
    """Where the clip's poster lies, relative to the run folder.

    The clip's hash is in the name: another clip under the same name has another poster.
    """
    return f"{POSTERS}/{Path(clip.file).stem}.{clip.sha256[:8]}.jpg"


def poster(folder: Path, clip: Clip) -> Path | None:
    """The poster of a clip of this run folder, made if need be; None where none can be made.

    Raises ``OSError`` where the disk refuses to hold it.
    """
    target, source = folder / poster_name(clip), folder / clip.file
    if target.exists():
        return target
    if not source.is_file() or (picture := _picture(source)) is None:
        return None
    target.parent.mkdir(exist_ok=True)
    with replacing(target) as temporary:
        temporary.write_bytes(picture)
    return target


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
