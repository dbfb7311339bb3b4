"""Rows that feed each other, in a plan: who waits, who is held back, who is stale. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Final

from seedance_batch.core.attempt import UNDER_WAY_PHASES, Attempt, Phase
from seedance_batch.core.chains import Trouble
from seedance_batch.core.manifest import Job
from seedance_batch.core.plan.rules import LOST, History, failure
from seedance_batch.core.plan.steps import Action, RerunChoice, Step

_UNTRIED: Final = History()
_COMES: Final = frozenset({Action.IN_FLIGHT, Action.FETCH, Action.MOVED})
"""The row keeps an attempt, and its clip may be still to come."""


class Feeding:
    """Goes through the rows that wait for others, sources first.

    ``histories`` are those of the plan's kind. ``stands_for`` tells the attempt that a run would
    keep for a row; ``buy`` makes the step of a row that is to be bought for the reason that it is
    given, None where the row cannot be bought.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        histories: Mapping[str, History],
        rerun: RerunChoice | None,
        stands_for: Callable[[Job], Attempt | None],
        buy: Callable[[Job, str], Step | None],
    ) -> None:
        self._jobs = {job.key: job for job in jobs}
        self._histories = histories
        self._rerun = rerun
        self._stands_for = stands_for
        self._buy = buy
        self._takes: dict[str, Attempt | None] = {}
        self._why: dict[str, str] = {}
        """Rows that get no clip in this plan, and why; of rows that wait, their source's."""
        self.troubles: list[Trouble] = []

    def steps(self, steps: Iterable[Step], wanted: Collection[str]) -> list[Step]:
        """The steps, those of rows that wait as their sources allow.

        ``wanted`` are the rows that were chosen; those that a rerun does not touch have no step.
        """
        found = {step.key: step for step in steps}
        order = {key: number for number, key in enumerate(self._jobs)}
        for job in feeding_first(self._jobs.values()):
            if job.sources and job.key in wanted:
                step = self._step(job, found)
                if step is not None:
                    found[job.key] = step
        return sorted(found.values(), key=lambda step: order.get(step.key, len(order)))

    def _step(self, job: Job, steps: Mapping[str, Step]) -> Step | None:
        step = steps.get(job.key)
        if step is None:
            return self._taken_up(job, steps)
        if step.action is Action.DONE and step.attempt is not None:
            step = self._stale(job, step, step.attempt, steps)
        return self._waiting(job, step, steps) if step.action.spends else step

    # ── rows that wait ──────────────────────────────────────────────────────────────────────────

    def _waiting(self, job: Job, step: Step, steps: Mapping[str, Step]) -> Step:
        """A row to be bought: once its sources are made, or not at all."""
        waits_for, takes, missing = [], {}, dict[str, Step | None]()
        for key in dict.fromkeys(source.key for source in job.sources):
            of_source, take = steps.get(key), self._take(key)
            coming = self._coming(key, of_source, take)
            if of_source is not None and of_source.action.spends:
                waits_for.append(key)
            elif coming is not None:
                waits_for.append(key)
                takes[key] = coming.id
            elif take is not None:
                takes[key] = take.id
            else:
                missing[key] = of_source
        if missing:  # of all that it lacks, say first what can be chosen
            key = min(missing, key=lambda each: missing[each] is not None)
            return self._held_back(job, step, key, missing[key])
        return replace(step, waits_for=tuple(waits_for), takes=takes)

    def _held_back(self, job: Job, step: Step, key: str, of_source: Step | None) -> Step:
        if of_source is None:
            why = f"waits for {key}, which is not chosen and has no clip"
            links = {source.link for source in job.sources if source.key == key}
            fields = (field for field, link in job.input.links() if link in links)
            words = f"{why}: choose {key} as well"
            self.troubles.append(Trouble(job, next(fields, ""), words))
        else:
            why = self._why.get(key) or f"waits for {key}, which has no clip"
        self._why[job.key] = why
        return replace(step, action=Action.BLOCKED, reason=why, cost=None, no_price=None)

    def _take(self, key: str) -> Attempt | None:
        """The take of a row that feeds others: the one that it stands for, else its newest one."""
        if key not in self._takes:
            job, history = self._jobs.get(key), self._histories.get(key, _UNTRIED)
            kept = self._stands_for(job) if job else None
            done = [a for a in (*history.sent, kept) if a and a.state.phase is Phase.DONE]
            self._takes[key] = done[-1] if done else None
        return self._takes[key]

    def _coming(self, key: str, of_source: Step | None, take: Attempt | None) -> Attempt | None:
        """The take of a row that feeds others, where it is on its way and was paid for already."""
        history = self._histories.get(key, _UNTRIED)
        of_step = (of_source.attempt,) if of_source and of_source.action in _COMES else ()
        others = (history.inherited, *reversed(history.sent)) if take is None else ()
        known = (a for a in (*of_step, *others) if a is not None)
        return next((a for a in known if a.state.phase in UNDER_WAY_PHASES), None)

    # ── rows that a rerun makes because of their sources ────────────────────────────────────────

    def _taken_up(self, job: Job, steps: Mapping[str, Step]) -> Step | None:
        """A row that never was sent since its source failed, where a rerun makes the source."""
        if self._histories.get(job.key, _UNTRIED).sent:
            return None
        for source in job.sources:
            of_source = steps.get(source.key)
            made = of_source is not None and of_source.action.spends
            if made and self._take(source.key) is None:
                step = self._buy(job, f"waits for {source.key}, which is made now")
                bought = step is not None and step.action.spends
                return self._waiting(job, step, steps) if step is not None and bought else None
        return None

    def _stale(self, job: Job, step: Step, take: Attempt, steps: Mapping[str, Step]) -> Step:
        """A row that is done: is it made from what its sources have now?"""
        made_from = {each.link: each.attempt for each in take.intent.made_from}
        newer, other = list[str](), list[str]()
        for source in job.sources:
            current = self._take(source.key)
            of_source = steps.get(source.key)
            remade = self._remakes and of_source is not None and of_source.action.spends
            former = made_from.get(source.token)
            if remade or (current is not None and former not in {None, current.id}):
                own = self._histories.get(source.key, _UNTRIED).sent
                is_own = former is None or any(each.id == former for each in own)
                (newer if is_own else other).append(source.key)
        if not newer and not other:
            return step
        earlier = [f"an earlier take of {', '.join(newer)}"] if newer else []
        others = [f"another row than {', '.join(other)}"] if other else []
        why = f"made from {' and '.join(earlier + others)}"
        if self._rerun is None or not self._rerun.stale:
            return replace(step, stale=True, reason=f"done, {why}: rerun --stale makes it anew")
        failed = self._failed_since(job, take)
        if failed is not None and not self._rerun.tries_again(failed):
            return replace(step, action=Action.BLOCKED, reason=failure(failed), attempt=failed)
        return self._buy(job, why) or step

    def _failed_since(self, job: Job, take: Attempt) -> Attempt | None:
        """A later take that was made from what the sources have now, and came to nothing."""
        current = {s.token: t.id for s in job.sources if (t := self._take(s.key)) is not None}
        later = [
            a
            for a in self._histories.get(job.key, _UNTRIED).sent
            if a.intent.number > take.intent.number
            and a.state.phase in LOST
            and {each.link: each.attempt for each in a.intent.made_from} == current
        ]
        return later[-1] if later else None

    @property
    def _remakes(self) -> bool:
        return self._rerun is not None and self._rerun.stale


