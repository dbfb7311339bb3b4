"""What is known about tasks in flight: whatever tells of a task's state ends up here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio

from seedance_batch import wire
from seedance_batch.events import Remark
from seedance_batch.model import OutputType, Task, TaskStatus
from seedance_batch.pacing import Flight, Looks
from seedance_batch.runner.book import Book
from seedance_batch.runner.stopper import Stopper
from seedance_batch.state import Attempt, Phase, Seen


class Sightings:
    """Brings sightings of tasks into the book, and learns from them when to look again."""

    def __init__(
        self,
        *,
        book: Book,
        looks: Looks,
        stopper: Stopper,
        ended: Callable[[Attempt], None],
        wall: Callable[[], float],
    ) -> None:
        self.looks = looks
        self._book = book
        self._stopper = stopper
        self._ended = ended
        self._wall = wall
        self._unknown: set[str] = set()
        self._flights: dict[int, Flight] = {}
        self._hinted: set[int] = set()

    async def take(self, task: Task, attempt_id: int, at: float, *, told: bool = False) -> Attempt:
        """A task as it was at ``at``; ``told``: a callback brought it."""
        if task.raw_status and not wire.knows_status(task.raw_status):
            self._remark_unknown(task.raw_status)
        flight = self.flight(self._book.attempts[attempt_id])
        self.looked_for(attempt_id, at)
        if task.status is TaskStatus.RUNNING:  # changes nothing, a hundred times a page
            return self._book.attempts[attempt_id]
        before = self._book.attempts[attempt_id].state.phase
        attempt = await self._book.apply(attempt_id, Seen(task, self._wall()))
        if before is Phase.IN_FLIGHT and attempt.state.phase is not Phase.IN_FLIGHT:
            took = _took(task) or anyio.current_time() - flight.accepted_at
            self.looks.learned(flight.size, took, told=told or attempt_id in self._hinted)
            self._ended(attempt)
        if attempt.state.phase is not Phase.IN_FLIGHT and not attempt.state.needs_look:
            self._flights.pop(attempt_id, None)
        return attempt

    def looked_for(self, attempt_id: int, at: float) -> None:
        """Whatever there was to be known at ``at`` about this attempt's task is known."""
        known = self.flight(self._book.attempts[attempt_id])
        self._flights[attempt_id] = Flight(known.accepted_at, known.size, at)

    def hint(self, attempt_id: int) -> None:
        """Somebody unproven says that the task is over: worth a look, and no more than that."""
        known = self.flight(self._book.attempts[attempt_id])
        self._flights[attempt_id] = replace(known, hinted=True)
        self._hinted.add(attempt_id)

    def flight(self, attempt: Attempt) -> Flight:
        """An attempt as far as the timing of looks is concerned."""
        known = self._flights.get(attempt.id)
        if known is None:
            known = self._flights[attempt.id] = self._first(attempt)
        return known

    def _first(self, attempt: Attempt) -> Flight:
        age = max(0.0, self._wall() - (attempt.state.submitted_at or self._wall()))
        accepted = anyio.current_time() - age
        size = attempt.intent.resolution, attempt.intent.duration
        # A clip whose URL is gone waits for a look; more than one is no use at once.
        return Flight(accepted, size, accepted, hinted=attempt.state.needs_look)

    def _remark_unknown(self, raw: str) -> None:
        if raw not in self._unknown:
            self._unknown.add(raw)
            self._stopper.observer(Remark(f"unknown task status {raw!r}: taken as still running"))


def _took(task: Task) -> float | None:
    """Seconds of a generation by the service's own clock."""
    return task.completed - task.created if task.completed > task.created > 0 else None


def lacks_its_ending(task: Task) -> bool:
    """Whether it is said to be over, without the output or error that belongs to that."""
    if task.status is TaskStatus.SUCCESS:
        return task.first(OutputType.VIDEO) is None
    return task.status is TaskStatus.FAIL and task.error is None
