"""How a run goes, from its events: counts, money, rate and what is left; no output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from seedance_batch.events import AttemptChanged
from seedance_batch.pricing import money
from seedance_batch.state import FINAL_PHASES, Attempt, Phase, counts_against_budget
from seedance_batch.words import span

_ENDED: Final = FINAL_PHASES | {Phase.AMBIGUOUS}
_MARKS: Final = {
    Phase.SUBMITTING: "sending",
    Phase.IN_FLIGHT: "in flight",
    Phase.DOWNLOADING: "fetching",
    Phase.DONE: "done",
    Phase.FAILED: "failed",
    Phase.AMBIGUOUS: "ambiguous",
    Phase.EXPIRED: "expired",
    Phase.MEDIA_MISMATCH: "mismatch",
}


class Course:
    """A run of ``rows`` rows that began at ``started``; times are seconds on one clock.

    ``foretold`` is what the forecast said that it takes, where there was one.
    """

    def __init__(
        self, rows: int, attempts: Iterable[Attempt], *, started: float, foretold: float | None
    ) -> None:
        self.rows = rows
        self._started = started
        self._foretold = foretold
        # What ended before this run is none of its business, until it changes.
        self._phases = {a.id: a.state.phase for a in attempts if a.state.phase not in _ENDED}
        self._counts = Counter(self._phases.values())
        self._costs: dict[int, Decimal] = {}
        self.spent = Decimal(0)
        """Estimates of what this run has sent."""
        self._paused_until = started

    def take(self, event: AttemptChanged) -> None:
        """An attempt took a step."""
        attempt, phase = event.attempt, event.attempt.state.phase
        before = self._phases.get(attempt.id)
        if before is not None:
            self._counts[before] -= 1
        self._phases[attempt.id] = phase
        self._counts[phase] += 1
        cost = attempt.intent.est_cost if counts_against_budget(attempt.state) else None
        self.spent += (cost or Decimal(0)) - self._costs.get(attempt.id, Decimal(0))
        self._costs[attempt.id] = cost or Decimal(0)

    def pause(self, until: float) -> None:
        """The service asked to be left alone until then."""
        self._paused_until = max(self._paused_until, until)

    @property
    def ended(self) -> int:
        """Rows of this run with nothing left to wait for."""
        return sum(self._counts[phase] for phase in _ENDED)

    def left(self, now: float) -> float | None:
        """Seconds until the end: as foretold at first, as measured in the end."""
        elapsed, ended = now - self._started, self.ended
        measured = elapsed * self.rows / ended if ended and self.rows else None
        if measured is None or self._foretold is None:
            whole = self._foretold if measured is None else measured
        else:
            share = min(1.0, ended / self.rows)
            whole = share * measured + (1.0 - share) * self._foretold
        return None if whole is None or whole <= elapsed else whole - elapsed

    def words(self, now: float) -> str:
        """``3 in flight, 9 done, $4.20, 5.1 rows/min, about 4 min left``."""
        parts = [f"{self._counts[p]:,} {words}" for p, words in _MARKS.items() if self._counts[p]]
        if self.spent:
            parts.append(money(self.spent))
        if self._paused_until > now:
            parts.append(f"paused for {span(self._paused_until - now)} as the service asked")
        minutes = (now - self._started) / 60.0
        if self.ended and minutes:
            parts.append(f"{self.ended / minutes:.1f} rows/min")
        left = self.left(now)
        if left is not None and self.ended < self.rows:
            parts.append(f"about {span(left)} left")
        return ", ".join(parts)
