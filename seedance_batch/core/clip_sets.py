"""What many finished clips make together: one film, or a data set. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction
from itertools import accumulate, groupby
from math import ceil, floor
from typing import Final

from seedance_batch.core.names import safe_stem
from seedance_batch.errors import SettingsError

# ── One film: what is copied, what is made anew, and when each is shown ───────────────────────────
# A film's picture is counted in frames, its sound in packets of 1,024 samples. Copied sound keeps
# to these packets, so it may lie half a packet (12 ms) beside its picture at most; that never adds
# up.


PACKET: Final = 1024
"""Samples in a packet of AAC-LC (ISO/IEC 14496-3)."""
REORDERED: Final = 2
"""Frames by which an encoder of ours may decode a frame before it is shown."""


class How(StrEnum):
    """How a part of a clip comes into a film."""

    COPIED = "copied"
    """Its bytes as they are."""
    MADE = "made"
    """Decoded, fitted to the film and encoded."""


@dataclass(frozen=True, slots=True)
class PictureForm:
    """How a clip's frames are coded; two clips for which this is equal may follow each other."""

    width: int
    """Pixels, as they are shown."""
    height: int
    rate: Fraction
    """Frames a second."""
    parameters: bytes
    """What the decoder is told before the first frame."""
    copyable: bool
    """Whether frames can be taken over as they are, and encoded ones be put between them."""


@dataclass(frozen=True, slots=True)
class SoundForm:
    """How a clip's sound is coded."""

    rate: int
    """Samples a second."""
    channels: int
    copyable: bool
    """Whether it is AAC-LC in packets of `PACKET` samples."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A clip that a film is made of."""

    name: str
    picture: PictureForm
    frames: int
    before_last: int
    """Frames from the start that can be copied without the last one: none of them needs a later."""
    delay: int
    """Frames by which some frame is decoded before it is shown."""
    sound: SoundForm | None
    shares_last: bool = False
    """Whether its last frame is the next shot's first one, and is to be shown once."""


@dataclass(frozen=True, slots=True)
class Section:
    """Frames of one shot that come into the film in one way."""

    shot: int
    """The shot's position, from 0."""
    how: How
    first: int
    """The number of its first frame in the shot, at the film's rate."""
    count: int
    start: int
    """The number of its first frame in the film."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a film's sound: one shot's, copied, or that of one or more, made."""

    how: How
    shots: range
    first: int
    """The number of its first packet in the film; -1 is the one that comes before the picture."""
    until: int
    """The number of the packet after its last."""


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """A film, before it is made."""

    shots: tuple[Shot, ...]
    width: int
    height: int
    rate: Fraction
    sections: tuple[Section, ...]
    starts: tuple[int, ...]
    """The number of each shot's first frame in the film, and at the end how many frames it has."""
    delay: int
    sound: SoundForm | None
    stretches: tuple[Stretch, ...]

    @property
    def frames(self) -> int:
        """How many frames the film has."""
        return self.starts[-1]

    @property
    def seconds(self) -> Fraction:
        """How long it is shown."""
        return self.frames / self.rate

    @property
    def made_frames(self) -> int:
        """How many frames are encoded anew."""
        return sum(section.count for section in self.sections if section.how is How.MADE)

    def sample(self, shot: int) -> int:
        """The number of the sample in the film at which a shot begins."""
        rate = self.sound.rate if self.sound else 0
        return round(self.starts[shot] / self.rate * rate)


