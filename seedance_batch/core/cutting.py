"""How clips become one film: what is copied, what is made anew, and when each is shown. Pure.

A film's picture is counted in frames, its sound in packets of 1,024 samples. Copied sound keeps to
these packets, so it may lie half a packet (12 ms) beside its picture at most; that never adds up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import groupby
from math import ceil, floor
from typing import Final

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
