"""``reconcile``: what the service knows about ambiguous rows, and what a person decides."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass

from seedance_batch import journal as journals
from seedance_batch.batch.batch import Site
from seedance_batch.batch.neighbours import ids_in_neighbours
from seedance_batch.candidates import candidates, window
from seedance_batch.client import Client
from seedance_batch.errors import AccountStopped, ApiUnreachable, UsageError
from seedance_batch.identity import fingerprint
from seedance_batch.model import Task
from seedance_batch.state import Adopted, Attempt, ErrorClass, Event, Phase, Released, step
from seedance_batch.wire import ACCOUNT, Verdict


@dataclass(frozen=True, slots=True)
class Question:
    """An ambiguous attempt, and the tasks that could be its own."""

    attempt: Attempt
    candidates: tuple[Task, ...]
    same_key: bool
    """Whether the task list is that of the API key which it was sent under."""


def ambiguous(attempts: Iterable[Attempt]) -> list[Attempt]:
    """The attempts that wait for a person."""
    return [attempt for attempt in attempts if attempt.state.phase is Phase.AMBIGUOUS]


def _undecided(attempt: Attempt) -> bool:
    """Ambiguous, or released by hand: its task may have turned up after all."""
    state = attempt.state
    return state.phase is Phase.AMBIGUOUS or state.error_class is ErrorClass.RELEASED


async def questions(site: Site) -> list[Question]:
    """Every ambiguous attempt with its candidates from the task list. Changes nothing."""
    attempts = site.journal.attempts()
    waiting = ambiguous(attempts)
    if not waiting:
        return []
    async with Client(site.access.base_url, site.access.api_key) as client:
        tasks = await _tasks_since(client, min(window(a)[0] for a in waiting))
    held = ids_in_neighbours(site.folder)
    held |= {a.state.task_id for a in attempts if a.state.task_id is not None}
    ours = fingerprint(site.access.api_key, site.journal.meta("salt") or "")
    return [
        Question(a, tuple(candidates(a, tasks, held)), a.intent.key_fingerprint == ours)
        for a in waiting
    ]


async def adopt(site: Site, key: str, task_id: str) -> Attempt:
    """Take a task as this row's. Costs nothing more: the task was paid for when it was made."""
    attempt = _one(site, key)
    if task_id in ids_in_neighbours(site.folder) or any(
        other.state.task_id == task_id for other in site.journal.attempts()
    ):
        raise UsageError(f"Task {task_id} is another row's already; nothing was changed.")
    async with Client(site.access.base_url, site.access.api_key) as client:
        answer = await client.get(task_id)
    if answer.verdict is not Verdict.OK:
        raise UsageError(
            f"Task {task_id} cannot be looked up ({answer.error.message}); nothing was changed."
        )
    return _decide(site, attempt, Adopted(task_id, time.time()))


def release(site: Site, key: str) -> Attempt:
    """Say that no task exists for this row, so that it may be bought anew by ``rerun``."""
    return _decide(site, _one(site, key), Released(time.time()))


def _one(site: Site, key: str) -> Attempt:
    found = [a for a in site.journal.attempts() if a.intent.key == key and _undecided(a)]
    waiting = ambiguous(found)
    if waiting:
        return waiting[0]
    if not found:
        raise UsageError(
            f"Row {key} is not ambiguous; nothing was changed.",
            hint=f"seedance-batch reconcile {shlex.quote(str(site.folder.path))}",
        )
    return found[-1]


def _decide(site: Site, attempt: Attempt, event: Event) -> Attempt:
    after = Attempt(attempt.id, attempt.intent, step(attempt.state, event))
    site.journal.write(journals.save(after, at=time.time(), event=type(event).__name__))
    return after


async def _tasks_since(client: Client, oldest: float) -> list[Task]:
    """The account's tasks made since then, newest first."""
    found: dict[str, Task] = {}
    page = 1
    while True:
        answer = await client.list(page)
        if answer.verdict in ACCOUNT:
            raise AccountStopped(f"The task list is refused: {answer.error.message}")
        if answer.value is None:
            raise ApiUnreachable(f"The task list cannot be had: {answer.error.message}")
        shown = answer.value
        found.update({task.task_id: task for task in shown.tasks})
        done = not shown.tasks or page * max(1, shown.size) >= shown.total
        if done or min(task.created for task in shown.tasks) < oldest:
            return list(found.values())
        page += 1
