"""Makes plans: every row of a manifest against the journal and the price list."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from seedance_batch.manifest import Job
from seedance_batch.plan.flags import Flags
from seedance_batch.plan.history import History, histories
from seedance_batch.plan.rules import Decision, RerunChoice, decide
from seedance_batch.plan.steps import Action, Plan, Step
from seedance_batch.pricing import Estimate, Estimator, PriceTable
from seedance_batch.state import Attempt, Kind

_UNTRIED = History()
_NO_FLAGS = Flags()


def make_plan(
    jobs: Sequence[Job],
    attempts: Sequence[Attempt],
    *,
    table: PriceTable | None,
    kind: Kind = Kind.FINAL,
    rerun: RerunChoice | None = None,
    selected: Collection[str] | None = None,
    rows_known: Collection[str] = (),
    flags: Flags = _NO_FLAGS,
) -> Plan:
    """What a run of these jobs would do.

    ``jobs`` are all of the manifest, as they would be sent for ``kind``; ``selected`` the keys to
    plan for (None: all, and the rows that left the manifest); ``rows_known`` keys of rows that
    have no job; ``flags`` those that change bodies.
    """
    found = histories(jobs, attempts, kind, rows_known)
    estimator = Estimator(table)
    wanted = _wanted(jobs, selected, rerun)
    steps: list[Step] = []
    for job in wanted:
        history = found.get(job.key, _UNTRIED)
        decision = decide(job, history, rerun=rerun, flags=flags)
        if decision is not None:
            steps.append(_step(job, history, decision, kind, estimator))
    left_out = len(wanted) - len(steps)
    if selected is None:
        steps.extend(_removed(jobs, found, rows_known, kind))
    return Plan(tuple(steps), kind, jobs, attempts, table, left_out)


def _wanted(
    jobs: Sequence[Job], selected: Collection[str] | None, rerun: RerunChoice | None
) -> Sequence[Job]:
    for keys in (selected, rerun.keys if rerun else None):
        if keys is not None:
            chosen = frozenset(keys)
            jobs = [job for job in jobs if job.key in chosen]
    return jobs


def _step(job: Job, history: History, decision: Decision, kind: Kind, estimator: Estimator) -> Step:
    price: Estimate | None = estimator.job(job) if decision.action.spends else None
    return Step(
        action=decision.action,
        key=job.key,
        kind=kind,
        reason=decision.reason,
        job=job,
        attempt=decision.attempt,
        number=history.next_number,
        seconds=price.seconds if price else job.input.duration,
        cost=price.cost if price else None,
        spent_before=history.spent,
        no_price=price.reason if price else None,
        bounded=bool(price and price.bounded),
        kept=decision.kept,
    )


def _removed(
    jobs: Sequence[Job],
    found: Mapping[str, History],
    rows_known: Collection[str],
    kind: Kind,
) -> Iterator[Step]:
    """Rows that left the manifest with attempts that no other row took over."""
    present = {job.key for job in jobs}.union(rows_known)
    for key, history in found.items():
        if history.sent and key not in present:
            last = history.sent[-1]
            yield Step(
                action=Action.REMOVED,
                key=key,
                kind=kind,
                reason=f"left the manifest ({last.state.phase})",
                job=None,
                attempt=last,
                number=history.next_number,
                seconds=last.intent.duration,
                spent_before=history.spent,
            )
