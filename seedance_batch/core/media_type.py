"""What a media file is, by its first bytes; its name's ending is not asked. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from seedance_batch.core.model import MediaKind

HEAD_SIZE: Final = 64
"""Bytes that `content_of` wants to see."""


MIN_SIDE: Final = 300
MAX_SIDE: Final = 6000
MIN_QUOTIENT: Final = 0.4
MAX_QUOTIENT: Final = 2.5
"""Upstream's limits for pictures, still and moving; they warn only."""
MIN_PIXELS: Final = 640 * 640
MAX_PIXELS: Final = 834 * 1112
MIN_FPS: Final = 24
MAX_FPS: Final = 60
"""The same for reference videos: 480p to 720p."""
MOST_BYTES: Final = {
    MediaKind.IMAGE: 30_000_000,
    MediaKind.VIDEO: 50_000_000,
    MediaKind.AUDIO: 15_000_000,
}
"""The same for the size of a file; what resellers of the model say (read in November 2026)."""
_SAFE_TYPES: Final = {
    MediaKind.VIDEO: {"video/mp4", "video/quicktime"},
    MediaKind.AUDIO: {"audio/mpeg", "audio/wav"},
}


def file_warning(kind: MediaKind, mime: str, size: int) -> str | None:
    """What upstream's limits say of a file of so many bytes; None where it is within them."""
    if size > MOST_BYTES[kind]:
        return f"has {size:,} bytes; up to {MOST_BYTES[kind]:,} are safe"
    if kind in _SAFE_TYPES and mime not in _SAFE_TYPES[kind]:
        safe = "MP4 and MOV" if kind is MediaKind.VIDEO else "MP3 and WAV"
        return f"is {mime}; {safe} are safe"
    return None


def video_warning(width: int, height: int, fps: float) -> str | None:
    """What upstream's limits say of a reference video; None where it is within them."""
    if not MIN_PIXELS <= width * height <= MAX_PIXELS:
        return (
            f"has {width}×{height} pixels; reference videos of 480p to 720p "
            f"({MIN_PIXELS:,} to {MAX_PIXELS:,} pixels) are safe"
        )
    if fps and not MIN_FPS - 0.1 <= fps <= MAX_FPS + 0.1:  # 23.976 is 24 to a viewer
        return f"has {fps:.4g} frames a second; {MIN_FPS} to {MAX_FPS} are safe"
    return sides_warning(width, height)


def sides_warning(width: int, height: int) -> str | None:
    """What upstream's limits say of an image with so many pixels; None where it is within them."""
    if not MIN_SIDE <= min(width, height) <= max(width, height) <= MAX_SIDE:
        return f"has {width}×{height} pixels; sides of {MIN_SIDE} to {MAX_SIDE} are safe"
    if not MIN_QUOTIENT <= width / height <= MAX_QUOTIENT:
        return f"has {width}×{height} pixels, a ratio that may be refused"
    return None


class Content(NamedTuple):
    """A media file's kind and MIME type."""

    kind: MediaKind
    mime: str


def content_of(head: bytes) -> Content | None:
    """Kind and type of a file that begins so; None where HiAPI takes no such file."""
    if head.startswith(b"\xff\xd8\xff"):
        return Content(MediaKind.IMAGE, "image/jpeg")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Content(MediaKind.IMAGE, "image/png")
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] in _MOVIE_BOXES:
        return _movie(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return Content(MediaKind.VIDEO, "video/webm") if b"webm" in head else None
    if head.startswith(b"ID3") or _is_mpeg_audio(head):
        return Content(MediaKind.AUDIO, "audio/mpeg")
    return None


_RIFF: Final = {
    b"WEBP": Content(MediaKind.IMAGE, "image/webp"),
    b"WAVE": Content(MediaKind.AUDIO, "audio/wav"),
}
_MOVIE_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
_PICTURE_BRANDS: Final = frozenset(
    {b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"crx "}
)


def _movie(head: bytes) -> Content | None:
    if head[4:8] != b"ftyp":  # QuickTime files older than the brand box
        return Content(MediaKind.VIDEO, "video/quicktime")
    brand = head[8:12]
    if brand in _PICTURE_BRANDS:
        return None
    if brand in {b"M4A ", b"M4B ", b"M4P "}:
        return Content(MediaKind.AUDIO, "audio/mp4")
    return Content(MediaKind.VIDEO, "video/quicktime" if brand == b"qt  " else "video/mp4")


def _is_mpeg_audio(head: bytes) -> bool:
    """Whether an MPEG audio frame begins here: sync, layer III, a bit rate and a sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    return head[1] & 0x18 != 0x08 and head[2] & 0xF0 not in {0x00, 0xF0} and head[2] & 0x0C != 0x0C
