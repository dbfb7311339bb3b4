"""Clips from URLs by a cluster's workers: what they do, and what becomes of it here.

Where the run folder keeps its clips, a worker brings each to a folder of its own on the common
disk, and it is published here. Where a store does, the worker puts it there, under a name that is
in the journal by then; as such names are given once, it may be done twice.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import httpx
from anyio import to_thread

from seedance_batch.api.addresses import file_client
from seedance_batch.clips.cluster import Cluster, NotDone, open_cluster
from seedance_batch.clips.download import Downloader, in_threads
from seedance_batch.clips.kept import KeptClips, StoringFetches, Unfit, Wanted, attempt_name
from seedance_batch.clips.partial import PARTIAL_FOLDER, inside
from seedance_batch.clips.stills import poster, poster_name
from seedance_batch.clips.transfer import (
    ClipToFetch,
    Failed,
    Fetched,
    Fetches,
    Gone,
    NoFrame,
    Result,
    Wrong,
)
from seedance_batch.errors import StorageFailed
from seedance_batch.run_folder import POSTERS
from seedance_batch.store import open_store

_WITHIN: Final = 300.0
"""Seconds that a worker has for a clip; it is then fetched here, where no such limit holds."""


# ── what a worker runs ──────────────────────────────────────────────────────────────────────────


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


# ── who hands it over ───────────────────────────────────────────────────────────────────────────


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
        if self._cluster.threads and not await to_thread.run_sync(self._here.stands, wanted.file):
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
        work = partial(fetch_to_store, store.url if store else "")
        (result,) = await self._cluster.do(work, [job], within=_WITHIN, refuses=_useless)
        return result

    async def _to_place(self, job: FetchJob) -> Result:
        place = await to_thread.run_sync(self._new_place)
        try:
            work = partial(fetch_to_place, str(place))
            (result,) = await self._cluster.do(work, [job], within=_WITHIN, refuses=_useless)
            return await to_thread.run_sync(self._published, place, job.wanted.file, result)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(partial(shutil.rmtree, place, ignore_errors=True))

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
