"""Tasks in flight that hold a place much longer than others needed: named, and their place lent on.

Nothing is given up here: they are watched on, and their clips are fetched whenever they come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import anyio

from seedance_batch.events import Remark
from seedance_batch.pacing import (
    Flight,
    Slots,
    is_overdue,
    is_unknown,
    overdue_from,
    spare_places,
)
from seedance_batch.runner.book import Book
from seedance_batch.runner.sightings import Sightings
from seedance_batch.runner.stopper import Stopper
from seedance_batch.state import Attempt, Phase
from seedance_batch.words import span

_EVERY: Final = 2.0
"""Seconds between counts: with thousands in flight, counting costs."""
_NAMED: Final = 5
"""Rows that one remark names."""


class Overdue:
    """Counts places that may be lent on, and tells people who keeps them, once for each row."""

    def __init__(self, *, book: Book, sightings: Sightings, stopper: Stopper, slots: Slots) -> None:
        self._book = book
        self._sightings = sightings
        self._stopper = stopper
        self._slots = slots
        self._late: list[Attempt] = []
        self._unknown: list[Attempt] = []
        self._told: set[int] = set()
        self._told_alone = False

    async def run(self, all_sent: Callable[[], bool]) -> None:
        """Count and tell until cancelled; ``all_sent``: no row waits for a place."""
        while True:
            self._count()
            self._tell(self._late, self._about_late)
            self._tell(self._unknown, _about_unknown)
            if all_sent():
                self._tell_alone()
            await anyio.sleep(_EVERY)

    # ── counting ────────────────────────────────────────────────────────────────────────────

    def _count(self) -> None:
        in_flight = self._book.in_phase(Phase.IN_FLIGHT)
        flights = {attempt.id: self._sightings.flight(attempt) for attempt in in_flight}
        limits = {size: self._limit(size) for size in {f.size for f in flights.values()}}
        self._unknown = [a for a in in_flight if is_unknown(flights[a.id])]
        late = [a for a in in_flight if is_overdue(flights[a.id], limits[flights[a.id].size])]
        over = [a for a in in_flight if a.state.no_video_since is not None]
        self._late = [
            a for a in late if a.state.no_video_since is None and not is_unknown(flights[a.id])
        ]
        # What has succeeded and names no clip yet takes no place of the service's any more.
        self._lend(list(flights.values()), len(self._unknown) + len(self._late) + len(over))

    def _lend(self, flights: Sequence[Flight], overdue: int) -> None:
        measured = self._sightings.looks.usual() is not None
        before, ceiling = self._slots.spared, self._slots.ceiling
        self._slots.spare(spare_places(flights, overdue, measured=measured, ceiling=ceiling))
        if self._slots.spared != before:
            self._book.wake()

    def _limit(self, size: tuple[str, int]) -> float:
        return overdue_from(*self._sightings.looks.lengths(size))

    # ── telling ─────────────────────────────────────────────────────────────────────────────

    def _tell(self, attempts: Sequence[Attempt], about: Callable[[Sequence[Attempt]], str]) -> None:
        news = [attempt for attempt in attempts if attempt.id not in self._told]
        if news:
            self._told |= {attempt.id for attempt in news}
            self._stopper.observer(Remark(about(news)))

    def _tell_alone(self) -> None:
        """Say once that only such tasks are left, so that the silence worries nobody."""
        left = self._book.count(Phase.IN_FLIGHT)
        if self._told_alone or not self._late or len(self._late) + len(self._unknown) < left:
            return
        self._told_alone = True
        self._stopper.observer(
            Remark(
                f"only tasks that take unusually long are left: {_names(self._late)}. The run "
                "watches on, slowly. Ctrl-C ends it and loses nothing: the same command goes on. "
                "With --wait SECONDS it ends by itself"
            )
        )

    def _about_late(self, late: Sequence[Attempt]) -> str:
        flights = [self._sightings.flight(attempt) for attempt in late]
        age = max(flight.seen_at - flight.accepted_at for flight in flights)
        lengths = self._sightings.looks.lengths(flights[0].size)[1]
        usual = (
            f"others took {span(lengths[len(lengths) // 2])}" if lengths else "no other has ended"
        )
        has, their = ("has", _ITS) if len(late) == 1 else ("have", _THEIRS)
        return f"{_names(late)} {has} been running for {span(age)}, while {usual}; {their}"


_ITS: Final = "its place goes to other rows, and it is watched on"
_THEIRS: Final = "their places go to other rows, and they are watched on"


def _about_unknown(unknown: Sequence[Attempt]) -> str:
    tasks = ", ".join(str(attempt.state.task_id) for attempt in unknown[:_NAMED])
    their = _ITS if len(unknown) == 1 else _THEIRS
    return f"the service has accepted {_names(unknown)} and does not know {tasks}; {their}"


def _names(attempts: Sequence[Attempt]) -> str:
    rows = [f"row {attempt.intent.key}" for attempt in attempts[:_NAMED]]
    more = len(attempts) - _NAMED
    return ", ".join(rows) + (f" and {more:,} more" if more > 0 else "")
