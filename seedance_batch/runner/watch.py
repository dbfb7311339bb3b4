"""Looks at tasks in flight, by list pages and by id, and takes what the answers say.

Either may be of no use for good: pages that do not come, or are old; details that are not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum, auto
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import anyio

from seedance_batch.api.client import Answer
from seedance_batch.core import hiapi, polling
from seedance_batch.core.attempt import Attempt, Phase, State
from seedance_batch.core.hiapi import OutputType, Page, Task, TaskStatus, Verdict
from seedance_batch.core.lifecycle import Forgotten
from seedance_batch.events import Stop
from seedance_batch.runner.gate import Part, Tools
from seedance_batch.runner.sightings import Sightings, lacks_its_ending, took

_REFUSED_LOOKS: Final = 3
"""After so many looks in a row that the account refuses, looking is given up."""
_FORGOTTEN_AT: Final = 3
"""After so many looks by id a task that is not found is taken for unknown."""
_FOREIGN_AT: Final = 5
"""The same, of every task in flight: then the API key is another account's."""
_LIST_ASKED_AT: Final = frozenset({2, 5, 10, 20, 40, 80})
"""Looks by id that did not find a task, after which the list is asked for it."""
_WALK: Final = 0
"""In place of a page: all pages from the first on, for tasks whose place is not known."""
_DEEPEST: Final = {True: 20, False: 200}
"""List pages that are walked at a time, by whether tasks can be asked for by id: pages that a
service counts otherwise than we do, or by marks, may never end."""
_NAP: Final = 1.0
"""Seconds after which the next look is planned anew, with what happened meanwhile."""


class Way(Enum):
    """How alone a task can be seen, where the other way was found to be wrong about it."""

    ID = auto()
    LIST = auto()


Target = int | str
"""What one request shows: a list page by its number, a task by its id."""
T = TypeVar("T")


