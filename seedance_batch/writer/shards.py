"""A data set's samples as files: tar shards, tables, and clips for a folder.

Equal samples make equal bytes. Clips are streamed, and are checked on their way: one that is not
the file that was downloaded is copied into no data set.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

from seedance_batch.clips import media
from seedance_batch.clips.stills import still
from seedance_batch.core.clip_sets import Sample
from seedance_batch.publish import sha256_of

_PIECE: Final = 1 << 18
"""Bytes that stay in a CPU's own cache while they are hashed and copied."""
_JPEG: Final = (b"\xff\xd8", b"\xff\xd9")
"""How a whole JPEG begins and ends."""


class ClipChanged(Exception):
    """A sample's clip is not the file that was downloaded, or cannot be read any more."""

    def __init__(self, sample: Sample, reason: str) -> None:
        super().__init__(reason)
        self.sample = sample
        self.reason = reason


def with_rate(sample: Sample, fps: float) -> dict[str, Any]:
    """A sample's facts with its frame rate, which the journal does not keep."""
    return {**json.loads(sample.facts), "fps": fps}


# ── tar files ───────────────────────────────────────────────────────────────────────────────────


def write_tar(path: Path, samples: Iterable[Sample], told: Callable[[int], object]) -> None:
    """Write a WebDataset shard: of each sample its poster, its facts and its clip.

    ``told`` is called with each number of samples more. Raises `ClipChanged`, and ``OSError`` where
    ``path`` cannot be written.
    """
    with _Stream(path) as out:
        for sample in samples:
            if (poster := _poster(sample)) is not None:
                _add(out, f"{sample.key}.jpg", poster)
            _add(out, f"{sample.key}.json", _as_json(with_rate(sample, clip_rate(sample))))
            out.write(_head(f"{sample.key}{Path(sample.clip).suffix}", sample.bytes))
            out.take(sample)
            _pad(out, sample.bytes)
            told(1)
        out.write(bytes(2 * tarfile.BLOCKSIZE))
        out.write(bytes(-out.size % tarfile.RECORDSIZE))


def _add(out: _Stream, name: str, content: bytes) -> None:
    out.write(_head(name, len(content)))
    out.write(content)
    _pad(out, len(content))


def _pad(out: _Stream, size: int) -> None:
    out.write(bytes(-size % tarfile.BLOCKSIZE))


def _head(name: str, size: int) -> bytes:
    """What stands before a file in a tar."""
    encoded = name.encode()
    if len(encoded) > tarfile.LENGTH_NAME or size >= _LARGE:
        return _tar_head(name, size)
    # The same, four times as quick: between two heads only the name and two numbers differ.
    head = bytearray(_BARE_HEAD)
    head[: len(encoded)] = encoded
    head[124:135] = b"%011o" % size
    head[148:155] = b"%06o\0" % sum(head)
    return bytes(head)


def _tar_head(name: str, size: int) -> bytes:
    # A TarInfo that nobody fills has no owner and no time, and is readable by all.
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8")


_BARE_HEAD: Final = bytearray(_tar_head("", 0))
_BARE_HEAD[148:156] = b" " * 8  # as a checksum counts itself
_LARGE: Final = 8**11
"""Bytes that a head's usual field cannot tell."""


