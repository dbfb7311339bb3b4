"""What one row's clip gives to another row's request: its first or last frame, or the clip itself.

Files in, bytes out; blocking: call it from a worker thread.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seedance_batch.clips import media
from seedance_batch.core.attempt import Clip
from seedance_batch.core.model import LinkKind, MediaKind, content_of

_QUALITIES: Final = (100, 98, 95)
"""Of a JPEG, where a frame without loss is too large for the request."""


class CannotGive(Exception):
    """A clip cannot give what another row waits for; says why."""


@dataclass(frozen=True, slots=True)
class Given:
    """What goes into a request."""

    mime: str
    content: bytes


def given(folder: Path, clip: Clip, kind: LinkKind, room: int) -> Given:
    """What a clip of this run folder gives, in at most ``room`` bytes.

    The last frame is the one that the service returned with the clip, where it did; else the clip
    is decoded. Raises `CannotGive` where the clip is not there any more, is another one, or gives
    nothing that fits.
    """
    content = _whole(folder / clip.file, clip)
    if kind is LinkKind.CLIP:
        return _fitting([Given(_mime(content, MediaKind.VIDEO), content)], room, clip)
    if kind is LinkKind.LAST_FRAME and clip.last_frame_file is not None:
        returned = _returned(folder / clip.last_frame_file)
        if returned is not None and len(returned.content) <= room:
            return returned
    return _fitting(_encoded(folder / clip.file, kind), room, clip)


def _whole(path: Path, clip: Clip) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotGive(f"{clip.file} cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != clip.sha256:
        raise CannotGive(f"{clip.file} was changed since it was downloaded")
    return content


def _mime(content: bytes, kind: MediaKind) -> str:
    found = content_of(content)
    if found is None or found.kind is not kind:
        raise CannotGive(f"its file is no {kind}")
    return found.mime


def _returned(path: Path) -> Given | None:
    """The frame that came with the clip; None where it is gone: it can be decoded."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    found = content_of(content)
    is_image = found is not None and found.kind is MediaKind.IMAGE
    return Given(found.mime, content) if found is not None and is_image else None


def _encoded(path: Path, kind: LinkKind) -> Iterator[Given]:
    """The frame, each time in fewer bytes: first without any loss."""
    try:
        picture = media.edge_frame(path, last=kind is LinkKind.LAST_FRAME)
    except (media.MediaUnreadable, OSError) as error:
        raise CannotGive(f"{path.name} cannot be decoded: {error}") from error
    out = io.BytesIO()
    picture.save(out, "PNG")
    yield Given("image/png", out.getvalue())
    for quality in _QUALITIES:
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, subsampling=0)
        yield Given("image/jpeg", out.getvalue())


def _fitting(several: Iterator[Given] | list[Given], room: int, clip: Clip) -> Given:
    for one in several:
        if len(one.content) <= room:
            return one
    raise CannotGive(f"what {clip.file} gives does not fit into a request of {room:,} bytes")
