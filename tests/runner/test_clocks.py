"""Our wall clock is wrong, or jumps: tasks are looked at as if it were right."""

from __future__ import annotations

from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trio
import trio.testing

from seedance_batch.api.client import Client
from seedance_batch.core.attempt import Phase, State
from seedance_batch.core.hiapi import TaskStatus
from seedance_batch.core.polling import Flight, Looks
from seedance_batch.journal import records
from seedance_batch.journal.opening import open_journal
from seedance_batch.runner.gate import Stopper, tools_for
from seedance_batch.runner.sightings import Sightings
from tests.benchmarks.figures import figures, lags_of
from tests.benchmarks.world import KEY, Case, Played, World, play
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
    assert [a.state.phase for a in wrong.world.attempts.by_id.values()] == [Phase.DONE] * 6
    assert wrong.seconds <= right.seconds + 1.0


@pytest.mark.parametrize("shift", SHIFTS)
def test_what_an_earlier_process_left_is_looked_at_at_once_and_its_age_is_the_services(
    shift: float, tmp_path: Path
) -> None:
    now, age = 1_800_000_000.0, 40.0

    def says_the_time(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"date": formatdate(now, usegmt=True)})

    async def main() -> tuple[Flight, Flight, float]:
        with open_journal(tmp_path / "journal.db", threaded=False) as journal:
            # It was sent under a right clock, whatever ours says today.
            sent = State(phase=Phase.IN_FLIGHT, task_id=TASK, submitted_at=now - age)
            journal.write(records.add_attempts([intent()], sent))
            transport = httpx.MockTransport(says_the_time)
            client = Client(
                "http://127.0.0.1:1", KEY, transport=transport, wall=lambda: now + shift
            )
            await client.probe()
            tools = tools_for(
                client,
                journal,
                journal.attempts(),
                Stopper(lambda _: None),
                rpm=60.0,
                wall=lambda: now + shift,
                jitter=lambda: 0.5,
            )
            sightings = Sightings(tools, Looks(2.0), ended=lambda _: None)
            (attempt,) = tools.attempts.by_id.values()
            before = sightings.flight(attempt)
            seen = task(TaskStatus.RUNNING, created=now - age)
            await sightings.take(seen, attempt.id, anyio.current_time())
            return before, sightings.flight(attempt), anyio.current_time()

    before, after, at = trio.run(main, clock=trio.testing.MockClock())
    assert before.hinted
    assert not after.hinted
    assert at - after.accepted_at == pytest.approx(age)
