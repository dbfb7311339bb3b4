"""Whether a plan fits under its caps, and how much of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from seedance_batch.plan.steps import Plan, Step
from seedance_batch.pricing import money

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
        return "there is a cap, and no known price to hold against it"
    if max_cost is not None and (why := _over(plan, plan.new_cost, max_cost)):
        return why
    return None if max_cost_per_row is None else _too_dear(plan, max_cost_per_row)


def running_problem(
    plan: Plan, max_cost: Decimal | None, max_cost_per_row: Decimal | None = None
) -> str | None:
    """Why a plan is not begun: `budget_problem`, save that a run sends what `fitting` says."""
    return budget_problem(plan, None if max_cost is None else _ANY_COST, max_cost_per_row)


def fitting(plan: Plan, max_cost: Decimal | None) -> tuple[Step, ...]:
    """The new rows that a run sends under ``max_cost``: in manifest order, up to the first over it.

    US dollars over the run folder's lifetime; all rows for None. What has no known price does not
    fit.
    """
    if max_cost is None:
        return plan.new
    fit, committed = [], plan.spending.committed
    for step in plan.new:
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
    before = f", after {money(committed)} spent or reserved before" if committed else ""
    return f"the plan costs {money(cost)}{before}; the cap is {money(cap)}"


def _too_dear(plan: Plan, cap: Decimal) -> str | None:
    dear = [step for step in plan.new if step.cost is not None and step.cost > cap]
    if not dear:
        return None
    first = f"{dear[0].key} at {money(dear[0].cost)}"
    more = f" and {len(dear) - 1:,} more" if len(dear) > 1 else ""
    return f"over the cap of {money(cap)} for one row: {first}{more}"
