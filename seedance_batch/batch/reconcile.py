"""``reconcile``: what the service knows about rows in doubt, and what a person decides.

In doubt is a row whose send got no answer, and one whose task the service no longer knows."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import anyio

from seedance_batch.api.client import Answer, Client
from seedance_batch.batch.access import Site
from seedance_batch.batch.ownership import ids_in_neighbours
from seedance_batch.clips.download import look_at
from seedance_batch.clips.media import Probe, judge
from seedance_batch.core.attempt import Attempt, ErrorClass, Intent, Phase
from seedance_batch.core.hiapi import ACCOUNT, OutputType, Page, Task, TaskStatus, Verdict
from seedance_batch.core.lifecycle import Adopted, Event, Released, step
from seedance_batch.core.manifest import canonical_model, fingerprint
from seedance_batch.core.text import span
from seedance_batch.errors import AccountStopped, ApiUnreachable, UsageError
from seedance_batch.journal import records

FORGOTTEN_AFTER: Final = 240.0
"""Seconds after its send from which a task that is not found is no new one any more."""
FRESH_DOUBT: Final = 600.0
"""Seconds after its send within which a task that the list does not show may still come."""
_DEEPEST: Final = 2_000
"""List pages that are read: a list that shows other tasks on each of so many never ends."""
_LIMITED_AT_MOST: Final = 5
"""Times that a list page is asked for again where requests are limited, as those of any account
with more tasks than fit on a minute's pages are; and the longest pause, in seconds."""
_LONGEST_PAUSE: Final = 60.0
_DETAILS: Final = 20
"""Tasks that are asked for one by one, to learn what they were asked for."""


@dataclass(frozen=True, slots=True)
class Question:
    """An ambiguous attempt, and the tasks that could be its own."""

    attempt: Attempt
    candidates: tuple[Candidate, ...]
    same_key: bool
    """Whether the task list is that of the API key which it was sent under."""
    forgotten: bool = False
    """Whether it has a task that the service no longer knows."""
    is_fresh: bool = False
    """Whether it was sent so lately that a list may not show its task yet."""
    name: str = ""
    """What ``--adopt`` and ``--release`` call it: the row, with the kind where that is in doubt."""

    @property
    def likely(self) -> tuple[Candidate, ...]:
        """The candidates that nothing speaks against."""
        return tuple(c for c in self.candidates if c.is_likely)


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
        held = ids_in_neighbours(site.folder)
        held |= {a.state.task_id for a in attempts if a.state.task_id is not None}
        tasks, ahead = await tasks_since(client, waiting)
        free = [task for task in tasks if task.task_id not in held]
        tasks = await _with_orders(client, free)
    ours = fingerprint(site.access.api_key, site.journal.facts().salt or "")
    return [
        *(
            Question(
                a,
                tuple(candidates(a, tasks, held, ahead)),
                a.intent.key_fingerprint == ours,
                is_fresh=abs(time.time() - max(_times_sent(a))) < FRESH_DOUBT,
                name=_name(a, waiting),
            )
            for a in waiting
        ),
        *lost,
    ]


def _name(attempt: Attempt, doubted: Iterable[Attempt]) -> str:
    key, kind = attempt.intent.key, attempt.intent.kind
    both = len({a.intent.kind for a in doubted if a.intent.key == key}) > 1
    return f"{key}@{kind}" if both else key


async def _with_orders(client: Client, tasks: list[Task]) -> list[Task]:
    """The tasks, with what they were asked for where their details say it and their list does not.

    A few of them: where the first says nothing the others will not either.
    """
    found: dict[str, Task] = {}
    for task in tasks[:_DETAILS]:
        detail = (await client.get(task.task_id)).value
        if detail is None or not tells_order(detail):
            break
        found[task.task_id] = replace(task, duration=detail.duration, resolution=detail.resolution)
    return [found.get(task.task_id, task) for task in tasks]


