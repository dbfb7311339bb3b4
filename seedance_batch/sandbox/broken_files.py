"""What a broken download looks like, fault by fault."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.lowlevel

from seedance_batch.sandbox.config import FaultConfig, FileFault
from seedance_batch.sandbox.faults import retry_after, unit
from seedance_batch.sandbox.refusals import html_answer
from seedance_batch.sandbox.wire import Answer, Ending, reset_answer

_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Piece:
    """A file as it should be served."""

    content: bytes
    kind: str
    etag: str

    def answer(self, **headers: str) -> Answer:
        """The whole file."""
        return Answer(200, "served", self.content, {**self._headers(), **headers})

    def part(self, start: int, end: int) -> Answer:
        """The bytes from start to end, both included."""
        span = f"bytes {start}-{end}/{len(self.content)}"
        headers = {**self._headers(), "content-range": span}
        return Answer(206, "served in part", self.content[start : end + 1], headers)

    def unsatisfiable(self) -> Answer:
        """The range lies outside."""
        return Answer(416, "no such range", b"", {"content-range": f"bytes */{len(self.content)}"})

    def _headers(self) -> dict[str, str]:
        return {"content-type": self.kind, "etag": self.etag, "accept-ranges": "bytes"}


@dataclass(frozen=True, slots=True)
class Case:
    """One download that is to be broken."""

    piece: Piece
    faults: FaultConfig
    headers: Mapping[str, str]
    place: tuple[object, ...]

    @property
    def cut(self) -> int:
        """Where the file is cut: as configured, or a seeded place."""
        size = len(self.piece.content)
        at = self.faults.cut_at
        return int(unit("cut", *self.place) * size) if at is None else min(at, size)

    @property
    def head(self) -> bytes:
        """The bytes before the cut."""
        return self.piece.content[: self.cut]


def broken_piece(
    fault: FileFault,
    faults: FaultConfig,
    piece: Piece,
    headers: Mapping[str, str],
    place: tuple[object, ...],
) -> Answer | None:
    """The broken answer, or None where this request gives the fault nothing to break."""
    case = Case(piece, faults, headers, place)
    if fault.value.isdigit() and fault is not FileFault.RANGE_416:
        again = retry_after(faults, 0.0) if fault in (FileFault.TOO_MANY, FileFault.BUSY) else {}
        return Answer(int(fault.value), "", b"", again)
    return _BREAKERS[fault](case)


def _cut(case: Case) -> Answer:
    size = len(case.piece.content)
    return case.piece.answer().having(body=case.head, length=size, ending=Ending.CUT)


def _short(case: Case) -> Answer:
    return case.piece.answer().having(body=case.head)


def _no_length(case: Case) -> Answer:
    return case.piece.answer().having(body=_pieces(case.piece.content))


def _wrong_length(case: Case) -> Answer:
    size = len(case.piece.content)
    return case.piece.answer().having(length=size + 4096, ending=Ending.CUT)


def _wrong_range(case: Case) -> Answer | None:
    if "range" not in case.headers:
        return None
    size = len(case.piece.content)
    start = int(unit("range", *case.place) * size)
    return case.piece.part(start, size - 1)


def _ignore_range(case: Case) -> Answer:
    return case.piece.answer()


def _etag(case: Case) -> Answer:
    changed = f'"{int(unit("etag", *case.place) * 2**64):032x}"'
    return case.piece.answer(etag=changed)


def _unsatisfiable(case: Case) -> Answer:
    return case.piece.unsatisfiable()


def _gzip(case: Case) -> Answer:
    body = _bomb(case.faults.endless_bytes)
    return case.piece.answer(**{"content-encoding": "gzip"}).having(body=body)


def _endless(case: Case) -> Answer:
    return case.piece.answer().having(body=_zeros(case.piece.content, case.faults.endless_bytes))


def _empty(case: Case) -> Answer:
    return case.piece.answer().having(body=b"")


def _html(case: Case) -> Answer:
    return html_answer(200, "Please log in", "")


def _no_moov(case: Case) -> Answer:
    """The index goes by another name, so the file has its length but cannot be opened."""
    return case.piece.answer().having(body=case.piece.content.replace(b"moov", b"free"))


def _stall(case: Case) -> Answer:
    size = len(case.piece.content)
    body = _silence(case.piece.content[: size // 2], case.faults.stall_seconds)
    return case.piece.answer().having(body=body, length=size, ending=Ending.CUT)


def _drip(case: Case) -> Answer:
    body = _drops(case.piece.content, case.faults.drip_bytes_per_second)
    return case.piece.answer().having(body=body, length=len(case.piece.content))


def _late(case: Case) -> Answer:
    return case.piece.answer().having(pause=case.faults.late_seconds)


def _not_yet(case: Case) -> Answer:
    return Answer(404, "", b"<Error><Code>NoSuchKey</Code></Error>")


def _part(case: Case) -> Answer:
    return case.piece.part(0, len(case.piece.content) - 1)


def _packed(case: Case) -> Answer:
    packed = zlib.compressobj(1, zlib.DEFLATED, 31)
    body = packed.compress(case.piece.content) + packed.flush()
    return case.piece.answer(**{"content-encoding": "gzip"}).having(body=body)


def _reset(case: Case) -> Answer:
    return reset_answer("")


_BREAKERS: Final[dict[FileFault, Callable[[Case], Answer | None]]] = {
    FileFault.RANGE_416: _unsatisfiable,
    FileFault.RESET: _reset,
    FileFault.CUT: _cut,
    FileFault.SHORT: _short,
    FileFault.NO_LENGTH: _no_length,
    FileFault.WRONG_LENGTH: _wrong_length,
    FileFault.WRONG_RANGE: _wrong_range,
    FileFault.IGNORE_RANGE: _ignore_range,
    FileFault.ETAG: _etag,
    FileFault.GZIP: _gzip,
    FileFault.ENDLESS: _endless,
    FileFault.EMPTY: _empty,
    FileFault.HTML: _html,
    FileFault.NO_MOOV: _no_moov,
    FileFault.STALL: _stall,
    FileFault.DRIP: _drip,
    FileFault.LATE: _late,
    FileFault.NOT_YET: _not_yet,
    FileFault.PART: _part,
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
