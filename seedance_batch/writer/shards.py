"""A data set's samples as files: tar shards, tables, and clips for a folder.

Equal samples make equal bytes. Clips are streamed, and are checked on their way: one that is not
the file that was downloaded is copied into no data set.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from seedance_batch.clips import media
from seedance_batch.core.dataset import Sample

if TYPE_CHECKING:
    import pyarrow

_PIECE: Final = 1 << 20
"""Bytes; smaller ones hand Python's lock to and fro more often, which costs more than it saves."""
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


def write_tar(path: Path, samples: Sequence[Sample], told: Callable[[int], object]) -> None:
    """Write a WebDataset shard: of each sample its poster, its facts and its clip.

    ``told`` is called with each number of samples more. Raises `ClipChanged`, and ``OSError`` where
    ``path`` cannot be written.
    """
    with path.open("wb") as out, _hashing() as hashing:
        for sample in samples:
            if (poster := _poster(sample)) is not None:
                _add(out, f"{sample.key}.jpg", poster)
            _add(out, f"{sample.key}.json", _as_json(with_rate(sample, clip_rate(sample))))
            _head(out, f"{sample.key}{Path(sample.clip).suffix}", sample.bytes)
            _copy(sample, out, hashing)
            _pad(out, sample.bytes)
            told(1)
        out.write(bytes(2 * tarfile.BLOCKSIZE))
        out.write(bytes(-out.tell() % tarfile.RECORDSIZE))


def _head(out: IO[bytes], name: str, size: int) -> None:
    # A TarInfo that nobody fills has no owner and no time, and is readable by all.
    info = tarfile.TarInfo(name)
    info.size = size
    out.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8"))


def _add(out: IO[bytes], name: str, content: bytes) -> None:
    _head(out, name, len(content))
    out.write(content)
    _pad(out, len(content))


def _pad(out: IO[bytes], size: int) -> None:
    out.write(bytes(-size % tarfile.BLOCKSIZE))


def _as_json(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode("utf-8", "backslashreplace")


# ── clips ───────────────────────────────────────────────────────────────────────────────────────


def copy_clip(sample: Sample, target: Path) -> float:
    """Copy a sample's clip, checked, and tell its frame rate. Raises as `write_tar` does."""
    with target.open("wb") as out, _hashing() as hashing:
        _copy(sample, out, hashing)
    return clip_rate(sample)


_hashing: Final = partial(ThreadPoolExecutor, 1, "hash")


def _copy(sample: Sample, out: IO[bytes], hashing: Executor) -> None:
    """Write the clip, and hash each piece meanwhile: either takes about as long as the other."""
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(sample):
        hashed = hashing.submit(digest.update, piece)
        size += out.write(piece)
        hashed.result()
    if (size, digest.hexdigest()) != (sample.bytes, sample.sha256):
        raise ClipChanged(sample, "is not the file that was downloaded")


def _pieces(sample: Sample) -> Iterator[memoryview]:
    """The clip's bytes, in a buffer that is filled again and again."""
    buffer = memoryview(bytearray(_PIECE))
    with _reading(sample):
        source = Path(sample.clip).open("rb", buffering=0)
    with source:
        while True:
            with _reading(sample):
                count = source.readinto(buffer)
            if not count:
                return
            yield buffer[:count]


@contextlib.contextmanager
def _reading(sample: Sample) -> Iterator[None]:
    """What fails is the clip, and not the disk that is written to."""
    try:
        yield
    except media.MediaUnreadable as error:
        raise ClipChanged(sample, str(error)) from error
    except OSError as error:
        raise ClipChanged(sample, f"cannot be read: {error.strerror or error}") from error


def clip_rate(sample: Sample) -> float:
    """A clip's frame rate. Raises `ClipChanged`."""
    with _reading(sample):
        return media.frame_rate(Path(sample.clip))


def _poster(sample: Sample) -> bytes | None:
    """The poster that the run folder has, else one that is made now; None where none can be."""
    try:
        kept = Path(sample.poster).read_bytes()
        if kept.startswith(_JPEG[0]) and kept.endswith(_JPEG[1]):
            return kept
    except OSError:  # it has none, or it cannot be read
        pass
    try:
        return media.still(Path(sample.clip))
    except media.MediaUnreadable:
        return None


# ── tables ──────────────────────────────────────────────────────────────────────────────────────


def flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A sample's facts as a table has them: every value is one text, number or truth.

    The inputs are JSON, since rows have different ones.
    """
    inputs = json.dumps(facts["inputs"], ensure_ascii=False, sort_keys=True)
    return {**facts, "inputs": inputs, "made_from": "; ".join(facts["made_from"])}


def write_parquet(path: Path, samples: Sequence[Sample], told: Callable[[int], object]) -> None:
    """Write a Parquet file, a line for each sample. Raises as `write_tar` does."""
    from pyarrow import parquet

    lines = []
    for sample in samples:
        lines.append(_typed(flat(with_rate(sample, clip_rate(sample)))))
        told(1)
    parquet.write_table(_table(lines), path, compression="zstd")


def _table(lines: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    import pyarrow as arrow

    kinds = {
        **dict.fromkeys(("attempt", "bytes", "width", "height"), arrow.int64()),
        **dict.fromkeys(("seconds", "fps"), arrow.float64()),
        **dict.fromkeys(_TIMES, arrow.timestamp("ms", "UTC")),
        "audio": arrow.bool_(),
        "est_cost_usd": arrow.decimal128(18, 6),
    }
    fields = [arrow.field(name, kinds.get(name, arrow.string())) for name in lines[0]]
    return arrow.Table.from_pylist([dict(line) for line in lines], schema=arrow.schema(fields))


_TIMES: Final = ("submitted_at", "finished_at")


def _typed(line: dict[str, Any]) -> dict[str, Any]:
    cost = line["est_cost_usd"]
    times = {name: _moment(line[name]) for name in _TIMES}
    return {**line, **times, "est_cost_usd": None if cost is None else Decimal(cost)}


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def metadata_line(sample: Sample, fps: float) -> str:
    """A sample's line in the table of a VideoFolder.

    What is not known is an empty text there: Hugging Face takes a column's type from its values,
    and one without any has another type in each split.
    """
    name = f"{sample.key}{Path(sample.clip).suffix}"
    line = {"file_name": name, **flat(with_rate(sample, fps))}
    known = {column: "" if value is None else value for column, value in line.items()}
    return json.dumps(known, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def known_rates(tables: Iterable[Path]) -> dict[str, float]:
    """Frame rates by sha256 that earlier tables of a VideoFolder tell."""
    found: dict[str, float] = {}
    for table in tables:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            for line in map(json.loads, table.read_text(encoding="utf-8").splitlines()):
                found[str(line["sha256"])] = float(line["fps"])
    return found