async def _forgotten(site: Site, client: Client, attempts: Iterable[Attempt]) -> list[Question]:
    """Attempts whose task the service does not know, minutes after it has accepted it."""
    ours = fingerprint(site.access.api_key, site.journal.facts().salt or "")
    waiting = [
        attempt
        for attempt in attempts
        if attempt.state.phase is Phase.IN_FLIGHT and attempt.intent.key_fingerprint == ours
    ]
    page = (await client.list()).value if waiting else None
    listed = {task.task_id for task in page.tasks} if page is not None else set()
    return [
        Question(attempt, (), same_key=True, forgotten=True, name=attempt.intent.key)
        for attempt in waiting
        if attempt.state.task_id not in listed and await _is_forgotten(client, attempt)
    ]


async def _is_forgotten(client: Client, attempt: Attempt) -> bool:
    answer = await client.get(attempt.state.task_id or "")
    now = client.server_time() or time.time()
    age = now - (attempt.state.submitted_at or now)
    return answer.verdict is Verdict.NOT_FOUND and age >= FORGOTTEN_AFTER


async def adopt(site: Site, name: str, task_id: str) -> str | None:
    """Take a task as this row's. Costs nothing more: the task was paid for when it was made.

    The row may also be one that was said to have failed, by the same task or without any. What can
    be told of the task is held against the row; returns what could not be, or does not fit, in
    words. Raises `UsageError` where it fits another row in doubt and not this one.
    """
    attempt = _one(site, name, task_id)
    attempts = site.journal.attempts()
    if task_id in ids_in_neighbours(site.folder) or any(
        other.state.task_id == task_id and other.id != attempt.id for other in attempts
    ):
        raise UsageError(f"Task {task_id} already belongs to another row; nothing was changed.")
    async with Client(site.access.base_url, site.access.api_key) as client:
        task = await _looked_up(client, task_id)
    note = await _checked(site, task, attempt, [a for a in attempts if _undecided(a)])
    _decide(site, attempt, Adopted(task_id, time.time()))
    return note


async def _looked_up(client: Client, task_id: str) -> Task:
    """The task by its id, or from the list where details are out of order."""
    answer = await client.get(task_id)
    if answer.value is not None:
        return answer.value
    page = (await client.list()).value
    for task in page.tasks if page is not None else ():
        if task.task_id == task_id:
            return task
    raise UsageError(
        f"Task {task_id} cannot be looked up ({answer.error.message}); nothing was changed."
    )


async def _checked(
    site: Site, task: Task, attempt: Attempt, doubted: Sequence[Attempt]
) -> str | None:
    """What is to be said of a task that is taken for an attempt's; None where it fits."""
    rivals = [a for a in doubted if a.id != attempt.id and _ordered(a) != _ordered(attempt)]
    clip = await _clip(site, task)
    if clip is None and not tells_order(task):
        if any(a.intent.key == attempt.intent.key for a in rivals) and not is_over(task):
            raise UsageError(
                f"Task {task.task_id} is still running, and the service does not say what was "
                "asked for: it may belong to the draft or to the final. Nothing was changed.",
                hint="give the same command again once the task is done: its clip will tell",
            )
        return "the service does not say what the task was asked for, so this was not checked"
    misfit = _misfit(attempt.intent, task, clip)
    if misfit is None:
        return None
    better = next((a for a in rivals if _misfit(a.intent, task, clip) is None), None)
    if better is not None:
        name = _name(better, doubted)
        raise UsageError(
            f"Task {task.task_id} is not {_name(attempt, doubted)}'s ({misfit}); it fits {name}. "
            "Nothing was changed.",
            hint="seedance-batch reconcile "
            + shlex.join([str(site.folder.path), "--adopt", f"{name}={task.task_id}"]),
        )
    return f"it does not look like this row's: {misfit}"


def is_over(task: Task) -> bool:
    """Whether nothing more will be known of a task."""
    return task.status is not TaskStatus.RUNNING


def _ordered(attempt: Attempt) -> tuple[object, ...]:
    intent = attempt.intent
    return intent.duration, intent.resolution, intent.aspect_ratio, intent.generate_audio


def _misfit(intent: Intent, task: Task, clip: Probe | None) -> str | None:
    told = misfit_told(intent, task)
    return told if told is not None or clip is None else judge(clip, intent)


