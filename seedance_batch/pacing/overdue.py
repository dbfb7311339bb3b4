"""Which tasks hold their place much longer than others needed: arithmetic on ages, nothing else.

A running task is never given up: a generation may take two days. But its place goes to another
row, as far as the service takes more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from seedance_batch.pacing.looks import Flight

_TIMES: Final = 5.0
"""A task is overdue once it is so many times as old as the others of its size were when they
ended."""
_AT_LEAST: Final = 45.0
"""Seconds; what is younger is never overdue."""
_UNMEASURED: Final = 300.0
"""Seconds from which a task is overdue while none of its size has ended."""
_SMALL: Final = (2, 3)
"""Ceilings that a few endless tasks fill, below the four that HiAPI advises a new account to start
with: one more is sent after `_AT_LEAST`, to learn how long a task takes."""
_UNKNOWN_TIMES: Final = 5
_UNKNOWN_SECONDS: Final = 20.0
"""A task that looks did not find so often and for so long keeps no place."""
_GIVEN_UP_AFTER: Final = 240.0
"""Seconds after which a run no longer waits for a task that the service does not know."""


def overdue_from(lengths: Sequence[float], others: Sequence[float]) -> float:
    """The age in seconds from which a task is overdue.

    ``lengths`` are those of successful generations of its size, sorted; ``others`` of all sizes.
    """
    if lengths:
        return max(_AT_LEAST, _TIMES * lengths[len(lengths) // 2])
    return max([_UNMEASURED, *(_TIMES * length for length in others)])


def is_overdue(flight: Flight, limit: float) -> bool:
    """Whether a task was still running at an age at which it is overdue."""
    return flight.seen_at - flight.accepted_at >= limit


def is_unknown(flight: Flight) -> bool:
    """Whether the service seems not to know the task; it may be new, or forgotten."""
    return flight.misses >= _UNKNOWN_TIMES and _missing_for(flight) >= _UNKNOWN_SECONDS


def is_given_up(flight: Flight) -> bool:
    """Whether a run no longer waits for the task: it has been unknown for minutes."""
    return is_unknown(flight) and _missing_for(flight) >= _GIVEN_UP_AFTER


def _missing_for(flight: Flight) -> float:
    return 0.0 if flight.missing_since is None else flight.seen_at - flight.missing_since


def spare_places(
    flights: Sequence[Flight], overdue: int, *, measured: bool, ceiling: int | None
) -> int:
    """Places above the ceiling: one for each overdue task, or one to learn how long tasks take.

    ``measured``: whether any task has ended.
    """
    if overdue or measured or ceiling not in _SMALL:
        return overdue
    old = sum(is_overdue(flight, _AT_LEAST) for flight in flights)
    return int(old >= ceiling)
