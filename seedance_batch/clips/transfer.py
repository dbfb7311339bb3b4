"""One URL into one `Partial`: every wait bounded, every redirect checked, cuts continued."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import anyio
import httpx

from seedance_batch.api import addresses
from seedance_batch.clips.media import ClipTerms
from seedance_batch.clips.partial import Partial
from seedance_batch.core import hiapi
from seedance_batch.core.attempt import Clip
from seedance_batch.core.hiapi import USER_AGENT
from seedance_batch.core.model import HEAD_SIZE, MediaKind, content_of
from seedance_batch.errors import root_reason

# ── How a fetch ends, and the limits it keeps to ──────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file host may take: bytes, seconds, bytes a second, tries."""

    max_bytes: int = 1 << 30
    max_frame_bytes: int = 64 << 20
    """For a returned last frame."""
    answer: float = 30.0
    """Until the head of an answer is there, from the wait for a connection on."""
    stall: float = 60.0
    """Without a byte; also the span over which `min_speed` is measured."""
    min_speed: float = 2048.0
    redirects: int = 5
    tries: int = 5
    """Answers in a row that bring nothing new, before a broken download is given up."""
    backoff: float = 0.5
    """Before the second try; doubles with each one after it."""


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Fetched:
    """The clip is published, checked and synced; ``note`` tells what could not be had with it."""

    clip: Clip
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """The file host refuses the URL: the file is not there yet, or no longer."""

    message: str


@dataclass(frozen=True, slots=True)
class NoFrame:
    """The clip is published, checked and synced; the host refuses the URL of its last frame."""

    clip: Clip
    message: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """A complete file that is not what was asked for; ``kept`` says where it lies."""

    sha256: str
    reason: str
    kept: Clip


@dataclass(frozen=True, slots=True)
class Failed:
    """The file host could not deliver this time; ``retry_after`` is its wish in seconds."""

    message: str
    retry_after: float | None = None
    ours: bool = False
    """A rule of our own refuses the file: the host may have it, so its clip is not gone."""


@dataclass(frozen=True, slots=True)
class NotKept:
    """The clip is in the run folder, checked and synced; the store does not take it."""

    message: str
    for_good: bool
    """Whether asking again changes nothing: a person has to do something in the store."""


Result = Fetched | NoFrame | Gone | Wrong | Failed | NotKept


@dataclass(frozen=True, slots=True)
class ClipToFetch:
    """Where a clip comes from, what it has to be, and the name that the journal kept for it."""

    url: str
    file: str
    terms: ClipTerms
    last_frame_url: str | None = None


class Fetches(Protocol):
    """Who brings clips into a run folder; see `download.Downloader`."""

    @property
    def lanes(self) -> int:
        """Fetches that can go on at once elsewhere than in this process."""

    async def fetch(self, wanted: ClipToFetch) -> Result:
        """Bring the clip to its file, verified and published."""


# ── One URL into one `Partial`: every wait bounded, every redirect checked, cuts continued ────────
# Whatever the host does, the outcome is a whole file or a result; nothing here judges a file.


_BATCH: Final = 1 << 20
"""Bytes gathered before a worker thread writes and hashes them: a hop for each chunk costs more."""
_PROGRESS: Final = 1 << 20
"""Bytes that make a try worth continuing."""
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}

T = TypeVar("T")


