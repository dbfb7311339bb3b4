"""Runs on one machine know of each other by a file, and go on without it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seedance_batch.core.account import AccountRun, Priority
from seedance_batch.core.attempt import Attempt, Phase, State
from seedance_batch.events import AttemptChanged
from seedance_batch.runner.account_file import (
    account_path,
    boot,
    is_gone,
    process_space,
    started_at,
    view_of,
)
from seedance_batch.runner.sharing import Account, Membership, SharedSlots, local_day
from tests.core.state_samples import intent

KEY = "sk-canary-of-the-account"


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


class Machine:
    """Runs that share one account's file, on one clock."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "account.db"
        self.clock = Clock()
        self.said: list[str] = []
        self.runs: list[Account] = []

    def run(self, name: str, **more: Any) -> Account:
        """A run that joins."""
        told = {"rpm": 60.0, "places": 10, **more}
        joining = Membership("https://api.hiapi.ai", Path("/runs", name), name, 5, **told)
        self.runs.append(Account(self.file, joining, tell=self.said.append, clock=self.clock))
        return self.runs[-1]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path)
    yield found
    for run in found.runs:
        run._file.close()  # as a process that dies lets go of it


# ── the file ────────────────────────────────────────────────────────────────────────────────────


def test_the_file_is_the_users_alone_and_neither_its_name_nor_its_bytes_have_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = account_path("https://api.hiapi.ai", KEY)
    assert path == account_path("https://api.hiapi.ai", KEY)
    assert path != account_path("https://api.hiapi.ai", f"{KEY}2")
    assert path != account_path("https://other.example", KEY)
    joining = Membership("https://api.hiapi.ai", tmp_path, "f", 5, 60.0, 10)
    account = Account(path, joining, tell=lambda words: None)
    try:
        for part in path.parent.iterdir():
            assert part.stat().st_mode & 0o777 == 0o600, part
            assert KEY.encode() not in part.read_bytes()
            assert KEY not in part.name
    finally:
        account.close()


def test_two_that_come_at_once_find_the_same_salt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "from seedance_batch.runner.account_file import account_path; print(account_path('o', 'k'))"
    )
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for _ in range(3)]
    assert len({process.communicate()[0] for process in both}) == 1
    assert [path.name for path in (tmp_path / "seedance-batch" / "accounts").iterdir()] == ["salt"]


# ── requests and places ─────────────────────────────────────────────────────────────────────────


def test_two_runs_send_together_what_one_may_send_and_by_turns(machine: Machine) -> None:
    runs = [machine.run("a"), machine.run("b")]
    due, sent = {0: 0.0, 1: 0.0}, list[tuple[float, int]]()
    begun = machine.clock.now
    while machine.clock.now - begun < 150:
        for number, run in enumerate(runs):
            if machine.clock.now >= due[number]:
                due[number] = run.ask(machine.clock.now)
                if due[number] <= machine.clock.now:
                    sent.append((machine.clock.now, number))
        machine.clock.now += 0.05
    times = [at for at, _ in sent]
    assert all(b - a >= 60.0 for a, b in zip(times, times[60:], strict=False))
    assert len(sent) >= 145
    shares = [sum(1 for _, who in sent if who == number) for number in (0, 1)]
    assert abs(shares[0] - shares[1]) <= 4
    assert all(run.count(machine.clock.now) >= 58 for run in runs)


def test_no_two_runs_take_the_last_place(machine: Machine) -> None:
    a, b = machine.run("a"), machine.run("b")
    slots = [SharedSlots(10, each) for each in (a, b)]
    a.counts(9, machine.clock.now)
    a.ask(machine.clock.now)
    for _ in range(6):  # what was accepted lets the account's limit grow from four to ten
        slots[0].accepted(9)
        a.ask(machine.clock.now + 60.0)
    b.ask(machine.clock.now + 70.0)
    machine.clock.now += 80.0
    assert [slots[0].admits(9, machine.clock.now), slots[1].admits(0, machine.clock.now)] == [1, 1]
    granted = [each.ask(machine.clock.now, new_task=True) == machine.clock.now for each in (a, b)]
    assert granted == [True, False]


