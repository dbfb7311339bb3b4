"""Paid clips that an earlier version gave up although their files may still come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from seedance_batch.state import Attempt, Refetch, step, was_given_up_early


def resumed(attempts: Iterable[Attempt], now: float) -> Iterator[Attempt]:
    """Attempts with those among them asked for again; ``now`` is the wall clock."""
    for attempt in attempts:
        if was_given_up_early(attempt.state, now):
            yield Attempt(attempt.id, attempt.intent, step(attempt.state, Refetch()))
        else:
            yield attempt
