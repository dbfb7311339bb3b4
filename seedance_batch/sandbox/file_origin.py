"""The file origin: files made when asked for, signed URLs, ranges, downloads broken on purpose."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel
from starlette.types import Receive, Scope, Send

from seedance_batch.sandbox.answers import (
    Disconnected,
    Ending,
    Reply,
    Request,
    TooLarge,
    draw,
    html_answer,
    invalid,
    read_request,
    reset_answer,
    retry_after_header,
    send_answer,
    unit,
)
from seedance_batch.sandbox.config import FaultConfig, FileFault, TaskState
from seedance_batch.sandbox.engine import Engine
from seedance_batch.sandbox.ledger import StoredRequest, StoredTask
from seedance_batch.sandbox.validation import image_ratio, media_seconds
from seedance_batch.sandbox.views import LAST_FRAME, THUMBNAIL, VIDEO, ClipSpec, clip_of

Contents = Callable[[StoredTask, str], Awaitable[bytes]]

_TYPES: Final = {VIDEO: "video/mp4", LAST_FRAME: "image/png", THUMBNAIL: "image/jpeg"}
_PATH: Final = re.compile(r"/tasks/([^/]+)/([^/]+)")
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Files:
    """ASGI application for output files; it never needs a key, and tells when one came."""

    def __init__(self, engine: Engine, contents: Contents) -> None:
        self._engine = engine
        self._contents = contents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, written down before its answer leaves."""
        if scope["type"] != "http":
            return
        arrived = self._engine.clock()
        try:
            request = await read_request(scope, receive, 0)
        except (Disconnected, TooLarge):
            request = Request(scope["method"], scope["path"], {}, {}, target=scope["path"])
        answer = (await self._answer(request)).adding(_CORS)
        self._write_down(arrived, request, answer)
        await send_answer(answer, scope, send, head=request.method == "HEAD")

    def _write_down(self, arrived: float, request: Request, answer: Reply) -> None:
        span = request.headers.get("range", "")
        keyed = "authorization" in request.headers
        note = (f" ({span})" if span else "") + (
            " AUTHORIZATION SENT TO THE FILE HOST" if keyed else ""
        )
        told = answer.having(verdict=answer.verdict + note)
        record = StoredRequest.of("files", arrived, request, told, path=request.path)
        self._engine.ledger.add_request(record)

    async def _answer(self, request: Request) -> Reply:
        if request.method == "OPTIONS":
            return Reply(204, "asked by a browser", b"", _PREFLIGHT)
        if request.method not in ("GET", "HEAD"):
            return _denied(405, "method not allowed").adding({"allow": _METHODS})
        match = _PATH.fullmatch(request.path)
        task = self._engine.ledger.task(match[1]) if match else None
        if match is None or task is None or match[2] not in _TYPES:
            return _denied(404, "no such file")
        now = self._engine.clock()
        problem = self._engine.links.problem(request, now)
        if problem:
            return _denied(403, problem).having(task_id=task.task_id)
        if self._engine.view().status(task) is not TaskState.SUCCESS:
            return _denied(404, "no such file").having(task_id=task.task_id)
        content = await self._contents(task, match[2])
        return self._serve(request, task, match[2], content).having(task_id=task.task_id)

    def _serve(self, request: Request, task: StoredTask, name: str, content: bytes) -> Reply:
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        piece = Piece(content, _TYPES[name], etag, task.times.final)
        faults, seed = self._engine.config.faults, self._engine.config.seed
        if not faults.files or request.method == "HEAD":
            return whole_or_part(request.headers, piece)
        place = f"{task.content}:{task.nth}:{name}"
        nth = self._engine.ledger.count_try("files", place)
        fault = draw(faults, seed, "files", faults.files, place, nth)
        came = task.times.final + faults.not_yet_seconds <= self._engine.clock()
        if fault is None or (fault is FileFault.NOT_YET and came):
            return whole_or_part(request.headers, piece)
        answer = broken_piece(fault, faults, piece, request.headers, (seed, place, nth))
        if answer is None:
            answer = whole_or_part(request.headers, piece)
        return answer.having(verdict=f"fault {fault.value}")


