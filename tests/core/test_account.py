"""Who may send next and who may have one more task, among runs that share an account."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.account import (
    LATE,
    AccountRun,
    DayMoney,
    FolderMoney,
    Priority,
    SharedAccount,
    fits,
)
from seedance_batch.core.attempt import Attempt, ErrorClass, Phase, State
from seedance_batch.core.pace import RequestBudget, Slots
from tests.core.state_samples import intent

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


def run_of(number: int, priority: Priority = NORMAL, **more: Any) -> AccountRun:
    run = AccountRun(
        number, 1000 + number, "7", "here", f"/runs/{number}", 10, 0.0, priority, 60.0, 10, 0.0
    )
    return replace(run, **more)


def account_of(*runs: AccountRun) -> SharedAccount:
    account = SharedAccount(budget=RequestBudget(60.0), slots=Slots(10, limit=10))
    account.runs = {run.id: run for run in runs}
    account.agree()
    return account


def asks(account: SharedAccount, run: AccountRun, now: float) -> bool:
    """Whether the run may send now; where not, it waits in line."""
    at = account.request_at(run, now)
    if at > now:
        run.asks_since, run.asks_due = (run.asks_since or now), at
        return False
    run.asks_since = None
    account.budget.spend(now)
    return True


def sent_in(account: SharedAccount, seconds: int, step: float = 0.05) -> list[tuple[float, int]]:
    """Who sent when, where every run asks whenever it was told to."""
    sent = []
    for tick in range(int(seconds / step)):
        now = tick * step
        for run in account.live():
            if (run.asks_since is None or now >= run.asks_due) and asks(account, run, now):
                sent.append((now, run.id))
    return sent


# ── requests ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 2, 5])
def test_runs_take_turns_and_keep_together_to_what_one_may_send(count: int) -> None:
    account = account_of(*map(run_of, range(1, count + 1)))
    sent = sent_in(account, 180)
    times = [at for at, _ in sent]
    assert all(b - a >= 60.0 for a, b in zip(times, times[60:], strict=False))
    assert len(sent) >= 0.97 * 180
    shares = Counter(run for _, run in sent)
    assert max(shares.values()) - min(shares.values()) <= 4  # of a burst at the beginning


def test_a_high_run_gets_ten_requests_for_each_of_a_normal_one_and_nobody_starves() -> None:
    account = account_of(run_of(1, HIGH), run_of(2), run_of(3, LOW))
    shares = Counter(run for _, run in sent_in(account, 600))
    assert 6 <= shares[1] / shares[2] <= 14
    assert shares[3] >= 4


def test_whoever_was_told_to_come_and_did_not_is_passed_over() -> None:
    asleep = run_of(1, asks_since=0.0, asks_due=5.0)
    account, awake = account_of(asleep, run_of(2)), 2
    account.budget.due = 8.0  # three are saved up, none of them is free before 5.0
    assert account.request_at(account.runs[awake], 5.0) > 5.0
    assert account.request_at(account.runs[awake], 5.0 + LATE + 0.01) == 5.0 + LATE + 0.01


def test_each_run_keeps_to_its_own_limits_and_all_to_the_largest() -> None:
    account = account_of(run_of(1, rpm=30.0, places=4), run_of(2, rpm=50.0, places=7))
    assert (account.budget.rpm, account.slots.ceiling) == (50.0, 7)
    account.runs[3] = run_of(3, places=None)
    account.agree()
    assert (account.budget.rpm, account.slots.ceiling) == (60.0, None)
    account.runs[3].gone = True
    account.agree()
    assert (account.budget.rpm, account.slots.ceiling) == (50.0, 7)


def test_what_others_use_is_left_to_them_until_a_minute_has_passed() -> None:
    budget = RequestBudget(60.0)
    for second in range(30):
        budget.spend(float(second))
    budget.told(60, 10, 20.0, now=30.0)  # fifty of sixty are used, and thirty are ours
    assert (budget.others, budget.pace) == (20.0, 38.0)  # two are left free
    budget.spend(95.0)
    assert (budget.others, budget.pace) == (0.0, 60.0)


def test_a_refusal_that_is_not_our_doing_lowers_the_pace_and_our_own_does_not() -> None:
    budget = RequestBudget(60.0)
    for second in range(10):
        budget.spend(float(second))
    budget.refused(10.0)
    assert (budget.others, budget.pace) == (15.0, 43.0)
    full = RequestBudget(60.0)
    for second in range(60):
        full.spend(float(second))
    full.refused(59.5)
    assert full.pace == 60.0


def test_one_or_two_requests_beyond_ours_are_nobodys() -> None:
    budget = RequestBudget(60.0)
    budget.spend(0.0)
    budget.told(60, 57, 20.0, now=0.5)
    assert budget.pace == 60.0


# ── places ──────────────────────────────────────────────────────────────────────────────────────


def waiting(since: float, seen: float = 60.0, rows: int = 100) -> dict[str, Any]:
    """What a run says that has rows to send."""
    return {"waiting": rows, "wants_since": since, "wants_seen": seen}


def test_a_freed_place_goes_to_the_run_with_the_fewest() -> None:
    large, small = run_of(1, taken=9, **waiting(20.0)), run_of(2, **waiting(50.0))
    account = account_of(large, small)
    assert account.places_for(large, 60.0) == large.taken  # none of the one that is free
    assert account.places_for(small, 60.0) == 1


def test_among_runs_with_as_many_it_goes_to_whom_waits_longest() -> None:
    runs = run_of(1, taken=3, **waiting(50.0)), run_of(2, taken=3, **waiting(40.0))
    account = account_of(*runs, run_of(3, taken=3))
    assert [account.places_for(run, 60.0) for run in runs] == [3, 4]


def test_a_high_run_has_ten_places_for_each_of_a_normal_one() -> None:
    urgent, usual = run_of(1, HIGH, **waiting(50.0)), run_of(2, **waiting(40.0))
    account = account_of(urgent, usual)
    assert [account.places_for(run, 60.0) for run in (urgent, usual)] == [9, 1]


def test_places_are_kept_for_no_more_rows_than_wait_and_no_more_than_can_be_sent_soon() -> None:
    me = run_of(1, **waiting(50.0))
    assert account_of(me, run_of(2, **waiting(50.0, rows=2))).places_for(me, 60.0) == 8
    assert account_of(me, run_of(2, rpm=6.0, **waiting(50.0))).places_for(me, 60.0) == 9


def test_a_wish_that_is_not_renewed_keeps_no_place_free() -> None:
    large = run_of(1, taken=9, **waiting(50.0, seen=70.0))
    account = account_of(large, run_of(2, **waiting(40.0, seen=60.0)))
    assert account.places_for(large, 70.0) == 10


def test_a_small_run_is_through_in_what_it_takes_alone_and_one_generation() -> None:
    generation, ends = 130.0, dict[int, list[float]]({1: [], 2: []})
    large, small = run_of(1), run_of(2)
    account = account_of(large, small)
    left, now = {1: 5000, 2: 5}, 0.0
    while left[2] or ends[2]:
        for run in (large, small):
            ends[run.id] = [end for end in ends[run.id] if end > now]
            run.taken = len(ends[run.id])
            if left[run.id] and (run is large or now >= 300.0):
                run.waiting, run.wants_seen = left[run.id], now
                run.wants_since = run.wants_since or now
                if run.taken < account.places_for(run, now) and asks(account, run, now):
                    run.wants_since = None
                    run.taken += 1
                    left[run.id] -= 1
                    run.waiting = left[run.id]
                    ends[run.id].append(now + generation)
        assert large.taken + small.taken <= 10
        now += 0.25
    alone = 5 + generation
    assert now - 300.0 <= alone + generation


def test_tasks_of_a_process_that_is_gone_count_until_such_tasks_usually_end() -> None:
    gone = run_of(1, gone=True, taken=4, oldest=0.0, newest=30.0)
    account = account_of(gone, run_of(2))
    account.usual = 100.0
    free = [account.places_for(account.runs[2], now) for now in (50.0, 101.0, 115.0, 125.0, 131.0)]
    assert free == [6, 7, 8, 9, 10]
    assert account.forget(125.0) == []
    assert account.forget(131.0) == [1]


def test_tasks_that_seem_never_to_end_lend_their_places_to_other_runs_too() -> None:
    stuck = run_of(1, taken=10, lent=3)
    account = account_of(stuck, run_of(2))
    assert account.places_for(account.runs[2], 0.0) == 3
    assert account.places_for(stuck, 0.0) == 13


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.none() | st.floats(0, 50)), max_size=6)
)
def test_no_more_tasks_are_allowed_than_all_together_may_have(
    others: list[tuple[int, bool, float | None]],
) -> None:
    runs = [
        run_of(
            n,
            taken=taken,
            gone=gone,
            newest=50.0,
            waiting=0 if since is None else 9,
            wants_since=since,
            wants_seen=50.0,
        )
        for n, (taken, gone, since) in enumerate(others, 2)
    ]
    me = run_of(1)
    account = account_of(me, *runs)
    held = sum(run.holds(50.0, account.usual) for run in runs)
    assert account.places_for(me, 50.0) <= 10 - held


# ── money ───────────────────────────────────────────────────────────────────────────────────────


def attempt(number: int, phase: Phase, cost: str = "2", **more: Any) -> Attempt:
    wanted = intent(key=f"row{number}", est_cost=Decimal(cost))
    return Attempt(number, wanted, State(phase, **more))


def test_a_days_money_follows_each_attempt_and_stays_on_the_day_of_its_first_send() -> None:
    money = FolderMoney()
    money.set_aside("row1", Decimal(2), "monday")
    assert money.of("monday") == DayMoney(reserved=Decimal(2))
    money.take(attempt(1, Phase.SUBMITTING), "monday")
    money.take(attempt(1, Phase.IN_FLIGHT, task_id="tk"), "tuesday")
    assert money.of("monday") == DayMoney(reserved=Decimal(2))
    money.take(attempt(1, Phase.DONE, task_id="tk"), "tuesday")
    assert money.of("monday") == DayMoney(settled=Decimal(2))
    assert money.of("tuesday") == DayMoney()


def test_a_refused_row_stays_set_aside_once_until_it_is_sent_again_or_left() -> None:
    money = FolderMoney()
    money.take(attempt(1, Phase.SUBMITTING), "monday")
    money.take(attempt(1, Phase.PLANNED), "monday")
    money.set_aside("row1", Decimal(2), "monday")
    assert money.of("monday").total == 2
    money.take(attempt(1, Phase.SUBMITTING), "monday")
    assert money.of("monday").total == 2
    money.take(attempt(1, Phase.PLANNED), "monday")
    money.drop_all()
    assert money.of("monday").total == 0


def test_what_failed_counts_unless_it_is_known_to_be_free() -> None:
    money = FolderMoney()
    money.take(attempt(1, Phase.FAILED, task_id="tk"), "monday")
    money.take(attempt(2, Phase.FAILED, error_class=ErrorClass.INVALID), "monday")
    assert money.of("monday") == DayMoney(unknown=Decimal(2))
    mine = money.of("monday")
    assert fits(Decimal(5), [DayMoney(settled=Decimal(3))], mine)
    assert not fits(Decimal("4.99"), [DayMoney(settled=Decimal(3))], mine)
