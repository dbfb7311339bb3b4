"""``reconcile``: what the service knows about rows in doubt, and what a person decides.

In doubt is a row whose send had no answer, and one whose task the service no longer knows.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

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

FORGOTTEN_AFTER: Final = 240.0
"""Seconds after its send from which a task that is not found is no new one any more."""


@dataclass(frozen=True, slots=True)
class Question:
    """An ambiguous attempt, and the tasks that could be its own."""

    attempt: Attempt
    candidates: tuple[Task, ...]
    same_key: bool
    """Whether the task list is that of the API key which it was sent under."""
    forgotten: bool = False
    """Whether it has a task that the service no longer knows."""


def ambiguous(attempts: Iterable[Attempt]) -> list[Attempt]:
    """The attempts that wait for a person."""
    return [attempt for attempt in attempts if attempt.state.phase is Phase.AMBIGUOUS]


def _undecided(attempt: Attempt) -> bool:
    """Ambiguous, or released by hand: its task may have turned up after all."""
    state = attempt.state
    return state.phase is Phase.AMBIGUOUS or state.error_class is ErrorClass.RELEASED


async def questions(site: Site) -> list[Question]:
    """Every attempt in doubt, with its candidates from the task list. Changes nothing."""
    attempts = site.journal.attempts()
    waiting = ambiguous(attempts)
    async with Client(site.access.base_url, site.access.api_key) as client:
        lost = await _forgotten(site, client, attempts)
        if not waiting:
            return lost
        tasks = await _tasks_since(client, min(window(a)[0] for a in waiting))
    held = ids_in_neighbours(site.folder)
    held |= {a.state.task_id for a in attempts if a.state.task_id is not None}
    ours = fingerprint(site.access.api_key, site.journal.meta("salt") or "")
    return [
        *(
            Question(a, tuple(candidates(a, tasks, held)), a.intent.key_fingerprint == ours)
            for a in waiting
        ),
        *lost,
    ]


async def _forgotten(site: Site, client: Client, attempts: Iterable[Attempt]) -> list[Question]:
    """Attempts whose task the service does not know, minutes after it has accepted it."""
    ours = fingerprint(site.access.api_key, site.journal.meta("salt") or "")
    waiting = [
        attempt
        for attempt in attempts
        if attempt.state.phase is Phase.IN_FLIGHT and attempt.intent.key_fingerprint == ours
    ]
    page = (await client.list()).value if waiting else None
    listed = {task.task_id for task in page.tasks} if page is not None else set()
    return [
        Question(attempt, (), same_key=True, forgotten=True)
        for attempt in waiting
        if attempt.state.task_id not in listed and await _is_forgotten(client, attempt)
    ]


async def _is_forgotten(client: Client, attempt: Attempt) -> bool:
    answer = await client.get(attempt.state.task_id or "")
    now = client.server_time() or time.time()
    age = now - (attempt.state.submitted_at or now)
    return answer.verdict is Verdict.NOT_FOUND and age >= FORGOTTEN_AFTER


async def adopt(site: Site, key: str, task_id: str) -> Attempt:
    """Take a task as this row's. Costs nothing more: the task was paid for when it was made.

    The row may also be one that was said to have failed, by the same task or without any.
    """
    attempt = _one(site, key, task_id)
    if task_id in ids_in_neighbours(site.folder) or any(
        other.state.task_id == task_id and other.id != attempt.id
        for other in site.journal.attempts()
    ):
        raise UsageError(f"Task {task_id} is another row's already; nothing was changed.")
    async with Client(site.access.base_url, site.access.api_key) as client:
        answer = await client.get(task_id)
    if answer.verdict is not Verdict.OK:
        raise UsageError(
            f"Task {task_id} cannot be looked up ({answer.error.message}); nothing was changed."
        )
    return _decide(site, attempt, Adopted(task_id, time.time()))


async def release(site: Site, key: str) -> Attempt:
    """Say that no task exists for this row, so that it may be bought anew by ``rerun``.

    So may a row whose task the service has forgotten: it may have been paid for.
    """
    async with Client(site.access.base_url, site.access.api_key) as client:
        lost = await _forgotten(site, client, _of(site, key))
    attempt = lost[-1].attempt if lost else _one(site, key)
    return _decide(site, attempt, Released(time.time()))


def _of(site: Site, key: str) -> list[Attempt]:
    return [attempt for attempt in site.journal.attempts() if attempt.intent.key == key]


def _one(site: Site, key: str, task_id: str | None = None) -> Attempt:
    """The attempt that a person may decide about; ``task_id``: by adopting this task."""
    attempts = _of(site, key)
    own = [a for a in attempts if a.state.phase is Phase.FAILED and a.state.task_id == task_id]
    found = [a for a in attempts if _undecided(a)]
    failed = [a for a in attempts if a.state.phase is Phase.FAILED and task_id is not None]
    chosen = (own if task_id is not None else []) or ambiguous(found)[:1] or found or failed
    if not chosen:
        raise UsageError(
            f"Row {key} is not ambiguous; nothing was changed.",
            hint=f"seedance-batch reconcile {shlex.quote(str(site.folder.path))}",
        )
    return chosen[-1]


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