async def _clip(site: Site, task: Task) -> Probe | None:
    """What a finished task's clip is, as far as it can be had."""
    video = task.first(OutputType.VIDEO)
    if task.status is not TaskStatus.SUCCESS or video is None:
        return None
    return await look_at(site.folder.path, video.url, allow_private=site.access.private_files)


async def release(site: Site, name: str) -> Attempt:
    """Say that no task exists for this row, so that it may be bought anew by ``rerun``.

    So may a row whose task the service has forgotten: it may have been paid for.
    """
    async with Client(site.access.base_url, site.access.api_key) as client:
        lost = await _forgotten(site, client, _of(site, name))
    attempt = lost[-1].attempt if lost else _one(site, name)
    return _decide(site, attempt, Released(time.time()))


def _of(site: Site, name: str) -> list[Attempt]:
    """The attempts of a row, or of one kind of it: ``shot1``, ``shot1@draft``."""
    attempts = site.journal.attempts()
    found = [a for a in attempts if a.intent.key == name]
    return found or [a for a in attempts if f"{a.intent.key}@{a.intent.kind}" == name]


def _one(site: Site, name: str, task_id: str | None = None) -> Attempt:
    """The attempt that a person may decide about; ``task_id``: by adopting this task."""
    attempts = _of(site, name)
    own = [a for a in attempts if a.state.phase is Phase.FAILED and a.state.task_id == task_id]
    found = [a for a in attempts if _undecided(a)]
    failed = [a for a in attempts if a.state.phase is Phase.FAILED and task_id is not None]
    doubted = ambiguous(found)
    if len({a.intent.kind for a in doubted}) > 1:
        names = " or ".join(_name(a, doubted) for a in doubted)
        raise UsageError(f"A draft and a final of row {name} are in doubt: name {names}.")
    chosen = (own if task_id is not None else []) or doubted[:1] or found or failed
    if not chosen:
        raise UsageError(
            f"Row {name} is not ambiguous; nothing was changed.",
            hint=f"seedance-batch reconcile {shlex.quote(str(site.folder.path))}",
        )
    return chosen[-1]


def _decide(site: Site, attempt: Attempt, event: Event) -> Attempt:
    after = Attempt(attempt.id, attempt.intent, step(attempt.state, event))
    site.journal.write(records.save(after, at=time.time(), event=type(event).__name__))
    return after


async def _page(client: Client, number: int) -> Answer[Page]:
    """A list page, asked for again after a pause where it is refused as one too many."""
    answer = await client.list(number)
    for tries in range(_LIMITED_AT_MOST):
        pause = 2.0**tries if answer.retry_after is None else answer.retry_after
        if answer.verdict not in {Verdict.RATE, Verdict.BUSY} or pause > _LONGEST_PAUSE:
            break
        await anyio.sleep(pause)
        answer = await client.list(number)
    return answer


async def tasks_since(
    client: Client, waiting: Sequence[Attempt], *, deepest: int = _DEEPEST
) -> tuple[list[Task], float]:
    """The account's tasks that could be theirs, newest first, and how far the clock is ahead.

    Raises `ApiUnreachable` where they cannot all be had, on ``deepest`` pages at most.
    """
    found: dict[str, Task] = {}
    page, ahead = 1, 0.0
    while True:
        answer = await _page(client, page)
        if answer.verdict in ACCOUNT:
            raise AccountStopped(f"HiAPI refuses the task list: {answer.error.message}")
        if answer.value is None:
            raise ApiUnreachable(f"The task list cannot be read: {answer.error.message}")
        shown = answer.value
        now = time.time()
        ahead = (client.server_time() or now) - now
        news = {t.task_id: t for t in shown.tasks if t.task_id not in found}
        found |= news
        dated = [task.created for task in shown.tasks if task.created]
        # Neither its total nor its size is believed: a page that is left out hides a task.
        if not news or (dated and max(dated) < earliest(waiting, ahead)):
            return list(found.values()), ahead
        if page >= deepest:
            raise ApiUnreachable(
                f"The task list does not end: {page:,} pages show {len(found):,} tasks, and none "
                "of them is old enough. Nothing was changed."
            )
        page += 1


