"""Brings the journal in line with a plan before anything is sent for it."""

from __future__ import annotations

import time
from dataclasses import replace

from seedance_batch import journal as journals
from seedance_batch.batch.batch import Batch
from seedance_batch.batch.late_clips import resumed
from seedance_batch.plan import Action, Plan
from seedance_batch.state import Attempt, Phase


def settled_intents(batch: Batch, plan: Plan, key_fingerprint: str) -> list[Attempt]:
    """All attempts, once moved clips are at their new rows and stale intents are dropped.

    What was planned and never accepted is sent under today's key, so it says so: a resend under
    the key that it was first planned with would be no replay.
    """
    moved = [
        replace(s.attempt, intent=replace(s.attempt.intent, key=s.key, number=s.number))
        for s in plan.steps
        if s.action is Action.MOVED and s.attempt is not None
    ]
    taken_up = [
        replace(
            s.attempt,
            intent=replace(s.attempt.intent, key_fingerprint=key_fingerprint, est_cost=s.cost),
        )
        for s in plan.new
        if s.attempt and s.job and s.attempt.intent.content == s.job.content
    ]
    # A clip that moved takes its new row's name before anything new is written for that row.
    batch.journal.write(journals.forget_planned(_stale(plan, {a.id for a in taken_up})))
    batch.journal.write(journals.rekey(moved))
    batch.journal.write(journals.renew(taken_up))
    before, now = batch.journal.attempts(), time.time()
    after = list(resumed(before, now))
    for attempt, again in zip(before, after, strict=True):
        if again is not attempt:
            batch.journal.write(journals.save(again, at=now, event="Refetch"))
    return after


def _stale(plan: Plan, taken_up: set[int]) -> set[int]:
    """Intents that were never accepted and that no row wants: edited, moved over, or removed."""
    keys = {job.key for job in plan.jobs}
    settled = {s.key for s in plan.steps if s.action is Action.MOVED or s.action.spends}
    return {
        a.id
        for a in plan.attempts
        if a.state.phase is Phase.PLANNED
        and a.id not in taken_up
        and (a.intent.key not in keys or (a.intent.key in settled and a.intent.kind is plan.kind))
    }
