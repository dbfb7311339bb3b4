"""Tasks that succeeded to files on disk, in lanes of their own, earliest expiry first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio

from seedance_batch.clips.transfer import (
    ClipToFetch,
    Failed,
    Fetched,
    Fetches,
    Gone,
    NoFrame,
    NotKept,
    Result,
    Wrong,
)
from seedance_batch.core.attempt import Attempt, Clip, Phase
from seedance_batch.core.lifecycle import Doubted, FileWrong, Named, Published, Unstored, UrlGone
from seedance_batch.core.pace import file_pause
from seedance_batch.core.text import shown
from seedance_batch.runner.gate import Part, Returns, Tools, Useless

PATIENCE: Final = 600.0
"""Seconds for which one run asks for a clip that does not come, from its first failure on. After
that the clip waits for the next run, or for ``fetch``."""
_FRAME_PATIENCE: Final = 60.0
"""Seconds for which a clip that is here waits for its last frame."""
_WRONG_FILES: Final = 6
"""Fetches that bring wrong files, each another one, after which the clip waits alike."""
_OWN_REFUSALS: Final = 2
"""Refusals of our own, after which it waits alike; between them a look may bring another URL."""
_DOUBTED_EVERY: Final = 6
"""Failed fetches from one fresh look to the next: the file may lie elsewhere by now. The first
look is had after the second."""
_WHY: Final = 160
"""Characters of a reason in a remark."""
_SORTED_FOR: Final = 1.0
"""Seconds for which the order of clips is kept: with thousands waiting, sorting costs."""
EXPIRY_IS_NEAR: Final = 600.0
"""Seconds before an expiry from which fetching goes before buying."""


@dataclass(slots=True)
class _Trouble:
    """A clip that was asked for in vain in this run."""

    since: float
    """By anyio's clock."""
    not_before: float = 0.0
    tries: int = 0
    refusals: int = 0
    """By a rule of our own."""
    given_up: bool = False
    is_here: bool = False
    """Whether the clip is in the run folder, and only the store lacks it."""


