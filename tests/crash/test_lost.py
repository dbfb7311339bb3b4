"""A machine that is lost, and two that take themselves for the only one: the same command with the
same store, elsewhere, pays for every row once and has every clip."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from filelock import FileLock

from seedance_batch.core.attempt import Phase
from seedance_batch.errors import Exit
from seedance_batch.objects import open_store
from tests import moto
from tests.crash.forker import Forker, forking
from tests.crash.tables import Tell
from tests.rig import PLAIN, Bench, Ran, Service, serving, some, until

PACE = 40.0
"""Times that a lease is quicker here than elsewhere: others take over after 2.25 s."""
LANES = 3
MOST_RUNS = 4
"""Undisturbed runs at the end until everything is done; one should do."""


@dataclass
class Machine(Bench):
    """A batch in a store, on one of its machines."""

    url: str = ""
    """Of its store."""
    outside: Mapping[str, str] = field(default_factory=dict)
    """What its environment has beside a bench's."""
    pace: float = PACE
    copies: float = 5.0
    """Seconds between copies of its journal."""

    def environment(self, **more: str) -> dict[str, str]:
        return super().environment(**self.outside, **more)

    def begin(self, *flags: str) -> int:
        """Start the command; its pid."""
        hurried = "tests.crash.hooks:hurried"
        flags = ("--store", self.url, *flags)
        return self.fork(*flags, call=hurried, pace=self.pace, copies=self.copies)

    def finish(self, *flags: str) -> Ran:
        """Give the command until it says that all is done."""
        for _ in range(MOST_RUNS):
            ran = self.ended(self.begin(*flags))
            if ran.code == 0:
                return ran
        raise AssertionError(ran.output)

    def settle(self, *flags: str) -> str:
        """What ``reconcile`` says, with these decisions."""
        assert self.forker is not None
        argv = ["reconcile", str(self.run_folder), "--api-url", self.service.api_url, *flags]
        return self.ended(self.forker.start(PLAIN, self.environment(), self.log, argv=argv)).output

    def lose(self) -> None:
        """What was on its disk is gone, but for the manifest."""
        for path in (self.run_folder.parent, self.folder / "seedance-batch"):
            shutil.rmtree(path, ignore_errors=True)

    def wrong(self, rows: int) -> list[str]:
        """What the ledger and the store hold against the promise."""
        tasks = self.tasks()
        times = Counter(task["prompt"] for task in tasks)
        done = {a.state.task_id: a for a in self.attempts() if a.state.phase is Phase.DONE}
        found = [f"{prompt}: charged {count} times" for prompt, count in times.items() if count > 1]
        found += [f"{task['task_id']}: lost" for task in tasks if task["task_id"] not in done]
        found += [] if len(times) == rows else [f"{len(times)} rows of {rows} are paid for"]
        store = open_store(self.url)
        for attempt in done.values():
            clip = attempt.state.clip
            assert clip is not None
            there = store.get(clip.file)
            if there is None or hashlib.sha256(there[0]).hexdigest() != clip.sha256:
                found.append(f"{clip.file}: not in the store as the journal says")
        return found


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A sandbox whose tasks take a moment, so that deaths meet every phase."""
    folder = Path(tmp_path_factory.mktemp("slower"))
    with serving(folder, generation_time="lognormal:0.6:0.5") as found:
        yield found


def lose_until_done(machine: Machine, chance: random.Random) -> int:
    """Kill a run and lose its folder, one to three times, then let another machine finish; how
    many kills hit."""
    hit = 0
    for lost in range(chance.randint(1, 3)):
        pid = machine.begin("-j", "3")
        time.sleep(chance.uniform(0.2, 2.5) + (2.25 if lost else 0.0))
        assert machine.forker is not None
        machine.forker.kill(pid)
        ran = machine.ended(pid)
        if ran.code == 0:
            break
        assert ran.code == -signal.SIGKILL, ran.output
        hit += 1
        if chance.random() < 0.85:
            machine.lose()
    machine.finish("-j", "3")
    return hit


@pytest.mark.parametrize(
    ("batches", "in_s3"), some((1, False), slow=[(180, False), (20, True)]), ids=str
)
def test_batches_whose_machine_is_lost_pay_for_every_row_once(
    batches: int,
    in_s3: bool,
    slower: Service,
    tmp_path: Path,
    forker: Forker,
    tell: Tell,
    request: pytest.FixtureRequest,
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    seeds = [chance.randrange(1 << 32) for _ in range(batches)]
    if in_s3:
        request.getfixturevalue("bucket")
    outside = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}

    def one(number: int, forker: Forker) -> tuple[int, int, list[str]]:
        own = random.Random(seeds[number])
        home = tmp_path / str(number)
        store = moto.new_bucket(outside["AWS_ENDPOINT_URL"]) if in_s3 else (home / "s").as_uri()
        machine = Machine(home, slower, f"sk-lost-{batches}-{number}", forker=forker, url=store)
        machine.outside, machine.copies = outside, own.choice([0.2, 1.0, 5.0])
        rows = own.randint(3, 5)
        machine.fill(rows)
        kills = lose_until_done(machine, own)
        wrong = [f"{seeds[number]}: {each}" for each in machine.wrong(rows)]
        shutil.rmtree(home)
        return kills, rows, wrong

    def lane(numbers: range) -> list[tuple[int, int, list[str]]]:
        with forking() if batches > 1 else contextlib.nullcontext(forker) as own:
            return [one(number, own) for number in numbers]

    with ThreadPoolExecutor(LANES) as lanes:
        shares = [range(first, batches, LANES) for first in range(min(LANES, batches))]
        found = [each for share in lanes.map(lane, shares) for each in share]
    tell(
        f"kill -9, and the run folder lost, {'S3' if in_s3 else 'a disk'} (seed {seed})",
        f"batches {batches}, kills {sum(kills for kills, _, _ in found)}, "
        f"rows {sum(rows for _, rows, _ in found)}, "
        f"batches in doubt {sum(bool(wrong) for _, _, wrong in found)}",
    )
    assert [line for _, _, wrong in found for line in wrong] == []


@pytest.mark.parametrize(
    ("times", "pace"),
    [
        (1, PACE),
        pytest.param(40, PACE, marks=pytest.mark.slow),
        pytest.param(1, 1.0, marks=pytest.mark.slow),
    ],
    ids=["once", "40 times", "two minutes by the clock"],
)
def test_an_owner_that_wakes_up_after_it_was_superseded_sends_nothing_more(
    times: int, pace: float, slower: Service, forker: Forker, tmp_path: Path, tell: Tell
) -> None:
    chance = random.Random(seed := random.randrange(1 << 32))
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    superseded = 0
    for number in range(times):
        key, store = f"sk-stopped-{times}-{pace}-{number}", (tmp_path / f"s{number}").as_uri()
        first, second = (
            Machine(tmp_path / f"{name}{number}", slower, key, forker=forker, url=store)
            for name in "ab"
        )
        first.pace = second.pace = pace
        first.fill(6)
        second.fill(6)
        pid = first.begin("-j", "1")
        until(lambda: first.tasks() or forker.ended(pid))  # noqa: B023
        time.sleep(chance.uniform(0.0, 1.5))
        with FileLock(tmp_path / f"s{number}" / ".store.lock"):  # else nobody else could have it
            os.kill(pid, signal.SIGSTOP)
            until(lambda: _is_stopped(pid))  # noqa: B023
        stopped = time.monotonic()
        second.finish("-j", "6")
        time.sleep(max(0.0, 120.0 / pace - (time.monotonic() - stopped)))
        charged = len(first.tasks())
        os.kill(pid, signal.SIGCONT)
        ran = first.ended(pid)
        assert ran.code == Exit.IN_USE, ran.output
        superseded += "has taken over this batch" in ran.output
        assert len(first.tasks()) == charged == 6
        assert second.wrong(6) == []
    tell(
        f"SIGSTOP for {120 / pace:g} s, another machine, SIGCONT (seed {seed})",
        f"batches {times}, superseded {superseded}, rows {6 * times}, charges {6 * times}",
    )
    assert superseded == times


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, 22, 25])
def test_what_a_copy_does_not_know_is_paid_once_for_23_hours_and_ambiguous_after(
    hours: int, slower: Service, forker: Forker, tmp_path: Path
) -> None:
    key, store = f"sk-old-{hours}", tmp_path / "store"
    first, second = (
        Machine(tmp_path / name, slower, key, forker=forker, url=store.as_uri()) for name in "ab"
    )
    first.fill(4)
    second.fill(4)
    first.finish("--limit", "1")
    copy = next((store / "journal").iterdir())
    old = copy.read_bytes()
    first.finish()
    for path in (store / "journal").iterdir():
        path.write_bytes(_aged(old, tmp_path / "aged.db", hours))
    ran = second.ended(second.begin())
    assert len(second.tasks()) == 4
    if hours < 23:
        assert ran.code == 0, ran.output
        assert second.wrong(4) == []
    else:
        assert ran.code == Exit.UNFINISHED, ran.output
        assert second.phases() == {Phase.DONE: 1, Phase.AMBIGUOUS: 3}
        tasks = {task["prompt"]: task["task_id"] for task in second.tasks()}
        rows = {row["id"]: tasks[row["prompt"]] for row in second.results()}
        adopted = [f"{row}={task}" for row, task in rows.items() if row != "row1"]
        flags = [word for each in adopted for word in ("--adopt", each)]
        assert second.settle().count("could be") == 9  # each of three tasks, of each of three rows
        second.settle(*flags)
        second.finish()
        assert second.wrong(4) == []


def _aged(copy: bytes, path: Path, hours: float) -> bytes:
    """As if the copy had been made so long ago, amid a run."""
    path.write_bytes(gzip.decompress(copy))
    with sqlite3.connect(path) as journal:
        told = "log_lost_since", repr(time.time() - hours * 3600)
        journal.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", told)
    journal.close()
    return gzip.compress(path.read_bytes())


@pytest.mark.slow
def test_a_run_whose_store_is_away_sends_nothing_and_goes_on_when_it_is_back(
    slower: Service, forker: Forker, tmp_path: Path, tell: Tell
) -> None:
    with moto.serving() as address:
        store = moto.new_bucket(address)
        machine = Machine(tmp_path / "a", slower, "sk-away", forker=forker, url=store)
        machine.outside = {**moto.ENVIRONMENT, "AWS_ENDPOINT_URL": address}
        machine.fill(8)
        pid = machine.begin("-j", "1")
        until(lambda: machine.tasks() or forker.ended(pid))
        server = _server_at(address)
        os.kill(server, signal.SIGSTOP)
        time.sleep(30.0 / PACE + 1.0)  # a POST may begin until then
        charged = len(machine.tasks())
        time.sleep(570.0 / PACE)
        assert len(machine.tasks()) == charged
        os.kill(server, signal.SIGCONT)
        ran = machine.ended(pid)
        tell("a store that is away for ten minutes, in hurried time", f"exit {ran.code}, 8 charges")
        assert "nothing is sent until it does" in ran.output
        machine.finish()
        assert len(machine.tasks()) == 8


def _is_stopped(pid: int) -> bool:
    """Whether a signal that stops a process has reached it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _server_at(address: str) -> int:
    port = int(address.rpartition(":")[2])
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"moto_server" in b" ".join(words) and str(port).encode() in words:
                return int(entry.name)
    raise AssertionError("the server is gone")
