"""Files that rows name: found below the manifest's folder, known by their bytes, hashed once.

Never leaves the folder unless told to, and never follows ``file://`` or a network path.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from seedance_batch.core.manifest import LocalMedia
from seedance_batch.core.model import (
    HEAD_SIZE,
    LONGEST_REFERENCE,
    SHORTEST_REFERENCE,
    Link,
    MediaKind,
    content_of,
    file_warning,
    sides_warning,
    video_warning,
)
from seedance_batch.reader.cells import quoted

LENGTH_SLACK: Final = 0.1
"""Seconds by which containers round their length."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an address turned out to be; ``media`` is None for what passes through as it is."""

    address: str = ""
    """What stands in the input: the address itself, or the file's token."""
    media: LocalMedia | None = None
    kind: MediaKind | None = None
    sides: tuple[int, int] | None = None
    """Width and height of an image."""
    problem: str | None = None
    receipt: str | None = None
    warning: str | None = None


_ASSET: Final = re.compile(r"asset-[A-Za-z0-9_-]+")
"""An asset's id without its scheme, as consoles show it."""


def is_url(text: str) -> bool:
    """Whether this is sent as it stands, being no path."""
    return "://" in text or text.startswith("data:")


class MediaFiles:
    """The files of one manifest, each looked at once.

    ``folder`` is where relative paths begin, and what nothing may lie outside of.
    """

    def __init__(self, folder: Path, *, max_body: int, allow_outside: bool) -> None:
        self._folder = folder
        self._root = Path(os.path.realpath(folder))
        self._max_body = max_body
        self._allow_outside = allow_outside
        self._found = cache(self._find)
        self._by_path: dict[str, Found] = {}
        self._names = cache(self._listed)

    def find(self, text: str, kind: MediaKind) -> Found:
        """What a cell's text names, where the field takes that kind of media."""
        if (link := Link.parse(text)) is not None:
            return _linked(link, text, kind)
        return self._found(text, kind)

    def _find(self, text: str, kind: MediaKind) -> Found:
        if text[:7].casefold() == "file://":
            return Found(problem=f"{quoted(text)}: write a path relative to the manifest instead")
        if is_url(text):
            return Found(text, warning=share_page(text))
        if _ASSET.fullmatch(text) and not (self._folder / text).exists():
            address = f"asset://{text}"
            return Found(address, receipt=f"{quoted(text)} is read as {quoted(address)}")
        try:
            found = self._file(text)
        except (OSError, ValueError) as error:  # too long, NUL, a loop of links, no permission
            why = error.strerror if isinstance(error, OSError) else "no path"
            return Found(problem=f"{quoted(text)} cannot be read ({why})")
        if found.kind not in {None, kind}:
            return Found(problem=f"{quoted(text)} is {_A[found.kind]}, but {_A[kind]} is needed")
        return found

    def _file(self, text: str) -> Found:
        if text.startswith(("\\\\", "//")):
            return Found(problem=f"{quoted(text)}: network paths are not read")
        path, receipt = self._existing(text)
        if path is None:
            return Found(problem=_missing(text, self._folder, self._alike(text, _same_letters)))
        real = Path(os.path.realpath(path))
        if not self._allow_outside and not real.is_relative_to(self._root):
            return Found(
                problem=f"{quoted(text)} lies outside the manifest's folder "
                "(--allow-outside reads it)"
            )
        known = self._by_path.get(str(real))
        if known is None:
            known = self._by_path[str(real)] = _looked_at(real, text, self._max_body)
        return known if receipt is None or known.problem else replace(known, receipt=receipt)

    def _existing(self, text: str) -> tuple[Path | None, str | None]:
        path = self._folder / text
        if path.exists():
            return path, None
        turned = text.replace("\\", "/")
        if turned != text and ":" not in text and (self._folder / turned).exists():
            return self._folder / turned, f"{quoted(text)} is read as {quoted(turned)}"
        if alike := self._alike(turned, _composed):
            words = f"{quoted(text)} is found under a name whose accents are encoded differently"
            return self._folder / alike, words
        return None, None

    def _alike(self, text: str, spelled: Callable[[str], str]) -> str | None:
        """The one path below the folder that only differs in how it is ``spelled``."""
        parts = text.replace("\\", "/").split("/")
        if Path(text).is_absolute() or ".." in parts or ":" in text:
            return None
        found: list[str] = []
        for part in parts:
            names = self._names("/".join(found))
            same = [part] if part in names else [n for n in names if spelled(n) == spelled(part)]
            if len(same) != 1 and part != ".":
                return None
            found += same
        return "/".join(found)

    def _listed(self, below: str) -> frozenset[str]:
        try:
            return frozenset(entry.name for entry in (self._folder / below).iterdir())
        except OSError:
            return frozenset()


