"""Real processes and a real kill -9 at random moments: the same command again, until it is done."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.journal.opening import look_into
from tests.crash.forker import Forker, forking
from tests.crash.tables import Tell
from tests.rig import PLAIN, Bench, Service, serving, some, until

ROWS = 20
MOST_KILLS = 10
LANES = 3
MOST_RUNS = 4
"""Undisturbed runs at the end until everything is done; one should do."""


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A sandbox whose tasks and files take a moment, so that a kill meets every phase."""
    faults = {"files": {"drip": 0.5}, "drip_bytes_per_second": 400_000}
    folder = Path(tmp_path_factory.mktemp("slower"))
    with serving(folder, generation_time="lognormal:1.0:0.5", faults=faults) as found:
        yield found


def kill_until_done(bench: Bench, chance: random.Random, *, losing: bool) -> tuple[int, int]:
    """Kill a batch 1 to 10 times, then let it finish; how many kills hit, and the runs after.

    ``losing``: after most kills the journal's file is all that is left of it.
    """
    hit = 0
    for _ in range(chance.randint(1, MOST_KILLS)):
        pid = bench.fork("-j", "8")
        time.sleep(chance.uniform(0.0, 2.0))
        bench.forker.kill(pid)
        ran = bench.ended(pid)
        if ran.code == 0:  # it was done before
            break
        assert ran.code == -signal.SIGKILL, ran.output
        hit += 1
        if losing and chance.random() < 0.7:
            for log in bench.run_folder.glob("journal.db-*"):
                log.unlink()
    for runs in range(1, MOST_RUNS + 1):
        ran = bench.forked("-j", "8")
        if ran.code == 0:
            return hit, runs
    raise AssertionError(ran.output)


@pytest.mark.parametrize(
    ("batches", "losing"),
    [
        (3, False),
        pytest.param(25, False, marks=pytest.mark.slow),
        pytest.param(12, True, marks=pytest.mark.slow),
        pytest.param(1000, False, marks=pytest.mark.long),
    ],
    ids=["3", "25", "12 that lose the journal's log", "1000"],
)
def test_killed_batches_pay_for_every_row_once(
    batches: int, losing: bool, slower: Service, tmp_path: Path, tell: Tell
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    seeds = [chance.randrange(1 << 32) for _ in range(batches)]

    def one(number: int, forker: Forker) -> tuple[int, int, list[str]]:
        bench = Bench(tmp_path / str(number), slower, f"sk-kill-{batches}-{number}", forker=forker)
        bench.fill(ROWS)
        kills, runs = kill_until_done(bench, random.Random(seeds[number]), losing=losing)
        verdict = bench.verdict(ROWS)
        wrong = [] if verdict.holds and verdict.charged == ROWS else [f"{seeds[number]}: {verdict}"]
        shutil.rmtree(bench.folder)
        return kills, runs, wrong

    def lane(numbers: range) -> list[tuple[int, int, list[str]]]:
        with forking() as forker:
            return [one(number, forker) for number in numbers]

    with ThreadPoolExecutor(LANES) as lanes:
        shares = [range(first, batches, LANES) for first in range(LANES)]
        found = [each for share in lanes.map(lane, shares) for each in share]
    kills = sum(hit for hit, _, _ in found)
    runs = Counter(runs for _, runs, _ in found)
    doubtful = sum(bool(wrong) for _, _, wrong in found)
    tell(
        f"kill -9{', log lost' * losing}, {batches} batches of {ROWS} rows (seed {seed})",
        f"kills {kills}, charges {ROWS * batches}, batches in doubt {doubtful}",
        f"undisturbed runs until done → batches: {dict(sorted(runs.items()))}",
    )
    assert [line for _, _, wrong in found for line in wrong] == []


# ── amid downloads ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kills", some(8, slow=[20]))
def test_kills_amid_downloads_leave_every_clip_whole_and_fetch_none_twice(
    kills: int, slower: Service, forker: Forker, tmp_path: Path, tell: Tell
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    # Half a file, silence, a reset; or a late one. (A drip would answer a dead process's next
    # request, sent ahead on the same connection, only after its successor had begun.)
    slow = {"files": {"stall": 0.6, "late": 0.4}, "stall_seconds": 0.5, "late_seconds": 0.5}
    slower.configure(generation_time="0.05", faults=slow)
    bench = Bench(tmp_path / "downloads", slower, f"sk-downloads-{kills}", forker=forker)
    bench.fill(24)
    amid = 0
    for _ in range(kills):
        done = {a.state.task_id for a in bench.attempts() if a.state.clip} if amid else set()
        before = fetched(bench)
        pid = bench.fork("--downloads", "4", "-j", "24")
        until(lambda: forker.ended(pid) or fetched(bench).total() > before.total())  # noqa: B023
        time.sleep(chance.uniform(0.0, 0.6))
        forker.kill(pid)
        amid += bench.ended(pid).code == -signal.SIGKILL
        after = fetched(bench)
        assert [task for task in done if task and after[task] != before[task]] == []
    slower.configure(faults={})
    assert bench.forked().code == 0
    assert bench.verdict(24).holds
    tell(f"kill -9 amid downloads (seed {seed})", f"kills {amid}, clips whole 24 of 24")
    assert amid >= kills // 4


@pytest.mark.slow
def test_a_killed_rehearsal_goes_on_with_the_sandbox_that_died_with_it(
    forker: Forker, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    bench = Bench(tmp_path / "rehearsal", Service(tmp_path, {}), forker=forker)
    bench.fill(5)
    config = tmp_path / "quick.yaml"
    config.write_text("{clips: plain, generation_time: 0.3}")
    argv = ["run", str(bench.manifest), "--sandbox", "--sandbox-config", str(config), "--quiet"]
    for _ in range(6):
        pid = forker.start(PLAIN, bench.environment(), bench.log, argv=argv)
        time.sleep(chance.uniform(0.0, 1.2))
        forker.kill(pid)
        forker.wait(pid)
    assert forker.call(PLAIN, bench.environment(), bench.log, argv=argv) == 0, bench.log.read_text()
    folder = bench.folder / "runs" / "shots-sandbox"
    with contextlib.closing(sqlite3.connect(folder / "sandbox.db")) as ledger:
        charged = {task for (task,) in ledger.execute("SELECT task_id FROM tasks")}
    with look_into(folder / "journal.db") as journal:
        done = {a.state.task_id for a in journal.attempts() if a.state.phase is Phase.DONE}
    assert len(charged) == 5
    assert done == charged


def fetched(bench: Bench) -> Counter[str]:
    """Requests for files by task."""
    return Counter(request["task_id"] for request in bench.file_requests())