# ── Which tasks could be an ambiguous row's, and what speaks against each of them ─────────────────
# Pure. The person decides; nothing here adopts anything. Clocks differ, and the service names
# models in its own way: neither hides a task, since a task that is not shown is paid for twice.


SLACK: Final = 600.0
"""Seconds by which clocks differ that are said to be right."""
FAR: Final = 26 * 3600.0
"""Seconds before a row's send from which a task is none of its own: more than any time zone, and
the send is dated by the earlier of two clocks."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task that could be a row's."""

    task: Task
    doubts: tuple[str, ...]
    """What makes it less likely, in words; empty where nothing does."""

    @property
    def is_likely(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.doubts


def sent_at(attempt: Attempt) -> float:
    """When the row was sent first, in Unix seconds, or may have been, by a journal that is lost;
    when it was planned where neither is known."""
    return min(_times_sent(attempt))


def _times_sent(attempt: Attempt) -> tuple[float, float]:
    """Between which times a row may have been sent, as far as is known."""
    sent = attempt.state.submitted_at or attempt.intent.planned_at
    return sent, attempt.state.first_sent_at or sent


def window(attempt: Attempt, ahead: float = 0.0) -> tuple[float, float]:
    """Unix seconds of the service between which the row's task was made, if it was.

    ``ahead`` is how far the service's clock is before ours: by which of them the attempt was dated
    is not known.
    """
    begun = sent_at(attempt)
    ended = attempt.state.finished_at or begun
    return begun + min(0.0, ahead) - SLACK, ended + max(0.0, ahead) + SLACK


def earliest(attempts: Iterable[Attempt], ahead: float = 0.0) -> float:
    """Unix seconds before which no task is any of these rows'."""
    return min(window(attempt, ahead)[0] for attempt in attempts) - FAR


def candidates(
    attempt: Attempt, tasks: Iterable[Task], held: Collection[str], ahead: float = 0.0
) -> list[Candidate]:
    """The tasks that could be this attempt's, the likely ones first, then those made nearest to it.

    ``held`` ids belong to other rows. A task that says no time of its own may be of any.
    """
    start, end = window(attempt, ahead)
    found = [
        Candidate(task, tuple(_doubts(attempt.intent, task, start, end)))
        for task in tasks
        if task.task_id not in held and (not task.created or task.created >= start - FAR)
    ]
    return sorted(found, key=lambda c: (not c.is_likely, _distance(c.task, start, end)))


def _doubts(intent: Intent, task: Task, start: float, end: float) -> Iterator[str]:
    if not task.created:
        yield "no time is given"
    elif task.created < start:
        yield f"made {span(start - task.created)} before the row was sent"
    elif task.created > end:
        yield f"made {span(task.created - end)} after the row was given up"
    if task.model and _plain(task.model) != _plain(intent.model):
        yield f"its model is {task.model}"
    if (misfit := misfit_told(intent, task)) is not None:
        yield misfit


def misfit_told(intent: Intent, task: Task) -> str | None:
    """What the service tells of a task's order that is not this one's; None for nothing."""
    if task.duration is not None and task.duration != intent.duration:
        return f"asked for {task.duration:g} s, but the row asked for {intent.duration} s"
    if task.resolution and task.resolution.lower() != intent.resolution.lower():
        return f"asked for {task.resolution}, but the row asked for {intent.resolution}"
    return None


def tells_order(task: Task) -> bool:
    """Whether the service says what the task was asked for."""
    return task.duration is not None or bool(task.resolution)


def _distance(task: Task, start: float, end: float) -> tuple[float, float]:
    return max(start - task.created, task.created - end, 0.0), task.created


_DATE: Final = re.compile(r"-\d{6,8}$")


def _plain(model: str) -> str:
    """A model's name without its maker, its route and its date, in one spelling."""
    name = model.strip().lower().partition("@")[0].rpartition("/")[2]
    return canonical_model(_DATE.sub("", name)).replace(".", "-").replace("_", "-")