def _composed(name: str) -> str:
    """A file name as macOS and the others agree on it: ``é`` may be one character, or two."""
    return unicodedata.normalize("NFC", name)


def _same_letters(name: str) -> str:
    return _composed(name).casefold()


def _linked(link: Link, text: str, kind: MediaKind) -> Found:
    """Another row's clip or frame; which row that is is known once all rows are read."""
    if link.kind.media is kind:
        return Found(str(link), kind=kind)
    if kind is MediaKind.VIDEO:
        return Found(problem=f"{quoted(text)} is an image, but a video is needed: clip:{link.row}")
    if kind is MediaKind.IMAGE:
        words = f"is a video, but an image is needed: last_frame:{link.row}"
        return Found(problem=f"{quoted(text)} {words}")
    return Found(problem=f"{quoted(text)}: rows feed images and videos to each other, no sounds")


_A: Final = {
    MediaKind.IMAGE: "an image",
    MediaKind.VIDEO: "a video",
    MediaKind.AUDIO: "a sound",
    None: "no media",
}


def _missing(text: str, folder: Path, alike: str | None) -> str:
    if alike is not None:
        return f"{quoted(text)}: there is no such file; is it {quoted(alike)}? Mind the capitals"
    if text.casefold().startswith(("asset-", "asset_", "asset:")):
        return f"{quoted(text)} is not a file here; write an asset id as asset://…"
    if text.casefold().startswith(("www.", "http")):
        return f"{quoted(text)} is not a file here; a URL begins with https://"
    where = "" if Path(text).is_absolute() else f" in {folder.absolute()}"
    return f"{quoted(text)}: there is no such file{where}"


def _looked_at(path: Path, text: str, max_body: int) -> Found:
    if not path.is_file():
        return Found(problem=f"{quoted(text)} is not a file")
    with os.fdopen(_opened_without_waiting(path), "rb") as file:
        status = os.fstat(file.fileno())
        if encoded_size(status.st_size) > max_body:
            return Found(
                problem=f"{quoted(text)} has {status.st_size:,} bytes, and a request may have "
                f"{max_body:,} (--max-body raises that)"
            )
        head = file.read(HEAD_SIZE)
        content = content_of(head)
        if content is None:
            return Found(problem=f"{quoted(text)} is {_what_else(head)}")
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    measured = _Measured() if content.kind is MediaKind.IMAGE else _measured(path)
    media = LocalMedia(str(path), sha256, content.mime, status.st_size, measured.seconds)
    return _judged(media, content.kind, measured, text)


def _opened_without_waiting(path: Path) -> int:
    # A named pipe that has taken the file's place would wait for a writer for ever.
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def encoded_size(size: int) -> int:
    """Characters of a data URI that holds so many bytes."""
    return (size + 2) // 3 * 4 + 64


def _what_else(head: bytes) -> str:
    if not head:
        return "empty"
    if head.lstrip()[:1] == b"<":
        return "a web page or an SVG, not an image, video or audio file that HiAPI takes"
    return "not an image, video or audio file that HiAPI takes (by its content)"


def _judged(media: LocalMedia, kind: MediaKind, measured: _Measured, text: str) -> Found:
    odd = file_warning(kind, media.mime, media.size)
    if kind is not MediaKind.IMAGE:
        if problem := _length_problem(media, text):
            return Found(kind=kind, problem=problem)
        if kind is MediaKind.VIDEO and measured.width:
            odd = odd or video_warning(measured.width, measured.height, measured.fps)
        return Found(media.token, media, kind, warning=odd and f"{quoted(text)} {odd}")
    try:
        sides = _sides(Path(media.path))
    except _Damaged as damage:
        return Found(kind=kind, problem=f"{quoted(text)} is a damaged image: {damage}")
    wrong = odd or sides_warning(*sides)
    warning = wrong and f"{quoted(text)} {wrong}"
    return Found(media.token, media, kind, sides, warning=warning)


def _length_problem(media: LocalMedia, text: str) -> str | None:
    length = media.seconds
    if length is None:
        return f"{quoted(text)} is damaged: it does not open"
    least, most = SHORTEST_REFERENCE, LONGEST_REFERENCE
    if least - LENGTH_SLACK <= length <= most + LENGTH_SLACK:
        return None
    return f"{quoted(text)} lasts {length:.1f} s; it must last {least} to {most} s"