class Offload(Protocol):
    """How blocking work runs: in a worker thread, or inline under virtual time."""

    def __call__(self, work: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """``work(*args)``, away from the event loop."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What all transfers share."""

    http: httpx.AsyncClient
    allow_private: bool
    limits: Limits
    offload: Offload
    observe: Callable[[int], None]

    async def pull(self, url: str, partial: Partial, max_bytes: int) -> Known | Gone | Failed:
        """Bring the whole file, of which some may not be written yet. Raises `StorageFailed`.

        `Known` tells how sure its end is.
        """
        https = None if self.allow_private else addresses.secured(url)
        attempt = _Pull(self, https or url, partial, max_bytes)
        try:
            return await attempt.run()
        except Ended as end:
            return end.result if https is None else _plain_only(end.result)

    @asynccontextmanager
    async def answer(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """The answer at the end of the redirects, its body unread. Raises `Cut` or `Ended`."""
        for _ in range(self.limits.redirects + 1):
            refused = addresses.refusal(url, allow_private=self.allow_private)
            if refused:
                raise Ended(Failed(refused, ours=True))
            response = await self._send(httpx.URL(url), headers)
            try:
                target = redirect(response)
                if target is None:
                    yield response
                    return
                url = target
            finally:
                await response.aclose()
        raise Ended(Failed(f"{httpx.URL(url).host} keeps redirecting"))

    async def _send(self, url: httpx.URL, headers: dict[str, str]) -> httpx.Response:
        host = url.host
        try:  # a redirect may lead to what only looks like an address until it is asked for
            request = self.http.build_request("GET", url, headers=_HEADERS | headers, timeout=None)
            with anyio.move_on_after(self.limits.answer), addresses.unlogged():
                return await self.http.send(request, stream=True, follow_redirects=False)
        except addresses.AddressRefused as refused:
            raise Ended(Failed(refused.reason, ours=True)) from refused
        except httpx.ConnectError as error:
            raise Cut(f"{host} cannot be reached: {root_reason(error)}", slow=True) from error
        except httpx.InvalidURL as error:
            raise Ended(Failed(f"{host} redirects to no address: {error}")) from error
        except (httpx.TransportError, OSError) as error:
            raise Cut(f"{host} broke the connection: {words(error)}") from error
        raise Cut(f"{host} did not answer within {self.limits.answer:g} s", slow=True)


def _plain_only(result: Gone | Failed) -> Failed:
    """A file that is not to be had by https: what plain http would bring is not taken."""
    message = f"the address is http, but https is needed; over https {result.message}"
    return Failed(message, ours=True)


class _Pull:
    """One fetch's tries."""

    def __init__(self, transfer: Transfer, url: str, partial: Partial, max_bytes: int) -> None:
        self._transfer = transfer
        self._limits = transfer.limits
        self._url = url
        self._partial = partial
        self._max_bytes = max_bytes
        self._known = Known()

    async def run(self) -> Known:
        fruitless = farthest = 0
        while True:
            try:
                await self._try()
                return self._known
            except Cut as cut:
                gained = self._partial.size - farthest
                fruitless = 0 if gained >= _PROGRESS else fruitless + 1
                farthest = max(farthest, self._partial.size)
                if fruitless >= self._limits.tries or (cut.slow and fruitless):
                    raise Ended(Failed(cut.message)) from cut
                if cut.distrusted:
                    self._known = Known()
            await anyio.sleep(self._limits.backoff * 2 ** max(0, fruitless - 1))

    async def _try(self) -> None:
        headers = self._continuation()
        async with self._transfer.answer(self._url, headers) as response:
            check_status(response)
            if headers and response.status_code == 206:
                self._known = continued(response, self._known, self._partial.size)
            else:
                self._known = begun(response)
                self._partial.restart()
            self._check_size(self._known.total or 0)
            await self._receive(response)
        if self._known.total is not None and self._partial.size < self._known.total:
            raise Cut(f"the file ended at {self._partial.size} of {self._known.total} bytes")

    def _continuation(self) -> dict[str, str]:
        """Headers that ask for the rest, where what is here can be proven to be its start."""
        if self._partial.size and self._known.validator is not None:
            return {
                "Range": f"bytes={self._partial.size}-",
                "If-Range": self._known.validator,
            }
        return {}

    async def _receive(self, response: httpx.Response) -> None:
        body = Body(response, self._limits, self._transfer.observe)
        packed = self._known.packed
        unpacker = Unpacker(packed, response.url.host) if packed else None
        try:
            while (chunk := await body.next()) is not None:
                for piece in unpacker.take(chunk) if unpacker else (chunk,):
                    await self._keep(piece)
        finally:
            await body.abandon()
        for piece in unpacker.end() if unpacker else ():
            await self._keep(piece)

    async def _keep(self, piece: bytes) -> None:
        self._partial.add(piece)
        self._check_size(self._partial.size)
        if self._partial.held >= _BATCH:
            await self._transfer.offload(self._partial.write)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise Ended(Failed(f"the file has more than {self._max_bytes} bytes", ours=True))
        if self._known.total is not None and size > self._known.total:
            raise Cut("the file is longer than announced", distrusted=True)


# ── An answer's body, chunk by chunk, with a deadline for each and a floor under their pace ───────


class Body:
    """Bytes as they came over the wire: never decoded, so a bomb stays small."""

    def __init__(
        self, response: httpx.Response, limits: Limits, observe: Callable[[int], None]
    ) -> None:
        self._host = response.url.host
        self._raw = response.aiter_raw()
        self._limits = limits
        self._observe = observe
        self._span_start = anyio.current_time()
        self._span_bytes = 0

    async def next(self) -> bytes | None:
        """The next chunk, None at the end. Raises `Cut`."""
        chunk = None
        try:
            with anyio.move_on_after(self._limits.stall) as wait:
                chunk = await anext(self._raw, None)
        except (httpx.TransportError, OSError) as error:
            raise Cut(f"{self._host} broke the connection: {words(error)}") from error
        if wait.cancelled_caught:
            raise Cut(f"{self._host} sent nothing for {self._limits.stall:g} s", slow=True)
        if chunk is not None:
            self._observe(len(chunk))
            self._check_pace(len(chunk))
        return chunk

    async def abandon(self) -> None:
        """Unwind httpx's nested iterators, wherever they stand.

        Closing the outer one would leave the inner ones to the garbage collector; a cancellation
        reaches the innermost. What is buffered may come out before it does.
        """
        faults = suppress(httpx.TransportError, OSError)
        with anyio.CancelScope() as scope, faults:
            scope.cancel()
            for _ in range(3):
                if await anext(self._raw, None) is None:
                    return

    def _check_pace(self, size: int) -> None:
        """A host that drips holds a lane as surely as one that stalls."""
        self._span_bytes += size
        now = anyio.current_time()
        span = now - self._span_start
        if span < self._limits.stall:
            return
        if self._span_bytes < self._limits.min_speed * span:
            speed = self._span_bytes / span
            raise Cut(f"{self._host} sent {speed:.0f} bytes a second", slow=True)
        self._span_start, self._span_bytes = now, 0


def words(error: Exception) -> str:
    """What an exception says, or its name where it says nothing."""
    return str(error) or type(error).__name__


# ── Files that a host packs although that was not asked for: unpacked bit by bit, never a bomb ────


_PIECE: Final = 1 << 20
"""Bytes that come out at a time, however many they would be."""
_MOST_TIMES: Final = 50
_FREELY: Final = 32 << 20
"""Bytes up to which nothing is said about how far a file unpacks; videos hardly do."""
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32


class Unpacker:
    """Takes the bytes as they come, and gives the file's own.

    The label says how they are packed, and may be wrong: files are stored with the label of an
    upload, or with one that names no packing at all. Where the first bytes are those of a video or
    of a picture, nothing is packed.
    """

    def __init__(self, encoding: str, host: str) -> None:
        self._encoding = encoding
        self._host = host
        self._inner = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._taken = self._given = 0
        self._head: bytes | None = b""
        """What came until it could be judged; None from then on."""
        self._plain = False

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """The bytes that ``chunk`` holds, piece by piece. Raises `Cut` or `Ended`."""
        if self._head is not None:
            self._head += chunk
            if len(self._head) < HEAD_SIZE:
                return
            chunk = self._judged(self._head)
        if self._plain:
            yield chunk
            return
        yield from self._unpacked(chunk)

    def _judged(self, head: bytes) -> bytes:
        found = content_of(head[:HEAD_SIZE])
        self._head, self._plain = None, found is not None and found.kind is not MediaKind.AUDIO
        if not self._plain and self._encoding not in PACKINGS:
            message = (
                f"{self._host} sent the file encoded ({self._encoding[:20]}), "
                "without being asked to"
            )
            raise Ended(Failed(message, ours=True))
        return head

    def _unpacked(self, chunk: bytes) -> Iterator[bytes]:
        self._taken += len(chunk)
        try:
            while chunk:
                piece = self._inner.decompress(chunk, _PIECE)
                self._given += len(piece)
                self._check_growth()
                yield piece
                chunk = self._inner.unconsumed_tail
        except zlib.error as error:
            message = f"the file is not valid {self._encoding}: {error}"
            raise Cut(message, distrusted=True) from error

    def end(self) -> Iterator[bytes]:
        """No more bytes come: the last ones. Raises `Cut` where some are missing, or `Ended`."""
        if self._head is not None:
            yield from self._unpacked(self._judged(self._head))
        if not self._plain and not self._inner.eof:
            raise Cut(f"the file ended in the middle of its {self._encoding} data", distrusted=True)

    def _check_growth(self) -> None:
        if self._given > max(_FREELY, _MOST_TIMES * self._taken):
            message = f"the file grows far too large when it is unpacked ({self._encoding})"
            raise Ended(Failed(message, ours=True))


# ── What a file host's answer allows: pure reading of status and headers, no waiting, no bytes ────
# Rules are RFC 9110's; where a host breaks them the answer is distrusted, never repaired.


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
        raise Cut("the file host did not send the beginning", distrusted=True)
    return Known(validator, total, framed and total is not None)


def continued(response: httpx.Response, known: Known, offset: int) -> Known:
    """What a 206 tells, if it goes on exactly at ``offset`` in the same file. Raises `Cut`."""
    first, last, total = _span(response)
    if first != offset or total is None or _packing(response) is not None:
        raise Cut("the file host did not send the part that was asked for", distrusted=True)
    if known.total not in {None, total} or _length(response) not in {None, last - first + 1}:
        raise Cut("the file changed its length during the download", distrusted=True)
    if known.validator is None or strong_validator(response.headers) != known.validator:
        raise Cut("the file changed during the download", distrusted=True)
    return Known(known.validator, total, True)


def check_status(response: httpx.Response) -> None:
    """Return for a 200 (which a proxy may call 203) and a 206. Raises `Cut` or `Ended`."""
    status, host = response.status_code, response.url.host
    if status == 416:
        raise Cut(f"{host} answered {status}", distrusted=True)
    if 400 <= status < 500 and status not in _PASSING:
        raise Ended(Gone(f"{host} answered {status}"))
    if status not in {200, 203, 206}:
        raise Ended(Failed(f"{host} answered {status}", asked_pause(response.headers)))


def _span(response: httpx.Response) -> tuple[int, int, int | None]:
    """First and last byte and whole length of a part. Raises `Cut`."""
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    if match is None:
        raise Cut("the file host sent a part without saying which part", distrusted=True)
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if first > last or (total is not None and last >= total):
        raise Cut("the file host sent an impossible part", distrusted=True)
    return first, last, total


def _packing(response: httpx.Response) -> str | None:
    """How the bytes are said to be packed, although that was not asked for."""
    said = response.headers.get("content-encoding", "").lower().split(",")
    codings = [coding.strip() for coding in said if coding.strip() not in {"", "identity"}]
    return ", ".join(codings) or None


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
    changed_at, made_at = hiapi.http_date(modified), hiapi.http_date(made)
    if changed_at is None or made_at is None:
        return None
    return modified if made_at - changed_at >= 1 else None


def asked_pause(headers: httpx.Headers) -> float | None:
    """Seconds that the host asks to wait, by its own clock where it tells the time."""
    return hiapi.retry_after(headers, hiapi.http_date(headers.get("date")) or time.time())


def _length(response: httpx.Response) -> int | None:
    """The body's announced length. Raises `Ended` for one that is no number."""
    value = response.headers.get("content-length")
    if value is None or "transfer-encoding" in response.headers:
        return None
    if not _NUMBER.fullmatch(value):
        raise Ended(Failed(f"{response.url.host} announced a length that is not a number"))
    return int(value)