class Watcher(Part):
    """Brings what the service says about tasks into the attempts until nothing is in flight."""

    def __init__(
        self,
        tools: Tools,
        sightings: Sightings,
        *,
        demand: Callable[[], polling.Demand],
        key_fingerprint: str,
    ) -> None:
        super().__init__(tools)
        self._sightings = sightings
        self._demand = demand
        self._key_fingerprint = key_fingerprint
        self._places = polling.Places()
        self._placed = len(tools.attempts.by_task)
        self._looked: dict[Target, float] = {}
        self._unlisted: set[str] = set()
        """Tasks that the list does not show where they should be: asked for by id."""
        self._misses: dict[str, int] = {}
        self._list = polling.Trust()
        self._details = polling.Trust()
        self._way: dict[str, Way] = {}
        self._words: dict[int, polling.Word] = {}
        """Endings that the list tells, and the task's own page neither confirms nor denies."""
        self._checked: dict[int | None, float] = {}
        """Ages at which tasks that the list calls running were asked for by id; None: any."""
        self._refusals = 0
        self.blind = False
        """Whether the account no longer lets us look, so that tasks in flight cannot be awaited."""

    async def run(self, over: Callable[[], bool]) -> None:
        """Look, whenever it is time, until ``over``."""
        while not over() and not self._stopper.leaving and not self.blind:
            look = self._next()
            now = anyio.current_time()
            if look is None:
                await self._attempts.changed(within=5.0)
            elif look.at > now:
                await anyio.sleep(min(look.at - now, _NAP))
            else:
                await self._look_safely(look.place)
                self._looked[look.place] = anyio.current_time()

    # ── where and when ──────────────────────────────────────────────────────────────────────

    def _next(self) -> polling.Look[Target] | None:
        self._place_new_tasks()
        flights: dict[Target, list[polling.Flight]] = defaultdict(list)
        now = anyio.current_time()
        ways = self._ways()
        for attempt in self._watched():
            flights[self._place_of(attempt, ways)].append(self._sightings.flight(attempt))
        return self._sightings.looks.next(
            now,
            flights,
            self._looked,
            spacing=self._gate.spacing,
            demand=self._demand(),
        )

    def _place_new_tasks(self) -> None:
        """Whoever learned of a task, an answer or a callback: the attempts know it, newest last."""
        for task_id in islice(self._attempts.by_task, self._placed, None):
            self._places.made(task_id)
        self._placed = len(self._attempts.by_task)

    def _watched(self) -> list[Attempt]:
        waiting = [a for a in self._attempts.in_phase(Phase.DOWNLOADING) if a.state.needs_look]
        return self._attempts.in_phase(Phase.IN_FLIGHT) + waiting

    def _ways(self) -> frozenset[Way]:
        """What is worth asking now; where neither seems to be, the trouble is a general one."""
        now = anyio.current_time()
        listed, detailed = self._list.is_good(now), self._details.is_good(now)
        if listed == detailed:
            return frozenset(Way)
        return frozenset({Way.LIST if listed else Way.ID})

    def _place_of(self, attempt: Attempt, ways: frozenset[Way]) -> Target:
        """Where it can be seen."""
        task_id = attempt.state.task_id or ""
        if Way.LIST not in ways or (Way.ID in ways and self._way.get(task_id) is Way.ID):
            return task_id
        page = self._places.page_of(task_id)
        if page is not None:
            return page
        return task_id if Way.ID in ways and task_id in self._unlisted else _WALK

    def _at(self, place: Target, ways: frozenset[Way]) -> dict[str, int]:
        """Watched tasks at a place, with their attempts."""
        watched = self._watched()
        return {a.state.task_id or "": a.id for a in watched if self._place_of(a, ways) == place}

    async def _look_safely(self, place: Target) -> None:
        """Clips that are known are fetched also where a look meets an error of our own."""
        if not await self._stopper.outlive(self._look(place), "a look at tasks"):
            self.blind = True

    # ── one look ────────────────────────────────────────────────────────────────────────────

    async def _look(self, place: Target) -> None:
        ways = self._ways()
        wanted = self._at(place, ways)
        only_listed = any(self._way.get(each) is Way.LIST for each in wanted)
        by_list = len(wanted) > 1 or only_listed or Way.ID not in ways
        if isinstance(place, int) and by_list:
            await (self._walk(wanted) if place == _WALK else self._page(place, wanted))
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
        last = self._places.is_last(number, len(page.tasks), page.total)
        for task_id in wanted.keys() - shown:
            if self._places.page_of(task_id) == number:
                self._missed(task_id, number, last=last)

    def _missed(self, task_id: str, number: int, *, last: bool) -> None:
        self._misses[task_id] = self._misses.get(task_id, 0) + 1
        if last or self._misses[task_id] > 1:
            self._places.forget(task_id)
            self._unlisted.add(task_id)
            self._way.pop(task_id, None)
        else:
            self._places.missed(task_id, number)

    async def _walk(self, wanted: dict[str, int]) -> None:
        """Look at list pages until they go deeper than these tasks, or bring nothing new."""
        oldest = min((self._attempts.by_id[i].state.submitted_at or 0.0) for i in wanted.values())
        deepest = _DEEPEST[Way.ID in self._ways()]
        missing, number, seen = set(wanted), 1, set[str]()
        while missing and not self._stopper.leaving:
            page = await self._listed(number)
            if page is None:
                return
            shown = {task.task_id for task in page.tasks}
            missing -= shown
            last = self._places.is_last(number, len(page.tasks), page.total)
            if last or shown <= seen or number >= deepest or _is_older(page.tasks, oldest):
                break
            seen |= shown
            number += 1
        if missing and number >= deepest:  # as far again would find as little
            self._list.leave(anyio.current_time())
        self._unlisted |= missing
        for task_id in missing:
            self._way.pop(task_id, None)

    async def _listed(self, number: int) -> Page | None:
        """A list page, with what it says about our tasks taken in."""
        answer, at = await self._ask("list", partial(self._client.list, number, polling.PAGE_SIZE))
        page = answer.value
        if page is None or (number == 1 and not page.tasks):
            limited = answer.verdict is Verdict.RATE
            self._list.failed(anyio.current_time(), limited=limited)
            if answer.verdict in hiapi.ACCOUNT:  # the key may still be good for details
                self._list.leave(anyio.current_time())
            return page
        self._place_new_tasks()
        watched = {a.state.task_id or "": a.id for a in self._watched()}
        shown = [task.task_id for task in page.tasks]
        self._places.shown(number, shown, page.size, watched, page.total)
        ours = [task for task in page.tasks if task.task_id in watched]
        self._list.answered(told=any(task.status is not TaskStatus.RUNNING for task in ours))
        for task in ours:
            self._misses.pop(task.task_id, None)
            await self._hinted(task, watched[task.task_id], at)
        await self._check(ours, watched, at)
        return page

    async def _hinted(self, task: Task, attempt_id: int, at: float) -> None:
        """What the list says: a hint, where it is an ending that only the task's page settles."""
        attempt = self._attempts.by_id[attempt_id]
        if self._sightings.flight(attempt).misses:
            self._way[task.task_id] = Way.LIST
        if not is_hint(task, attempt.state):
            self._words.pop(attempt_id, None)
            await self._taken(task, attempt_id, at)
            return
        seen = await self._by_id(task.task_id, attempt_id) if Way.ID in self._ways() else None
        if seen is None:
            await self._on_its_word(task, attempt_id, at)
        elif seen.status is TaskStatus.RUNNING:
            self._way[task.task_id] = Way.ID

    async def _on_its_word(self, task: Task, attempt_id: int, at: float) -> None:
        """No detail is to be had: what the list says again and again for minutes is taken."""
        before = self._words.get(attempt_id)
        word = self._words[attempt_id] = before.again() if before else polling.Word(at)
        if word.stands(at):
            await self._taken(task, attempt_id, at)

    async def _check(self, shown: Sequence[Task], watched: dict[str, int], at: float) -> None:
        """Ask for one task that the list has called running for long: the list may be old."""
        running = [watched[t.task_id] for t in shown if t.status is TaskStatus.RUNNING]
        ages = {
            i: at - self._sightings.flight(self._attempts.by_id[i]).accepted_at for i in running
        }
        doubted = self._doubted(ages)
        if doubted is None:
            return
        self._checked[None] = self._checked[doubted] = ages[doubted]
        seen = await self._by_id(self._attempts.by_id[doubted].state.task_id or "", doubted)
        ended = seen is not None and seen.status is not TaskStatus.RUNNING
        if seen is not None and ended and polling.is_old(ages[doubted], took(seen)):
            self._list.leave(anyio.current_time())
            self._checked.clear()  # once it is tried again it is checked at once

    def _doubted(self, ages: dict[int, float]) -> int | None:
        """The oldest attempt at whose age the list's word is doubted, if any."""
        looks, proven = self._sightings.looks, self._list.proven
        if looks.relies_on_callbacks and not proven:
            return None
        if Way.ID not in self._ways():
            return None
        usual = looks.usual()
        due = [
            attempt_id
            for attempt_id, age in ages.items()
            if polling.wants_check(age, usual, self._last_check(attempt_id), proven=proven)
        ]
        return max(due, key=lambda attempt_id: ages[attempt_id], default=None)

    def _last_check(self, attempt_id: int) -> float:
        return self._checked.get(attempt_id if self._list.proven else None, 0.0)

    async def _by_id(self, task_id: str, attempt_id: int) -> Task | None:
        answer, at = await self._ask("get", partial(self._client.get, task_id))
        if answer.value is not None or answer.verdict is Verdict.NOT_FOUND:
            self._details.answered()
        elif answer.verdict not in hiapi.ACCOUNT:
            limited = answer.verdict is Verdict.RATE
            self._details.failed(anyio.current_time(), limited=limited)
        if answer.value is not None:
            self._words.pop(attempt_id, None)
            await self._taken(answer.value, attempt_id, at)
        elif answer.verdict is Verdict.NOT_FOUND and self._way.get(task_id) is not Way.LIST:
            await self._missed_by_id(task_id, attempt_id, at)
        return answer.value

    async def _taken(self, task: Task, attempt_id: int, at: float) -> None:
        attempt = await self._sightings.take(task, attempt_id, at)
        if attempt.state.phase is not Phase.IN_FLIGHT:
            self._places.forget(task.task_id)

    # ── what goes wrong ─────────────────────────────────────────────────────────────────────

    async def _missed_by_id(self, task_id: str, attempt_id: int, at: float) -> None:
        misses = self._sightings.missed(attempt_id, at).misses
        if misses in _LIST_ASKED_AT and Way.LIST in self._ways():
            await self._walk({task_id: attempt_id})
            if self._way.get(task_id) is Way.LIST:
                return
        if misses == _FORGOTTEN_AT:
            await self._forgotten(task_id, attempt_id)
        if self._all_foreign():
            self._stopper.stop(Stop.ACCOUNT, "this API key knows none of the tasks in flight")
            self.blind = True

    async def _forgotten(self, task_id: str, attempt_id: int) -> None:
        attempt = self._attempts.by_id[attempt_id]
        if attempt.intent.key_fingerprint == self._key_fingerprint:
            message = f"the service no longer knows task {task_id}, and its file is gone too"
            forgotten = Forgotten(message, self._tools.wall(), self._client.server_time())
            attempt = await self._attempts.apply(attempt_id, forgotten)
            if attempt.state.phase is Phase.DOWNLOADING and not attempt.state.needs_look:
                self._sightings.forget(attempt_id)  # its file is asked for again without a look
        else:
            words = "is unknown to this API key; does the key belong to another account?"
            self._tools.remark(f"task {task_id} {words}")

    def _all_foreign(self) -> bool:
        """Whether nothing in flight can be found, and some of it was made under another key."""
        watched = self._watched()
        misses = [self._sightings.flight(a).misses for a in watched]
        keys = {a.intent.key_fingerprint for a in watched}
        return min(misses, default=0) >= _FOREIGN_AT and keys != {self._key_fingerprint}

    def given_up(self) -> list[Attempt]:
        """Those in flight that the service has not known for minutes: they are not waited for."""
        in_flight = self._attempts.in_phase(Phase.IN_FLIGHT)
        return [a for a in in_flight if polling.is_given_up(self._sightings.flight(a))]

    async def _ask(
        self, what: str, request: Callable[[], Awaitable[Answer[T]]]
    ) -> tuple[Answer[T], float]:
        """An answer, and the time to which what it says is true."""
        await self._gate.wait()
        at = anyio.current_time()
        answer = await request()
        self._gate.heard(what, answer)
        if answer.verdict in hiapi.ACCOUNT:
            self._refused(answer.error.message, surely=not answer.baffles)
        else:
            self._refusals = 0
        if self._gate.astray:
            message = f"{self._client.base_url} is not HiAPI's API ({answer.error.message})"
            self._stopper.stop(Stop.ELSEWHERE, message)
            self.blind = True
        return answer, at

    def _refused(self, message: str, *, surely: bool) -> None:
        """The key no longer reads: no new submits, and after a few tries no more looks."""
        self._refusals += 1
        if surely or self._refusals >= _REFUSED_LOOKS:
            self._stopper.stop(Stop.ACCOUNT, message)
        if self._refusals >= _REFUSED_LOOKS:
            self.blind = True


def _is_older(tasks: Iterable[Task], oldest: float) -> bool:
    # An hour of slack: the list's times are the server's, ours may be off.
    created = [task.created for task in tasks if task.created]
    return bool(created) and max(created) < oldest - 3600.0


def is_hint(task: Task, state: State) -> bool:
    """Whether a list entry tells of an ending that the task's own page has to confirm.

    A fail ends a paid row, so a list alone never decides it. A clip may be fetched on the list's
    word, since the file decides, but not from a URL that has failed already.
    """
    if lacks_its_ending(task) or task.status is TaskStatus.FAIL:
        return True
    video = task.first(OutputType.VIDEO)
    return state.needs_look and video is not None and video.url == state.video_url
