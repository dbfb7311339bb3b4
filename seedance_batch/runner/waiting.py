"""What buying waits for: clips that do not come, and tasks that hold their place for too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Final

import anyio

from seedance_batch.core.attempt import Attempt, Phase
from seedance_batch.core.pace import Slots
from seedance_batch.core.polling import Flight, is_overdue, is_unknown, overdue_from, spare_places
from seedance_batch.core.text import first_few, span
from seedance_batch.runner.gate import Part, Tools
from seedance_batch.runner.watch import Sightings

# ── What paid tasks have brought in this run, and what that means for buying more. No I/O ─────────


SEVERAL_CLIPS: Final = 3
"""Clips that do not arrive, from which buying waits while this run has brought none yet."""


class Useless(StrEnum):
    """How a paid task gave no good clip, in words that complete *3 of them …*."""

    FAILED = "failed"
    EXPIRED = "expired"
    MISMATCH = "not what was asked for"
    UNDELIVERED = "could not be fetched"


class Returns:
    """Counts, in a row, what was bought and gave no good clip; a clip that arrives ends the row.

    ``limit`` is ``--max-failures``: at so many buying ends. None: never. Buying waits meanwhile
    where clips that were paid do not arrive: more of them would share their fate.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._arrived = False
        self._failed_in_a_row = 0
        self._useless: dict[int, tuple[Useless, str]] = {}
        self._late: dict[int, str] = {}
        """Clips that were asked for in vain, and may still come; each counts once."""

    def arrived(self, attempt_id: int) -> None:
        """A good clip is on disk."""
        self._arrived = True
        self._failed_in_a_row = 0
        self._useless.clear()
        self._late.clear()

    def made(self) -> None:
        """A task succeeded; its clip is still to be fetched."""
        self._failed_in_a_row = 0

    def late(self, attempt_id: int, why: str) -> None:
        """A clip was asked for in vain, and is asked for again."""
        self._late[attempt_id] = why

    def useless(self, attempt_id: int, how: Useless, why: str) -> None:
        """A paid task gave no good clip, at least not in this run."""
        self._late.pop(attempt_id, None)
        self._failed_in_a_row += how is Useless.FAILED and attempt_id not in self._useless
        self._useless.setdefault(attempt_id, (how, why))

    def waits(self, coming: Collection[int]) -> bool:
        """Whether to buy nothing now; ``coming`` are paid clips that may still arrive in this run.

        Only while one of those can settle it.
        """
        if self._limit is None or not coming:
            return False
        late = len(self._late.keys() & set(coming))
        if not self._arrived and (
            late >= min(SEVERAL_CLIPS, self._limit) or len(coming) >= self._limit
        ):
            return True
        return late + len(self._useless) >= self._limit

    def is_held(self, coming: Collection[int]) -> bool:
        """Whether `waits` has a reason that a person wants to know."""
        return bool(self._late) and self.waits(coming)

    def is_over(self, coming: Collection[int]) -> bool:
        """Whether to buy nothing more in this run.

        Failed tasks alone decide it at once; else a clip that was not asked for in vain yet may
        still end the row.
        """
        if self._limit is None or len(self._useless) < self._limit:
            return False
        return self._failed_in_a_row >= self._limit or not set(coming) - self._late.keys()

    @property
    def missing(self) -> str:
        """Which paid clips are waited for, and the last reason why one did not come."""
        return f"{len(self._late)} paid clips have not arrived ({list(self._late.values())[-1]})"

    @property
    def verdict(self) -> str:
        """What came in place of clips, and why that is of no use."""
        counts = Counter(how for how, _ in self._useless.values())
        whys = {how: f" ({why})" for how, why in self._useless.values() if why}
        if counts.keys() == {Useless.FAILED}:
            return f"{len(self._useless)} rows failed in a row{whys.get(Useless.FAILED, '')}"
        parts = ", ".join(f"{count} {how}{whys.get(how, '')}" for how, count in counts.items())
        return f"{len(self._useless)} rows in a row produced no good clip: {parts}"


# ── Tasks in flight that hold a place much longer than others needed: named, their place lent on ──
# Nothing is given up here: they are watched on, and their clips are fetched whenever they come.


_EVERY: Final = 2.0
"""Seconds between counts: with thousands in flight, counting costs."""
_NAMED: Final = 5
"""Rows that one remark names."""


class Overdue(Part):
    """Counts places that may be lent on, and tells people who keeps them, once for each row."""

    def __init__(self, tools: Tools, sightings: Sightings, slots: Slots) -> None:
        super().__init__(tools)
        self._sightings = sightings
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
        in_flight = self._attempts.in_phase(Phase.IN_FLIGHT)
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
            self._attempts.wake()

    def _limit(self, size: tuple[str, int]) -> float:
        return overdue_from(*self._sightings.looks.lengths(size))

    # ── telling ─────────────────────────────────────────────────────────────────────────────

    def _tell(self, attempts: Sequence[Attempt], about: Callable[[Sequence[Attempt]], str]) -> None:
        news = [attempt for attempt in attempts if attempt.id not in self._told]
        if news:
            self._told |= {attempt.id for attempt in news}
            self._tools.remark(about(news))

    def _tell_alone(self) -> None:
        """Say once that only such tasks are left, so that the silence worries nobody."""
        left = self._attempts.count(Phase.IN_FLIGHT)
        if self._told_alone or not self._late or len(self._late) + len(self._unknown) < left:
            return
        self._told_alone = True
        self._tools.remark(
            f"only tasks that take unusually long are left: {_names(self._late)}. The run keeps "
            "watching them. Ctrl-C ends the run and loses nothing: the same command continues. "
            "--wait SECONDS sets a limit"
        )

    def _about_late(self, late: Sequence[Attempt]) -> str:
        flights = [self._sightings.flight(attempt) for attempt in late]
        age = max(flight.seen_at - flight.accepted_at for flight in flights)
        lengths = self._sightings.looks.lengths(flights[0].size)[1]
        usual = (
            f"others took {span(lengths[len(lengths) // 2])}"
            if lengths
            else "no other has finished yet"
        )
        has, their = ("has", _ITS) if len(late) == 1 else ("have", _THEIRS)
        return f"{_names(late)} {has} been running for {span(age)}, while {usual}; {their}"


_ITS: Final = "other rows take its slot, and it is still watched"
_THEIRS: Final = "other rows take their slots, and they are still watched"


def _about_unknown(unknown: Sequence[Attempt]) -> str:
    tasks = ", ".join(str(attempt.state.task_id) for attempt in unknown[:_NAMED])
    their = _ITS if len(unknown) == 1 else _THEIRS
    return f"the service accepted {_names(unknown)} but does not know {tasks}; {their}"


def _names(attempts: Sequence[Attempt]) -> str:
    return first_few([f"row {attempt.intent.key}" for attempt in attempts], _NAMED)
