"""The server accepted, and its answer never came: one charge, whatever happens next."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from seedance_batch.state import Phase
from tests.faults.proxy import Loss, relaying
from tests.rig import Bench, row, some, until

ROWS = 3
LOST = (Loss.RESET, Loss.HALF_A_HEADER, Loss.SILENCE)
MakeBench = Callable[..., Bench]


@pytest.mark.parametrize("loss", some(Loss.SILENCE, slow=(Loss.RESET, Loss.HALF_A_HEADER)))
def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    loss: Loss, make_bench: MakeBench
) -> None:
    bench = make_bench(ROWS)
    with relaying(bench.service.api_url, loss) as (bench.api_url, relay):
        ran = bench.forked(call="tests.faults.inside:run", deadline=1.0)
    assert ran.code == 0, ran.output
    assert len(relay.lost) == ROWS
    assert bench.verdict(ROWS).holds
    assert all(attempt.state.replayed for attempt in bench.attempts())


@pytest.mark.parametrize("loss", LOST)
def test_a_lost_answer_and_a_kill_still_make_one_charge(loss: Loss, make_bench: MakeBench) -> None:
    bench = make_bench(ROWS)
    with relaying(bench.service.api_url, loss) as (bench.api_url, relay):
        pid = bench.fork()
        until(lambda: len(relay.lost) == ROWS)
        os.kill(pid, signal.SIGKILL)
        assert bench.ended(pid).code == -signal.SIGKILL
        assert bench.phases()[Phase.SUBMITTING] > 0
        relay.loss = None
        ran = bench.forked()
    assert ran.code == 0, ran.output
    assert bench.verdict(ROWS).holds
    assert any(attempt.state.replayed for attempt in bench.attempts())


@pytest.mark.parametrize(
    "fault",
    some("html_after", "processing", slow=("empty_after", "cut", "500_after", "504_after")),
)
def test_an_answer_that_says_nothing_is_no_reason_to_pay_again(
    fault: str, make_bench: MakeBench
) -> None:
    bench = make_bench()
    bench.write(*(row(n, prompt=f"boat {n} after {fault}") for n in range(ROWS)))
    faults = {"create": {fault: 1.0}, "tries": 1, "processing_seconds": 0.5}
    bench.service.configure(faults=faults)
    ran = bench.forked()
    assert ran.code == 0, ran.output
    assert bench.verdict(ROWS).holds
    assert all(attempt.state.replayed for attempt in bench.attempts())
