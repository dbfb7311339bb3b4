"""Looks at tasks in flight: by list pages, by id for what the pages did not show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import anyio

from seedance_batch import wire
from seedance_batch.client import Answer, Client
from seedance_batch.events import Remark, Stop
from seedance_batch.model import Task
from seedance_batch.pacing import PAGE_SIZE, Demand, Flight, Look, Places
from seedance_batch.runner.book import Book
from seedance_batch.runner.gate import Gate
from seedance_batch.runner.sightings import Sightings, lacks_its_ending
from seedance_batch.runner.stopper import Stopper
from seedance_batch.state import Attempt, Forgotten, Phase
from seedance_batch.wire import Page, Verdict

_REFUSED_LOOKS: Final = 3
"""After so many looks in a row that the account refuses, looking is given up."""
_FORGOTTEN_AT: Final = 3
"""After so many looks by id a task that is not found is taken for unknown."""
_WALK: Final = 0
"""In place of a page: all pages from the first on, for tasks whose place is not known."""
_NAP: Final = 1.0
"""Seconds after which the next look is planned anew, with what happened meanwhile."""

Place = int | str
"""What one request shows: a list page by its number, a task by its id."""
T = TypeVar("T")


class Watcher:
    """Brings what the service says about tasks into the book until nothing is in flight."""

    def __init__(
        self,
        *,
        client: Client,
        book: Book,
        gate: Gate,
        sightings: Sightings,
        stopper: Stopper,
        demand: Callable[[], Demand],
        key_fingerprint: str,
        wall: Callable[[], float],
    ) -> None:
        self._client = client
        self._book = book
        self._gate = gate
        self._sightings = sightings
        self._stopper = stopper
        self._demand = demand
        self._key_fingerprint = key_fingerprint
        self._wall = wall
        self._places = Places()
        self._placed = len(book.by_task)
        self._looked: dict[Place, float] = {}
        self._unlisted: set[str] = set()
        """Tasks that the list does not show where they should be: asked for by id."""
        self._misses: dict[str, int] = {}
        self._missing: dict[int, int] = {}
        self._refusals = 0
        self._blind = False

    async def run(self, over: Callable[[], bool]) -> None:
        """Look, whenever it is time, until ``over``."""
        while not over() and not self._stopper.leaving and not self._blind:
            look = self._next()
            now = anyio.current_time()
            if look is None:
                await self._book.changed(within=5.0)
            elif look.at > now:
                await anyio.sleep(min(look.at - now, _NAP))
            else:
                await self._look(look.place)
                self._looked[look.place] = anyio.current_time()

    @property
    def blind(self) -> bool:
        """Whether the account no longer lets us look, so that tasks in flight cannot be awaited."""
        return self._blind

    # ── where and when ──────────────────────────────────────────────────────────────────────

    def _next(self) -> Look[Place] | None:
        self._place_new_tasks()
        flights: dict[Place, list[Flight]] = defaultdict(list)
        for attempt in self._watched():
            flights[self._place_of(attempt)].append(self._sightings.flight(attempt))
        return self._sightings.looks.next(
            anyio.current_time(),
            flights,
            self._looked,
            spacing=self._gate.budget.spacing,
            demand=self._demand(),
        )

    def _place_new_tasks(self) -> None:
        """Whoever learned of a task, an answer or a callback: the book has it, newest last."""
        for task_id in islice(self._book.by_task, self._placed, None):
            self._places.made(task_id)
        self._placed = len(self._book.by_task)

    def _watched(self) -> list[Attempt]:
        waiting = [a for a in self._book.in_phase(Phase.DOWNLOADING) if a.state.needs_look]
        return self._book.in_phase(Phase.IN_FLIGHT) + waiting

    def _place_of(self, attempt: Attempt) -> Place:
        task_id = attempt.state.task_id or ""
        page = self._places.page_of(task_id)
        if page is not None:
            return page
        return task_id if task_id in self._unlisted else _WALK

    def _at(self, place: Place) -> dict[str, int]:
        """Watched tasks at a place, with their attempts."""
        watched = self._watched()
        return {a.state.task_id or "": a.id for a in watched if self._place_of(a) == place}

    # ── one look ────────────────────────────────────────────────────────────────────────────

    async def _look(self, place: Place) -> None:
        wanted = self._at(place)
        if place == _WALK and len(wanted) > 1:
            await self._walk(wanted)
        elif len(wanted) > 1:
            await self._page(int(place), wanted)
        else:  # as dear as a page, and surer
            for task_id, attempt_id in wanted.items():
                await self._by_id(task_id, attempt_id)
                self._unlisted.add(task_id)

    async def _page(self, number: int, wanted: dict[str, int]) -> None:
        """Look at the page where these should be; what it lacks is looked for further down."""
        page = await self._listed(number)
        if page is None:
            return
        shown = {task.task_id for task in page.tasks}
        for task_id in wanted.keys() - shown:
            if self._places.page_of(task_id) == number:
                self._missed(task_id, number, last=_is_last(page, number))

    def _missed(self, task_id: str, number: int, *, last: bool) -> None:
        self._misses[task_id] = self._misses.get(task_id, 0) + 1
        if last or self._misses[task_id] > 1:
            self._places.forget(task_id)
            self._unlisted.add(task_id)
        else:
            self._places.missed(task_id, number)

    async def _walk(self, wanted: dict[str, int]) -> None:
        """Look at list pages until they go deeper than these tasks."""
        oldest = min((self._book.attempts[i].state.submitted_at or 0.0) for i in wanted.values())
        missing, number = set(wanted), 1
        while missing and not self._stopper.leaving:
            page = await self._listed(number)
            if page is None:
                return
            missing -= {task.task_id for task in page.tasks}
            if _is_last(page, number) or _is_older(page.tasks, oldest):
                break
            number += 1
        self._unlisted |= missing

    async def _listed(self, number: int) -> Page | None:
        """A list page, with what it says about our tasks taken in."""
        answer, at = await self._ask("list", partial(self._client.list, number, PAGE_SIZE))
        page = answer.value
        if page is None:
            return None
        self._place_new_tasks()
        watched = {a.state.task_id or "": a.id for a in self._watched()}
        self._places.shown(number, [task.task_id for task in page.tasks], page.size, watched)
        for task in page.tasks:
            self._misses.pop(task.task_id, None)
            if task.task_id in watched:
                await self._confirmed(task, watched[task.task_id], at)
        return page

    async def _confirmed(self, task: Task, attempt_id: int, at: float) -> None:
        """A list entry is a hint: an ending without its output or error is asked for by id."""
        if lacks_its_ending(task):
            await self._by_id(task.task_id, attempt_id)
        else:
            await self._taken(task, attempt_id, at)

    async def _by_id(self, task_id: str, attempt_id: int) -> None:
        answer, at = await self._ask("get", partial(self._client.get, task_id))
        if answer.value is not None:
            await self._taken(answer.value, attempt_id, at)
        elif answer.verdict is Verdict.NOT_FOUND:
            self._sightings.looked_for(attempt_id, at)
            await self._missed_by_id(task_id, attempt_id)

    async def _taken(self, task: Task, attempt_id: int, at: float) -> None:
        self._missing.pop(attempt_id, None)
        attempt = await self._sightings.take(task, attempt_id, at)
        if attempt.state.phase is not Phase.IN_FLIGHT:
            self._places.forget(task.task_id)

    # ── what goes wrong ─────────────────────────────────────────────────────────────────────

    async def _missed_by_id(self, task_id: str, attempt_id: int) -> None:
        self._missing[attempt_id] = self._missing.get(attempt_id, 0) + 1
        if self._missing[attempt_id] == _FORGOTTEN_AT:
            attempt = self._book.attempts[attempt_id]
            if attempt.intent.key_fingerprint == self._key_fingerprint:
                message = f"the service no longer knows task {task_id}, whose file is gone too"
                attempt = await self._book.apply(attempt_id, Forgotten(message, self._wall()))
            if attempt.state.phase is Phase.EXPIRED:
                return
            self._stopper.observer(
                Remark(f"task {task_id} is unknown to this API key; is it another account's key?")
            )
        if self._all_missing():
            self._stopper.stop(Stop.ACCOUNT, "no task in flight is known to this API key")
            self._blind = True

    def _all_missing(self) -> bool:
        watched = self._watched()
        return bool(watched) and all(self._missing.get(a.id, 0) >= 5 for a in watched)

    async def _ask(
        self, what: str, request: Callable[[], Awaitable[Answer[T]]]
    ) -> tuple[Answer[T], float]:
        """An answer, and the time to which what it says is true."""
        await self._gate.wait()
        at = anyio.current_time()
        answer = await request()
        self._gate.heard(what, answer)
        if answer.verdict in wire.ACCOUNT:
            self._refused(answer.error.message)
        else:
            self._refusals = 0
        return answer, at

    def _refused(self, message: str) -> None:
        """The key no longer reads: no new submits, and after a few tries no more looks."""
        self._refusals += 1
        self._stopper.stop(Stop.ACCOUNT, message)
        if self._refusals >= _REFUSED_LOOKS:
            self._blind = True


def _is_last(page: Page, number: int) -> bool:
    return not page.tasks or page.size <= 0 or number * page.size >= page.total


def _is_older(tasks: Iterable[Task], oldest: float) -> bool:
    # An hour of slack: the list's times are the server's, ours may be off.
    created = [task.created for task in tasks if task.created]
    return bool(created) and max(created) < oldest - 3600.0