def feeding_first(jobs: Iterable[Job]) -> list[Job]:
    """The jobs, each after those that feed it. There are no circles among them: see `Trouble`."""
    by_key = {job.key: job for job in jobs}
    graph = {key: [source.key for source in job.sources] for key, job in by_key.items()}
    order = TopologicalSorter(graph).static_order()
    return [by_key[key] for key in order if key in by_key]


def heights(steps: Iterable[Step]) -> dict[str, int]:
    """How many rows wait in a line for each of these, itself included: who goes first."""
    waiting = {step.key: step.waits_for for step in steps}
    found = dict.fromkeys(waiting, 1)
    graph = {key: [w for w in waits if w in waiting] for key, waits in waiting.items() if waits}
    for key in reversed(list(TopologicalSorter(graph).static_order())):
        for source in graph.get(key, ()):
            found[source] = max(found[source], found[key] + 1)
    return found


def longest_chain(steps: Iterable[Step]) -> list[str]:
    """The rows of the longest line of steps that wait for each other, the first one first."""
    by_key = {step.key: step for step in steps}
    depth: dict[str, int] = {}
    graph = {key: [w for w in step.waits_for if w in by_key] for key, step in by_key.items()}
    for key in TopologicalSorter(graph).static_order():
        depth[key] = 1 + max((depth[source] for source in graph[key]), default=0)
    line: list[str] = []
    ahead = max(depth, key=lambda key: depth[key], default=None)
    while ahead is not None:
        line.append(ahead)
        ahead = max(graph[ahead], key=lambda key: depth[key], default=None)
    return line[::-1]
