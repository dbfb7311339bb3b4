"""What a media address holds: data URIs and loopback addresses only, nothing else is fetched."""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import ipaddress
from typing import Final
from urllib.parse import urlsplit

_LARGEST: Final = 64 * 2**20
_PATIENCE: Final = 3.0
_MOST_PIXELS: Final = 50_000_000


def is_this_machine(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def content_at(url: str) -> bytes | None:
    """The bytes behind an address, or None where it is not ours to fetch or does not answer."""
    if url.startswith("data:"):
        return _data(url)
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not is_this_machine(parts.hostname or ""):
            return None
        return _get(parts.hostname or "", parts.port or 80, _target(parts.path, parts.query))
    except (OSError, http.client.HTTPException, ValueError):
        return None


def _data(url: str) -> bytes | None:
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except binascii.Error:
        return None


def _target(path: str, query: str) -> str:
    return f"{path or '/'}?{query}" if query else path or "/"


def _get(host: str, port: int, target: str) -> bytes | None:
    """One GET; a redirect is no answer, since it could lead away from this machine."""
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        content = answer.read(_LARGEST + 1)
    finally:
        connection.close()
    return content if answer.status == 200 and len(content) <= _LARGEST else None


def ratio(url: str) -> float | None:
    """Width by height of the image at an address, or None."""
    from PIL import Image, UnidentifiedImageError

    content = content_at(url)
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    return width / height if height and width * height <= _MOST_PIXELS else None


def seconds(url: str) -> float | None:
    """Length of the video or audio at an address, or None."""
    import av

    content = content_at(url)
    if not content:
        return None
    try:
        with av.open(io.BytesIO(content), "r") as container:
            length = container.duration
    except (av.FFmpegError, ValueError):
        return None
    return length / 1_000_000 if length and length > 0 else None
