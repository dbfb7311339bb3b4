"""The server accepted, and its answer never came: one charge, whatever happens next."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from seedance_batch.core.attempt import Phase
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


@pytest.mark.cases(1)
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


@pytest.mark.cases(1)
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


GATEWAYS = ("503_gateway_after", "429_gateway_after", "402_gateway_after", "redirect_after")


def left_to_a_gateway(bench: Bench, fault: str) -> None:
    """A run that died once the server had taken rows and a gateway had said that it had not."""
    bench.fill(ROWS)
    bench.service.configure(faults={"create": {fault: 1.0}})
    pid = bench.fork()
    until(lambda: len(bench.tasks()) > 0)
    until(
        lambda: any("gateway" in r["verdict"] or "redirect" in r["verdict"] for r in posts(bench))
    )
    os.kill(pid, signal.SIGKILL)
    bench.ended(pid)
    assert set(bench.phases()) == {Phase.SUBMITTING}
    bench.service.configure(faults={})


def posts(bench: Bench) -> list[dict[str, Any]]:
    """Creates that the server was sent."""
    return bench.service.requests("api", "POST")


@pytest.mark.parametrize("fault", some("503_gateway_after", slow=GATEWAYS[1:]))
def test_a_gateway_is_no_voice_of_hiapis_the_next_run_asks_again(
    fault: str, make_bench: MakeBench
) -> None:
    bench = make_bench()
    left_to_a_gateway(bench, fault)
    ran = bench.forked()
    assert ran.code == 0, ran.output
    assert bench.verdict(ROWS).holds


@pytest.mark.parametrize("fault", some("503_gateway_after", slow=GATEWAYS[1:]))
def test_a_day_after_a_gateways_refusal_nothing_is_bought_again(
    fault: str, make_bench: MakeBench
) -> None:
    bench = make_bench()
    left_to_a_gateway(bench, fault)
    taken, sent = len(bench.tasks()), bench.phases()[Phase.SUBMITTING]
    bench.service.configure(key_memory=0.0)  # the server has forgotten, too
    ran = bench.forked("--rows", f"1-{sent}", call="tests.faults.inside:run", shift=25 * 3600.0)
    assert ran.code == 5, ran.output
    assert bench.phases()[Phase.AMBIGUOUS] == sent
    assert len(bench.tasks()) == taken


@pytest.mark.more
def test_another_key_after_a_gateways_refusal_buys_nothing_again(make_bench: MakeBench) -> None:
    bench = make_bench()
    left_to_a_gateway(bench, "503_gateway_after")
    sent = bench.phases()[Phase.SUBMITTING]
    bench.key = f"{bench.key}-other"
    ran = bench.forked("--rows", f"1-{sent}")
    assert ran.code == 5, ran.output
    assert bench.phases()[Phase.AMBIGUOUS] == sent
    assert bench.tasks() == []
