"""What is known about tasks in flight: whatever tells of a task's state ends up here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio

from seedance_batch import shapes
from seedance_batch.events import Remark
from seedance_batch.model import OutputType, Task, TaskStatus
from seedance_batch.pacing import Flight, Looks
from seedance_batch.runner.book import Book
from seedance_batch.runner.stopper import Stopper
from seedance_batch.state import Attempt, Phase, Seen, State


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
        server: Callable[[], float | None],
    ) -> None:
        self.looks = looks
        self._book = book
        self._stopper = stopper
        self._ended = ended
        self._wall = wall
        self._server = server
        self._started = anyio.current_time()
        self._earlier = {a.id for a in book.attempts.values() if a.state.phase is not Phase.PLANNED}
        """Attempts that an earlier process sent: how old they are only clocks can tell."""
        self._unknown: set[str] = set()
        self._flights: dict[int, Flight] = {}
        self._hinted: set[int] = set()

    async def take(self, task: Task, attempt_id: int, at: float, *, told: bool = False) -> Attempt:
        """A task as it was at ``at``; ``told``: a callback brought it."""
        if task.raw_status and not shapes.knows_status(task.raw_status):
            self._remark_unknown(task)
        elif task.raw:
            self._remark_raw(task)
        flight = self.flight(self._book.attempts[attempt_id])
        self._found(task, attempt_id, at)
        if task.status is TaskStatus.RUNNING and not task.raw:
            # It changes nothing, a hundred times a page.
            return self._book.attempts[attempt_id]
        before = self._book.attempts[attempt_id].state.phase
        attempt = await self._book.apply(attempt_id, Seen(task, self._wall()))
        if before is Phase.IN_FLIGHT and attempt.state.phase is not Phase.IN_FLIGHT:
            seconds = took(task) or anyio.current_time() - flight.accepted_at
            told = told or attempt_id in self._hinted
            made = attempt.state.phase is Phase.DOWNLOADING
            self.looks.learned(flight.size, seconds, told=told, made=made)
            self._ended(attempt)
        if attempt.state.phase is not Phase.IN_FLIGHT and not attempt.state.needs_look:
            self._flights.pop(attempt_id, None)
        return attempt

    def _found(self, task: Task, attempt_id: int, at: float) -> None:
        """Whatever there was to be known at ``at`` about this attempt's task is known."""
        known = self.flight(self._book.attempts[attempt_id])
        accepted = known.accepted_at
        if attempt_id in self._earlier:
            self._earlier.discard(attempt_id)
            accepted = self._made_at(task, at) or accepted
        self._flights[attempt_id] = Flight(accepted, known.size, max(at, accepted))

    def missed(self, attempt_id: int, at: float) -> Flight:
        """A look by id did not find the task."""
        known = self.flight(self._book.attempts[attempt_id])
        since = at if known.missing_since is None else known.missing_since
        self._flights[attempt_id] = missed = replace(
            known, seen_at=at, hinted=False, misses=known.misses + 1, missing_since=since
        )
        return missed

    def forget(self, attempt_id: int) -> None:
        """No look is wanted any more; the next one begins anew."""
        self._flights.pop(attempt_id, None)

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
        now = anyio.current_time()
        accepted = now - self._age(attempt, now)
        size = attempt.intent.resolution, attempt.intent.duration
        # What an earlier process left may be over since long. A clip whose URL is gone waits for a
        # look; more than one is no use at once.
        hinted = attempt.id in self._earlier or attempt.state.needs_look
        return Flight(accepted, size, accepted, hinted=hinted)

    def _age(self, attempt: Attempt, now: float) -> float:
        """Seconds since the send, by the clock that dated it: the earlier one of ours and theirs.

        Whatever the clocks say, what this run has sent is no older than the run.
        """
        clock = min(self._wall(), self._server() or self._wall())
        age = max(0.0, clock - (attempt.state.submitted_at or clock))
        return age if attempt.id in self._earlier else min(age, now - self._started)

    def _made_at(self, task: Task, at: float) -> float | None:
        """When the service made a task, by its own clock alone, as a time of this run's."""
        server = self._server()
        if server is None or not task.created:
            return None
        # The answer came after `at`, and the clock has gone on since.
        return at - max(0.0, server - (anyio.current_time() - at) - task.created)

    def _remark_unknown(self, task: Task) -> None:
        if task.raw_status not in self._unknown:
            self._unknown.add(task.raw_status)
            taken = "still running" if task.status is TaskStatus.RUNNING else task.status.value
            words = f"unknown task status {task.raw_status!r}: taken as {taken}"
            if task.raw:
                words += f"; the task as it came: {task.raw}"
            self._stopper.observer(Remark(words))

    def _remark_raw(self, task: Task) -> None:
        """What was not understood is shown once; all of it is kept with its row."""
        if "" not in self._unknown:
            self._unknown.add("")
            lacks = "no clip" if task.status is TaskStatus.SUCCESS else "nothing that is understood"
            self._stopper.observer(Remark(f"task {task.task_id} names {lacks}: {task.raw}"))


def took(task: Task) -> float | None:
    """Seconds of a generation by the service's own clock."""
    return task.completed - task.created if task.completed > task.created > 0 else None


def lacks_its_ending(task: Task) -> bool:
    """Whether it is said to be over, without the output or error that belongs to that."""
    if task.status is TaskStatus.SUCCESS:
        return task.first(OutputType.VIDEO) is None
    return task.status is TaskStatus.FAIL and task.error is None


def is_hint(task: Task, state: State) -> bool:
    """Whether a list entry tells of an ending that the task's own page has to confirm.

    A fail ends a paid row, so a list alone never decides it. A clip may be fetched on the list's
    word, since the file decides, but not from a URL that has failed already.
    """
    if lacks_its_ending(task) or task.status is TaskStatus.FAIL:
        return True
    video = task.first(OutputType.VIDEO)
    return state.needs_look and video is not None and video.url == state.video_url
