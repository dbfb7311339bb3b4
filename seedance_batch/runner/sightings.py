"""What is known about tasks in flight: whatever tells of a task's state ends up here.

Looks and callbacks bring it, attempts take it, and people are told of tasks that seem never to end.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

import anyio

from seedance_batch.api.callbacks import Reception, ToldTask, token_of
from seedance_batch.core import polling, shapes
from seedance_batch.core.attempt import FINAL_PHASES, TASKLESS_PHASES, Attempt, Phase
from seedance_batch.core.hiapi import OutputType, Task, TaskStatus
from seedance_batch.core.lifecycle import Accepted, Seen
from seedance_batch.core.pace import Slots
from seedance_batch.core.text import first_few, span
from seedance_batch.runner.gate import Part, Tools


class Sightings(Part):
    """Brings sightings of tasks into the attempts, and learns from them when to look again."""

    def __init__(
        self, tools: Tools, looks: polling.Looks, *, ended: Callable[[Attempt], None]
    ) -> None:
        super().__init__(tools)
        self.looks = looks
        self._ended = ended
        self._started = anyio.current_time()
        attempts = tools.attempts.by_id.values()
        self._earlier = {a.id for a in attempts if a.state.phase is not Phase.PLANNED}
        """Attempts that an earlier process sent: how old they are only clocks can tell."""
        self._unknown: set[str] = set()
        self._flights: dict[int, polling.Flight] = {}
        self._hinted: set[int] = set()

    async def take(self, task: Task, attempt_id: int, at: float, *, told: bool = False) -> Attempt:
        """A task as it was at ``at``; ``told``: a callback brought it."""
        if task.raw_status and not shapes.knows_status(task.raw_status):
            self._remark_unknown(task)
        elif task.raw:
            self._remark_raw(task)
        flight = self.flight(self._attempts.by_id[attempt_id])
        self._found(task, attempt_id, at)
        if task.status is TaskStatus.RUNNING and not task.raw:
            # It changes nothing, a hundred times a page.
            return self._attempts.by_id[attempt_id]
        before = self._attempts.by_id[attempt_id].state.phase
        attempt = await self._attempts.apply(attempt_id, Seen(task, self._tools.wall()))
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
        known = self.flight(self._attempts.by_id[attempt_id])
        accepted = known.accepted_at
        if attempt_id in self._earlier:
            self._earlier.discard(attempt_id)
            accepted = self._made_at(task, at) or accepted
        self._flights[attempt_id] = polling.Flight(accepted, known.size, max(at, accepted))

    def missed(self, attempt_id: int, at: float) -> polling.Flight:
        """A look by id did not find the task."""
        known = self.flight(self._attempts.by_id[attempt_id])
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
        known = self.flight(self._attempts.by_id[attempt_id])
        self._flights[attempt_id] = replace(known, hinted=True)
        self._hinted.add(attempt_id)

    def flight(self, attempt: Attempt) -> polling.Flight:
        """An attempt as far as the timing of looks is concerned."""
        known = self._flights.get(attempt.id)
        if known is None:
            known = self._flights[attempt.id] = self._first(attempt)
        return known

    def _first(self, attempt: Attempt) -> polling.Flight:
        now = anyio.current_time()
        accepted = now - self._age(attempt, now)
        size = attempt.intent.resolution, attempt.intent.duration
        # What an earlier process left may be over since long. A clip whose URL is gone waits for a
        # look; more than one is no use at once.
        hinted = attempt.id in self._earlier or attempt.state.needs_look
        return polling.Flight(accepted, size, accepted, hinted=hinted)

    def _age(self, attempt: Attempt, now: float) -> float:
        """Seconds since the send, by the clock that dated it: the earlier one of ours and theirs.

        Whatever the clocks say, what this run has sent is no older than the run.
        """
        clock = self._tools.earlier_clock()
        age = max(0.0, clock - (attempt.state.submitted_at or clock))
        return age if attempt.id in self._earlier else min(age, now - self._started)

    def _made_at(self, task: Task, at: float) -> float | None:
        """When the service made a task, by its own clock alone, as a time of this run's."""
        server = self._client.server_time()
        if server is None or not task.created:
            return None
        # The answer came after `at`, and the clock has gone on since.
        return at - max(0.0, server - (anyio.current_time() - at) - task.created)

    def _remark_unknown(self, task: Task) -> None:
        if task.raw_status not in self._unknown:
            self._unknown.add(task.raw_status)
            taken = "still running" if task.status is TaskStatus.RUNNING else task.status.value
            words = f"unknown task status {task.raw_status!r}: treated as {taken}"
            if task.raw:
                words += f"; the task as received: {task.raw}"
            self._tools.remark(words)

    def _remark_raw(self, task: Task) -> None:
        """What was not understood is shown once; all of it is kept with its row."""
        if "" not in self._unknown:
            self._unknown.add("")
            lacks = (
                "no clip"
                if task.status is TaskStatus.SUCCESS
                else "nothing that this program understands"
            )
            self._tools.remark(f"task {task.task_id} names {lacks}: {task.raw}")


def took(task: Task) -> float | None:
    """Seconds of a generation by the service's own clock."""
    return task.completed - task.created if task.completed > task.created > 0 else None


def lacks_its_ending(task: Task) -> bool:
    """Whether it is said to be over, without the output or error that belongs to that."""
    if task.status is TaskStatus.SUCCESS:
        return task.first(OutputType.VIDEO) is None
    return task.status is TaskStatus.FAIL and task.error is None


# ── Where callbacks arrive: linked to attempts by token or task, worked off in turn ──────────────


