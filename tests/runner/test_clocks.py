"""Our wall clock is wrong, or jumps: tasks are looked at as if it were right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from seedance_batch.core.attempt import Phase, State
from seedance_batch.core.model import TaskStatus
from seedance_batch.core.polling import Flight, Looks
from seedance_batch.journal import operations
from seedance_batch.journal.opening import open_journal
from seedance_batch.runner.attempts import Book
from seedance_batch.runner.gate import Stopper
from seedance_batch.runner.watch import Sightings
from tests.benchmarks.figures import figures, lags_of
from tests.benchmarks.world import Case, Played, World, play
from tests.core.state_samples import TASK, intent, task
from tests.rig import some

HOUR = 3600.0
SHIFTS = some(-25 * HOUR, HOUR, slow=(-HOUR, -600.0, 600.0, 25 * HOUR))


def run(shift: float, **more: Any) -> Played:
    """Six tasks of five seconds under a clock that is ahead by ``shift``."""
    return play(Case(6, settings={"generation_time": "5", "rpm": 60}, shift=shift, **more))


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_clock_that_is_off_slows_no_look(shift: float) -> None:
    right, wrong = run(0.0), run(shift)
    assert wrong.seconds <= right.seconds + 1.0
    assert max(lags_of(wrong)) <= max(lags_of(right)) + 1.0
    assert figures(wrong).requests <= figures(right).requests + 2


@pytest.mark.parametrize("jump", some(-HOUR, 25 * HOUR, slow=(-25 * HOUR, HOUR)))
def test_a_clock_that_jumps_while_tasks_are_in_flight_slows_no_look(jump: float) -> None:
    async def jumps(world: World) -> None:
        await anyio.sleep(2.0)
        world.shift = jump

    right, wrong = run(0.0), run(0.0, script=jumps)
    assert [a.state.phase for a in wrong.world.book.attempts.values()] == [Phase.DONE] * 6
    assert wrong.seconds <= right.seconds + 1.0


@pytest.mark.parametrize("shift", SHIFTS)
def test_what_an_earlier_process_left_is_looked_at_at_once_and_its_age_is_the_services(
    shift: float, tmp_path: Path
) -> None:
    now, age = 1_800_000_000.0, 40.0

    async def main() -> tuple[Flight, Flight, float]:
        with open_journal(tmp_path / "journal.db", threaded=False) as journal:
            # It was sent under a right clock, whatever ours says today.
            sent = State(phase=Phase.IN_FLIGHT, task_id=TASK, submitted_at=now - age)
            journal.write(operations.add_attempts([intent()], sent))
            book = Book(journal, journal.attempts(), wall=lambda: now, observer=lambda _: None)
            sightings = Sightings(
                book=book,
                looks=Looks(2.0),
                stopper=Stopper(lambda _: None),
                ended=lambda _: None,
                wall=lambda: now + shift,
                server=lambda: now,
            )
            (attempt,) = book.attempts.values()
            before = sightings.flight(attempt)
            seen = task(TaskStatus.RUNNING, created=now - age)
            await sightings.take(seen, attempt.id, anyio.current_time())
            return before, sightings.flight(attempt), anyio.current_time()

    before, after, at = trio.run(main, clock=trio.testing.MockClock())
    assert before.hinted
    assert not after.hinted
    assert at - after.accepted_at == pytest.approx(age)
