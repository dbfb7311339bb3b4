"""Work on clips that can be done twice without harm, and who does it: this process, or a cluster.

What is handed over is small: addresses, names, hashes; never a key, and never a clip's bytes, which
lie on a disk that both see. What counts is done by who hands over: publishing, and the journal.
Workers import this room and the core alone, so it knows nothing of Dask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol, TypeVar

from seedance_batch.clips import media
from seedance_batch.clips.media import ClipTerms, MediaUnreadable
from seedance_batch.clips.stills import poster
from seedance_batch.core.attempt import Clip
from seedance_batch.publish import sha256_of

J = TypeVar("J")
T = TypeVar("T")


MOMENT: Final = 60.0
"""Seconds for a clip that is only read."""


class Hands(Protocol):
    """Who does work that needs no order and no key."""

    def each(
        self, work: Callable[[J], T], jobs: Sequence[J], /, *, within: float = MOMENT
    ) -> Iterator[T]:
        """What ``work``, a function of a module, makes of each job, in the order of the jobs.

        ``within``: seconds for a job, after which another one's hands do it.
        """


class Here:
    """This process, in so many threads; with one, a job is done when its answer is asked for."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def each(
        self, work: Callable[[J], T], jobs: Sequence[J], /, *, within: float = MOMENT
    ) -> Iterator[T]:
        """See `Hands`."""
        if self._threads == 1:
            yield from map(work, jobs)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            yield from pool.map(work, jobs)


# ── what a worker runs ──────────────────────────────────────────────────────────────────────────


class Unfit(Exception):
    """A worker cannot do such work; the message completes *it …*."""


@cache
def our_version() -> str:
    """Of this program, as it is installed here."""
    return version("seedance-batch")


def work_through(their_version: str, work: Callable[[J], T], jobs: Sequence[J]) -> list[T]:
    """What ``work`` makes of each job, in a worker. Raises `Unfit` under another version."""
    if their_version != our_version():
        raise Unfit(f"has seedance-batch {our_version()}, not {their_version}")
    return [work(job) for job in jobs]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`ClipTerms` of their own: what a worker is told of an attempt."""

    resolution: str
    duration: int
    aspect_ratio: str
    generate_audio: bool

    @classmethod
    def of(cls, asked: ClipTerms) -> Wanted:
        """The part of an intent that decides whether a clip is right."""
        return cls(asked.resolution, asked.duration, asked.aspect_ratio, asked.generate_audio)


@dataclass(frozen=True, slots=True)
class CheckJob:
    """A clip on disk, to be held against what was downloaded and what was asked for."""

    folder: str
    clip: Clip
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with a clip on disk; None where nothing is."""

    damage: str | None = None
    """Why its file is not the one that was downloaded."""
    misfit: str | None = None
    """Why it is not what was asked for."""


def check_clip(job: CheckJob) -> Checked:
    """Read the whole file, and decode it where it is the one that was downloaded."""
    folder = Path(job.folder)
    broken = damage(folder, job.clip)
    if broken is not None:
        return Checked(damage=broken)
    try:
        return Checked(misfit=media.judge(media.probe(folder / job.clip.file), job.wanted))
    except MediaUnreadable as error:
        return Checked(misfit=str(error))


def damage(folder: Path, clip: Clip) -> str | None:
    """Why a clip's file is not the one that was downloaded; its size tells without reading it."""
    path = folder / clip.file
    try:
        if path.stat().st_size == clip.bytes and sha256_of(path) == clip.sha256:
            return None
    except OSError as error:
        return f"{clip.file} cannot be read: {error.strerror or error}"
    return f"{clip.file} is not the file that was downloaded"


def checked_by(
    hands: Hands, jobs: Sequence[CheckJob], check: Callable[[CheckJob], Checked] = check_clip
) -> Iterator[Checked]:
    """Check clips; what other machines find wrong is looked at again here before it is told."""
    for job, found in zip(jobs, hands.each(check, jobs), strict=True):
        yield found if found == Checked() or isinstance(hands, Here) else check(job)


def make_poster(folder: str, clip: Clip) -> bool:
    """Make a clip's poster below the run folder; whether there is one now."""
    return poster(Path(folder), clip) is not None


def posters_by(hands: Hands, folder: Path, clips: Sequence[Clip]) -> Iterator[Path | None]:
    """The poster of each clip, made; what another machine could not make is tried here."""
    make = partial(make_poster, str(folder.resolve()))
    for clip, _ in zip(clips, hands.each(make, clips), strict=True):
        yield poster(folder, clip)
