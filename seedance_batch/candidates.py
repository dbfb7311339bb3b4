"""Which tasks could be an ambiguous row's: by model and by time, minus those that are somebody's.

Pure. The person decides; nothing here adopts anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from seedance_batch.identity import canonical_model
from seedance_batch.model import Task
from seedance_batch.state import Attempt

SLACK: Final = 600.0
"""Seconds by which the service's clock may differ from ours."""


def window(attempt: Attempt) -> tuple[float, float]:
    """Unix seconds between which the row's task was made, if it was."""
    begun = attempt.state.submitted_at or attempt.intent.planned_at
    ended = attempt.state.finished_at or begun
    return begun - SLACK, ended + SLACK


def candidates(attempt: Attempt, tasks: Iterable[Task], held: Collection[str]) -> list[Task]:
    """The tasks that could be this attempt's, oldest first; ``held`` ids belong to other rows."""
    start, end = window(attempt)
    found = [
        task
        for task in tasks
        if task.task_id not in held
        and start <= task.created <= end
        and _same_model(task.model, attempt.intent.model)
    ]
    return sorted(found, key=lambda task: task.created)


def _same_model(shown: str, asked: str) -> bool:
    # The service may show `name@route`, or nothing.
    name = shown.partition("@")[0]
    return not name or canonical_model(name) == canonical_model(asked)
