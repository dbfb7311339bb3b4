"""How much of a plan may be carried out: what its caps leave of it, and what a person agreed to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypedDict

from seedance_batch.batch.batch import Batch
from seedance_batch.batch.summary import bought_words, lifetime_cost, refused_doubts
from seedance_batch.core.overview import purchase
from seedance_batch.core.plan.steps import UNSETTLED, Plan, running_problem, total
from seedance_batch.core.pricing import money
from seedance_batch.core.text import some
from seedance_batch.errors import BudgetExceeded, ConsentNeeded
from seedance_batch.settings import NO_CAP

# ── Caps ─────────────────────────────────────────────────────────────────────────────────────────


def over_budget(problem: str) -> BudgetExceeded:
    """The error of a plan that passes a cap."""
    return BudgetExceeded(f"Over the budget: {problem}. Nothing was sent.")


def within_caps(batch: Batch, found: Plan) -> tuple[Plan, str | None]:
    """What of a plan is begun under its caps, and why its new rows are not, where they are not.

    Paid work under way is seen to its end whatever a cap says. Raises `BudgetExceeded` where there
    is none. Rows that fit under ``max_cost`` are sent one by one: a run decides about them.
    """
    settings = batch.settings
    problem = running_problem(found, settings.max_cost, settings.max_cost_per_row)
    if problem is None:
        return found, None
    begun = found.begun_only(f"over the budget: {problem}")
    if begun is None:
        raise over_budget(problem)
    return begun, problem


class Caps(TypedDict, total=False):
    """Caps in US dollars, as flags and keywords name them."""

    max_cost: Decimal
    max_cost_per_row: Decimal | None


def caps_needed(
    found: Plan, max_cost: Decimal | None, max_cost_per_row: Decimal | None
) -> Caps | None:
    """The caps, by name, that the plan fits under; None where it lacks prices."""
    needed = lifetime_cost(found)
    if found.new_cost is None:
        return None
    if needed is None:  # what earlier attempts have cost is not known, and will not be
        return {"max_cost": NO_CAP, "max_cost_per_row": None}
    caps: Caps = {}
    if max_cost is not None and needed > max_cost:
        caps["max_cost"] = needed
    dearest = max(step.cost or Decimal(0) for step in found.new)
    if max_cost_per_row is not None and dearest > max_cost_per_row:
        caps["max_cost_per_row"] = dearest
    return caps


# ── Consent ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Consent:
    """What was agreed to beforehand, whom to ask for the rest, and what to say if nobody agrees."""

    yes: bool
    again: bool
    ask: Callable[[str], bool] | None
    """Puts a question to a person; None where nobody can be asked."""
    to_agree: str
    """Hints: what agrees to the plan, what shows it, and what agrees to rows in doubt."""
    to_see: str
    to_buy_again: str
    nobody: str = ""
    """Why nobody can be asked, as the end of a sentence."""


def consented(batch: Batch, found: Plan, consent: Consent) -> Plan:
    """The plan, as far as it was agreed to: with one yes to new money, which names its amount.

    The sandbox never asks. Without a yes, sends that were taken back are left as they are. A yes
    that nobody saw the plan for is none to rows that look bought already. Raises `ConsentNeeded`.
    """
    rows, again = purchase(found, batch.settings.max_cost), consent.again
    if not (consent.yes or batch.access.sandbox) and (rows or found.settling):
        if consent.ask is not None and consent.ask(_question(batch, found, rows)):
            again = again or rows is not None
        elif rows is None:
            found = found.without_settling(UNSETTLED)
        elif consent.ask is None:
            sentence = f"The plan would send {rows}{consent.nobody}. Nothing was sent."
            raise ConsentNeeded(sentence, hint=consent.to_agree)
        else:
            raise ConsentNeeded("Nothing was sent.", hint=consent.to_see)
    problem = None if again else refused_doubts(batch, found)
    if problem is not None:
        raise ConsentNeeded(problem, hint=f"to buy them again: {consent.to_buy_again}")
    return found


def _question(batch: Batch, found: Plan, rows: str | None) -> str:
    """What a yes is asked for: new rows, sends that were taken back, or both."""
    bought = bought_words(batch, found) if rows else ""
    parts = [] if rows is None else [f"{rows} anyway" if bought else rows]
    if found.settling:
        sums = total(found.settling)
        parts.append(f"again {some(sums.rows, 'unanswered row')} for up to {money(sums.cost)}")
    return f"{bought}Send {', and '.join(parts)}?"
