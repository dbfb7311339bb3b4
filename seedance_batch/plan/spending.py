"""What a run folder's attempts have cost, and whether more fits under a cap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from seedance_batch.state import Attempt, Charged, Phase, charged, counts_against_budget

_OPEN: Final = frozenset({Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.AMBIGUOUS})


@dataclass(frozen=True, slots=True)
class Spending:
    """US dollars, by the estimates recorded when each attempt was planned."""

    settled: Decimal = Decimal(0)
    """Of clips that were made."""
    reserved: Decimal = Decimal(0)
    """Of attempts under way, and of ambiguous ones."""
    unknown: Decimal = Decimal(0)
    """Of failed attempts, which may or may not have been charged."""
    unpriced: int = 0
    """Attempts that count and have no estimate: with one of them, no sum is known."""

    @property
    def committed(self) -> Decimal | None:
        """All that counts against ``--max-cost``; None where it is not known."""
        return None if self.unpriced else self.settled + self.reserved + self.unknown

    @classmethod
    def of(cls, attempts: Iterable[Attempt]) -> Spending:
        """The sums over some attempts."""
        settled = reserved = unknown = Decimal(0)
        unpriced = 0
        for attempt in attempts:
            cost, state = attempt.intent.est_cost, attempt.state
            if not counts_against_budget(state):
                continue
            if cost is None:
                unpriced += 1
            elif state.phase in _OPEN:
                reserved += cost
            elif charged(state) is Charged.YES:
                settled += cost
            else:
                unknown += cost
        return cls(settled, reserved, unknown, unpriced)
