"""Pictures out of a clip: its poster for people, and the frame that another row's request takes.

Files in, bytes out. Blocking: call it from a worker thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from seedance_batch.clips.media import MOST_FRAMES, MediaUnreadable, opened_video, quarter_turns
from seedance_batch.core.attempt import Clip
from seedance_batch.core.model import LinkKind, MediaKind, content_of
from seedance_batch.publish import replacing, size_of
from seedance_batch.run_folder import POSTERS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from PIL.Image import Image as Picture

# ── posters, kept in the run folder: made beside a run while it waits, or when first asked for ────


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
    if not source.is_file() or (picture := still(source)) is None:
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
            out = io.BytesIO()
            picture.convert("RGB").save(out, "JPEG", quality=82)
            return Thumbnail(out.getvalue(), *picture.size)
    except OSError:  # Pillow's own errors for a damaged file are of this kind
        return None


# ── the frames themselves ───────────────────────────────────────────────────────────────────────


_POSTER_MOMENTS: Final = (0.1, 0.4)
"""Of a clip's length."""
_WIDTH: Final = 480


def still(path: Path) -> bytes | None:
    """A JPEG of a telling frame, 480 pixels wide; None where no frame can be decoded."""
    try:
        with opened_video(path) as container:
            pictures = [_jpeg(frame) for frame in _moments(container)]
    except MediaUnreadable:
        return None
    # Of a few moments the one with most in it: a fade or a blank frame compresses to little.
    return max(pictures, key=len, default=None)


def _moments(container: InputContainer) -> Iterator[VideoFrame]:
    """The first frame at or after each moment, in one pass.

    Not by seeking: that leads to key frames, and a short clip has but one, its first frame.
    """
    stream = container.streams.video[0]
    first, length = stream.start_time or 0, stream.duration or 0
    moments = [first + round(length * moment) for moment in _POSTER_MOMENTS]
    frame, shown = None, 0
    for frame in islice(container.decode(stream), MOST_FRAMES):
        if (frame.pts or 0) >= moments[shown]:
            yield frame
            shown += 1
        if shown == len(moments):
            return
    if frame is not None and not shown:  # its times lead nowhere
        yield frame


def _jpeg(frame: VideoFrame) -> bytes:
    width, height = _WIDTH, max(1, round(frame.height * _WIDTH / frame.width))
    if quarter_turns(frame) % 2:
        width, height = max(1, round(frame.width * _WIDTH / frame.height)), _WIDTH
    out = io.BytesIO()
    _as_played(frame, width=width, height=height).save(out, "JPEG", quality=82)
    return out.getvalue()


def _as_played(frame: VideoFrame, **size: int) -> Picture:
    """The frame turned as a player turns it; ``size`` is the one before that."""
    turns = quarter_turns(frame)
    picture: Picture = frame.to_image(**size)  # type: ignore[no-untyped-call]
    return picture.rotate(90 * turns, expand=True) if turns else picture


def edge_frame(path: Path, *, last: bool) -> Picture:
    """A clip's first or last frame at its full size, turned as a player turns it.

    Raises `MediaUnreadable`.
    """
    found: VideoFrame | None = None
    with opened_video(path) as container:
        for frame in islice(container.decode(container.streams.video[0]), MOST_FRAMES):
            found = frame
            if not last:
                break
    if found is None:
        raise MediaUnreadable("has no frame that can be decoded")
    return _as_played(found)


# ── what another row's request takes of a clip: its first or last frame, or the clip itself ──────


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
        return Given(_mime(content, MediaKind.IMAGE), content)
    except (OSError, CannotGive):
        return None


def _encoded(path: Path, kind: LinkKind) -> Iterator[Given]:
    """The frame, each time in fewer bytes: first without any loss."""
    try:
        picture = edge_frame(path, last=kind is LinkKind.LAST_FRAME)
    except (MediaUnreadable, OSError) as error:
        raise CannotGive(f"{path.name} cannot be decoded: {error}") from error
    out = io.BytesIO()
    picture.save(out, "PNG")
    yield Given("image/png", out.getvalue())
    for quality in _QUALITIES:
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, subsampling=0)
        yield Given("image/jpeg", out.getvalue())


def _fitting(several: Iterable[Given], room: int, clip: Clip) -> Given:
    for one in several:
        if len(one.content) <= room:
            return one
    raise CannotGive(f"what {clip.file} gives does not fit into a request of {room:,} bytes")