def test_what_one_run_learns_of_the_service_holds_for_all(machine: Machine) -> None:
    a, b = machine.run("a"), machine.run("b")
    a.hold(machine.clock.now + 30.0)
    assert b.ask(machine.clock.now) == machine.clock.now + 30.0
    machine.clock.now += 31.0
    a.told(60, 30, None, machine.clock.now)  # thirty are used, and none of them is ours
    a.ask(machine.clock.now)
    b.ask(machine.clock.now)
    assert b.others == 30.0
    assert b.spacing == 2 * 60.0 / 28.0  # of two runs, in what is left but for two


def test_siblings_are_not_taken_for_strangers(machine: Machine) -> None:
    a, b = machine.run("a"), machine.run("b")
    for _ in range(10):
        b.ask(machine.clock.now)
        machine.clock.now += 1.0
    a.told(60, 50, None, machine.clock.now)
    a.ask(machine.clock.now)
    assert a.others == 0.0


# ── processes that are gone ─────────────────────────────────────────────────────────────────────


JOIN_AND_WAIT = """
import sys, time
from pathlib import Path
from seedance_batch.runner.sharing import Account, Membership
account = Account(
    Path(sys.argv[1]), Membership("o", Path("/runs/killed"), "k", 5, 60.0, 10), tell=print
)
now = time.monotonic()
account.counts(7, now)
account.ask(now)
print("joined", flush=True)
time.sleep(600)
"""


def test_a_killed_process_is_no_run_any_more_and_its_tasks_count_until_they_end(
    machine: Machine,
) -> None:
    a = machine.run("a")
    command = [sys.executable, "-c", JOIN_AND_WAIT, str(machine.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "joined\n"
            machine.clock.now = time.monotonic() + 2.0
            a.ask(machine.clock.now)
            assert a.places(machine.clock.now) == -3  # slow start: four, and seven are taken
            seen = view_of(machine.file, local_day(time.time()), machine.clock.now)
            assert [run.taken for run in seen.runs] == [0, 7]
        finally:
            process.kill()
    machine.clock.now += 2.0
    a.ask(machine.clock.now)
    seen = view_of(machine.file, local_day(time.time()), machine.clock.now)
    assert [run.pid for run in seen.runs] == [os.getpid()]
    assert seen.left == 7
    machine.clock.now += 600.0
    a.ask(machine.clock.now)
    assert a.places(machine.clock.now) == 4
    assert view_of(machine.file, local_day(time.time()), machine.clock.now).left == 0


def test_a_run_that_is_started_again_takes_over_the_tasks_that_it_had(machine: Machine) -> None:
    first = machine.run("again")
    first.counts(3, machine.clock.now)
    first.close()
    other = machine.run("b")
    assert other.places(machine.clock.now) == 1
    second = machine.run("again")
    other.ask(machine.clock.now)
    assert other.places(machine.clock.now) == 4
    second.counts(3, machine.clock.now)
    second.ask(machine.clock.now + 5.0)
    other.ask(machine.clock.now + 6.0)
    assert other.places(machine.clock.now) == 1


@pytest.mark.skipif(not started_at(os.getpid()), reason="this system does not tell")
@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({}, False),
        ({"started": "1"}, True),  # another process has got its number
        ({"pid": 2**22 + 1}, True),
        ({"space": "another container"}, False),  # its processes are not seen from here,
        ({"space": "another container", "seen": -31.0}, True),  # so that silence decides
    ],
)
def test_a_process_is_known_by_its_number_its_start_and_its_boot(
    change: dict[str, Any], gone: bool
) -> None:
    known = {
        "pid": os.getpid(),
        "started": started_at(os.getpid()),
        "space": process_space(),
        "seen": 0.0,
        **change,
    }
    run = AccountRun(
        id=1, folder="", rows=1, begun=0.0, priority=Priority.NORMAL, rpm=60.0, places=1, **known
    )
    assert is_gone(run, process_space(), 0.0) is gone


