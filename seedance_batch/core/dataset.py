"""How finished clips make a data set: their names, their splits, and which shard holds which. Pure.

All of it stays as it is while rows are added: a sample's name and split follow from the sample
alone, and a shard that was made keeps its samples.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import accumulate, groupby
from typing import Final

from seedance_batch.core.names import safe_stem
from seedance_batch.errors import SettingsError

MOST_IN_A_SHARD: Final = 10_000
"""Samples; a shard is full before that where its bytes are."""
_MADE_BY: Final = "1"
"""Raised whenever equal samples would make other files: it is part of each shard's name."""
_LONGEST_KEY: Final = 60
"""Characters of an id in a sample's name."""


class DatasetFormat(StrEnum):
    """What a data set's files are."""

    WEBDATASET = "webdataset"
    """Tar files of samples, each a clip, a JSON and a poster."""
    PARQUET = "parquet"
    """Tables of what is known of each clip; the clips stay where they are."""
    HF = "hf"
    """Hugging Face's VideoFolder: clips, and a table beside them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A clip as a part of a data set."""

    key: str
    """Its name there, of which no other sample has the same."""
    split: str
    clip: str
    """The path of its file."""
    poster: str
    """The path of its poster, which may not be there."""
    sha256: str
    bytes: int
    facts: str
    """What the journal knows of it, as a JSON object."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Samples that share a file."""

    name: str
    """Without ending. It has a hash of all that the file is made of: equal names, equal files."""
    split: str
    samples: tuple[Sample, ...]
    """By their keys."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Names and weights, such as ``train=90,test=10``."""

    weights: Mapping[str, Decimal]

    @classmethod
    def parse(cls, text: str) -> Splits:
        """Raises `SettingsError` for what is not of this form."""
        weights: dict[str, Decimal] = {}
        for part in text.split(","):
            name, _, weight = (piece.strip() for piece in part.partition("="))
            number = _number(weight)
            if name in weights or not re.fullmatch(r"[a-z]\w*", name, re.ASCII) or not number:
                raise SettingsError(
                    f"--split {text!r} is not a list of names with a share each.",
                    hint="--split train=90,validation=5,test=5",
                )
            weights[name] = number
        return cls(weights)

    def of(self, key: str) -> str:
        """The split of a row: takes of one row share it, whatever rows there are besides."""
        digest = hashlib.sha256(f"split\n{key}".encode("utf-8", "surrogatepass")).digest()
        at = Decimal(int.from_bytes(digest[:8])) / 2**64 * sum(self.weights.values())
        ends = accumulate(self.weights.values())
        return next(name for name, end in zip(self.weights, ends, strict=True) if at < end)


def _number(text: str) -> Decimal | None:
    """A positive number; None for anything else."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None


MOST_APART: Final = 11
"""Bits of 192 in which the perceptual hashes of two clips differ that look the same."""


def hash_parts(phash: str) -> tuple[int, ...]:
    """A perceptual hash in twelve parts: of two that are so near, one part at least is equal."""
    return tuple(int(phash[at : at + 4], 16) for at in range(0, len(phash), 4))


def apart(one: str, other: str) -> int:
    """In how many bits two perceptual hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def sample_key(key: str, sha256: str) -> str:
    """A sample's name: the row's id and a part of the clip's hash, as file systems take it.

    It has no dot, since a name's ending begins at its first dot in a WebDataset, and no blank.
    """
    stem = re.sub(r"[\s.]", "_", safe_stem(key))[:_LONGEST_KEY]
    return f"{stem}-{sha256[:12]}"


def sharded(
    samples: Iterable[tuple[int | None, Sample]], most_bytes: int, most: int = MOST_IN_A_SHARD
) -> Iterator[Shard]:
    """The shards of a data set, one after the other.

    Each sample comes with the number of the shard in which it was before; None where it was in
    none. They come by these numbers, those without one last, then by their splits and keys.

    Samples stay in the shard in which they are. Those that are in none make new ones, in the order
    of their keys, each of at most ``most_bytes``. A shard that lacks a sample by now is another.
    """
    for (former, split), group in groupby(samples, key=lambda pair: (pair[0], pair[1].split)):
        found = (sample for _, sample in group)
        parts = _cut(found, most_bytes, most) if former is None else [list(found)]
        yield from (_shard(split, part) for part in parts)


def _cut(samples: Iterable[Sample], most_bytes: int, most: int) -> Iterator[list[Sample]]:
    part: list[Sample] = []
    size = 0
    for sample in samples:
        if part and (size + sample.bytes > most_bytes or len(part) == most):
            yield part
            part, size = [], 0
        part.append(sample)
        size += sample.bytes
    if part:
        yield part


def _shard(split: str, samples: Sequence[Sample]) -> Shard:
    made_of = hashlib.sha256(_MADE_BY.encode())
    for sample in samples:
        line = "\n".join(("", sample.key, sample.sha256, sample.facts))
        made_of.update(line.encode("utf-8", "surrogatepass"))
    return Shard(f"{split}-{made_of.hexdigest()[:16]}", split, tuple(samples))
