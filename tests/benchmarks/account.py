"""Several runs under one key at once, over sockets and in processes of their own, as people do.

Run it as ``python -m tests.benchmarks.account [NAME] [SPEED]``: a part of a name picks some cases.
At speed 1 the service is HiAPI's: 60 requests a minute, 10 tasks at once, generations of about
130 s; one case takes a quarter of an hour. At speed 4, as it is by default, the service is four
times as fast (240 requests a minute, 32 s), and what was counted in any 60 s is counted in any
15 s. The program's own waits (a look at the account ten times a second, 2 s between two looks at
the list) are not scaled, and weigh four times as much. The service's ledger is the judge.

In *killed* the first run is killed by ``kill -9`` in its midst, and started again a while later. In
*small* a run of 5 rows comes when a large one has been at work for two generations: it has to be
through in what it takes alone and one generation more.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from tests.rig import PROGRAM, Bench, environment, row, serving

from .figures import best_makespan, most_in_a_window

SLOTS = 10
RPM = 60.0
GENERATION = 130.0
START_UP = 6.0
"""Seconds that a process may take before its first request, and for its sheets at the end."""


@dataclass(frozen=True)
class Sharing:
    """Runs of so many rows each, all at once."""

    name: str
    rows: tuple[int, ...]
    killed_after: float | None = None
    """Generations after which the first run is killed."""
    later: float = 0.0
    """Generations by which the last run comes after the others."""


CASES = (
    Sharing("1 run", (60,)),
    Sharing("2 runs", (30, 30)),
    Sharing("5 runs", (12,) * 5),
    Sharing("2 runs, killed", (30, 30), killed_after=1.5),
    Sharing("small beside large", (60, 5), later=2.0),
)


def start(bench: Bench, home: Path, speed: float) -> subprocess.Popen[bytes]:
    """A run whose account is the one of all runs with this home."""
    flags = ["--rpm", str(RPM * speed), "-j", str(SLOTS), "--poll-interval", "2"]
    log = (bench.folder / "log").open("ab")
    argv = [*PROGRAM, *bench.argv(*flags)]
    return subprocess.Popen(argv, env=environment(home), stdout=log, stderr=log)


@dataclass
class Runs:
    """The processes of a case."""

    case: Sharing
    benches: list[Bench]
    home: Path
    speed: float
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    began: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    """Unix seconds, by the run's number."""

    def begin(self, number: int) -> None:
        """Start a run, or start it again."""
        self.running[number] = start(self.benches[number], self.home, self.speed)
        self.began.setdefault(number, time.time())

    def carry_out(self) -> None:
        """All runs to their end."""
        generation, begun = GENERATION / self.speed, time.monotonic()
        last = len(self.benches) - 1
        plan = [(self.case.later * generation if n == last else 0.0, n) for n in range(last + 1)]
        kill_at = (self.case.killed_after or float("inf")) * generation
        while plan or len(self.ended) <= last:
            now = time.monotonic() - begun
            if now >= kill_at:
                self.running.pop(0).kill()
                plan.append((now + generation / 6, 0))
                kill_at = float("inf")
            for due in [due for due in plan if due[0] <= now]:
                plan.remove(due)
                self.begin(due[1])
            for number, process in self.running.items():
                if number not in self.ended and process.poll() is not None:
                    self.ended[number] = time.time()
            time.sleep(0.05)


def measured(case: Sharing, folder: Path, speed: float) -> tuple[str, bool]:
    """A case's figures in a line, and whether all of them are reached."""
    settings = {
        "rpm": round(RPM * speed),
        "max_at_once": SLOTS,
        "generation_time": f"lognormal:{GENERATION / speed}:0.25",
        "seed": 1,
    }
    with serving(folder / "service", **settings) as service:
        benches = [Bench(folder / f"run{n}", service) for n in range(len(case.rows))]
        for number, (bench, count) in enumerate(zip(benches, case.rows, strict=True)):
            bench.write(*(row(1000 * number + n) for n in range(1, count + 1)))
        runs = Runs(case, benches, folder, speed)
        runs.carry_out()
        return judged(runs, service.ledger())


def judged(runs: Runs, ledger: dict[str, Any]) -> tuple[str, bool]:
    """See `measured`."""
    case, speed = runs.case, runs.speed
    asked = [r for r in ledger["requests"] if r["origin"] == "api" and r["path"] != "/api/pricing"]
    tasks = sorted(ledger["tasks"], key=lambda task: task["created"])
    first = min(request["time"] for request in asked)
    lengths = [task["final"] - task["created"] for task in tasks]
    ratio = (max(runs.ended.values()) - first) / best_makespan(lengths, RPM * speed, SLOTS)
    taken = sorted(r["time"] for r in asked if r["status"] != 429)
    most = most_in_a_window(taken, 60.0 / speed)
    refused = sum(1 for request in asked if request["status"] == 429) / len(asked)
    whose = [int(task["prompt"].rsplit(" ", 1)[1]) // 1000 for task in tasks]
    uneven = max(abs(share * len(case.rows) - 1) for share in shares_of(whose, case).values())
    paid = len(tasks) == sum(case.rows) == len({task["prompt"] for task in tasks})
    reached = ratio <= 1.10 and most <= 60 and most_at_once(tasks) <= SLOTS and refused <= 0.03
    line = (
        f"{case.name:20} ratio {ratio:5.3f}  requests {len(asked):4}, at most {most:2} in any "
        f"{60 / speed:g} s  tasks at once {most_at_once(tasks):2}  refused {refused:6.2%}  "
    )
    if case.later:
        number = len(case.rows) - 1
        own = [t["final"] - t["created"] for t, n in zip(tasks, whose, strict=True) if n == number]
        took = runs.ended[number] - runs.began[number]
        alone = best_makespan(own, RPM * speed, SLOTS)
        most_allowed = 1.1 * (alone + GENERATION / speed) + START_UP
        line += f"the small one took {took:.0f} s (at most {most_allowed:.0f})"
        reached = reached and took <= most_allowed
    elif not case.killed_after:
        line += f"shares within {uneven:.0%}"
        reached = reached and uneven <= 0.2
    return f"{line}  every row paid once: {paid}", reached and paid


def most_at_once(tasks: list[dict[str, Any]]) -> int:
    """The most tasks that the service worked at at one moment."""
    steps = [(t["created"], 1) for t in tasks] + [(t["final"], -1) for t in tasks]
    return max(accumulate(step for _, step in sorted(steps)))


def shares_of(whose: list[int], case: Sharing) -> dict[int, float]:
    """Each run's share of the tasks, until the first run had all of its own."""
    counts: Counter[int] = Counter()
    for run in whose:
        counts[run] += 1
        if counts[run] == case.rows[run]:
            break
    total = sum(counts.values())
    return {run: counts[run] / total for run in range(len(case.rows))}


def main(wanted: str = "", speed: str = "4") -> int:
    """0 where everything is reached."""
    missed = 0
    for case in CASES:
        if wanted in case.name:
            with tempfile.TemporaryDirectory() as folder:
                line, reached = measured(case, Path(folder), float(speed))
            sys.stdout.write(f"{'ok  ' if reached else 'MISS'} {line}\n")
            sys.stdout.flush()
            missed += not reached
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
