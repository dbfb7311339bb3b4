"""What a file host's answer allows: pure reading of status and headers, no waiting, no bytes.

Rules are RFC 9110's; where a host breaks them the answer is distrusted, never repaired.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Final

import httpx

from seedance_batch import wire
from seedance_batch.download.results import Failed, Gone

_PASSING: Final = frozenset({408, 416, 425, 429})
"""Of the 4xx, those that say nothing about the file; the others are how hosts tell that it is not
there, be it not yet or no longer (some stores answer an expired signature with 400)."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
"""Long enough for any file; Python refuses to read numbers of thousands of digits."""


PACKINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
"""Content codings that are unpacked."""


class Cut(Exception):
    """A try that ended before its file did; another may continue it or start again."""

    def __init__(self, message: str, *, slow: bool = False, distrusted: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.slow = slow
        """It held its lane without bringing anything."""
        self.distrusted = distrusted
        """What arrived so far may be another file's: start again."""


class Ended(Exception):
    """No further try in this fetch can help; carries its result."""

    def __init__(self, result: Gone | Failed) -> None:
        super().__init__(result.message)
        self.result = result


@dataclass(frozen=True, slots=True)
class Known:
    """What an answer told about the whole file, by which a later one is recognised."""

    validator: str | None = None
    """For ``If-Range``; None where nothing strong was given."""
    total: int | None = None
    framed: bool = False
    """A cut would have shown: the length was announced, or the body came in chunks."""
    packed: str | None = None
    """The encoding that the bytes came in; they are no part of the file then."""


def begun(response: httpx.Response) -> Known:
    """What an answer tells that begins the file: a 200, or a 206 that nobody asked for.

    Raises `Cut` or `Ended`.
    """
    length = _length(response)
    framed = "transfer-encoding" in response.headers or length is not None
    packed = _packing(response)
    if packed is not None:  # its length and its validator are those of the packed bytes
        return Known(None, None, framed, packed)
    if response.status_code == 206:
        return _first_part(response, length, framed)
    return Known(strong_validator(response.headers), length, framed)


def _first_part(response: httpx.Response, length: int | None, framed: bool) -> Known:
    """Some caches cut every file into parts, and answer with the first of them, or the only one."""
    validator = strong_validator(response.headers)
    if "content-range" not in response.headers:
        return Known(validator, length, False)  # the file itself has to tell whether it is whole
    first, last, total = _span(response)
    if first != 0 or length not in {None, last + 1}:
        raise Cut("the file host sent another part than the beginning", distrusted=True)
    return Known(validator, total, framed and total is not None)


def continued(response: httpx.Response, known: Known, offset: int) -> Known:
    """What a 206 tells, if it goes on exactly at ``offset`` in the same file. Raises `Cut`."""
    first, last, total = _span(response)
    if first != offset or total is None or _packing(response) is not None:
        raise Cut("the file host sent another part than the one asked for", distrusted=True)
    if known.total not in {None, total} or _length(response) not in {None, last - first + 1}:
        raise Cut("the file changed its length on the way", distrusted=True)
    if known.validator is None or strong_validator(response.headers) != known.validator:
        raise Cut("the file changed on the way", distrusted=True)
    return Known(known.validator, total, True)


def check_status(response: httpx.Response) -> None:
    """Return for a 200 and a 206. Raises `Cut` or `Ended`."""
    status, host = response.status_code, response.url.host
    if status == 416:
        raise Cut(f"{host} answered {status}", distrusted=True)
    if 400 <= status < 500 and status not in _PASSING:
        raise Ended(Gone(f"{host} answered {status}"))
    if status not in {200, 206}:
        raise Ended(Failed(f"{host} answered {status}", retry_after(response.headers)))


def _span(response: httpx.Response) -> tuple[int, int, int | None]:
    """First and last byte and whole length of a part. Raises `Cut`."""
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    if match is None:
        raise Cut("the file host sent a part without saying which", distrusted=True)
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if first > last or (total is not None and last >= total):
        raise Cut("the file host sent a part that cannot be", distrusted=True)
    return first, last, total


def _packing(response: httpx.Response) -> str | None:
    """How the bytes are packed although that was not asked for. Raises `Ended` for the unknown."""
    encoding: str = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"", "identity"}:
        return None
    if encoding not in PACKINGS:
        message = f"{response.url.host} sent the file encoded ({encoding[:20]}), unasked"
        raise Ended(Failed(message, ours=True))
    return encoding


def redirect(response: httpx.Response) -> str | None:
    """Where the answer points, as a whole URL; None where it is no redirect. Raises `Ended`."""
    if response.status_code not in _REDIRECTS:
        return None
    try:
        return str(response.url.join(response.headers["location"]))
    except (KeyError, httpx.InvalidURL, ValueError):
        message = f"{response.url.host} redirects to nowhere"
        raise Ended(Failed(message)) from None


def strong_validator(headers: httpx.Headers) -> str | None:
    """An ``If-Range`` value that holds for bytes: a strong ETag, else a strong date.

    A date is strong where the answer was made a second or more after it (RFC 9110, 8.8.2.2).
    """
    etag = headers.get("etag", "")
    if etag:
        return etag if etag.startswith('"') and etag.endswith('"') and len(etag) > 2 else None
    modified, made = headers.get("last-modified", ""), headers.get("date", "")
    changed_at, made_at = wire.http_date(modified), wire.http_date(made)
    if changed_at is None or made_at is None:
        return None
    return modified if made_at - changed_at >= 1 else None


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the host asks to wait, by its own clock where it tells the time."""
    return wire.retry_after(headers, wire.http_date(headers.get("date")) or time.time())


def _length(response: httpx.Response) -> int | None:
    """The body's announced length. Raises `Ended` for one that is no number."""
    value = response.headers.get("content-length")
    if value is None or "transfer-encoding" in response.headers:
        return None
    if not _NUMBER.fullmatch(value):
        raise Ended(Failed(f"{response.url.host} announced a length that is no number"))
    return int(value)
