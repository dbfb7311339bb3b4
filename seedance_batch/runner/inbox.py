"""Where callbacks arrive in a run: linked to attempts by token or task, worked off in turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import Final

import anyio

from seedance_batch.api.callbacks import Reception, ToldTask, token_of
from seedance_batch.core.attempt import FINAL_PHASES, TASKLESS_PHASES, Attempt
from seedance_batch.core.hiapi import Task
from seedance_batch.core.lifecycle import Accepted
from seedance_batch.runner.gate import Part, Tools
from seedance_batch.runner.watch import Sightings, lacks_its_ending

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