def _denied(status: int, why: str) -> Reply:
    return Reply(status, why, why.encode(), {"content-type": "text/plain"})


_METHODS: Final = "GET, HEAD, OPTIONS"
_CORS: Final = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "content-length, content-range, etag, last-modified",
}
"""A page on this machine may read files, as pages anywhere may read a CDN's."""
_PREFLIGHT: Final = {
    "allow": _METHODS,
    "access-control-allow-methods": _METHODS,
    "access-control-allow-headers": "range, if-range, if-none-match, if-modified-since",
    "access-control-max-age": "600",
}


def whole_or_part(headers: Mapping[str, str], piece: Piece) -> Reply:
    """200, 206, 304 or 416, by ``Range``, ``If-Range`` and the headers that `_is_known` reads."""
    if _is_known(headers, piece):
        return piece.unchanged()
    asked = headers.get("range", "")
    if not asked or headers.get("if-range", piece.etag) not in {piece.etag, piece.dated}:
        return piece.answer()
    match = _RANGE.fullmatch(asked.replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return piece.answer()  # several ranges or another unit: allowed to be ignored
    size = len(piece.content)
    if match[1]:
        start, end = int(match[1]), min(int(match[2] or size), size - 1)
    else:
        start, end = max(size - int(match[2]), 0), size - 1
    if start > end:
        return piece.unsatisfiable()
    return piece.part(start, end)


def _is_known(headers: Mapping[str, str], piece: Piece) -> bool:
    """Whether whoever asks has the file already; an ETag outweighs a date."""
    tags = headers.get("if-none-match")
    if tags is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return bool(known & {"*", piece.etag})
    try:
        since = parsedate_to_datetime(headers.get("if-modified-since", ""))
    except ValueError:
        return False
    return since.tzinfo is not None and since.timestamp() >= int(piece.modified)


# ── What a broken download looks like, fault by fault ─────────────────────────────────────────────


_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Piece:
    """A file as it should be served."""

    content: bytes
    kind: str
    etag: str
    modified: float = 0.0
    """Unix seconds at which it was made."""

    @property
    def dated(self) -> str:
        """The same as HTTP has it."""
        return formatdate(self.modified, usegmt=True)

    def unchanged(self) -> Reply:
        """The file that is there already."""
        headers = {"etag": self.etag, "last-modified": self.dated}
        return Reply(304, "not modified", b"", headers)

    def answer(self, **headers: str) -> Reply:
        """The whole file."""
        return Reply(200, "served", self.content, {**self._headers(), **headers})

    def part(self, start: int, end: int) -> Reply:
        """The bytes from start to end, both included."""
        span = f"bytes {start}-{end}/{len(self.content)}"
        headers = {**self._headers(), "content-range": span}
        return Reply(206, "served in part", self.content[start : end + 1], headers)

    def unsatisfiable(self) -> Reply:
        """The range lies outside."""
        return Reply(416, "no such range", b"", {"content-range": f"bytes */{len(self.content)}"})

    def _headers(self) -> dict[str, str]:
        return {
            "content-type": self.kind,
            "etag": self.etag,
            "last-modified": self.dated,
            "accept-ranges": "bytes",
        }


@dataclass(frozen=True, slots=True)
class Case:
    """One download that is to be broken."""

    piece: Piece
    faults: FaultConfig
    headers: Mapping[str, str]
    place: tuple[object, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.piece.content)

    @property
    def head(self) -> bytes:
        """The bytes before the cut, which is at the configured place or at a seeded one."""
        at = self.faults.cut_at
        cut = int(unit("cut", *self.place) * self.size) if at is None else at
        return self.piece.content[:cut]

    def with_body(self, body: bytes | AsyncIterator[bytes], **changes: Any) -> Reply:
        """The answer with another body."""
        return self.piece.answer().having(body=body, **changes)


def broken_piece(
    fault: FileFault,
    faults: FaultConfig,
    piece: Piece,
    headers: Mapping[str, str],
    place: tuple[object, ...],
) -> Reply | None:
    """The broken answer, or None where this request gives the fault nothing to break."""
    case = Case(piece, faults, headers, place)
    if fault.value.isdigit() and fault is not FileFault.RANGE_416:
        again = (
            retry_after_header(faults, 0.0) if fault in (FileFault.TOO_MANY, FileFault.BUSY) else {}
        )
        return Reply(int(fault.value), "", b"", again)
    return _BREAKERS[fault](case)


def _wrong_range(case: Case) -> Reply | None:
    if "range" not in case.headers:
        return None
    start = int(unit("range", *case.place) * case.size)
    return case.piece.part(start, case.size - 1)


def _etag(case: Case) -> Reply:
    changed = f'"{int(unit("etag", *case.place) * 2**64):032x}"'
    return case.piece.answer(etag=changed)


def _gzip(case: Case) -> Reply:
    body = _bomb(case.faults.endless_bytes)
    return case.piece.answer(**{"content-encoding": "gzip"}).having(body=body)


def _no_moov(case: Case) -> Reply:
    """The index goes by another name, so the file has its length but cannot be opened."""
    return case.with_body(case.piece.content.replace(b"moov", b"free"))


def _stall(case: Case) -> Reply:
    body = _silence(case.piece.content[: case.size // 2], case.faults.stall_seconds)
    return case.with_body(body, length=case.size, ending=Ending.CUT)


def _drip(case: Case) -> Reply:
    body = _drops(case.piece.content, case.faults.drip_bytes_per_second)
    return case.with_body(body, length=case.size)


def _packed(case: Case) -> Reply:
    packed = zlib.compressobj(1, zlib.DEFLATED, 31)
    body = packed.compress(case.piece.content) + packed.flush()
    return case.piece.answer(**{"content-encoding": "gzip"}).having(body=body)


_BREAKERS: Final[dict[FileFault, Callable[[Case], Reply | None]]] = {
    FileFault.RANGE_416: lambda case: case.piece.unsatisfiable(),
    FileFault.RESET: lambda case: reset_answer(""),
    FileFault.CUT: lambda case: case.with_body(case.head, length=case.size, ending=Ending.CUT),
    FileFault.SHORT: lambda case: case.with_body(case.head),
    FileFault.NO_LENGTH: lambda case: case.with_body(_pieces(case.piece.content)),
    FileFault.WRONG_LENGTH: lambda case: case.with_body(
        case.piece.content, length=case.size + 4096, ending=Ending.CUT
    ),
    FileFault.WRONG_RANGE: _wrong_range,
    FileFault.IGNORE_RANGE: lambda case: case.piece.answer(),
    FileFault.ETAG: _etag,
    FileFault.GZIP: _gzip,
    FileFault.ENDLESS: lambda case: case.with_body(
        _zeros(case.piece.content, case.faults.endless_bytes)
    ),
    FileFault.EMPTY: lambda case: case.with_body(b""),
    FileFault.HTML: lambda case: html_answer(200, "Please log in", ""),
    FileFault.NO_MOOV: _no_moov,
    FileFault.STALL: _stall,
    FileFault.DRIP: _drip,
    FileFault.LATE: lambda case: case.piece.answer().having(pause=case.faults.late_seconds),
    FileFault.NOT_YET: lambda case: Reply(404, "", b"<Error><Code>NoSuchKey</Code></Error>"),
    FileFault.PART: lambda case: case.piece.part(0, case.size - 1),
    FileFault.PACKED: _packed,
}


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _CHUNK):
        yield content[start : start + _CHUNK]


async def _zeros(start: bytes, total: int) -> AsyncIterator[bytes]:
    yield start
    sent = len(start)
    while sent < total:
        yield bytes(_CHUNK)
        sent += _CHUNK


async def _bomb(total: int) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    for _ in range(0, total, 16 * _CHUNK):
        packed = packer.compress(bytes(16 * _CHUNK))
        if packed:
            yield packed
        await anyio.lowlevel.checkpoint()
    yield packer.flush()


async def _silence(start: bytes, seconds: float) -> AsyncIterator[bytes]:
    yield start
    await anyio.sleep(seconds)


async def _drops(content: bytes, per_second: float) -> AsyncIterator[bytes]:
    size = max(int(per_second), 1)
    for start in range(0, len(content), size):
        yield content[start : start + size]
        await anyio.sleep(size / per_second)


# ── Makes output files when they are first asked for, once each, beside the event loop ────────────


Offload = Callable[[Callable[[], Any]], Awaitable[Any]]

_SHORTEST: Final = 2.0 - 0.05
_LONGEST: Final = 15.0 + 0.05
"""Seconds of a reference, with a frame's tolerance."""
_NOMINAL: Final = Decimal(5)
"""Billed for a reference video whose length is not known, because it is not ours to fetch."""
_SHELF: Final = 256 * 2**20
"""Bytes of finished files kept; what is dropped is rendered again, to the same bytes."""


class ClipFiles:
    """Renders clips and keeps the latest."""

    def __init__(self, engine: Engine, offload: Offload) -> None:
        self._engine = engine
        self._offload = offload
        self._shelf: OrderedDict[tuple[ClipSpec, str], bytes] = OrderedDict()
        self._making: dict[tuple[ClipSpec, str], anyio.Event] = {}
        self._benches = anyio.Semaphore(max(os.cpu_count() or 1, 2))
        self.closed = threading.Event()

    def close(self) -> None:
        """Gives up what is being rendered, so that the process can end at once."""
        self.closed.set()

    async def contents(self, task: StoredTask, name: str) -> bytes:
        """The bytes of a task's output file."""
        wanted = (clip_of(task, self._engine.config, await self._adaptive(task)), name)
        while wanted not in self._shelf:
            if wanted in self._making:
                await self._making[wanted].wait()
            else:
                await self._make(*wanted)
        self._shelf.move_to_end(wanted)
        return self._shelf[wanted]

    async def _make(self, clip: ClipSpec, name: str) -> None:
        done = self._making[clip, name] = anyio.Event()
        try:
            async with self._benches:
                made = await self._offload(lambda: _render(clip, name, self.closed))
        finally:
            del self._making[clip, name]
            done.set()
        self._shelf[clip, name] = made
        while sum(map(len, self._shelf.values())) > _SHELF and len(self._shelf) > 1:
            self._shelf.popitem(last=False)

    async def _adaptive(self, task: StoredTask) -> float | None:
        """The ratio that an adaptive clip takes from its first frame."""
        fields = task.input
        url = fields.get("first_frame_url")
        if fields.get("aspect_ratio") != "adaptive" or url is None:
            return None
        ratio: float | None = await self._offload(lambda: image_ratio(url))
        return ratio

    async def reference_seconds(self, fields: Mapping[str, Any]) -> Decimal:
        """Seconds of reference video, which are billed; 400 where the limits are passed."""
        if not fields.keys() & {"reference_video_urls", "reference_audio_urls"}:
            return Decimal(0)
        await self._lengths(fields, "reference_audio_urls")
        videos = await self._lengths(fields, "reference_video_urls")
        return sum((_NOMINAL if s is None else Decimal(f"{s:.3f}") for s in videos), Decimal(0))

    async def _lengths(self, fields: Mapping[str, Any], name: str) -> list[float | None]:
        urls = fields.get(name, ())
        known = [await self._offload(partial(media_seconds, url)) for url in urls]
        measured = [length for length in known if length is not None]
        if any(not _SHORTEST <= length <= _LONGEST for length in measured):
            raise invalid(f"input.{name}: each lasts 2 to 15 s")
        if sum(measured) > _LONGEST:
            raise invalid(f"input.{name}: together they last at most 15 s")
        return known


def _render(clip: ClipSpec, name: str, stop: threading.Event) -> bytes:
    from seedance_batch.sandbox.drawing import render

    return render(clip, name, stop)
