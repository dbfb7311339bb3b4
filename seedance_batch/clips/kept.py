"""Where a run folder keeps its clips, on its own disk or in a store, and who works on many of them.

Whoever needs a clip's bytes asks here for a file; whoever made one hands it over here. Work that
can be done twice without harm may be handed to other machines: they are told addresses, names and
hashes, never a key, and never a clip's bytes, which lie where both see them. What counts is done by
who hands over: publishing, and the journal. Knows nothing of Dask. Blocking: call it from a worker
thread.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol, TypeVar

from seedance_batch.clips import media
from seedance_batch.clips.media import ClipTerms, MediaUnreadable
from seedance_batch.clips.partial import inside, storage
from seedance_batch.clips.stills import poster, poster_name
from seedance_batch.core.attempt import Clip
from seedance_batch.core.names import FOLDERS, MISMATCH_MARK
from seedance_batch.objects import Store, open_store
from seedance_batch.publish import replacing, sha256_of, size_of
from seedance_batch.run_folder import JOURNAL

J = TypeVar("J")
T = TypeVar("T")

MOMENT: Final = 60.0
"""Seconds for a clip that is only read."""
_AT_ONCE: Final = 8
"""Clips of a store that are checked at once: most of the time is the network's."""


class NameTaken(Exception):
    """Another object has the name that is a clip's; it was not touched."""


