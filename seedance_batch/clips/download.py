"""Clips from URLs to checked files: stream to ``.partial/``, verify, publish; never half a file.

In this process, or by a cluster's workers. Holds no key, knows no HiAPI URL and no journal. What a
row does next is the caller's decision.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import httpx

from seedance_batch.api.addresses import file_client
from seedance_batch.clips import media
from seedance_batch.clips.cluster import Cluster, NotDone, open_cluster
from seedance_batch.clips.kept import KeptClips, NameTaken, Unfit, Wanted
from seedance_batch.clips.media import ClipTerms, MediaUnreadable, Probe
from seedance_batch.clips.partial import (
    PARTIAL_FOLDER,
    Partial,
    inside,
    make_durable,
    move_aside,
    move_in,
    storage,
)
from seedance_batch.clips.stills import poster, poster_name
from seedance_batch.clips.transfer import (
    DEFAULT_LIMITS,
    ClipToFetch,
    Failed,
    Fetched,
    Fetches,
    Gone,
    Known,
    Limits,
    NoFrame,
    NotKept,
    Offload,
    Result,
    T,
    Transfer,
    Wrong,
)
from seedance_batch.core import names
from seedance_batch.core.attempt import Clip, Intent
from seedance_batch.errors import StorageFailed, StoreAway
from seedance_batch.objects import open_store
from seedance_batch.publish import sha256_of, size_of
from seedance_batch.run_folder import POSTERS

_THREADS: Final = 16
"""A fetch uses one at a time: with as many lanes, none waits for another's decoding."""