class Fetcher(Part):
    """Moves attempts from ``downloading`` to ``done``, or to what else their file deserves.

    ``name_for`` gives an attempt's free file name; ``weigh`` is called when ``returns`` has learned
    something.
    """

    def __init__(
        self,
        tools: Tools,
        downloader: Fetches,
        returns: Returns,
        *,
        lanes: int,
        name_for: Callable[[Attempt], str],
        weigh: Callable[[], None],
    ) -> None:
        super().__init__(tools)
        self._downloader = downloader
        self._returns = returns
        self._lanes_here = lanes
        self._name_for = name_for
        self._weigh = weigh
        self._busy: set[int] = set()
        self._troubles: dict[int, _Trouble] = {}
        self._queue: list[Attempt] = []
        """Clips to fetch, the most urgent last."""
        self._queued_until = 0.0
        self._said: set[str] = set()
        """Advice that was given in this run; once is enough."""

    @property
    def _lanes(self) -> int:
        return max(self._lanes_here, self._downloader.lanes)

    def idle(self, *, blind: bool) -> bool:
        """Whether nothing is being fetched and nothing could be.

        ``blind``: no look will bring a new URL any more.
        """
        waiting = [a for a in self._downloading() if not (blind and a.state.needs_look)]
        return not self._busy and not any(map(self._could_fetch, waiting))

    def keeps_up(self) -> bool:
        """Whether clips are fetched as fast as they come, and none is about to expire."""
        waiting = [a for a in self._downloading() if self._could_fetch(a)]
        return len(waiting) <= 4 * self._lanes and not any(map(self._expires_soon, waiting))

    def coming(self) -> list[int]:
        """Paid clips that may still arrive in this run."""
        return [a.id for a in self._downloading() if self._could_fetch(a)]

    async def run(self, over: Callable[[], bool]) -> None:
        """Fetch in all lanes until ``over``."""
        # One task hands out the work: every step of every row wakes whoever waits for one.
        async with anyio.create_task_group() as group:
            while not over() and not self._stopper.leaving:
                attempt = self._next() if len(self._busy) < self._lanes else None
                if attempt is None:
                    await self._attempts.changed(within=self._nap())
                    continue
                self._busy.add(attempt.id)
                group.start_soon(self._in_lane, attempt)

    async def _in_lane(self, attempt: Attempt) -> None:
        try:
            what = f"the clip of row {attempt.intent.key}"
            if not await self._stopper.outlive(self._fetch(attempt), what):
                self._troubles[attempt.id] = _Trouble(anyio.current_time(), given_up=True)
        finally:
            self._busy.discard(attempt.id)
            self._attempts.wake()

    # ── which ───────────────────────────────────────────────────────────────────────────────

    def _downloading(self) -> list[Attempt]:
        return self._attempts.in_phase(Phase.DOWNLOADING)

    def _could_fetch(self, attempt: Attempt) -> bool:
        """Whether this run may still get it: by a fetch, or by a look that brings a new URL."""
        trouble = self._troubles.get(attempt.id)
        return trouble is None or not trouble.given_up

    def _next(self) -> Attempt | None:
        """The clip that expires first, of those that may be fetched now."""
        now = anyio.current_time()
        if not self._queue or now >= self._queued_until:
            self._give_up_the_late(now)
            self._queue = sorted(self._downloading(), key=_expiry, reverse=True)
            self._queued_until = now + _SORTED_FOR
        while self._queue:
            attempt = self._attempts.by_id[self._queue.pop().id]
            if self._is_ready(attempt, now):
                return attempt
        return None

    def _is_ready(self, attempt: Attempt, now: float) -> bool:
        trouble = self._troubles.get(attempt.id)
        return (
            attempt.state.phase is Phase.DOWNLOADING
            and attempt.id not in self._busy
            and not attempt.state.needs_look
            and (trouble is None or (trouble.not_before <= now and not trouble.given_up))
        )

    def _nap(self) -> float:
        now = anyio.current_time()
        times = [t.not_before - now for t in self._troubles.values() if t.not_before > now]
        return min([5.0, *times])

    def _expires_soon(self, attempt: Attempt) -> bool:
        at = attempt.state.url_expires_at
        return at is not None and at - self._tools.wall() < EXPIRY_IS_NEAR

    # ── one clip ────────────────────────────────────────────────────────────────────────────

    async def _fetch(self, attempt: Attempt) -> None:
        url = attempt.state.video_url
        if url is None:
            await self._attempts.apply(
                attempt.id, UrlGone("the task names no clip", self._tools.wall())
            )
            return
        if attempt.state.file is None:
            attempt = await self._attempts.apply(attempt.id, Named(self._name_for(attempt)))
        state = attempt.state
        wanted = ClipToFetch(url, state.file or "", attempt.intent, state.last_frame_url)
        await self._record(attempt, await self._downloader.fetch(wanted))

    async def _record(self, attempt: Attempt, result: Result) -> None:
        at = self._tools.wall()
        match result:
            case Fetched(clip, note):
                await self._arrived(attempt, clip, at, note)
            case NoFrame() if self._frame_may_come(attempt):
                pass
            case NoFrame(clip, message):
                await self._arrived(attempt, clip, at, f"no last frame ({message})")
            case NotKept(message, for_good):
                await self._apply_unstored(attempt, message, for_good=for_good)
            case Gone(message):
                self._later(attempt, message)
                gone = UrlGone(message, at, self._client.server_time())
                attempt = await self._attempts.apply(attempt.id, gone, message)
                self._returns.ended(attempt, _brief(message))
            case Wrong(sha256, reason, kept):
                self._wrong(attempt, reason)
                wrong = FileWrong(sha256, reason, kept, at)
                attempt = await self._attempts.apply(attempt.id, wrong, reason)
                self._returns.ended(attempt, _brief(reason))
            case Failed(message, _, True):
                self._refused(attempt, message)
                await self._attempts.apply(attempt.id, Doubted(message), message)
            case Failed(message, retry_after):
                trouble = self._later(attempt, message, retry_after)
                if trouble.tries % _DOUBTED_EVERY == 2:
                    await self._attempts.apply(attempt.id, Doubted(message), message)
        self._weigh()

    async def _arrived(self, attempt: Attempt, clip: Clip, at: float, note: str | None) -> None:
        if note:
            self._tools.remark(f"row {attempt.intent.key}: {note}")
        self._troubles.pop(attempt.id, None)
        self._returns.arrived()
        await self._attempts.apply(attempt.id, Published(clip, at))

    async def _apply_unstored(self, attempt: Attempt, message: str, *, for_good: bool) -> None:
        """The clip is here; the store is asked again, unless a person has to see to it first."""
        await self._attempts.apply(attempt.id, Unstored(message), message)
        trouble = self._trouble(attempt, message) if for_good else self._later(attempt, message)
        trouble.is_here = True
        if for_good:
            self._give_up(attempt, trouble, message)

    def _frame_may_come(self, attempt: Attempt) -> bool:
        """Whether to ask once more for a last frame: its clip is here, and it may be late."""
        now = anyio.current_time()
        trouble = self._troubles.setdefault(attempt.id, _Trouble(since=now))
        elapsed = now - trouble.since
        trouble.not_before = now + file_pause(elapsed, self._gate.jitter())
        return elapsed < _FRAME_PATIENCE

    # ── a clip that does not come ───────────────────────────────────────────────────────────

    def _trouble(self, attempt: Attempt, why: str) -> _Trouble:
        """One more fetch was in vain."""
        now = anyio.current_time()
        trouble = self._troubles.setdefault(attempt.id, _Trouble(since=now))
        trouble.tries += 1
        self._returns.late(attempt.id, _brief(why))
        return trouble

    def _later(self, attempt: Attempt, why: str, retry_after: float | None = None) -> _Trouble:
        """Ask again after a pause, unless that would be too late for this run."""
        trouble, now = self._trouble(attempt, why), anyio.current_time()
        elapsed = now - trouble.since
        pause = max(retry_after or 0.0, file_pause(elapsed, self._gate.jitter()))
        trouble.not_before = now + pause
        if elapsed >= PATIENCE or (retry_after or 0.0) > PATIENCE - elapsed:
            self._give_up(attempt, trouble, why)
        elif trouble.tries == 2:
            lacks = "is not in the store yet" if trouble.is_here else "has not arrived"
            self._say_once(
                "late",
                f"row {attempt.intent.key}: the clip {lacks} "
                f"({_brief(why)}); it is tried again for up to "
                f"{PATIENCE / 60:.0f} min, like every clip that is late",
            )
        return trouble

    def _wrong(self, attempt: Attempt, why: str) -> None:
        trouble = self._trouble(attempt, why)
        if trouble.tries >= _WRONG_FILES:
            self._give_up(attempt, trouble, why)

    def _refused(self, attempt: Attempt, why: str) -> None:
        """A rule of our own forbids it: asked again only for another URL."""
        trouble = self._trouble(attempt, why)
        trouble.refusals += 1
        if trouble.refusals >= _OWN_REFUSALS:
            self._give_up(attempt, trouble, why)

    def _give_up_the_late(self, now: float) -> None:
        """Clips whose next try would come too late, or waits for a look that is not had."""
        for attempt in self._downloading() if self._troubles else ():
            trouble = self._troubles.get(attempt.id)
            if trouble is None or trouble.given_up or attempt.id in self._busy:
                continue
            if now - trouble.since >= PATIENCE:
                self._give_up(attempt, trouble, attempt.state.error_message or "")
                self._weigh()

    def _give_up(self, attempt: Attempt, trouble: _Trouble, why: str) -> None:
        """Leave the clip to the next run; it stays paid, and known."""
        trouble.given_up = True
        why = _brief(why)
        self._returns.useless(attempt.id, Useless.UNDELIVERED, why)
        row = attempt.intent.key
        if trouble.is_here:
            self._tools.remark(f"row {row}: the clip is in the run folder, not in the store: {why}")
            return
        what = f"row {row}: the clip could not be fetched in this run ({why}); it is paid"
        self._tools.remark(what)
        self._say_once(
            "given up",
            "seedance-batch fetch requests such clips again and buys nothing; to get one by hand, "
            f"save the file at its video_url in the results sheet (row {row}: as "
            f"{attempt.state.file} in the run folder), and run again",
        )

    def _say_once(self, what: str, words: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._tools.remark(words)


def _brief(why: str) -> str:
    """A reason as a remark tells it."""
    return shown(why, _WHY, one_line=True)


def _expiry(attempt: Attempt) -> tuple[float, int]:
    at = attempt.state.url_expires_at
    return (float("inf") if at is None else at, attempt.id)