def plan_film(shots: Sequence[Shot], *, laid_sound: bool = False) -> FilmPlan:
    """One film of these shots, in this order; at least one. ``laid_sound``: a track lies under it.

    It has the size and rate of the first shot. What fits to that is copied. The last frame of a
    shot that shares it is left out; where frames before it need it, those few are encoded.
    """
    first = shots[0].picture
    width, height = first.width // 2 * 2, first.height // 2 * 2
    parameters = _commonest(shots)
    sections: list[Section] = []
    starts = [0]
    for position, shot in enumerate(shots):
        fits = shot.picture.parameters == parameters and _is_alike(shot.picture, first)
        found = _sections(position, shot, first.rate, starts[-1], fits=fits)
        sections += found
        starts.append(starts[-1] + sum(section.count for section in found))
    copied = {section.shot for section in sections if section.how is How.COPIED}
    delay = max([shots[each].delay for each in copied], default=0)
    if any(section.how is How.MADE for section in sections):
        delay = max(delay, REORDERED)
    sound = _sound(shots, laid_sound)
    stretches = () if sound is None else _stretches(shots, starts, first.rate, sound, laid_sound)
    return FilmPlan(
        tuple(shots), width, height, first.rate, tuple(sections), tuple(starts), delay, sound,
        tuple(stretches),
    )  # fmt: skip


def _is_alike(one: PictureForm, first: PictureForm) -> bool:
    same = (one.width, one.height, one.rate) == (first.width, first.height, first.rate)
    return same and one.copyable


def _commonest(shots: Sequence[Shot]) -> bytes | None:
    """The parameters that most of the shots have which could be copied; the earliest of equals."""
    first = shots[0].picture
    alike = [s.picture.parameters for s in shots if _is_alike(s.picture, first)]
    return Counter(alike).most_common(1)[0][0] if alike else None


def _sections(at: int, shot: Shot, rate: Fraction, start: int, *, fits: bool) -> list[Section]:
    shown = max(1, round(shot.frames / shot.picture.rate * rate))
    wanted = shown - 1 if shot.shares_last and shown > 1 else shown
    if not fits:
        return [Section(at, How.MADE, 0, wanted, start)]
    copied = shot.frames if wanted == shot.frames else shot.before_last
    found = [
        Section(at, How.COPIED, 0, copied, start),
        Section(at, How.MADE, copied, wanted - copied, start + copied),
    ]
    return [section for section in found if section.count]


# ── sound ───────────────────────────────────────────────────────────────────────────────────────


LAID: Final = SoundForm(48_000, 2, copyable=False)
"""The sound of a film whose clips have none, under which a track is laid; its rate also serves
where no clip's sound can be copied."""


def _sound(shots: Sequence[Shot], laid_sound: bool) -> SoundForm | None:
    heard = [shot.sound for shot in shots if shot.sound is not None]
    if not heard:
        return LAID if laid_sound else None
    first = heard[0]
    return first if first.copyable else SoundForm(LAID.rate, first.channels, copyable=False)


def _stretches(
    shots: Sequence[Shot], starts: Sequence[int], rate: Fraction, sound: SoundForm, laid_sound: bool
) -> list[Stretch]:
    hows = [How.MADE if laid_sound else _sound_how(shot, sound) for shot in shots]
    # A copied shot stands alone; neighbours that are made are made in one go.
    groups = groupby(range(len(shots)), lambda at: (hows[at], at if hows[at] is How.COPIED else -1))
    runs = [(how, list(members)) for (how, _), members in groups]
    borders = [_packet(starts[members[0]] / rate, sound.rate) for _, members in runs]
    borders = [-1, *borders[1:], ceil(starts[-1] / rate * sound.rate / PACKET)]
    return [
        Stretch(how, range(members[0], members[-1] + 1), first, until)
        for (how, members), first, until in zip(runs, borders, borders[1:], strict=False)
    ]


def _sound_how(shot: Shot, sound: SoundForm) -> How:
    return How.COPIED if sound.copyable and shot.sound == sound else How.MADE


def _packet(seconds: Fraction, rate: int) -> int:
    """The number of the packet whose beginning is nearest to a moment."""
    return nearest(seconds * rate / PACKET)


def nearest(number: Fraction) -> int:
    """The nearest whole number; of two the higher one, so that equal steps stay equal."""
    return floor(number + Fraction(1, 2))


# ── A data set: the names of its samples, their splits, and which shard holds which ───────────────
# All of it stays as it is while rows are added: a sample's name and split follow from the sample
# alone, and a shard that was made keeps its samples.


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
