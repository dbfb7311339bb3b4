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

_GONE: Final = frozenset({400, 401, 403, 404, 410})
"""400 too: some stores answer an expired signature with it."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
"""Long enough for any file; Python refuses to read numbers of thousands of digits."""


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


def whole(response: httpx.Response) -> Known:
    """What a 200 tells. Raises `Cut` or `Ended`."""
    length = _length(response)
    chunked = "transfer-encoding" in response.headers
    return Known(strong_validator(response.headers), length, chunked or length is not None)


def continued(response: httpx.Response, known: Known, offset: int) -> Known:
    """What a 206 tells, if it goes on exactly at ``offset`` in the same file. Raises `Cut`."""
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    if match is None:
        raise Cut("the file host sent a part without saying which", distrusted=True)
    first, last, total = (int(number) for number in match.groups())
    if first != offset or not first <= last < total:
        raise Cut("the file host sent another part than the one asked for", distrusted=True)
    if known.total not in {None, total} or _length(response) not in {None, last - first + 1}:
        raise Cut("the file changed its length on the way", distrusted=True)
    if known.validator is None or strong_validator(response.headers) != known.validator:
        raise Cut("the file changed on the way", distrusted=True)
    return Known(known.validator, total, True)


def check_status(response: httpx.Response, offset: int) -> None:
    """Return for a 200, and for a 206 where one was asked for. Raises `Cut` or `Ended`."""
    status, host = response.status_code, response.url.host
    if status in _GONE:
        raise Ended(Gone(f"{host} answered {status}"))
    if status == 416 or (status == 206 and not offset):
        raise Cut(f"{host} answered {status}", distrusted=True)
    if status not in {200, 206}:
        raise Ended(Failed(f"{host} answered {status}", retry_after(response.headers)))
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        # Never inflated: a few bytes could become gigabytes.
        raise Ended(Failed(f"{host} sent the file encoded ({encoding[:20]}), unasked"))


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
