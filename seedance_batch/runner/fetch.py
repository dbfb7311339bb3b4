"""Tasks that succeeded to files on disk, in lanes of their own, earliest expiry first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

from seedance_batch.download import Downloader, Failed, Fetched, Gone, Result, Wrong
from seedance_batch.events import Remark, Stop
from seedance_batch.pacing import backoff
from seedance_batch.runner.book import Book
from seedance_batch.runner.stopper import Stopper
from seedance_batch.state import Attempt, Doubted, FileWrong, Named, Phase, Published, UrlGone

TRIES: Final = 6
"""Fetches of one clip in one run, after which it waits for the next run."""
_DOUBTED_AT: Final = 2
"""The failed fetch after which a fresh look is had: the file may lie elsewhere by now."""
_SORTED_FOR: Final = 1.0
"""Seconds for which the order of clips is kept: with thousands waiting, sorting costs."""
EXPIRY_IS_NEAR: Final = 600.0
"""Seconds before an expiry from which fetching goes before buying."""


class Fetcher:
    """Moves attempts from ``downloading`` to ``done``, or to what else their file deserves.

    ``name_for`` gives an attempt's free file name; ``wall`` is the wall clock.
    """

    def __init__(
        self,
        *,
        downloader: Downloader,
        book: Book,
        stopper: Stopper,
        name_for: Callable[[Attempt], str],
        lanes: int,
        jitter: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._downloader = downloader
        self._book = book
        self._stopper = stopper
        self._name_for = name_for
        self._lanes = lanes
        self._jitter = jitter
        self._wall = wall
        self._busy: set[int] = set()
        self._tries: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._queue: list[Attempt] = []
        """Clips to fetch, the most urgent last."""
        self._queued_until = 0.0
        self._given_up = 0
        """Clips that could not be fetched, since the last one that could."""

    def idle(self, *, blind: bool) -> bool:
        """Whether nothing is being fetched and nothing could be.

        ``blind``: no look will bring a new URL any more.
        """
        waiting = [a for a in self._downloading() if not (blind and a.state.needs_look)]
        return not self._busy and not any(map(self._could_fetch, waiting))

    def keeps_up(self) -> bool:
        """Whether clips are fetched as fast as they come, and none is about to expire."""
        waiting = [a for a in self._downloading() if self._could_fetch(a)]
        if len(waiting) > 4 * self._lanes:
            return False
        return not any(self._expires_soon(attempt) for attempt in waiting)

    async def run(self, over: Callable[[], bool]) -> None:
        """Fetch in all lanes until ``over``."""
        # One task hands out the work: every step of every row wakes whoever waits for one.
        async with anyio.create_task_group() as group:
            while not over() and not self._stopper.leaving:
                attempt = self._next() if len(self._busy) < self._lanes else None
                if attempt is None:
                    await self._book.changed(within=self._nap())
                    continue
                self._busy.add(attempt.id)
                group.start_soon(self._in_lane, attempt)

    async def _in_lane(self, attempt: Attempt) -> None:
        try:
            await self._fetch(attempt)
        finally:
            self._busy.discard(attempt.id)
            self._book.wake()

    # ── which ───────────────────────────────────────────────────────────────────────────────

    def _downloading(self) -> list[Attempt]:
        return self._book.in_phase(Phase.DOWNLOADING)

    def _could_fetch(self, attempt: Attempt) -> bool:
        """Whether this run may still get it: by a fetch, or by a look that brings a new URL."""
        return self._tries.get(attempt.id, 0) < TRIES

    def _next(self) -> Attempt | None:
        """The clip that expires first, of those that may be fetched now."""
        now = anyio.current_time()
        if not self._queue or now >= self._queued_until:
            self._queue = sorted(self._downloading(), key=_expiry, reverse=True)
            self._queued_until = now + _SORTED_FOR
        while self._queue:
            attempt = self._book.attempts[self._queue.pop().id]
            if self._is_ready(attempt, now):
                return attempt
        return None

    def _is_ready(self, attempt: Attempt, now: float) -> bool:
        return (
            attempt.state.phase is Phase.DOWNLOADING
            and attempt.id not in self._busy
            and self._could_fetch(attempt)
            and not attempt.state.needs_look
            and self._not_before.get(attempt.id, now) <= now
        )

    def _nap(self) -> float:
        now = anyio.current_time()
        times = [at - now for at in self._not_before.values() if at > now]
        return min([5.0, *times])

    def _expires_soon(self, attempt: Attempt) -> bool:
        at = attempt.state.url_expires_at
        return at is not None and at - self._wall() < EXPIRY_IS_NEAR and self._could_fetch(attempt)

    # ── one clip ────────────────────────────────────────────────────────────────────────────

    async def _fetch(self, attempt: Attempt) -> None:
        url = attempt.state.video_url
        if url is None:
            await self._book.apply(attempt.id, UrlGone("the task names no clip", self._wall()))
            return
        if attempt.state.file is None:
            attempt = await self._book.apply(attempt.id, Named(self._name_for(attempt)))
        result = await self._downloader.fetch(
            url,
            file=attempt.state.file or "",
            intent=attempt.intent,
            last_frame_url=attempt.state.last_frame_url,
        )
        await self._record(attempt, result)

    async def _record(self, attempt: Attempt, result: Result) -> None:
        at = self._wall()
        match result:
            case Fetched(clip, note):
                if note:
                    self._stopper.observer(Remark(f"row {attempt.intent.key}: {note}"))
                self._given_up = 0
                await self._book.apply(attempt.id, Published(clip, at))
            case Gone(message):
                await self._book.apply(attempt.id, UrlGone(message, at), message)
            case Wrong(sha256, reason, kept):
                self._count(attempt)
                await self._book.apply(attempt.id, FileWrong(sha256, reason, kept, at), reason)
            case Failed(message, retry_after):
                self._later(attempt, message, retry_after)
                if self._tries[attempt.id] == _DOUBTED_AT:
                    await self._book.apply(attempt.id, Doubted(message), message)

    def _later(self, attempt: Attempt, message: str, retry_after: float | None) -> None:
        tries = self._count(attempt)
        pause = max(retry_after or 0.0, backoff(tries, self._jitter(), base=2.0))
        self._not_before[attempt.id] = anyio.current_time() + pause
        if tries >= TRIES:
            self._given_up += 1
            self._stopper.observer(
                Remark(
                    f"row {attempt.intent.key}: the clip could not be fetched in this run "
                    f"({message}); it is paid, and the same command fetches it"
                )
            )
        if self._given_up >= self._lanes:  # buying more would only let more clips expire
            self._stopper.stop(Stop.FAILURES, f"the file host delivers nothing: {message}")

    def _count(self, attempt: Attempt) -> int:
        self._tries[attempt.id] = self._tries.get(attempt.id, 0) + 1
        return self._tries[attempt.id]


def _expiry(attempt: Attempt) -> tuple[float, int]:
    at = attempt.state.url_expires_at
    return (float("inf") if at is None else at, attempt.id)
