"""Makes plans: every row of a manifest against the journal and the price list."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from seedance_batch.manifest import Job
from seedance_batch.plan.choice import RerunChoice
from seedance_batch.plan.flags import Flags
from seedance_batch.plan.history import History, histories
from seedance_batch.plan.rules import Decision, decide
from seedance_batch.plan.steps import Action, Plan, Step
from seedance_batch.pricing import Estimate, Estimator, PriceTable
from seedance_batch.state import Attempt, Kind, Phase

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
    contents_elsewhere: Mapping[str, str] | None = None,
) -> Plan:
    """What a run of these jobs would do.

    ``jobs`` are all of the manifest, as they would be sent for ``kind``; ``selected`` the keys to
    plan for (None: all, and the rows that left the manifest); ``rows_known`` keys of rows that
    have no job; ``flags`` those that change bodies; ``contents_elsewhere`` what each row asks for
    in the other kind.
    """
    found = histories(jobs, attempts, kind, rows_known)
    estimator = Estimator(table)
    wanted = _wanted(jobs, selected, rerun)
    steps: list[Step] = []
    for job in wanted:
        history = found.get(job.key, _UNTRIED)
        decision = decide(job, history, kind=kind, rerun=rerun, flags=flags)
        if decision is not None:
            steps.append(_step(job, history, decision, kind, estimator))
    left_out = len(wanted) - len(steps)
    gone = _removed(jobs, found, rows_known, kind)
    steps.extend(step for step in gone if selected is None or step.key in selected)
    asked_for = _AskedFor(jobs, found, rows_known, kind, flags, contents_elsewhere)
    taken_back = frozenset(
        a.id for a in attempts if a.state.phase is Phase.SUBMITTING and not asked_for(a)
    )
    return Plan(tuple(steps), kind, jobs, attempts, table, left_out, rerun, taken_back)


class _AskedFor:
    """Whether a row of the manifest, chosen or not, still asks for what an attempt orders."""

    def __init__(
        self,
        jobs: Sequence[Job],
        found: Mapping[str, History],
        rows_known: Collection[str],
        kind: Kind,
        flags: Flags,
        contents_elsewhere: Mapping[str, str] | None,
    ) -> None:
        self._jobs = {job.key: job for job in jobs}
        self._moved = {h.inherited.id for h in found.values() if h.inherited is not None}
        self._rows_known = rows_known
        self._kind = kind
        self._flags = flags
        self._elsewhere = contents_elsewhere

    def __call__(self, attempt: Attempt) -> bool:
        key, content = attempt.intent.key, attempt.intent.content
        if key in self._rows_known or attempt.id in self._moved:
            return True
        if attempt.intent.kind is not self._kind:
            return self._elsewhere is None or self._elsewhere.get(key) == content
        job = self._jobs.get(key)
        return job is not None and (job.content == content or self._flags.alone(job, attempt))


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
    if decision.action is Action.SETTLE and decision.attempt is not None:
        return replace(_settle(decision.attempt, history, decision.reason), job=job)
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
        if not history.sent or key in present:
            continue
        last, unsettled = history.sent[-1], history.unsettled
        if unsettled is not None and unsettled.state.phase is Phase.SUBMITTING:
            why = "left the manifest; it was sent and had no answer"
            yield _settle(unsettled, history, why)
        else:
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


def _settle(attempt: Attempt, history: History, why: str) -> Step:
    """A resend that only tells whether the attempt exists; it costs what that was to cost."""
    return Step(
        action=Action.SETTLE,
        key=attempt.intent.key,
        kind=attempt.intent.kind,
        reason=why,
        job=None,
        attempt=attempt,
        number=history.next_number,
        seconds=attempt.intent.duration,
        cost=attempt.intent.est_cost,
        spent_before=history.spent,
    )
