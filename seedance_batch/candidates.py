"""Which tasks could be an ambiguous row's, and what speaks against each of them.

Pure. The person decides; nothing here adopts anything. Clocks differ, and the service names models
in its own way: neither hides a task, since a task that is not shown is paid for twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from seedance_batch.identity import canonical_model
from seedance_batch.model import Task
from seedance_batch.state import Attempt, Intent
from seedance_batch.words import span

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
    """When the row was sent first, in Unix seconds; when it was planned where that is not known."""
    return attempt.state.submitted_at or attempt.intent.planned_at


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
        yield "it says no time"
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
        return f"asked for {task.duration:g} s where the row asked for {intent.duration} s"
    if task.resolution and task.resolution.lower() != intent.resolution.lower():
        return f"asked for {task.resolution} where the row asked for {intent.resolution}"
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