def in_threads() -> Offload:
    """Worker threads with a limit of their own, so that decoding never keeps a commit waiting."""
    limiter = anyio.CapacityLimiter(_THREADS)

    def offload(work: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        return anyio.to_thread.run_sync(work, *args, limiter=limiter)

    return offload


class Downloader:
    """Fetches clips into one run folder, whose lock the caller holds."""

    def __init__(
        self,
        folder: Path,
        http: httpx.AsyncClient,
        *,
        allow_private: bool,
        limits: Limits = DEFAULT_LIMITS,
        offload: Offload | None = None,
        observe: Callable[[int], None] | None = None,
        measure: Callable[[Path], Probe] = media.probe,
    ) -> None:
        """``http`` carries no key (see `file_client`); ``observe`` is told bytes as they arrive.

        ``measure`` tells what a file really is, or raises `MediaUnreadable`.
        """
        if "authorization" in http.headers:
            raise ValueError("a client that carries a key must not meet a file host")
        self._folder = folder
        self._limits = limits
        self._offload = offload or in_threads()
        self._measure = measure
        self._transfer = Transfer(
            http, allow_private, limits, self._offload, observe or (lambda _: None)
        )

    @property
    def lanes(self) -> int:
        """None elsewhere: see `Fetches`."""
        return 0

    async def fetch(self, wanted: ClipToFetch) -> Result:
        """Bring the clip to its file, a name kept for it in the journal before this call.

        A right clip that stands there already, from before a crash, is taken as it is. Raises
        `StorageFailed` where the disk refuses.
        """
        standing = await self._offload(self._standing, wanted)
        video = standing or await self._fetch_video(wanted)
        if not isinstance(video, Clip):
            return video
        frame = wanted.last_frame_url
        return await self._with_frame(video, frame) if frame else Fetched(video)

    # ── what a worker has brought ───────────────────────────────────────────────────────────────

    def stands(self, file: str) -> bool:
        """Whether anything lies where the clip or its last frame belongs. Blocking."""
        found = [names.with_ending(file, ending) for ending in names.CLIP_ENDINGS]
        return any(os.path.lexists(self._folder / n) for n in (*found, names.frame_name(file)))

    def take_over(self, place: Path, file: str, result: Result) -> Result:
        """Publish what another `Downloader` brought to the folder ``place`` as ``file``. Blocking.

        Both folders lie on one file system. Raises `StorageFailed`, also where what is there is not
        what the result says.
        """
        match result:
            case Fetched(clip) | NoFrame(clip):
                for ours in (clip.file, clip.last_frame_file):
                    if ours is not None:
                        _check_name(ours, file)
                _check_size(place / clip.file, clip.bytes)
                move_in(place / clip.file, self._folder, clip.file)
                self._forget_wrong(file)
                if clip.last_frame_file is not None:
                    move_in(place / clip.last_frame_file, self._folder, clip.last_frame_file)
            case Wrong(_, _, kept):
                _check_name(kept.file, file)
                _check_size(place / kept.file, kept.bytes)
                self._forget_wrong(file)
                move_in(place / kept.file, self._folder, kept.file, replace=True)
            case _:
                pass
        return result

    # ── the clip ────────────────────────────────────────────────────────────────────────────────

    def _standing(self, wanted: ClipToFetch) -> Clip | None:
        """The clip at its file, whatever the ending, where it is right."""
        names_of = (names.with_ending(wanted.file, ending) for ending in names.CLIP_ENDINGS)
        found = (self._standing_at(name, wanted.terms) for name in names_of)
        return next(filter(None, found), None)

    def _standing_at(self, file: str, terms: ClipTerms) -> Clip | None:
        """The clip at ``file`` where it is right; anything else there is moved aside."""
        path = inside(self._folder, file)
        if not os.path.lexists(path):
            return None
        if path.is_file() and not path.is_symlink():
            with storage(f"read {path}"):
                probe = self._probed(path)
            if _fault(probe, terms) is None:
                make_durable(path)  # its publication may have ended before the folder's sync
                with storage(f"read {path}"):
                    return _clip(file, path.stat().st_size, sha256_of(path), probe)
        move_aside(self._folder, file)
        return None

    async def _fetch_video(self, wanted: ClipToFetch) -> Clip | Gone | Wrong | Failed:
        partial = Partial(self._folder, names.CLIP_ENDING)
        try:
            arrived = await self._transfer.pull(wanted.url, partial, self._limits.max_bytes)
            if not isinstance(arrived, Known):
                return arrived
            return await self._offload(self._settle, partial, arrived, wanted)
        finally:
            partial.discard()

    def _settle(
        self, partial: Partial, arrived: Known, wanted: ClipToFetch
    ) -> Clip | Wrong | Failed:
        """Publish what arrived under the name that it deserves."""
        page = _page(partial.head)
        if page:
            return Failed(page)
        path = partial.write()
        with storage(f"read {path}"):
            probe = self._probed(path)
        if isinstance(probe, MediaUnreadable) and not arrived.framed:
            return Failed(f"the file was cut short: {probe.reason}")
        if (reason := _fault(probe, wanted.terms)) is not None:
            return self._keep_wrong(partial, wanted.file, probe, reason)
        file = names.with_ending(wanted.file, media.ending_of(partial.head))
        partial.publish(file)
        self._forget_wrong(file)
        return _clip(file, partial.size, partial.sha256, probe)

    def _probed(self, path: Path) -> Probe | MediaUnreadable:
        try:
            return self._measure(path)
        except MediaUnreadable as error:
            return error

    def _keep_wrong(
        self, partial: Partial, file: str, probe: Probe | MediaUnreadable, reason: str
    ) -> Wrong:
        """Keep the latest wrong file, once, under its own name."""
        name = names.mismatch_name(file, media.ending_of(partial.head))
        self._forget_wrong(file)
        partial.publish(name, replace=True)
        kept = _clip(name, partial.size, partial.sha256, probe)
        return Wrong(partial.sha256, reason, kept)

    def _forget_wrong(self, file: str) -> None:
        """Remove what an earlier download brought that was not what was asked for."""
        for ending in media.ENDINGS:
            name = names.mismatch_name(file, ending)
            with storage(f"remove {name}"):
                (self._folder / name).unlink(missing_ok=True)

    # ── its last frame ──────────────────────────────────────────────────────────────────────────

    async def _with_frame(self, clip: Clip, url: str) -> Fetched | NoFrame | Failed:
        """The clip with its returned frame. Only the frame host's bad day makes it `Failed`.

        The clip stands by then: the next fetch finds it and asks for the frame alone.
        """
        name = names.frame_name(clip.file)
        if await self._offload(self._frame_stands, name):
            return Fetched(replace(clip, last_frame_file=name))
        partial = Partial(self._folder, names.FRAME_ENDING)
        try:
            arrived = await self._transfer.pull(url, partial, self._limits.max_frame_bytes)
            if isinstance(arrived, Failed) and arrived.ours:
                return Fetched(clip, note=f"no last frame: {arrived.message}")
            if isinstance(arrived, Failed):
                return replace(arrived, message=f"last frame: {arrived.message}")
            if isinstance(arrived, Gone):
                return NoFrame(clip, arrived.message)
            await self._offload(self._publish_frame, partial, name)
        except NoImage as error:
            return Fetched(clip, note=f"no last frame: the file {error}")
        finally:
            partial.discard()
        return Fetched(replace(clip, last_frame_file=name))

    def _frame_stands(self, name: str) -> bool:
        path = inside(self._folder, name)
        if not os.path.lexists(path):
            return False
        try:
            stands = path.is_file() and not path.is_symlink() and as_png(_bytes(path)) is None
        except NoImage:
            stands = False
        if stands:
            make_durable(path)
        else:
            move_aside(self._folder, name)
        return stands

    def _publish_frame(self, partial: Partial, name: str) -> None:
        png = as_png(_bytes(partial.write()))
        if png is not None:
            partial.restart()
            partial.add(png)
        partial.publish(name)


def _check_name(given: str, file: str) -> None:
    """Raise `StorageFailed` where ``given`` is none of the names that belong to ``file``."""
    right = {names.with_ending(file, ending) for ending in names.CLIP_ENDINGS}
    right |= {names.mismatch_name(file, ending) for ending in media.ENDINGS}
    if given not in right | {names.frame_name(file)}:
        raise StorageFailed(f"{given} is no name for {file}")


def _check_size(path: Path, size: int) -> None:
    if path.is_symlink() or size_of(path) != size:
        raise StorageFailed(f"{path} is not what was brought")


def _bytes(path: Path) -> bytes:
    with storage(f"read {path}"):
        return path.read_bytes()


def _page(head: bytes) -> str | None:
    """Why this is no file at all: text in its place is an error page, and may pass."""
    if not head:
        return "the file host sent an empty file"
    return None if b"\0" in head else "the file host sent a text page instead of the file"


def _fault(probe: Probe | MediaUnreadable, terms: ClipTerms) -> str | None:
    """Why a file is not the clip that was asked for; None where it is."""
    return probe.reason if isinstance(probe, MediaUnreadable) else media.judge(probe, terms)


def _clip(file: str, size: int, sha256: str, probe: Probe | MediaUnreadable) -> Clip:
    if isinstance(probe, MediaUnreadable):
        return Clip(file, size, sha256, seconds=0.0, width=0, height=0, has_audio=False)
    return Clip(
        file, size, sha256, probe.seconds, probe.width, probe.height, has_audio=probe.has_audio
    )


# ── A returned last frame: is it an image, and as a PNG. Pure: bytes in, bytes out ────────────────


MOST_FRAME_PIXELS: Final = 64_000_000
"""Past any frame the service makes; a picture that claims more is not unpacked."""


class NoImage(Exception):
    """The bytes are no image that can be shown; the message completes *the file …*."""


def as_png(content: bytes) -> bytes | None:
    """None where ``content`` is a whole PNG already, else its picture as one. Raises `NoImage`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MOST_FRAME_PIXELS:
                raise NoImage(f"claims {image.width}×{image.height} pixels")
            image.load()
            if image.format == "PNG":
                return None
            out = io.BytesIO()
            image.convert("RGB").save(out, "PNG")
            return out.getvalue()
    except NoImage:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes of them
        raise NoImage(f"is not a complete image ({type(error).__name__})") from error


# ── Looks at a clip without keeping it: what it is, for those who have to tell one from another ───


_PATIENCE: Final = 90.0
"""Seconds for the whole look."""


async def look_at(folder: Path, url: str, *, allow_private: bool) -> Probe | None:
    """What a clip is; None where it cannot be had or read. Nothing of it stays in ``folder``."""
    partial, offload = Partial(folder, names.CLIP_ENDING), in_threads()
    try:
        with anyio.move_on_after(_PATIENCE):
            async with file_client(allow_private=allow_private, lanes=1) as http:
                transfer = Transfer(http, allow_private, DEFAULT_LIMITS, offload, lambda _: None)
                arrived = await transfer.pull(url, partial, DEFAULT_LIMITS.max_bytes)
                if isinstance(arrived, Known):
                    return await offload(_probe, partial)
        return None
    finally:
        partial.discard()


def _probe(partial: Partial) -> Probe | None:
    try:
        return media.probe(partial.write())
    except MediaUnreadable:
        return None


# ── By a cluster's workers: what they run, and what becomes of it here ────────────────────────────
# Where the run folder keeps its clips, a worker brings each to a folder of its own on the common
# disk, and it is published here. Where a store does, the worker puts it there, under a name that is
# in the journal by then; as such names are given once, it may be done twice.


_WITHIN: Final = 300.0
"""Seconds that a worker has for a clip; it is then fetched here, where no such limit holds."""


@dataclass(frozen=True, slots=True)
class FetchJob:
    """A clip to bring somewhere; neither its row nor its price is told."""

    wanted: ClipToFetch
    allow_private: bool
    attempt: str
    """For those who look at an object of a store."""


def fetch_to_place(place: str, job: FetchJob) -> Result:
    """Fetch, verify and make the poster, all below an empty folder that is the job's own.

    Raises `Unfit` where this machine does not see the folder.
    """
    if not Path(place).is_dir():
        raise Unfit(f"does not see {place}")
    result = anyio.run(_fetched, Path(place), job)
    if isinstance(result, Fetched | NoFrame):
        with contextlib.suppress(OSError):  # the page makes those that it lacks
            poster(Path(place), result.clip)
    return result


def fetch_to_store(store: str, job: FetchJob) -> Result | None:
    """Fetch, verify, make the poster, and put all of it into a store.

    None where the file has to be kept although it is wrong. Raises as `KeptClips.put` does.
    """
    with tempfile.TemporaryDirectory(prefix="seedance-batch-") as place:
        result = fetch_to_place(place, job)
        if isinstance(result, Wrong):
            return None
        if isinstance(result, Fetched | NoFrame):
            kept = KeptClips(Path(place), open_store(store))
            kept.put(result.clip, job.attempt)
            kept.put_poster(result.clip)
        return result


async def _fetched(place: Path, job: FetchJob) -> Result:
    with anyio.fail_after(_WITHIN):
        async with file_client(allow_private=job.allow_private, lanes=1) as http:
            downloader = Downloader(place, http, allow_private=job.allow_private)
            return await downloader.fetch(job.wanted)


@contextlib.asynccontextmanager
async def fetching(
    kept: KeptClips,
    files: httpx.AsyncClient,
    dask: str | None,
    *,
    allow_private: bool,
    observe: Callable[[int], None],
    tell: Callable[[str], None],
    secrets: Sequence[str],
) -> AsyncIterator[Fetches]:
    """Who brings clips to where they are kept: this process by ``files``, or a cluster's workers.

    ``dask`` names the cluster. Raises as `open_cluster` does.
    """
    here = Downloader(kept.folder, files, allow_private=allow_private, observe=observe)
    otherwise = here if kept.store is None else StoringFetches(here, kept, in_threads())
    if dask is None:
        yield otherwise
        return
    seen = kept.seen and kept.seen.resolve()
    async with open_cluster(dask, seen, tell=tell, secrets=secrets) as cluster:
        yield FarFetches(
            here, cluster, kept, otherwise=otherwise, allow_private=allow_private, observe=observe
        )


def attempt_name(terms: ClipTerms) -> str:
    """Which attempt an object is of, for those who look at it."""
    return f"{terms.kind}-{terms.number}" if isinstance(terms, Intent) else ""


class StoringFetches:
    """`Fetches` whose clips go on to the store once they are right."""

    def __init__(self, fetches: Fetches, kept: KeptClips, offload: Offload) -> None:
        self._fetches = fetches
        self._kept = kept
        self._offload = offload

    @property
    def lanes(self) -> int:
        """See `Fetches`."""
        return self._fetches.lanes

    async def fetch(self, wanted: ClipToFetch) -> Result:
        """Bring the clip to its file, then to the store; `NotKept` where that does not take it."""
        found = await self._fetches.fetch(wanted)
        if isinstance(found, Fetched | NoFrame):
            try:
                await self._offload(self._kept.put, found.clip, attempt_name(wanted.terms))
            except NameTaken as error:
                return NotKept(str(error), for_good=True)
            except StoreAway as error:
                return NotKept(error.message, for_good=error.refused)
        return found


class FarFetches:
    """`Fetches` by workers; what stands here already, and what none of them does, is done here."""

    def __init__(
        self,
        here: Downloader,
        cluster: Cluster,
        kept: KeptClips,
        *,
        otherwise: Fetches,
        allow_private: bool,
        observe: Callable[[int], None],
    ) -> None:
        """``otherwise`` fetches in this process; ``here`` is what publishes into the run folder."""
        self._here = here
        self._cluster = cluster
        self._kept = kept
        self._otherwise = otherwise
        self._allow_private = allow_private
        self._observe = observe

    @property
    def lanes(self) -> int:
        """As many as there are threads to work."""
        return self._cluster.threads

    async def fetch(self, wanted: ClipToFetch) -> Result:
        """As `Downloader.fetch`."""
        if self._cluster.threads and not await anyio.to_thread.run_sync(
            self._here.stands, wanted.file
        ):
            told = replace(wanted, terms=Wanted.of(wanted.terms))
            job = FetchJob(told, self._allow_private, attempt_name(wanted.terms))
            with contextlib.suppress(NotDone):
                result = await (self._to_place if self._kept.store is None else self._to_store)(job)
                if isinstance(result, Fetched | NoFrame):
                    self._observe(result.clip.bytes)
                if result is not None:
                    return result
        return await self._otherwise.fetch(wanted)

    async def _to_store(self, job: FetchJob) -> Result | None:
        store = self._kept.store
        work = functools.partial(fetch_to_store, store.url if store else "")
        (result,) = await self._cluster.do(work, [job], within=_WITHIN, refuses=_useless)
        return result

    async def _to_place(self, job: FetchJob) -> Result:
        place = await anyio.to_thread.run_sync(self._new_place)
        try:
            work = functools.partial(fetch_to_place, str(place))
            (result,) = await self._cluster.do(work, [job], within=_WITHIN, refuses=_useless)
            return await anyio.to_thread.run_sync(self._published, place, job.wanted.file, result)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(
                    functools.partial(shutil.rmtree, place, ignore_errors=True)
                )

    def _new_place(self) -> Path:
        """An empty folder that no other try has; a worker that is too late finds it gone."""
        home = inside(self._kept.folder, f"{PARTIAL_FOLDER}/-").parent
        return Path(tempfile.mkdtemp(dir=home)).resolve()

    def _published(self, place: Path, file: str, result: Result) -> Result:
        try:
            found = self._here.take_over(place, file, result)
        except StorageFailed as error:
            self._cluster.say_once("strange", f"dask: {error.message}; it is fetched here")
            raise NotDone(error.message) from error
        if isinstance(found, Fetched | NoFrame):
            folder, name = self._kept.folder, poster_name(found.clip)
            with contextlib.suppress(OSError):  # the page makes those that it lacks
                (folder / POSTERS).mkdir(exist_ok=True)
                (place / name).replace(folder / name)
        return found


def _useless(result: Result | None) -> str | None:
    """Why a worker's answer settles nothing: what it cannot reach, this machine may."""
    match result:
        case Gone(message) | Failed(message):
            return f"could not fetch a clip: {message}"
        case _:
            return None
