"""Drafts: every row small, short and silent, to look at before its final clip is paid for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from seedance_batch.identity import content_hash
from seedance_batch.manifest import Job
from seedance_batch.model import SHORTEST_CLIP, Resolution, TaskInput
from seedance_batch.plan.steps import Total
from seedance_batch.pricing import Estimate, Estimator, PriceTable

_DRAFT: Final = {"resolution": Resolution.P480, "duration": SHORTEST_CLIP, "generate_audio": False}
"""The least that the model takes; HiAPI's guide advises it before final requests."""


def draft_input(task_input: TaskInput) -> TaskInput:
    """The same task as a draft."""
    return task_input.model_copy(update=_DRAFT)


def draft_job(job: Job) -> Job:
    """The same row as a draft: its key stays, its content is the draft's."""
    task_input = draft_input(job.input)
    return replace(job, input=task_input, content=content_hash(job.model, task_input))


@dataclass(frozen=True, slots=True)
class SideBySide:
    """What some rows cost as drafts, and as final clips."""

    draft: Total
    final: Total


def side_by_side(jobs: Iterable[Job], table: PriceTable | None) -> SideBySide:
    """Both prices of some jobs, given as for final clips."""
    finals, estimator = list(jobs), Estimator(table)
    drafts = (replace(job, input=draft_input(job.input)) for job in finals)
    return SideBySide(_total(map(estimator.job, drafts)), _total(map(estimator.job, finals)))


def _total(estimates: Iterable[Estimate]) -> Total:
    found = list(estimates)
    costs = [price.cost for price in found if price.cost is not None]
    cost = sum(costs, Decimal(0)) if len(costs) == len(found) else None
    return Total(len(found), sum(price.seconds for price in found), cost)
