"""What a run folder amounts to: rows by status, and money by how sure it is.

Pure; derived from the outcomes each time, never kept beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from seedance_batch.outcome import Outcome, Status
from seedance_batch.state import Attempt, Charged, Phase, charged


class Surety(StrEnum):
    """How sure it is that an attempt's estimate is spent."""

    SETTLED = "settled"
    """Charged: a clip was made."""
    RESERVED = "reserved"
    """Sent, and not settled: under way, or ambiguous."""
    UNKNOWN = "unknown"
    """Failed, and whether that was charged is not known."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Attempts and what they add up to, in US dollars, as far as prices are known."""

    attempts: int
    amount: Decimal
    unpriced: int
    """Attempts that no price is known for; `amount` lacks them."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts and money of a whole run folder."""

    rows: int
    """The manifest's rows; removed ones are not among them."""
    statuses: Mapping[Status, int]
    """Every status in its order, also those with no row."""
    money: Mapping[Surety, Sum]
    """Over all attempts; an attempt that is known to be free is in none."""


def tally(outcomes: Sequence[Outcome]) -> Tally:
    """Add up a run folder's outcomes."""
    counts = Counter(outcome.status for outcome in outcomes)
    attempts = [attempt for outcome in outcomes for attempt in outcome.attempts]
    return Tally(
        rows=len(outcomes) - counts[Status.REMOVED],
        statuses={status: counts[status] for status in Status},
        money={surety: _sum(a for a in attempts if _surety(a) is surety) for surety in Surety},
    )


_OPEN: Final = frozenset({Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.AMBIGUOUS})


def _surety(attempt: Attempt) -> Surety | None:
    if attempt.state.phase in _OPEN:
        return Surety.RESERVED
    match charged(attempt.state):
        case Charged.YES:
            return Surety.SETTLED
        case Charged.UNKNOWN:
            return Surety.UNKNOWN
        case Charged.NO:
            return None


def _sum(attempts: Iterable[Attempt]) -> Sum:
    costs = [attempt.intent.est_cost for attempt in attempts]
    known = [cost for cost in costs if cost is not None]
    return Sum(len(costs), sum(known, Decimal(0)), len(costs) - len(known))