_WAITING: Final = 1000
"""Callbacks that may wait for their turn."""
_HELD: Final = 1000
"""Proven callbacks of unknown tasks that are kept, the latest."""


class Inbox(Part):
    """Takes callbacks while a run goes on. `hear` answers at once; the work is done by `run`.

    What a signature proves is taken as seen. What only a token vouches for is a hint to look.
    """

    def __init__(self, tools: Tools, sightings: Sightings) -> None:
        super().__init__(tools)
        self._sightings = sightings
        self._tokens: dict[str, int] = {}
        self._read = 0
        self._checked: set[int] = set()
        self._held: OrderedDict[str, Task] = OrderedDict()
        self._holding = anyio.Event()
        self._waiting: deque[ToldTask] = deque()
        self._news = anyio.Event()

    # ── at once ─────────────────────────────────────────────────────────────────────────────

    def hear(self, told: ToldTask) -> Reception:
        """What becomes of a callback; changes nothing yet."""
        by_token, by_task = self._by_token(told.token), self._by_task(told.task)
        if by_token is None and not told.signed:
            return Reception.NOT_OURS
        if by_token is not None and _contradict(by_token, by_task):
            return Reception.CONTRADICTS
        if by_token is None and by_task is None:
            self._hold(told.task)
            return Reception.HELD
        if len(self._waiting) >= _WAITING:
            return Reception.TOO_BUSY
        self._waiting.append(told)
        self._news.set()
        return Reception.TAKEN

    def _by_token(self, token: str | None) -> Attempt | None:
        # Attempts are recorded before they are sent, so a token is known before its callback.
        for attempt in islice(self._attempts.by_id.values(), self._read, None):
            known = token_of(attempt.intent.template)
            if known is not None:
                self._tokens[known] = attempt.id
        self._read = len(self._attempts.by_id)
        attempt_id = self._tokens.get(token or "")
        return None if attempt_id is None else self._attempts.by_id[attempt_id]

    def _by_task(self, task: Task) -> Attempt | None:
        attempt_id = self._attempts.by_task.get(task.task_id)
        return None if attempt_id is None else self._attempts.by_id[attempt_id]

    def _hold(self, task: Task) -> None:
        self._held[task.task_id] = task
        self._holding.set()
        while len(self._held) > _HELD:
            self._held.popitem(last=False)

    # ── after the answer ────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Work off what was heard, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._release)
            while True:
                await self._news.wait()
                self._news = anyio.Event()
                while self._waiting:
                    await self._work_off(self._waiting.popleft())

    async def _release(self) -> None:
        """Take up what was held, once its task is known."""
        while True:
            await self._holding.wait()
            await self._attempts.changed()
            for task_id in self._held.keys() & self._attempts.by_task.keys():
                task = self._held.pop(task_id, None)  # later ones may have pushed it out by now
                if task is not None:
                    await self._proven(self._attempts.by_task[task_id], task)
            if not self._held:
                self._holding = anyio.Event()

    async def _work_off(self, told: ToldTask) -> None:
        attempt = self._by_token(told.token) or self._by_task(told.task)
        if attempt is None:
            return
        if told.signed:
            await self._proven(attempt.id, told.task)
        elif attempt.state.phase in TASKLESS_PHASES:
            await self._check(attempt, told.task)
        else:
            self._sightings.hint(attempt.id)

    async def _proven(self, attempt_id: int, task: Task) -> None:
        if self._attempts.by_task.get(task.task_id, attempt_id) != attempt_id:
            return  # meanwhile it turned out to be another row's
        if self._attempts.by_id[attempt_id].state.phase in TASKLESS_PHASES:
            await self._attempts.apply(attempt_id, Accepted(task.task_id, self._tools.wall()))
        if lacks_its_ending(task):
            self._sightings.hint(attempt_id)
        else:
            at = anyio.current_time()
            await self._sightings.take(task, attempt_id, at, told=True)

    async def _check(self, attempt: Attempt, task: Task) -> None:
        """An unproven word that a lost answer was a yes: one question to the API settles it."""
        if attempt.id in self._checked:
            return
        self._checked.add(attempt.id)
        await self._gate.wait()
        answer = await self._client.get(task.task_id)
        self._gate.heard("get", answer)
        if answer.value is not None and task.task_id not in self._attempts.by_task:
            await self._proven(attempt.id, answer.value)


def _contradict(by_token: Attempt, by_task: Attempt | None) -> bool:
    """Whether a callback came at one row's address with another row's task."""
    if by_task is not None:
        return by_task.id != by_token.id
    return by_token.state.task_id is not None or by_token.state.phase in FINAL_PHASES


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
        self._unknown = [a for a in in_flight if polling.is_unknown(flights[a.id])]
        late = [
            a for a in in_flight if polling.is_overdue(flights[a.id], limits[flights[a.id].size])
        ]
        over = [a for a in in_flight if a.state.no_video_since is not None]
        self._late = [
            a
            for a in late
            if a.state.no_video_since is None and not polling.is_unknown(flights[a.id])
        ]
        # What has succeeded and names no clip yet takes no place of the service's any more.
        self._lend(list(flights.values()), len(self._unknown) + len(self._late) + len(over))

    def _lend(self, flights: Sequence[polling.Flight], overdue: int) -> None:
        measured = self._sightings.looks.usual() is not None
        before, ceiling = self._slots.spared, self._slots.ceiling
        self._slots.spare(
            polling.spare_places(flights, overdue, measured=measured, ceiling=ceiling)
        )
        if self._slots.spared != before:
            self._attempts.wake()

    def _limit(self, size: tuple[str, int]) -> float:
        return polling.overdue_from(*self._sightings.looks.lengths(size))

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
