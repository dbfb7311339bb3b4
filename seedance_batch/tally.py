"""What a run folder amounts to: rows by status, and money by how sure it is.

Pure; derived from the outcomes each time, never kept beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seedance_batch.outcome import Outcome, Status
from seedance_batch.state import Sum, Surety, sums


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
    return Tally(
        rows=len(outcomes) - counts[Status.REMOVED],
        statuses={status: counts[status] for status in Status},
        money=sums(attempt for outcome in outcomes for attempt in outcome.attempts),
    )
