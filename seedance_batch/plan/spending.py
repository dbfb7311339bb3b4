"""What a run folder's attempts have cost, and whether more fits under a cap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from seedance_batch.state import Attempt, Surety, sums


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
        found = sums(attempts)
        return cls(
            settled=found[Surety.SETTLED].amount,
            reserved=found[Surety.RESERVED].amount,
            unknown=found[Surety.UNKNOWN].amount,
            unpriced=sum(part.unpriced for part in found.values()),
        )
