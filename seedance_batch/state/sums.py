"""What attempts add up to, by how sure it is that they were charged for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from seedance_batch.state.attempt import Attempt, Surety
from seedance_batch.state.meaning import surety


@dataclass(frozen=True, slots=True)
class Sum:
    """Attempts and what they add up to, in US dollars, as far as prices are known."""

    attempts: int
    amount: Decimal
    unpriced: int
    """Attempts that no price is known for; `amount` lacks them."""


def sums(attempts: Iterable[Attempt]) -> dict[Surety, Sum]:
    """A sum for each surety; an attempt that is known to be free is in none."""
    costs: dict[Surety, list[Decimal | None]] = {found: [] for found in Surety}
    for attempt in attempts:
        found = surety(attempt.state)
        if found is not None:
            costs[found].append(attempt.intent.est_cost)
    return {found: _sum(part) for found, part in costs.items()}


def spent(attempts: Iterable[Attempt]) -> Decimal:
    """US dollars: estimates of all that was, or may have been, charged."""
    counted = (a.intent.est_cost for a in attempts if surety(a.state) is not None)
    return sum((cost for cost in counted if cost is not None), Decimal(0))


def _sum(costs: list[Decimal | None]) -> Sum:
    known = [cost for cost in costs if cost is not None]
    return Sum(len(costs), sum(known, Decimal(0)), len(costs) - len(known))