_ORIENTATION: Final = 0x0112
"""The EXIF entry by which phones note that a picture lies on its side."""


class _Damaged(Exception):
    """An image does not open, or is cut; the text says which."""


def _sides(path: Path) -> tuple[int, int]:
    """Width and height as the image is seen, once all of it was read. Raises `_Damaged`."""
    from PIL import Image

    why = "it does not open"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as image:
                width, height = image.size
                why = "part of it is missing"
                if image.format != "JPEG":
                    image.verify()  # their checksums, or their lengths, tell
                    return width, height
                is_turned = image.getexif().get(_ORIENTATION, 1) >= 5
                image.draft("L", (1, 1))  # small and grey: all of it is read, in half the time
                image.load()
                return (height, width) if is_turned else (width, height)
        except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError):
            raise _Damaged(why) from None


class _Measured(NamedTuple):
    """What the container of a video or a sound says; None and zeros where it does not."""

    seconds: float | None = None
    width: int = 0
    height: int = 0
    fps: float = 0.0


def _measured(path: Path) -> _Measured:
    """Length of a video or an audio by its container, else by its last packet; a video's shape."""
    import av

    try:
        with av.open(str(path)) as container:
            known = container.duration
            ends = (known / 1e6,) if known is not None else _packet_ends(container)
            seconds = max(ends, default=None)
            for video in container.streams.video:
                return _Measured(seconds, video.width, video.height, float(video.average_rate or 0))
            return _Measured(seconds)
    except (OSError, ValueError, av.FFmpegError):
        return _Measured()


def _packet_ends(container: object) -> Iterator[float]:
    for packet in container.demux():  # type: ignore[attr-defined]
        if packet.pts is not None and packet.time_base is not None:
            yield float((packet.pts + (packet.duration or 0)) * packet.time_base)


# ── Addresses of pages that show a file: what is sent for it would be the page ────────────────────


_DIRECT: Final = "give a direct link, or put the file beside the manifest"
_PAGES: Final = (
    (r"drive\.google\.com/(?:file/|open|drive/)|docs\.google\.com/", "Google Drive", _DIRECT),
    (
        r"(?:www\.)?dropbox\.com/(?:s|scl|sh)/(?!.*[?&](?:dl=1|raw=1)\b)",
        *("Dropbox", "write ?raw=1 in place of ?dl=0 to get the file"),
    ),
    (
        r"(?:www\.)?(?:github\.com|gitlab\.com)/.+/blob/(?!.*[?&]raw=(?:1|true))",
        *("GitHub or GitLab", "use its Raw link"),
    ),
    (r"photos\.app\.goo\.gl/|photos\.google\.com/", "Google Photos", _DIRECT),
    (r"(?:www\.|share\.)?icloud\.com/|share\.icloud\.com/", "iCloud", _DIRECT),
    (r"1drv\.ms/|onedrive\.live\.com/(?!download)|[\w-]+\.sharepoint\.com/:", "OneDrive", _DIRECT),
    (r"(?:app\.)?box\.com/(?!shared/static)|[\w-]+\.app\.box\.com/s/", "Box", _DIRECT),
    (r"(?:www\.)?imgur\.com/", "Imgur", "use its i.imgur.com address"),
    (r"(?:www\.)?wetransfer\.com/|we\.tl/", "WeTransfer", _DIRECT),
    (r"pan\.baidu\.com/", "Baidu", _DIRECT),
    (r"(?:www\.)?(?:figma|canva|notion|frame|miro)\.(?:com|so|io)/", "a design tool", _DIRECT),
    (r"(?:www\.)?(?:unsplash|pexels|flickr)\.com/photos?/", "a photo site", _DIRECT),
    (
        r"(?:www\.|m\.)?(?:youtube\.com/|youtu\.be/|vimeo\.com/|tiktok\.com/|instagram\.com/)",
        *("a video site", _DIRECT),
    ),
)
_SHARED: Final = tuple(
    (re.compile(rf"https?://(?:{page})", re.IGNORECASE), whose, way) for page, whose, way in _PAGES
)


def share_page(address: str) -> str | None:
    """What to say of an address that leads to a page about a file; None for any other."""
    for page, whose, way in _SHARED:
        if page.match(address):
            return f"is a page of {whose}, not a file; {way}"
    return None