def _as_json(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode("utf-8", "backslashreplace")


class _Stream:
    """A file on its way to the disk, past the system's cache where the system has that.

    A set is larger than memory and not read soon: to keep it in the cache costs a third of the CPU,
    and what else was there. Clips are hashed in a thread meanwhile; one that is not the file that
    was downloaded is told soon after it was taken, or at the end.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        """Bytes so far."""
        self._held = 0
        # One is filled while the other is written. They begin with a page, as the disk wants it.
        self._buffers = [memoryview(mmap.mmap(-1, _HELD)) for _ in range(2)]
        self._hashing, self._writing = (ThreadPoolExecutor(1, n) for n in ("hash", "write"))
        self._hashed: list[Future[None]] = []
        self._begun: list[Future[None]] = []
        self._file = _opened(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._wait()
        finally:
            self._hashing.shutdown()
            self._writing.shutdown()
            os.close(self._file)

    def write(self, content: bytes) -> None:
        """Add some bytes."""
        at = 0
        while at < len(content):
            room = self._room()
            count = min(len(room), len(content) - at)
            room[:count] = content[at : at + count]
            self._fill(count)
            at += count

    def take(self, sample: Sample) -> None:
        """Add a clip. Raises `ClipChanged`, of this clip or of one before."""
        digest, size = hashlib.sha256(), 0
        for piece in _pieces(sample, self._room):
            size += len(piece)
            self._hashed.append(self._hashing.submit(_hash, sample, digest, piece, size))
            self._fill(len(piece))
        if size != sample.bytes:
            raise ClipChanged(sample, _OTHER)

    def _room(self) -> memoryview:
        if self._held == _HELD:
            self._flush()
        return self._buffers[0][self._held :]

    def _fill(self, count: int) -> None:
        self._held += count
        self.size += count

    def _flush(self) -> None:
        self._wait()
        written = self._writing.submit(_write, self._file, self._buffers[0][: self._held])
        self._begun = [*self._hashed, written]
        self._buffers.reverse()
        self._hashed, self._held = [], 0

    def _wait(self) -> None:
        for job in self._begun:
            job.result()


_HELD: Final = 4 << 20
"""Bytes that are written at a time."""
_PAST_THE_CACHE: Final[int] = getattr(os, "O_DIRECT", 0)


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags | _PAST_THE_CACHE)
    except OSError as error:  # some file systems have only the one way
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags)


def _write(file: int, content: memoryview) -> None:
    if len(content) % mmap.PAGESIZE:  # the end
        _use_cache(file)
    while content:
        try:
            content = content[os.write(file, content) :]
        except OSError as error:
            if error.errno != errno.EINVAL or not _use_cache(file):
                raise


def _use_cache(file: int) -> bool:
    """Write by way of the cache from now on; False where that was so already."""
    if not _PAST_THE_CACHE:
        return False
    import fcntl

    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    fcntl.fcntl(file, fcntl.F_SETFL, flags & ~_PAST_THE_CACHE)
    return bool(flags & _PAST_THE_CACHE)


def _hash(sample: Sample, digest: hashlib._Hash, piece: memoryview, size: int) -> None:
    digest.update(piece)
    if size == sample.bytes and digest.hexdigest() != sample.sha256:
        raise ClipChanged(sample, _OTHER)


_OTHER: Final = "is not the file that was downloaded"


# ── clips ───────────────────────────────────────────────────────────────────────────────────────


def copy_clip(sample: Sample, target: Path) -> float:
    """Copy a sample's clip, checked, and tell its frame rate. Raises as `write_tar` does."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with target.open("wb", buffering=0) as out:
        for piece in _pieces(sample, lambda: buffer):
            digest.update(piece)
            left = piece
            while left:
                left = left[out.write(left) :]
    if digest.hexdigest() != sample.sha256:
        raise ClipChanged(sample, _OTHER)
    return clip_rate(sample, target)


def changed(samples: Iterable[Sample]) -> dict[Sample, str]:
    """Which of these clips are not what was downloaded, and why."""
    found = {}
    for sample in samples:
        try:
            with _reading(sample):
                same = sha256_of(Path(sample.clip)) == sample.sha256
            if not same:
                raise ClipChanged(sample, _OTHER)
            clip_rate(sample)
        except ClipChanged as error:
            found[sample] = error.reason
    return found


def _pieces(sample: Sample, room: Callable[[], memoryview]) -> Iterator[memoryview]:
    """A clip, read into one room after the other. Raises `ClipChanged` where it cannot be read."""
    with _reading(sample):
        source = Path(sample.clip).open("rb", buffering=0)
    with source:
        while True:
            piece = room()
            with _reading(sample):
                count = source.readinto(piece)
            if not count:
                return
            yield piece[:count]


@contextlib.contextmanager
def _reading(sample: Sample) -> Iterator[None]:
    """What fails is the clip, and not the disk that is written to."""
    try:
        yield
    except media.MediaUnreadable as error:
        raise ClipChanged(sample, str(error)) from error
    except OSError as error:
        raise ClipChanged(sample, f"cannot be read: {error.strerror or error}") from error


def clip_rate(sample: Sample, copy: Path | None = None) -> float:
    """A clip's frame rate, or that of a copy. Raises `ClipChanged`."""
    with _reading(sample):
        return media.frame_rate(copy or Path(sample.clip))


def _poster(sample: Sample) -> bytes | None:
    """The poster that the run folder has, else one that is made now; None where none can be."""
    try:
        kept = Path(sample.poster).read_bytes()
        if kept.startswith(_JPEG[0]) and kept.endswith(_JPEG[1]):
            return kept
    except OSError:  # it has none, or it cannot be read
        pass
    return still(Path(sample.clip))


# ── tables ──────────────────────────────────────────────────────────────────────────────────────


def flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A sample's facts as a table has them: every value is one text, number or truth.

    The inputs are JSON, since rows have different ones.
    """
    inputs = json.dumps(facts["inputs"], ensure_ascii=False, sort_keys=True)
    return {**facts, "inputs": inputs, "made_from": "; ".join(facts["made_from"])}


def write_parquet(path: Path, samples: Sequence[Sample], told: Callable[[int], object]) -> None:
    """Write a Parquet file, a line for each sample. Raises as `write_tar` does."""
    import pyarrow as arrow
    from pyarrow import parquet

    schema = _schema_of(samples)
    texts = {each.name for each in schema if each.type == arrow.string()}
    tables = []
    for at in range(0, len(samples), _LINES):
        part = samples[at : at + _LINES]
        lines = [_typed(flat(with_rate(sample, clip_rate(sample)))) for sample in part]
        rows = [{n: _text(v) if n in texts else v for n, v in line.items()} for line in lines]
        tables.append(arrow.Table.from_pylist(rows, schema=schema))
        told(len(part))
    table = arrow.concat_tables(tables).combine_chunks()
    parquet.write_table(table, path, compression="zstd")


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _schema_of(samples: Sequence[Sample]) -> Any:
    """The types of all columns, as Arrow's schema.

    A judge's column has one kind of values in a shard, or is text; its numbers are floats, so that
    shards do not differ in that.
    """
    import pyarrow as arrow

    kinds = {
        **dict.fromkeys(("attempt", "bytes", "width", "height"), arrow.int64()),
        **dict.fromkeys(("seconds", "fps", *_LOOKS), arrow.float64()),
        **dict.fromkeys(_TIMES, arrow.timestamp("ms", "UTC")),
        "audio": arrow.bool_(),
        "est_cost_usd": arrow.decimal128(18, 6),
    }
    by_type = {bool: arrow.bool_(), int: arrow.float64(), float: arrow.float64()}
    found: dict[str, set[Any]] = {}
    for sample in samples:
        for name, value in json.loads(sample.facts).items():
            of = found.setdefault(name, set())
            if value is not None and name not in kinds:
                of.add(by_type.get(type(value), arrow.string()))
    return arrow.schema(
        (name, kinds.get(name) or (of.pop() if len(of) == 1 else arrow.string()))
        for name, of in found.items()
    )


_TIMES: Final = ("submitted_at", "finished_at")
_TEXTS: Final = {"task_id", "est_cost_usd", *_TIMES, "phash", "alike"}
_LOOKS: Final = ("black", "frozen", "motion", "loudness")
_LINES: Final = 500
"""Lines of a table that are Python's values at a time; in Arrow's they are a tenth as large."""


def _typed(line: dict[str, Any]) -> dict[str, Any]:
    found = {name: datetime.fromisoformat(line[name]) for name in _TIMES if line[name] is not None}
    cost = line["est_cost_usd"]
    return {**line, **found, "est_cost_usd": None if cost is None else Decimal(cost)}


def metadata_line(sample: Sample, fps: float) -> str:
    """A sample's line in the table of a VideoFolder.

    A text that is not known is empty there: Hugging Face takes a column's type from its values, and
    one without any has another type in each split. A judge's columns are as it gave them.
    """
    name = f"{sample.key}{Path(sample.clip).suffix}"
    line = {"file_name": name, **flat(with_rate(sample, fps))}
    known = {c: "" if value is None and c in _TEXTS else value for c, value in line.items()}
    return json.dumps(known, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
