"""Answers that nothing promises: no clip is given to two rows, and no run waits for ever."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from seedance_batch.core.attempt import Phase
from tests.faults.proxy import Loss, relaying
from tests.rig import Bench, until

MakeBench = Callable[..., Bench]


def test_a_task_that_two_rows_are_told_belongs_to_the_first(make_bench: MakeBench) -> None:
    bench = make_bench(3)
    with relaying(bench.service.api_url, Loss.ANOTHERS) as (bench.api_url, _):
        ran = bench.forked()
        assert ran.code == 5, ran.output
        assert bench.phases() == {Phase.DONE: 1, Phase.AMBIGUOUS: 2}
        again = bench.forked()
    assert again.code == 5, again.output
    assert len(bench.tasks()) == 3  # and the two are there to be adopted


@pytest.mark.slow
def test_a_key_of_another_account_stops_and_the_right_one_finishes(make_bench: MakeBench) -> None:
    bench = make_bench(2)
    bench.service.configure(generation_time="1")
    assert bench.forked("--wait", "0.5").code == 5
    right, bench.key = bench.key, f"{bench.key}-other"
    ran = bench.forked()
    assert ran.code == 6, ran.output
    assert bench.phases() == {Phase.IN_FLIGHT: 2}
    assert bench.tasks() == []
    bench.key = right
    assert bench.forked().code == 0
    assert bench.verdict(2).holds


@pytest.mark.more
def test_an_old_url_that_nobody_may_look_up_does_not_hold_the_run(make_bench: MakeBench) -> None:
    bench = make_bench(2)
    bench.service.configure(faults={"files": {"late": 1.0}, "late_seconds": 30})
    pid = bench.fork()
    until(lambda: len(bench.file_requests()) == 2)
    os.kill(pid, signal.SIGKILL)
    bench.ended(pid)
    # The file host forgets its URLs, and the key is revoked before a fresh look.
    bench.service.configure(faults={"files": {"403": 1.0}, "revoke_after": 0})
    ran = bench.forked()
    assert ran.code == 6, ran.output
    assert bench.phases() == {Phase.DOWNLOADING: 2}
    bench.service.configure(faults={})
    assert bench.forked().code == 0
    assert bench.verdict(2).holds


@pytest.mark.slow
def test_a_dead_file_host_stops_the_buying_of_more(make_bench: MakeBench) -> None:
    bench = make_bench(40)
    bench.service.configure(faults={"files": {"503": 1.0}, "retry_after_seconds": 0})
    ran = bench.forked("-j", "2", "--downloads", "2", "--wait", "5")
    assert ran.code == 5, ran.output
    assert "paid clips have not arrived (127.0.0.1 answered 503)" in ran.output
    assert 0 < len(bench.tasks()) < 15
    bench.service.configure(faults={})
    assert bench.forked().code == 0
    assert bench.verdict(40).holds
