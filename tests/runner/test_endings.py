"""A run ends as soon as nothing is left to do, whatever waits for a turn or an answer."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import trio
import trio.testing

from seedance_batch.api.client import Answer
from seedance_batch.core.attempt import Phase
from seedance_batch.core.hiapi import Verdict
from seedance_batch.events import AttemptChanged
from seedance_batch.runner.gate import Gate
from tests.benchmarks.world import SECRET, START, Case, Played, play


def played(rows: int, **faults: Any) -> Played:
    """A run that is told by callbacks."""
    settings = {"generation_time": "4", "rpm": 60, "webhook_secret": SECRET, "faults": faults}
    return play(Case(rows, settings=settings, callbacks=True))


def last_clip(found: Played) -> float:
    """Seconds until the last row was done."""
    done = [
        at - START
        for at, event in found.world.events
        if isinstance(event, AttemptChanged) and event.attempt.state.phase is Phase.DONE
    ]
    assert len(done) == found.case.rows
    return max(done)


@pytest.mark.parametrize("lost", ["reset_after", "stall_after", "500_after"])
def test_with_every_answer_lost_and_callbacks_whole_a_run_ends_with_its_last_clip(
    lost: str,
) -> None:
    found = played(6, create={lost: 1.0})
    assert len(found.tasks) == 6
    assert found.seconds <= last_clip(found) + 1.5
    assert found.seconds < 120


def test_a_turn_that_is_not_used_is_no_probe() -> None:
    async def main() -> float:
        gate = Gate(60.0, jitter=lambda: 0.5, observer=lambda _: None, address="x")
        bad: Answer[object] = Answer(Verdict.UNKNOWN)
        for _ in range(5):
            gate.heard("create", bad)
        assert await gate.wait()
        gate.unsent()
        started = anyio.current_time()
        assert await gate.wait()
        return anyio.current_time() - started

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) < 5