@dataclass(frozen=True)
class KeptClips:
    """The clips of one run folder."""

    folder: Path
    store: Store | None = None

    @property
    def seen(self) -> Path | None:
        """A file that whoever works on the clips has to see; None where a store has them."""
        return self.folder / JOURNAL if self.store is None else None

    # ── what a run does with a clip ─────────────────────────────────────────────────────────────

    def put(self, clip: Clip, attempt: str) -> None:
        """Bring a checked clip of the run folder to the store, with its returned frame.

        ``attempt``: which one made it, for those who look at the object. Returns once the store
        shows them. Raises `NameTaken` and `StoreAway`; the clip then stays where it is.
        """
        store = self.store
        if store is None:
            return
        about = {"attempt": attempt}
        files = {clip.file: clip.sha256}
        if clip.last_frame_file is not None:
            frame = inside(self.folder, clip.last_frame_file)
            with storage(f"read {frame}"):
                files = {clip.last_frame_file: sha256_of(frame)} | files
        for name, sha256 in files.items():
            path = inside(self.folder, name)
            try:
                store.put_new(name, path, sha256, about)
            except FileExistsError:
                raise NameTaken(
                    f"another object has its name in the store, {store.address(name)}; it was "
                    "not touched, and the clip is in the run folder: move that object away"
                ) from None

    def put_poster(self, clip: Clip) -> None:
        """Bring a clip's poster to the store, where there is one. Raises `StoreAway`."""
        path = self.folder / poster_name(clip)
        if self.store is not None and size_of(path):
            self.store.put(poster_name(clip), path)

    def let_go(self, clip: Clip) -> None:
        """Remove the copy on this disk of a clip whose row is done: the store has it.

        What a person has put in its place stays.
        """
        if self.has_copy(clip):
            for name in filter(None, (clip.last_frame_file, clip.file)):
                with contextlib.suppress(OSError):  # somebody plays it; the next run tries again
                    (self.folder / name).unlink(missing_ok=True)

    # ── where clips are ─────────────────────────────────────────────────────────────────────────

    def sizes(self, clips: Collection[Clip]) -> dict[str, int]:
        """Name → bytes of those that are where they belong: by a look at each file's entry, or by
        the store's list. Raises `StoreAway`."""
        if self.store is None:
            found = {clip.file: size_of(self.folder / clip.file) for clip in clips}
            return {name: size for name, size in found.items() if size is not None}
        wanted = {clip.file for clip in clips}
        return {name: size for name, size in self.listed().items() if name in wanted}

    def listed(self) -> dict[str, int]:
        """Name → bytes of all clips in the store. Raises `StoreAway`."""
        if self.store is None:
            return {}
        store = self.store
        found = (each for folder in FOLDERS.values() for each in store.list(folder))
        return {each.name: each.size for each in found}

    def has_copy(self, clip: Clip) -> bool:
        """Whether this disk has a clip that the store keeps."""
        return self.store is not None and self.stands(clip)

    def stands(self, clip: Clip) -> bool:
        """Whether this disk has a file of its name and size, which may not be in the store yet."""
        return size_of(self.folder / clip.file) == clip.bytes

    def present(self, clips: Collection[Clip]) -> set[str]:
        """Names of those that can be had: that are on this disk, or that the store was given.

        Asks no store; what is no right clip never leaves the run folder.
        """
        given = {c.file for c in clips if self.store is not None and MISMATCH_MARK not in c.file}
        return given | {c.file for c in clips if (self.folder / c.file).is_file()}

    @contextlib.contextmanager
    def at_hand(self, *files: str | None, stored: bool = False) -> Iterator[Path]:
        """A folder of this disk in which these lie by their names, for the length of a block.

        What neither disk nor store has is not there; ``stored`` as in `bring`. Raises `StoreAway`.
        """
        if self.store is None:
            yield self.folder
            return
        with tempfile.TemporaryDirectory(prefix="seedance-batch-") as home:
            for name in filter(None, files):
                self.bring(name, Path(home) / name, stored=stored)
            yield Path(home)

    def bring(self, name: str, path: Path, *, stored: bool = False) -> bool:
        """Write a copy of what is under ``name``, here or in the store, to ``path``; False where
        there is none. Raises `StoreAway`, and `StorageFailed`.

        ``stored``: the store's own, whatever is here; what is no right clip never went there.
        """
        with storage(f"write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not stored or MISMATCH_MARK in name:
                with contextlib.suppress(FileNotFoundError):  # a run lets go of it at any moment
                    shutil.copyfile(self.folder / name, path)
                    return True
            return self.store is not None and self.store.fetch(name, path) is not None

    def still(self, clip: Clip) -> Path | None:
        """A clip's poster in the run folder, made or fetched if need be; None where none can be.

        Raises ``OSError`` where the disk refuses to hold it, and `StoreAway`.
        """
        found = poster(self.folder, clip)
        if found is not None or self.store is None:
            return found
        name = poster_name(clip)
        with self.at_hand(name, stored=True) as home:
            if size_of(home / name):
                (self.folder / name).parent.mkdir(exist_ok=True)
                with replacing(self.folder / name, durable=False) as temporary:
                    shutil.copyfile(home / name, temporary)
                return self.folder / name
        with self.at_hand(clip.file) as home:
            return poster(self.folder, clip, source=home / clip.file)


# ── who works on them ───────────────────────────────────────────────────────────────────────────


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


# ── what a worker runs, by plain arguments ──────────────────────────────────────────────────────


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


def check_stored(store: str, job: CheckJob) -> Checked:
    """`check_clip` of a clip that a store has, by plain arguments."""
    with KeptClips(Path(job.folder), open_store(store)).at_hand(job.clip.file, stored=True) as home:
        return check_clip(replace(job, folder=str(home)))


def damage(folder: Path, clip: Clip) -> str | None:
    """Why a clip's file is not the one that was downloaded; its size tells without reading it."""
    path = folder / clip.file
    try:
        if path.stat().st_size == clip.bytes and sha256_of(path) == clip.sha256:
            return None
    except OSError as error:
        return f"{clip.file} cannot be read: {error.strerror or error}"
    return f"{clip.file} is not the file that was downloaded"


def make_poster(folder: str, clip: Clip) -> bool:
    """Make a clip's poster below the run folder; whether there is one now."""
    return poster(Path(folder), clip) is not None


def make_stored_poster(store: str, clip: Clip) -> None:
    """Put the poster of a clip that a store has there as well, by plain arguments."""
    opened = open_store(store)
    if opened.head(poster_name(clip)) is None:
        with tempfile.TemporaryDirectory(prefix="seedance-batch-") as home:
            kept = KeptClips(Path(home), opened)
            if kept.still(clip) is not None:
                kept.put_poster(clip)


# ── many of them at once ────────────────────────────────────────────────────────────────────────


def checked_clips(
    kept: KeptClips, jobs: Sequence[CheckJob], hands: Hands | None
) -> Iterator[Checked]:
    """What is wrong with each clip, by ``hands`` or else here. Raises `StoreAway`.

    What other machines find wrong is looked at again here before it is told.
    """
    store = kept.store
    check = check_clip if store is None else partial(check_stored, store.url)
    by = hands or Here(1 if store is None else _AT_ONCE)
    for job, found in zip(jobs, by.each(check, jobs), strict=True):
        yield found if found == Checked() or isinstance(by, Here) else check(job)


def stills(
    kept: KeptClips, clips: Sequence[Clip], hands: Hands | None, here: int
) -> Iterator[Path | None]:
    """Each clip's poster in the run folder, as `KeptClips.still` has it, by ``hands`` or in so many
    threads here. What another machine could not make is tried here."""
    if hands is None:
        return Here(here).each(kept.still, clips)
    if kept.store is None:
        made = hands.each(partial(make_poster, str(kept.folder.resolve())), clips)
        return (kept.still(clip) for clip, _ in zip(clips, made, strict=True))
    for _ in hands.each(partial(make_stored_poster, kept.store.url), clips):
        pass
    return Here(here).each(kept.still, clips)
