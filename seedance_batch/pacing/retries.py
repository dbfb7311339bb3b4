"""Trying again, in one layer: how long to wait, how much of it a run may do, when to only probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SHARE: Final = 0.3
"""Retries that each first try pays for."""
_RESERVE: Final = 10.0
"""Retries that a run has saved up at most."""
_REFILL: Final = 5.0
"""Seconds in which an empty budget earns one more, so that no row waits for ever."""
_PROBE_PATIENCE: Final = 90.0
"""Seconds after which a probe without an answer is given up; an answer has 60."""


def backoff(tries: int, jitter: float, *, base: float = 1.0, cap: float = 60.0) -> float:
    """Seconds before try ``tries`` + 1: exponential, capped, with full jitter (0 ≤ jitter < 1).

    At least a tenth of the full wait, so that a burst of small draws is no stampede.
    """
    ceiling: float = min(cap, base * 2.0 ** min(tries, 30))
    return ceiling * (0.1 + 0.9 * jitter)


def file_pause(elapsed: float, jitter: float) -> float:
    """Seconds until a file is asked for again that was first asked for in vain ``elapsed`` ago.

    In proportion to what was waited already: a file that comes late is had soon after it comes,
    be that after seconds or after minutes.
    """
    return min(60.0, max(1.0, elapsed / 2)) * (0.5 + 0.5 * jitter)


@dataclass(slots=True)
class RetryBudget:
    """What a whole run may try again: a share of its first tries, and a trickle after that."""

    _saved: float = _RESERVE
    _at: float | None = None

    def first_try(self) -> None:
        """A request goes out for the first time."""
        self._saved = min(_RESERVE, self._saved + _SHARE)

    def wait(self, now: float) -> float:
        """Take one retry; the seconds until it may go. Retries that come together queue up."""
        since = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._saved = min(_RESERVE, self._saved + since / _REFILL) - 1.0
        return max(0.0, -self._saved * _REFILL)


@dataclass(slots=True)
class Breaker:
    """Opens when everything fails; then single probes go, ever further apart, up to a minute.

    While it is open, the next probe waits for the answer of the one before.
    """

    threshold: int = 5
    _failures: int = 0
    _next: float = float("-inf")
    _before: float = float("-inf")

    @property
    def open(self) -> bool:
        """Whether only a probe may go."""
        return self._failures >= self.threshold

    def next_at(self, now: float) -> float:
        """When the next request may start."""
        return max(now, self._next) if self.open else now

    def sent(self, now: float) -> None:
        """A request starts; while open, it is the probe."""
        self._before, self._next = self._next, now + _PROBE_PATIENCE

    def unsent(self) -> None:
        """The request that was to start is not sent after all: another may be the probe."""
        self._next = min(self._next, self._before)

    def heard(self, now: float, jitter: float, *, good: bool) -> None:
        """An answer came: a good one closes the breaker."""
        self._failures = 0 if good else self._failures + 1
        if self.open:
            self._next = now + backoff(self._failures - self.threshold, jitter, base=5.0)
