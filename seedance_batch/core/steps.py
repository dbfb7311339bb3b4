"""What a plan is: a step for every row, with a reason and a price, and what fits under its caps."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Final

from seedance_batch.core.attempt import (
    OWN_FAULTS,
    PAID_FAULTS,
    UNDER_WAY_PHASES,
    UNFINISHED_PHASES,
    Attempt,
    ErrorClass,
    Kind,
    Phase,
    Reason,
    State,
    TakeName,
    reason_of,
)
from seedance_batch.core.manifest import Job, Trouble
from seedance_batch.core.outcome import Spending
from seedance_batch.core.pricing import PriceTable, money
from seedance_batch.core.text import first_few
from seedance_batch.errors import Exit

# ── Which rows a rerun makes again: failures by their class, and takes that a person wants anew ───


@dataclass(frozen=True, slots=True)
class RerunChoice:
    """Which failed rows a rerun takes.

    ``classes`` None means transient and released failures (with ``force`` also those that are the
    row's own fault); given, these classes only. ``reasons`` given: refusals for these alone, also
    of rows that were changed since.
    """

    classes: frozenset[ErrorClass] | None = None
    force: bool = False
    reasons: frozenset[Reason] | None = None
    redo: Mapping[str, TakeName] = field(default_factory=dict)
    """Rows to make anew although they are done, each with the take that the wish was for. A later
    take answers it, however it was made; so the same wish never buys two."""

    stale: bool = False
    """Rows to make anew since they were made from a take that has a newer one by now."""
    answered: bool = False
    """This is about what came of it: what failed since is not tried again."""

    def means(self, state: State) -> bool:
        """Whether a failure is one that was asked for, as far as reasons were named."""
        return self.reasons is None or reason_of(state) in self.reasons

    def takes(self, error_class: ErrorClass) -> bool:
        """Whether an unchanged row that failed so is tried again."""
        if error_class in OWN_FAULTS and not self.force:
            return False
        if self.classes is None:
            return error_class not in PAID_FAULTS
        return error_class in self.classes

    def tries_again(self, failed: Attempt) -> bool:
        """Whether a take that was asked for anew is asked for once more after it failed."""
        error_class = error_class_of(failed)
        own = error_class in OWN_FAULTS and not self.force
        return not (error_class in PAID_FAULTS or own or self.answered)

    def only_redo(self) -> RerunChoice:
        """The same wishes for takes, and no failure: to see which of them were answered."""
        return replace(self, classes=frozenset(), force=False, answered=True)


def error_class_of(failed: Attempt) -> ErrorClass:
    """Why it failed; the row's own fault where the journal does not say."""
    return failed.state.error_class or ErrorClass.PERMANENT


# ── What a plan is: for every row what would be done, why, and for how much new money ─────────────


class Action(StrEnum):
    """What would be done to a row; see `sign` and `spends`."""

    NEW = "new"
    CHANGED = "changed"
    """Edited since its last attempt: a new attempt."""
    RERUN = "rerun"
    IN_FLIGHT = "in_flight"
    SETTLE = "settle"
    """Sent without an answer, and not asked for any more: only a resend tells whether it exists."""
    FETCH = "fetch"
    """Made and paid for; its clip is to be downloaded."""
    DONE = "done"
    MOVED = "moved"
    """Keeps the clip of an equal order that no row claims any more."""
    BLOCKED = "blocked"
    """Takes nothing until a person decides; the reason names the command."""
    REMOVED = "removed"
    """Has attempts, and left the manifest."""

    @property
    def sign(self) -> str:
        """One character for lists."""
        return _SIGNS[self]

    @property
    def spends(self) -> bool:
        """Whether it is new money."""
        return self in _SPENDING

    @property
    def may_cost(self) -> bool:
        """Whether it is new money, or may turn out to be: a yes is needed."""
        return self.spends or self is Action.SETTLE


_SIGNS: Final = {
    Action.NEW: "+",
    Action.CHANGED: "~",
    Action.RERUN: "↻",
    Action.IN_FLIGHT: "…",
    Action.SETTLE: "?",
    Action.FETCH: "⬇",
    Action.DONE: "=",
    Action.MOVED: "→",
    Action.BLOCKED: "!",
    Action.REMOVED: "-",
}
UNSETTLED: Final = (
    "not sent again without your yes: run --yes sends it again to learn whether it exists"
)
"""Why a send that was taken back is not resent."""
_SPENDING: Final = frozenset({Action.NEW, Action.CHANGED, Action.RERUN})


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a plan."""

    action: Action
    key: str
    kind: Kind
    reason: str
    job: Job | None
    """None for a removed row."""
    attempt: Attempt | None
    """The attempt to go on with, or whose clip is kept. For new money: one that was planned and
    never sent; its intent is to be replaced where its content is not the job's."""
    number: int
    """The number that a new attempt has, counted by row and kind from 1."""
    seconds: int
    """What is billed, reference videos included; for what is not new money, what was asked for."""
    cost: Decimal | None = None
    """New money in US dollars; None for none, and where no price is known. What a resend would
    cost where it settles a send that never arrived: that was set aside before."""
    spent_before: Decimal = Decimal(0)
    """Estimates of this row's earlier attempts of the kind, save those surely not charged."""
    no_price: str | None = None
    """Why new money has no known cost."""
    bounded: bool = False
    """Reference videos were not measured, and count with their documented limit."""
    kept: Attempt | None = None
    """What the row stands for, where flags alone make its job another one."""
    waits_for: tuple[str, ...] = ()
    """Rows whose clips are to be made first, in this run: of them it takes frames or clips."""
    takes: Mapping[str, int] = field(default_factory=dict)
    """Rows whose clips are there or paid for, with the journal's number of the take to use."""
    stale: bool = False
    """Its clip was made from a take of another row that has a newer one by now."""


@dataclass(frozen=True, slots=True)
class Total:
    """Rows, billed seconds and new money together; ``cost`` is None if any of it is unknown."""

    rows: int
    seconds: int
    cost: Decimal | None


def total(steps: Iterable[Step]) -> Total:
    """The sum of some steps; what is not new money costs nothing."""
    found = list(steps)
    unknown = any(step.action.may_cost and step.cost is None for step in found)
    cost = sum((step.cost for step in found if step.cost is not None), Decimal(0))
    return Total(len(found), sum(step.seconds for step in found), None if unknown else cost)


@dataclass(frozen=True)
class Plan:
    """What a run would do, row by row in manifest order, then the rows that left the manifest."""

    steps: tuple[Step, ...]
    kind: Kind
    jobs: Sequence[Job]
    """Every job of the manifest, selected or not."""
    attempts: Sequence[Attempt]
    """Everything that the journal held."""
    table: PriceTable | None
    left_out: int = 0
    """Rows that a rerun does not touch: never run, or edited after they were done."""
    rerun: RerunChoice | None = None
    """What it was asked for, where it is a rerun's."""
    taken_back: frozenset[int] = frozenset()
    """Attempts that were sent without an answer and that no row asks for any more."""
    troubles: tuple[Trouble, ...] = ()
    """Rows that were chosen without the rows that feed them."""

    @cached_property
    def new(self) -> tuple[Step, ...]:
        """The steps that are new money, in manifest order."""
        return tuple(step for step in self.steps if step.action.spends)

    @cached_property
    def totals(self) -> dict[Action, Total]:
        """A total for every action that occurs."""
        found = {action: [s for s in self.steps if s.action is action] for action in Action}
        return {action: total(steps) for action, steps in found.items() if steps}

    @cached_property
    def new_total(self) -> Total:
        """All new money."""
        return total(self.new)

    @property
    def new_rows(self) -> int:
        """How many rows would be paid for."""
        return self.new_total.rows

    @property
    def new_cost(self) -> Decimal | None:
        """What they would cost in US dollars; None if any price is unknown."""
        return self.new_total.cost

    @cached_property
    def spending(self) -> Spending:
        """What the run folder's attempts have cost and hold reserved, drafts included."""
        return Spending.of(self.attempts)

    @cached_property
    def settling(self) -> tuple[Step, ...]:
        """The steps that resend what was taken back, to learn whether it exists."""
        return tuple(step for step in self.steps if step.action is Action.SETTLE)

    @cached_property
    def left_alone(self) -> frozenset[int]:
        """Attempts that were taken back, and are not resent: nothing of this plan says so."""
        return self.taken_back - {s.attempt.id for s in self.settling if s.attempt is not None}

    @cached_property
    def also_watched(self) -> tuple[Attempt, ...]:
        """Attempts under way that no step carries: of other rows, kinds, or former contents."""
        carried = {step.attempt.id for step in self.steps if step.attempt is not None}
        carried |= self.left_alone
        return tuple(
            a for a in self.attempts if a.state.phase in UNDER_WAY_PHASES and a.id not in carried
        )

    @cached_property
    def seconds_by_resolution(self) -> dict[str, int]:
        """Billed seconds of new money by resolution: what to reckon with when no price is known."""
        sizes = [(s.job.input.resolution.value, s.seconds) for s in self.new if s.job]
        seconds: Counter[str] = Counter()
        for resolution, length in sizes:
            seconds[resolution] += length
        return dict(seconds)

    @cached_property
    def rows_digest(self) -> str:
        """Hash of every row's key and content, in any order."""
        return _digest(f"{job.key}\n{job.content}" for job in self.jobs)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the rows and of every intent of this kind, made or to be made, with its price.

        Carrying the plan out turns planned intents into made ones, and so leaves it as it is; an
        edited row, another price or a foreign attempt does not.
        """
        made = {
            (a.intent.key, a.intent.number): (a.intent.content, a.intent.est_cost)
            for a in self.attempts
            if a.intent.kind is self.kind and a.state.phase is not Phase.PLANNED
        }
        planned = {(s.key, s.number): (s.job.content, s.cost) for s in self.new if s.job}
        intents = (_line(*who, *what) for who, what in (made | planned).items())
        return _digest((self.kind, self.rows_digest, *intents))

    def without(self, keys: Collection[str], why: str) -> Plan:
        """The same plan, but no new money for these rows."""
        steps = (
            held_back(step, why) if step.action.spends and step.key in keys else step
            for step in self.steps
        )
        return replace(self, steps=tuple(steps))

    def begun_only(self, why: str) -> Plan | None:
        """What is under way without any new row; None where nothing is."""
        kept = {a.id for s in self.steps if not s.action.spends and (a := s.attempt) is not None}
        watched = {a.id for a in self.also_watched}
        under_way = {a.id for a in self.attempts if a.state.phase in UNDER_WAY_PHASES}
        if not (kept | watched) & under_way - self.left_alone:
            return None
        return self.without({step.key for step in self.new}, why)

    def without_settling(self, why: str) -> Plan:
        """The same plan, but what was taken back is left as it is."""
        steps = (held_back(s, why) if s.action is Action.SETTLE else s for s in self.steps)
        return replace(self, steps=tuple(steps))


def cheapest(steps: Iterable[Step], rows: int) -> tuple[Step, ...]:
    """The cheapest new steps, for a first try; those without a known price last, by seconds.

    A row that waits for another one is none of them.
    """
    by_price = sorted(
        (step for step in steps if not step.waits_for),
        key=lambda step: (step.cost is None, step.cost or Decimal(0), step.seconds),
    )
    return tuple(by_price[:rows])


def sources_first(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps in their order, but none before those that it waits for."""
    by_key = {step.key: step for step in steps}
    placed: dict[str, Step] = {}
    for step in by_key.values():
        way = [step]
        while way:
            waits = (key for key in way[-1].waits_for if key in by_key and key not in placed)
            ahead = next(waits, None)
            if ahead is not None:
                way.append(by_key[ahead])
            else:
                last = way.pop()
                placed.setdefault(last.key, last)
    return tuple(placed.values())


def held_back(step: Step, why: str) -> Step:
    """A step of new money that is not to be taken after all."""
    return replace(step, action=Action.BLOCKED, reason=f"{why} ({step.reason})", cost=None)


def _line(key: str, number: int, content: str, cost: Decimal | None) -> str:
    return f"{key}\n{number}\n{content}\n{None if cost is None else cost.normalize()}"


def _digest(lines: Iterable[str]) -> str:
    joined = "\0".join(sorted(lines))
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()


# ── Whether a plan fits under its caps, and how much of it ────────────────────────────────────────


_ANY_COST: Final = Decimal("Infinity")


def budget_problem(
    plan: Plan, max_cost: Decimal | None, max_cost_per_row: Decimal | None = None
) -> str | None:
    """Why a plan does not fit, in words; None if it does, or buys nothing.

    ``max_cost`` caps the run folder's lifetime, ``max_cost_per_row`` each new attempt; both are
    US dollars, None for no cap. With a cap, an unknown price does not fit.
    """
    if not plan.new or (max_cost is None and max_cost_per_row is None):
        return None
    if plan.new_cost is None:
        return "there is a cap, but no known price to check against it"
    if max_cost is not None and (why := _over(plan, plan.new_cost, max_cost)):
        return why
    return None if max_cost_per_row is None else _too_dear(plan, max_cost_per_row)


def running_problem(
    plan: Plan, max_cost: Decimal | None, max_cost_per_row: Decimal | None = None
) -> str | None:
    """Why a plan is not begun: `budget_problem`, save that a run sends what `fitting` says."""
    return budget_problem(plan, None if max_cost is None else _ANY_COST, max_cost_per_row)


def fitting(plan: Plan, max_cost: Decimal | None) -> tuple[Step, ...]:
    """The new rows that a run sends under ``max_cost``: in manifest order, up to the first over it,
    each after the rows that it waits for.

    US dollars over the run folder's lifetime; all rows for None. What has no known price does not
    fit.
    """
    if max_cost is None:
        return plan.new
    fit, committed = [], plan.spending.committed
    for step in sources_first(plan.new):
        if committed is None or step.cost is None or committed + step.cost > max_cost:
            break
        committed += step.cost
        fit.append(step)
    return tuple(fit)


def _over(plan: Plan, cost: Decimal, cap: Decimal) -> str | None:
    committed = plan.spending.committed
    if committed is None:
        count = plan.spending.unpriced
        noun = "attempt has" if count == 1 else "attempts have"
        return f"{count:,} earlier {noun} no known price"
    if committed + cost <= cap:
        return None
    before = f", on top of {money(committed)} already spent or reserved" if committed else ""
    return f"the plan costs {money(cost)}{before}; the cap is {money(cap)}"


def _too_dear(plan: Plan, cap: Decimal) -> str | None:
    dear = [step for step in plan.new if step.cost is not None and step.cost > cap]
    if not dear:
        return None
    which = first_few([f"{step.key} at {money(step.cost)}" for step in dear], 1)
    return f"over the cap of {money(cap)} for one row: {which}"


# ── What is left of a plan once it was carried out, and what that means for its exit code. Pure ───


_WELL = frozenset({Action.DONE, Action.MOVED, Action.REMOVED})
_UNDER_WAY = frozenset({Action.IN_FLIGHT, Action.FETCH, Action.SETTLE})


def left_over(fresh: Iterable[Step]) -> tuple[Step, ...]:
    """The steps of a plan made afterwards that are not done."""
    return tuple(step for step in fresh if step.action not in _WELL)


def exit_of(left: Iterable[Step], *, held: Collection[str], stopped: bool) -> Exit:
    """0 nothing is left · 3 a row has no good clip · 5 a row is unfinished, or was not sent.

    ``held`` rows were kept back from the start; where sending ``stopped``, that has a code of its
    own for the rows that were not sent.
    """
    return max((_exit_of(step, held, stopped) for step in left), default=Exit.OK)


def _exit_of(step: Step, held: Collection[str], stopped: bool) -> Exit:
    if step.action in _UNDER_WAY:
        return Exit.UNFINISHED
    if step.action.spends:
        if step.key in held:
            return Exit.SOME_FAILED
        return Exit.OK if stopped else Exit.UNFINISHED
    doubtful = step.attempt is not None and step.attempt.state.phase in UNFINISHED_PHASES
    return Exit.UNFINISHED if doubtful else Exit.SOME_FAILED
