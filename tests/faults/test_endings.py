"""However a run is ended, nothing is lost by it, and the same command goes on."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Phase
from tests.rig import Bench, Service, row, serving, some, until

ROWS = 4
MakeBench = Callable[..., Bench]


def accepted(bench: Bench, count: int = ROWS) -> Callable[[], bool]:
    """Whether the server has taken so many rows."""
    return lambda: len(bench.tasks()) >= count


def fetching(bench: Bench, count: int) -> bool:
    """Whether so many of its clips have been asked for."""
    return len({r["task_id"] for r in bench.file_requests()}) >= count


# ── signals ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_a_signal_ends_the_run_gently_and_the_next_one_finishes(
    number: int, code: int, make_bench: MakeBench
) -> None:
    bench = make_bench(ROWS)
    bench.service.configure(generation_time="6")
    pid = bench.fork()
    until(accepted(bench))
    os.kill(pid, number)
    ran = bench.ended(pid)
    assert ran.code == code, ran.output
    assert {line["status"] for line in bench.results()} == {"in_flight"}
    assert bench.forked().code == 0
    assert bench.verdict(ROWS).holds


@pytest.mark.more
def test_a_signal_amid_submits_waits_for_the_answers_under_way(make_bench: MakeBench) -> None:
    bench = make_bench(ROWS)
    bench.service.configure(faults={"create": {"late": 1.0}, "late_seconds": 1.0})
    pid = bench.fork()
    until(accepted(bench, 1))
    os.kill(pid, signal.SIGINT)
    ran = bench.ended(pid)
    assert ran.code == 130, ran.output
    assert bench.phases()[Phase.SUBMITTING] == 0
    assert bench.phases()[Phase.IN_FLIGHT] == len(bench.tasks())
    assert bench.forked().code == 0
    assert bench.verdict(ROWS).holds


def test_a_second_signal_quits_at_once_and_harms_nothing(make_bench: MakeBench) -> None:
    bench = make_bench(ROWS)
    slow = {"files": {"drip": 1.0}, "drip_bytes_per_second": 4_000}
    bench.service.configure(faults=slow)
    pid = bench.fork()
    until(lambda: fetching(bench, ROWS))
    os.kill(pid, signal.SIGINT)
    until(lambda: "a second signal quits at once" in bench.log.read_text())
    os.kill(pid, signal.SIGINT)
    assert bench.ended(pid).code == 130
    assert bench.phases() == {Phase.DOWNLOADING: ROWS}
    bench.service.configure(faults={})
    assert bench.forked().code == 0
    assert bench.verdict(ROWS).holds


def test_a_wait_that_ends_fails_no_row_and_names_the_command_that_goes_on(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(ROWS)
    bench.service.configure(generation_time="1.5")
    ran = bench.forked("--wait", "0.5")
    assert ran.code == 5, ran.output
    assert "seedance-batch run" in ran.output
    assert "again" not in ran.output.lower().replace("the same command again continues", "")
    assert Phase.FAILED not in bench.phases()
    bench.service.configure(generation_time="0")
    assert bench.forked().code == 0
    assert bench.verdict(ROWS).holds


# ── the account ─────────────────────────────────────────────────────────────────────────────────


def test_an_empty_balance_stops_submits_and_after_a_top_up_the_same_command_goes_on(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(6)
    charged = float(bench.service.ledger()["counters"]["charged_total"])
    bench.service.configure(balance=charged + 0.60, generation_time="0.2")
    ran = bench.forked("-j", "1")
    assert ran.code == 6, ran.output
    paid = len(bench.tasks())
    assert 0 < paid < 6
    assert bench.phases()[Phase.DONE] == paid
    bench.service.configure(balance=None)
    assert bench.forked().code == 0
    assert bench.verdict(6).holds


@pytest.mark.more
@pytest.mark.parametrize("status", some(401, slow=(403,)))
def test_a_key_that_is_revoked_amid_a_run_loses_nothing(status: int, make_bench: MakeBench) -> None:
    bench = make_bench(6)
    bench.service.configure(
        generation_time="0.2", faults={"revoke_after": 3, "revoked_status": status}
    )
    ran = bench.forked("-j", "1")
    assert ran.code == 6, ran.output
    assert len(bench.tasks()) == 3
    assert bench.phases()[Phase.FAILED] == 0
    bench.service.configure(faults={})
    assert bench.forked().code == 0
    assert bench.verdict(6).holds


def test_clips_that_are_made_are_fetched_although_the_key_was_revoked(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(3)
    slow = {"drip": 1.0}
    bench.service.configure(faults={"files": slow, "drip_bytes_per_second": 60_000})
    pid = bench.fork()
    until(lambda: fetching(bench, 3))
    bench.service.configure(
        faults={"files": slow, "drip_bytes_per_second": 60_000, "revoke_after": 0}
    )
    ran = bench.ended(pid)
    assert bench.phases() == {Phase.DONE: 3}, ran.output
    assert ran.code in {0, 6}


def test_many_failures_in_a_row_stop_the_submits(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.write(*(row(n, prompt=f"something forbidden, number {n}") for n in range(12)))
    bench.service.configure(faults={"moderation": ["forbidden"]})
    ran = bench.forked("-j", "1", "--max-failures", "3")
    assert ran.code == 3, ran.output
    assert len(bench.tasks()) == 3
    assert bench.phases() == {Phase.FAILED: 3}


def test_a_cap_is_never_passed_however_many_submits_are_under_way(make_bench: MakeBench) -> None:
    bench = make_bench(8)
    ran = bench.forked("--max-cost", "0.60", "-j", "8")  # three of them at 0.192 each
    assert ran.code == 4, ran.output
    assert len(bench.tasks()) == 3
    ran = bench.forked("--max-cost", "0.60")
    assert len(bench.tasks()) == 3
    assert bench.forked("--max-cost", "none").code == 0
    assert bench.verdict(8).holds


# ── two at once ─────────────────────────────────────────────────────────────────────────────────


def test_a_second_process_exits_7_and_names_the_first(make_bench: MakeBench) -> None:
    bench = make_bench(ROWS)
    bench.service.configure(generation_time="60")
    pid = bench.fork()
    until(accepted(bench))
    second = Bench(bench.folder, bench.service, bench.key)
    ran = second.run()
    assert ran.code == 7, ran.output
    assert f"process {pid} on {platform.node()}" in ran.output
    os.kill(pid, signal.SIGKILL)
    bench.ended(pid)
    ran = bench.forked("--wait", "0.5")
    assert ran.code == 5, ran.output  # a dead holder's lock is free
    assert len(bench.tasks()) == ROWS


# ── the server goes away ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path / "mortal", generation_time="1") as found:
        yield found


def test_a_server_that_dies_and_comes_back_amid_a_run_is_waited_for(
    mortal: Service, tmp_path: Path, make_bench: MakeBench
) -> None:
    bench = Bench(tmp_path / "away", mortal, forker=make_bench().forker)
    bench.fill(ROWS)
    port = int(mortal.api_url.rpartition(":")[2])
    pid = bench.fork()
    until(accepted(bench, 2))
    mortal.stop()
    time.sleep(0.5)
    mortal.start(port)
    ran = bench.ended(pid)
    if ran.code == 5:  # the file host's port is another one now: the URLs are old
        ran = bench.forked()
    assert ran.code == 0, ran.output
    assert bench.verdict(ROWS).holds


def test_an_api_that_is_not_there_is_exit_9_and_nothing_is_recorded(
    mortal: Service, tmp_path: Path, make_bench: MakeBench
) -> None:
    bench = Bench(tmp_path / "away", mortal, forker=make_bench().forker)
    bench.fill(ROWS)
    mortal.stop()
    ran = bench.forked()
    assert ran.code == 9, ran.output
    assert bench.attempts() == []


def test_a_dead_file_host_leaves_paid_rows_downloading(make_bench: MakeBench) -> None:
    bench = make_bench(2)
    bench.service.configure(faults={"files": {"503": 1.0}, "retry_after_seconds": 0})
    pid = bench.fork("--wait", "2")
    ran = bench.ended(pid)
    assert ran.code == 5, ran.output
    assert bench.phases() == {Phase.DOWNLOADING: 2}
    assert {line["status"] for line in bench.results()} == {"downloading"}
    bench.service.configure(faults={})
    assert bench.forked().code == 0
    assert bench.verdict(2).holds
