"""How many tasks to have in flight, found out from refusals, which cost nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SLOW_START: Final = 4
"""HiAPI's own advice for a new account, which ten creates at once can trip."""


@dataclass(slots=True)
class Slots:
    """Slow start from 4, one more per accepted create, up to ``ceiling`` (None: no ceiling).

    A refusal tells the cap: what is in flight was accepted. It is held there, and one higher is
    tried once a generation. Where that goes through, the cap has risen and growth goes on; where
    even fewer are refused, it has fallen, and each further refusal gives up twice as many.
    """

    ceiling: int | None
    limit: int = SLOW_START
    spared: int = 0
    """Places above the ceiling, for tasks in flight that seem never to end."""
    _growing: bool = True
    _probe_at: float = 0.0
    _held_until: float = float("-inf")
    _refused_at: int | None = None
    """In flight at the last refusal; None once a create was accepted."""
    _falls: int = 0
    """Refusals in a row, each with fewer in flight than the one before."""

    def __post_init__(self) -> None:
        self.limit = self._capped(self.limit)

    def allowed(self, now: float) -> int:
        """Tasks that may be in flight now, the occasional probe included."""
        if now < self._held_until:
            return 0
        if not self._growing and now >= self._probe_at:
            return self._capped(self.limit + 1)
        return self._capped(self.limit)

    def spare(self, places: int) -> None:
        """So many places are lent on; a cap that a refusal told holds all the same."""
        gained, self.spared = places - self.spared, places
        if gained > 0 and self._growing:
            self.limit = self._capped(self.limit + gained)

    def next_change(self, now: float) -> float:
        """When `allowed` rises by itself; infinite where it does not."""
        times = (self._held_until, float("inf") if self._growing else self._probe_at)
        return min((at for at in times if at > now), default=float("inf"))

    def accepted(self, in_flight: int) -> None:
        """A create was accepted; ``in_flight`` counts it."""
        if in_flight > self.limit or self._falls:  # more room than we knew, or we fell too deep
            self._growing = True
        if self._growing:
            self.limit = self._capped(max(self.limit, in_flight) + 1)
        self._refused_at, self._falls = None, 0

    def refused(self, in_flight: int, now: float, generation: float, pause: float = 0.0) -> None:
        """A create was refused for concurrency with ``in_flight`` accepted tasks running.

        ``generation`` are the seconds until a probe is worth its request, ``pause`` those for
        which the service wants no create at all.
        """
        fallen = self._refused_at is not None and in_flight < self._refused_at
        self._falls += fallen
        step = min(2 ** (self._falls - 1), in_flight // 3) if fallen else 0
        self.limit = max(1, self._capped(in_flight - step))
        self._growing = False
        self._refused_at = in_flight
        self._probe_at = now + generation
        self._held_until = max(self._held_until, now + pause)

    def _capped(self, wish: int) -> int:
        return wish if self.ceiling is None else min(wish, self.ceiling + self.spared)
