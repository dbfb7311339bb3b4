"""The wall clock is wrong, or jumps: nothing is paid twice, and doubt is not resolved by paying."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from seedance_batch.core.attempt import Phase
from tests.faults.proxy import Loss, Relay, relaying
from tests.rig import Bench, some, until

HOUR = 3600.0
ROWS = 2
MakeBench = Callable[..., Bench]


@contextmanager
def left_unanswered(bench: Bench, *, shift: float = 0.0) -> Iterator[Relay]:
    """After a run that died when the server had accepted its rows and it had not heard so."""
    with relaying(bench.service.api_url, Loss.SILENCE) as (bench.api_url, relay):
        pid = bench.fork(call="tests.faults.inside:run", shift=shift)
        until(lambda: len(relay.lost) == ROWS)
        os.kill(pid, signal.SIGKILL)
        bench.ended(pid)
        assert bench.phases()[Phase.SUBMITTING] == ROWS
        relay.loss = None
        yield relay


def posts(bench: Bench) -> int:
    """Creates that the server was sent."""
    return len(bench.service.requests("api", "POST"))


@pytest.mark.cases(1)
@pytest.mark.parametrize("shift", some(-26 * HOUR, 600.0, slow=(-2 * HOUR, -600.0, 2 * HOUR)))
def test_a_clock_that_is_off_after_the_death_makes_no_second_charge(
    shift: float, make_bench: MakeBench
) -> None:
    bench = make_bench(ROWS)
    with left_unanswered(bench):
        ran = bench.forked(call="tests.faults.inside:run", shift=shift)
    assert ran.code == 0, ran.output
    assert bench.verdict(ROWS).holds


@pytest.mark.cases(1)
@pytest.mark.parametrize("shift", some(25 * HOUR, -600.0, slow=(-2 * HOUR, 600.0)))
def test_a_clock_that_was_off_before_the_death_makes_no_second_charge(
    shift: float, make_bench: MakeBench
) -> None:
    bench = make_bench(ROWS)
    with left_unanswered(bench, shift=shift):
        ran = bench.forked()
    assert ran.code == 0, ran.output
    assert bench.verdict(ROWS).holds


def test_a_send_that_was_dated_in_the_future_is_still_known_to_be_old(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(ROWS)
    with left_unanswered(bench, shift=25 * HOUR):
        sent = [attempt.state.first_sent_at or 0.0 for attempt in bench.attempts()]
    now = bench.manifest.stat().st_mtime
    assert all(abs(at - now) < HOUR for at in sent)


def test_after_23_hours_a_row_is_ambiguous_and_nothing_is_sent(make_bench: MakeBench) -> None:
    bench = make_bench(ROWS)
    with left_unanswered(bench):
        bench.service.configure(key_memory=0.0)  # the server has forgotten, too
        before = posts(bench)
        ran = bench.forked(call="tests.faults.inside:run", shift=25 * HOUR)
        again = bench.forked(call="tests.faults.inside:run", shift=25 * HOUR)
    assert (ran.code, again.code) == (5, 5), ran.output
    assert "reconcile" in ran.output
    assert posts(bench) == before
    assert len(bench.tasks()) == ROWS
    assert bench.phases() == {Phase.AMBIGUOUS: ROWS}


@pytest.mark.slow
def test_a_clock_that_jumps_while_a_send_is_unanswered_makes_no_second_charge(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(ROWS)
    bench.service.configure(faults={"create": {"500_after": 1.0}, "tries": 4})
    ran = bench.forked(call="tests.faults.inside:run", shift=25 * HOUR, jump_after=1.5)
    assert ran.code in {0, 5}, ran.output
    assert len(bench.tasks()) == ROWS
    if ran.code == 5:
        assert bench.phases()[Phase.AMBIGUOUS] > 0


def test_another_api_key_never_resends_what_the_first_one_sent(make_bench: MakeBench) -> None:
    bench = make_bench(ROWS)
    with left_unanswered(bench):
        first, bench.key = bench.key, "sk-another"
        ran = bench.forked()
    assert ran.code == 5, ran.output
    assert bench.tasks() == []
    assert bench.phases() == {Phase.AMBIGUOUS: ROWS}
    bench.key = first
    assert len(bench.tasks()) == ROWS


@pytest.mark.more
def test_a_row_refused_under_one_key_and_sent_under_another_belongs_to_the_other(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(1)
    poor, rich = bench.key, "sk-rich"
    with relaying(bench.service.api_url, Loss.SILENCE) as (bench.api_url, relay):
        relay.loss = None
        bench.service.configure(balance=0)
        assert bench.forked().code == 6
        assert bench.phases() == {Phase.PLANNED: 1}
        bench.service.configure(balance=None)
        bench.key, relay.loss = rich, Loss.SILENCE
        pid = bench.fork()
        until(lambda: len(relay.lost) == 1)
        os.kill(pid, signal.SIGKILL)
        bench.ended(pid)
        bench.key, relay.loss = poor, None
        ran = bench.forked()
    assert ran.code == 5, ran.output
    assert bench.tasks() == []
    bench.key = rich
    assert len(bench.tasks()) == 1
