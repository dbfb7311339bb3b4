"""One budget of requests a minute, for submits, looks and retries together."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

WINDOW: Final = 60.0
"""Seconds over which the service counts requests."""
BURST: Final = 4
_MARGIN: Final = 0.25
"""Seconds by which one request may overtake another on its way; the service counts arrivals."""


@dataclass(slots=True)
class RequestBudget:
    """Requests 60/R s apart, at most four at once, and never more than R in any 60 s.

    ``next_at`` says when the next request may start; ``spend`` records that it did.
    """

    rpm: float
    burst: int = BURST
    _started: deque[float] = field(default_factory=deque)
    _theoretical: float = float("-inf")
    """When the next request would be due at an even pace (GCRA)."""
    _held_until: float = float("-inf")

    @property
    def spacing(self) -> float:
        """Seconds between requests at an even pace."""
        return WINDOW / self.rpm

    @property
    def limit(self) -> int:
        """Requests in any 60 s."""
        return max(1, int(self.rpm))

    def next_at(self, now: float) -> float:
        """The earliest time at which a request may start; ``now`` when it may start at once."""
        slack = (self.burst - 1) * self.spacing
        earliest = max(now, self._held_until, self._theoretical - slack)
        if len(self._started) >= self.limit:
            earliest = max(earliest, self._started[-self.limit] + WINDOW + _MARGIN)
        return earliest

    def spend(self, now: float) -> None:
        """A request starts now."""
        self._theoretical = max(now, self._theoretical) + self.spacing
        self._started.append(now)
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._started and self._started[0] <= now - WINDOW - _MARGIN:
            self._started.popleft()

    def count(self, now: float) -> int:
        """Requests that started in the last 60 s."""
        return sum(1 for at in self._started if at > now - WINDOW)

    def hold(self, until: float) -> None:
        """The server asked for silence until then."""
        self._held_until = max(self._held_until, until)

    def told(
        self, limit: int | None, remaining: int | None, reset_in: float | None, now: float
    ) -> None:
        """What an answer's ``X-RateLimit-*`` say; ``reset_in`` are seconds from now.

        A limit below ours becomes ours. Nothing left although we have not used it up means that
        somebody else does, so that the reset is waited for; what we used up ourselves is known
        more exactly here.
        """
        if limit is not None and 0 < limit < self.rpm:
            self.rpm = float(limit)
        if remaining == 0 and reset_in is not None and self.count(now) < self.limit:
            self.hold(now + min(max(reset_in, 0.0), WINDOW))


def is_rate_refusal(sent: int, limit: int, remaining: int | None, *, again: bool) -> bool:
    """Whether a 429 on a create was about requests a minute rather than tasks at once.

    ``sent`` counts our requests of the last 60 s, this one included. Requests left mean that the
    tasks were too many; so does a window that we are far from having filled. Where we filled it
    ourselves, both may be meant: the rate is believed first, and not ``again``.
    """
    if remaining is not None and remaining > 0:
        return False
    if remaining == 0 and sent < limit:
        return True  # somebody else used the rest
    return sent >= 0.9 * limit and not again