def test_after_another_boot_nobody_is_there(machine: Machine, monkeypatch: Any) -> None:
    machine.run("a").counts(5, machine.clock.now)
    monkeypatch.setattr("seedance_batch.runner.account_file.boot", lambda: f"not {boot()}")
    assert machine.run("b").places(machine.clock.now) == 4


# ── without the file ────────────────────────────────────────────────────────────────────────────


def test_where_the_file_fails_amid_a_run_it_is_said_once_and_the_run_paces_by_itself(
    machine: Machine,
) -> None:
    run = machine.run("a")
    run._file._connection.execute("PRAGMA query_only = ON")  # as a disk that has become read-only
    now = machine.clock.now
    assert run.ask(now) == now
    run.hold(now + 5.0)
    assert run.ask(now) == now
    slots = SharedSlots(10, run)
    assert slots.admits(3, now)
    assert not slots.admits(4, now)
    assert run.reserve("row1", Decimal(1)) is None
    assert len(machine.said) == 1
    assert "paces by itself" in machine.said[0]
    run.close()


def test_a_file_that_is_none_of_ours_is_left_as_it_is(machine: Machine) -> None:
    machine.file.write_bytes(b"no database at all" * 100)
    with pytest.raises(OSError, match="not a database"):
        machine.run("a")
    assert machine.file.read_bytes() == b"no database at all" * 100


def test_whoever_writes_just_now_is_waited_for(machine: Machine) -> None:
    import sqlite3

    run = machine.run("a")
    other = sqlite3.connect(machine.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    now = machine.clock.now
    assert now < run.ask(now) < now + 1.0
    assert (run.alone, machine.said) == (None, [])
    other.execute("COMMIT")
    other.close()
    assert run.ask(now) == now


# ── money ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def spend(machine: Machine) -> Callable[[Account, int], str | None]:
    """Reserve a row of two dollars, and send it."""

    def spend(run: Account, number: int) -> str | None:
        why = run.reserve(f"row{number}", Decimal(2))
        if why is None:
            sent = Attempt(
                number, intent(key=f"row{number}", est_cost=Decimal(2)), State(Phase.SUBMITTING)
            )
            run.observe(AttemptChanged(sent, None))
        return why

    return spend


def test_all_folders_together_reserve_no_more_than_the_cap_of_the_day(
    machine: Machine, spend: Callable[[Account, int], str | None]
) -> None:
    a = machine.run("a", day_cap=Decimal(7))
    b = machine.run("b")  # the cap is the account's
    assert [spend(a, 1), spend(b, 1), spend(a, 2)] == [None] * 3
    why = spend(b, 2)
    assert why is not None
    assert "$8.00, over $7.00 a day" in why
    a.close()
    b.close()
    again = machine.run("c")
    assert spend(again, 1) is not None
    lifted = machine.run("d", day_cap=Decimal("Infinity"))
    assert spend(lifted, 1) is None


def test_a_row_without_a_price_is_not_sent_under_a_cap(machine: Machine) -> None:
    assert machine.run("a").reserve("row1", None) is None
    why = machine.run("b", day_cap=Decimal(7)).reserve("row1", None)
    assert why is not None
    assert "no known price" in why


def test_where_the_cap_cannot_be_kept_nothing_is_sent(machine: Machine) -> None:
    run = machine.run("a", day_cap=Decimal(7))
    run._file._connection.execute("PRAGMA query_only = ON")
    why = run.reserve("row1", Decimal(1))
    assert why is not None
    assert "cannot be kept" in why


def test_what_the_journal_says_goes_before_what_a_crash_left(machine: Machine) -> None:
    crashed = machine.run("a", day_cap=Decimal(7))
    for number in range(3):
        assert crashed.reserve(f"row{number}", Decimal(2)) is None  # written, and never sent
    again = machine.run("a")
    again.take_stock([], "f")
    assert again.reserve("row9", Decimal(7)) is None
