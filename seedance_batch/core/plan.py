"""Makes plans: every row of a manifest against journal and price list; drafts; doubts. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Final

from seedance_batch.core.attempt import RESEND_WINDOW, Attempt, Kind, Phase
from seedance_batch.core.chains import Feeding, feeding_first, respelled
from seedance_batch.core.decide import Decision, Flags, History, decide, histories
from seedance_batch.core.manifest import Job, Told, content_hash, loosened
from seedance_batch.core.model import SHORTEST_CLIP, Link, Resolution, family_model
from seedance_batch.core.pricing import Estimate, Estimator, PriceTable
from seedance_batch.core.steps import Action, Plan, RerunChoice, Step, Total

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
    found = histories(jobs, attempts, kind, rows_known, flags)
    chosen = frozenset(selected or ())
    rows = _Rows(found, kind, flags, Estimator(table))
    wanted = jobs if selected is None else [job for job in jobs if job.key in chosen]
    decided = (rows.step(job, rerun) for job in wanted)
    steps = [step for step in decided if step is not None]
    feeding = Feeding(jobs, found, rerun, rows.stands_for, rows.bought)
    if any(job.sources for job in jobs):
        steps = feeding.steps(steps, {job.key for job in wanted})
    left_out = len(wanted) - len(steps)
    gone = _removed(jobs, found, rows_known, kind)
    steps.extend(step for step in gone if selected is None or step.key in chosen)
    asked_for = _asked_for(jobs, found, rows_known, kind, flags, contents_elsewhere)
    taken_back = frozenset(
        a.id for a in attempts if a.state.phase is Phase.SUBMITTING and not asked_for(a)
    )
    troubles = tuple(feeding.troubles)
    return Plan(tuple(steps), kind, jobs, attempts, table, left_out, rerun, taken_back, troubles)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Decides about rows of one plan, one by one."""

    found: Mapping[str, History]
    kind: Kind
    flags: Flags
    estimator: Estimator

    def step(self, job: Job, rerun: RerunChoice | None) -> Step | None:
        """What a run, or that rerun, would do to the row; None where a rerun does not touch it."""
        decision = self._decision(job, rerun)
        return None if decision is None else self._step(job, decision)

    def bought(self, job: Job, why: str) -> Step | None:
        """The step that makes the row anew, or for the first time; None where nothing does."""
        history = self._history(job)
        if not history.sent:
            return self.step(job, None)
        return self._step(job, Decision(Action.RERUN, why, history.planned))

    def stands_for(self, job: Job) -> Attempt | None:
        """The attempt that a run would keep for the row."""
        decision = self._decision(job, None)
        return None if decision is None else decision.attempt

    def _history(self, job: Job) -> History:
        return self.found.get(job.key, _UNTRIED)

    def _decision(self, job: Job, rerun: RerunChoice | None) -> Decision | None:
        return decide(job, self._history(job), kind=self.kind, rerun=rerun, flags=self.flags)

    def _step(self, job: Job, decision: Decision) -> Step:
        history = self._history(job)
        price: Estimate | None = self.estimator.job(job) if decision.action.spends else None
        if decision.action is Action.SETTLE and decision.attempt is not None:
            return _settle(decision.attempt, history, decision.reason, job)
        return Step(
            action=decision.action,
            key=job.key,
            kind=self.kind,
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


def _asked_for(
    jobs: Sequence[Job],
    found: Mapping[str, History],
    rows_known: Collection[str],
    kind: Kind,
    flags: Flags,
    contents_elsewhere: Mapping[str, str] | None,
) -> Callable[[Attempt], bool]:
    """Whether a row of the manifest, chosen or not, still asks for what an attempt orders."""
    by_key = {job.key: job for job in jobs}
    moved = {h.inherited.id for h in found.values() if h.inherited is not None}

    def asked_for(attempt: Attempt) -> bool:
        key, content = attempt.intent.key, attempt.intent.content
        if key in rows_known or attempt.id in moved:
            return True
        if attempt.intent.kind is not kind:
            return contents_elsewhere is None or contents_elsewhere.get(key) == content
        job = by_key.get(key)
        return job is not None and (job.content == content or flags.alone(job, attempt))

    return asked_for


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
            why = "left the manifest; it was sent and got no answer"
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


def _settle(attempt: Attempt, history: History, why: str, job: Job | None = None) -> Step:
    """A resend that only tells whether the attempt exists; it costs what that was to cost."""
    return Step(
        action=Action.SETTLE,
        key=attempt.intent.key,
        kind=attempt.intent.kind,
        reason=why,
        job=job,
        attempt=attempt,
        number=history.next_number,
        seconds=attempt.intent.duration,
        cost=attempt.intent.est_cost,
        spent_before=history.spent,
    )


# ── Drafts: every row small, short and silent, to look at before its final clip is paid for ───────


_DRAFT: Final = {"resolution": Resolution.P480, "duration": SHORTEST_CLIP, "generate_audio": False}
"""The least that the models take; HiAPI's guide advises it before final requests."""


def draft_job(job: Job, model: str | None = None) -> Job:
    """The same row as a draft, perhaps of a cheaper ``model``: its key stays, its content is the
    draft's. Fields that the cheaper model does not know are left out."""
    name = model or job.model
    known = family_model(name) if model else None
    lacks = dict.fromkeys(known.lacks if known else ())
    task_input = job.input.model_copy(update=_DRAFT | lacks)
    sources = tuple(replace(source, seconds=SHORTEST_CLIP) for source in job.sources)
    content = content_hash(name, task_input)
    return replace(job, model=name, input=task_input, content=content, sources=sources)


def draft_models(attempts: Iterable[Attempt]) -> frozenset[str | None]:
    """The models that drafts were made of; None stands for each row's own."""
    made = (a.intent.model for a in attempts if a.intent.kind is Kind.DRAFT)
    return frozenset({None, *made})


@dataclass(frozen=True, slots=True)
class SideBySide:
    """What some rows cost as drafts, and as final clips."""

    draft: Total
    final: Total


def side_by_side(
    jobs: Iterable[Job], table: PriceTable | None, draft_model: str | None = None
) -> SideBySide:
    """Both prices of some jobs, given as for final clips."""
    finals, estimator = list(jobs), Estimator(table)
    drafts = (draft_job(job, draft_model) for job in finals)
    return SideBySide(_total(map(estimator.job, drafts)), _total(map(estimator.job, finals)))


def _total(estimates: Iterable[Estimate]) -> Total:
    found = list(estimates)
    costs = [price.cost for price in found if price.cost is not None]
    cost = sum(costs, Decimal(0)) if len(costs) == len(found) else None
    return Total(len(found), sum(price.seconds for price in found), cost)


# ── Texts that were only saved otherwise: the same words are the same order ───────────────────────


def as_ordered(jobs: Sequence[Job], attempts: Sequence[Attempt]) -> tuple[Job, ...]:
    """The jobs, each with its prompt in the spelling in which it was ordered before.

    Git, editors and spreadsheets change line ends and blanks unasked, and that is no edit. A row
    whose prompt differs from the ordered one in nothing else takes the ordered one, and so has the
    same content hash: whatever compares orders finds it bought, under any version of this program.
    So does a row that names the row that feeds it otherwise, as ``previous`` or by its new id.
    """
    if not attempts:
        return tuple(jobs)
    ordered = _Ordered(jobs, attempts)
    found = {job.key: ordered.respelled(job) for job in feeding_first(jobs)}
    return tuple(found[job.key] for job in jobs)


def contents_of(job: Job) -> set[str]:
    """The content hashes that a job has in its text's usual spellings, its own among them."""
    plain = loosened(job.input.prompt)
    spelled = (job.input.prompt, plain, plain.replace("\n", "\r\n"))
    return {_with_prompt(job, prompt).content for prompt in spelled}


class _Ordered:
    """Prompts that were ordered, by row and by their words; links, by the takes that they meant."""

    def __init__(self, jobs: Sequence[Job], attempts: Sequence[Attempt]) -> None:
        self._attempts = attempts
        self._by_id = {attempt.id: attempt for attempt in attempts}
        self._wanted = {job.key: job for job in jobs}
        self._contents = frozenset(attempt.intent.content for attempt in attempts)
        self._draft_models = draft_models(attempts)
        self._of_row: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            self._of_row[attempt.intent.key].append(attempt)

    @cached_property
    def _by_words(self) -> dict[str, list[Attempt]]:
        """Words → the orders whose prompts have them."""
        found: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self._attempts:
            found[_words(attempt.intent.prompt)].append(attempt)
        return found

    def respelled(self, job: Job) -> Job:
        """The job, or the same with a prompt that was ordered. Its sources go before it."""
        self._wanted[job.key] = found = self._respelled(job)
        return found

    def _respelled(self, job: Job) -> Job:
        own = self._of_row.get(job.key, [])
        if any(attempt.intent.content == job.content for attempt in own):
            return job
        same = self._by_words.get(_words(job.input.prompt), [])
        if job.sources:  # a row with a new id has no orders of its own
            job = self._with_links(job, [*same, *own])
        plain = loosened(job.input.prompt)
        for prompt in (attempt.intent.prompt for attempt in reversed(own)):
            if loosened(prompt) == plain:
                return _with_prompt(job, prompt)
        if job.content in self._contents:
            return job
        prompts = dict.fromkeys(attempt.intent.prompt for attempt in reversed(same))
        spelled = (_with_prompt(job, prompt) for prompt in prompts)
        return next(filter(self._is_known, spelled), job)

    def _with_links(self, job: Job, own: Sequence[Attempt]) -> Job:
        """The job with its links as an order spelled them, where they mean the same rows."""
        for attempt in reversed(own):
            links = {
                source.link: former
                for each in attempt.intent.made_from
                if (former := Link.parse(each.link)) is not None
                for source in job.sources
                if source.link.kind is former.kind and self._is_of(each.attempt, source.key)
            }
            if links and any(old != new for old, new in links.items()):
                return respelled(job, links)
        return job

    def _is_of(self, attempt_id: int, key: str) -> bool:
        """Whether that take is the row's, also where the row had another id when it was made."""
        take = self._by_id.get(attempt_id)
        if take is None:
            return False
        row = self._wanted.get(key)
        return take.intent.key == key or (row is not None and take.intent.content in self._of(row))

    def _is_known(self, job: Job) -> bool:
        return not self._contents.isdisjoint(self._of(job))

    def _of(self, job: Job) -> Iterator[str]:
        """The contents that the job has as a final and as a draft."""
        yield job.content
        for model in self._draft_models:
            yield draft_job(job, model).content


def _words(prompt: str) -> str:
    """A prompt without blanks and quotes around it: both come and go with a file's format."""
    return loosened(loosened(prompt).strip('"'))


def _with_prompt(job: Job, prompt: str) -> Job:
    if prompt == job.input.prompt:
        return job
    task_input = job.input.model_copy(update={"prompt": prompt})
    return replace(job, input=task_input, content=content_hash(job.model, task_input))


# ── Which rows of a plan look bought already, although the journal does not know them. Pure ───────
# What a journal knows is paid for once. These are the traces of what it does not know: sheets,
# clips and other run folders that are still there when a journal is not, or not all of it.


class Sign(StrEnum):
    """What speaks for it that a row was bought."""

    SHEETS = "sheets"
    """The sheets in the run folder say so."""
    CLIPS = "clips"
    """A clip of its name lies in the run folder."""
    MANIFEST = "manifest"
    """The manifest is a results sheet of ours, and says so itself."""
    FOLDER = "folder"
    """Another run folder has sent the same order."""
    LOST = "lost"
    """The journal was copied without its log, and may lack it."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What is found beside a journal; see `Sign`."""

    sheets: Mapping[str, Told] = field(default_factory=dict)
    """What the run folder's sheets say, row by row, where the journal did not write them."""
    sheets_are_own: bool = False
    """Whether a journal of the same identity wrote them."""
    clips: Mapping[str, float] = field(default_factory=dict)
    """Row key → when the clip was written that bears its name and that no attempt has made."""
    made_at: float | None = None
    """When the run folder got its identity; None where that is not known."""
    manifest: Mapping[str, Told] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()
    """Contents of orders that another run folder has sent."""
    lost_since: float | None = None
    lost: Callable[[str], bool] = lambda key: True
    """Of a row: whether the journal may lack an order of it."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Rows that a plan would pay for, and what speaks for it that they are bought."""

    sign: Sign
    keys: tuple[str, ...]


_PAID: Final = frozenset(
    {
        *("submitting", "in_flight", "downloading", "done", "changed"),
        *("ambiguous", "expired", "media_mismatch"),
    }
)
"""In our sheets: a row of which something is, or may be, paid for."""
_FIRST: Final = frozenset({Action.NEW, Action.CHANGED})
"""New money for an order that this run folder has never sent."""


def doubts(plan: Plan, traces: Traces, now: float) -> list[Doubt]:
    """The plan's new rows that look bought, each under the first sign that it has.

    What was sent under the run folder's own identity less than `RESEND_WINDOW` ago is no doubt: it
    is sent again with the same key, and costs nothing.
    """
    tasks = {a.state.task_id for a in plan.attempts}
    tried = {a.intent.key for a in plan.attempts}

    def is_news(step: Step, told: Told | None) -> bool:
        if told is None or told.status not in _PAID or told.kind not in {"", plan.kind}:
            return False
        return told.task_id not in tasks if told.task_id else step.key not in tried

    def in_sheets(step: Step) -> bool:
        told = traces.sheets.get(step.key)
        if told is None or not is_news(step, told):
            return False
        return not (traces.sheets_are_own and _is_replayed(told.sent_at, now))

    def in_clips(step: Step) -> bool:
        written = traces.clips.get(step.key)
        if written is None or step.action is not Action.NEW:
            return False
        ours = traces.made_at is not None and traces.made_at <= written
        return not (ours and _is_replayed(traces.made_at, now))

    def elsewhere(step: Step) -> bool:
        content = step.job.content if step.job else ""
        return step.action in _FIRST and content in traces.elsewhere

    def in_manifest(step: Step) -> bool:
        return step.key not in tried and is_news(step, traces.manifest.get(step.key))

    def lost(step: Step) -> bool:
        since = traces.lost_since
        return since is not None and traces.lost(step.key) and not _is_replayed(since, now)

    tests = {
        Sign.SHEETS: in_sheets,
        Sign.CLIPS: in_clips,
        Sign.MANIFEST: in_manifest,
        Sign.FOLDER: elsewhere,
        Sign.LOST: lost,
    }
    return list(_sorted((step for step in plan.new if not _is_agreed(step)), tests))


def _is_agreed(step: Step) -> bool:
    """Whether somebody said yes to this order here before, and it was turned away."""
    return bool(step.attempt and step.job and step.attempt.intent.content == step.job.content)


def _sorted(steps: Iterable[Step], tests: Mapping[Sign, Callable[[Step], bool]]) -> Iterable[Doubt]:
    keys: dict[Sign, list[str]] = {sign: [] for sign in tests}
    for step in steps:
        sign = next((sign for sign, holds in tests.items() if holds(step)), None)
        if sign is not None:
            keys[sign].append(step.key)
    return (Doubt(sign, tuple(found)) for sign, found in keys.items() if found)


def _is_replayed(sent_at: float | None, now: float) -> bool:
    """Whether what was sent then, or later, is answered with its first task today."""
    return sent_at is not None and now - sent_at < RESEND_WINDOW
