"""What 2,000 tasks in flight cost the client: CPU and memory, over sockets, against a free sandbox.

Run it as ``python -m tests.benchmarks.crowd``: the process measures itself; the sandbox is another.
Media checks and posters aside: once without the downloads, once with clips that are fetched,
hashed and published, but not decoded. The run shares its account by a file, as real ones do; what
that takes of the process's CPU stands beside.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import anyio

from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import ClipToFetch, Fetched, Result
from seedance_batch.core.attempt import Clip, Phase
from seedance_batch.events import AttemptChanged, RequestEnded, RunEvent
from seedance_batch.runner.attempts import Attempts
from seedance_batch.runner.sharing import Account, Membership
from seedance_batch.settings import RunSettings

from .sockets import run_rows

ROWS = 2_000
GENERATION = 25.0
"""Seconds: longer than it takes to submit them all, so that all are in flight at once."""
RPM = 120_000.0
CPU_TARGET = 5.0
"""Milliseconds of CPU per row."""
MEMORY_TARGET = 250.0
"""MB at most."""
ACCOUNT_TARGET = 0.05
"""Share of the CPU that the account's file may take."""


def serve(pipe: Connection) -> None:
    """A sandbox without limits, until the other end hangs up."""
    from seedance_batch.sandbox.config import checked
    from seedance_batch.sandbox.server import running

    settings = {"clips": "plain", "generation_time": str(GENERATION)}
    with running(checked(settings, "crowd")) as address:
        pipe.send((address.api_url, address.api_key))
        pipe.recv()


class Unfetched(Downloader):
    """Clips that count as fetched, where only the tasks in flight are measured."""

    async def fetch(self, wanted: ClipToFetch) -> Result:
        return Fetched(Clip(wanted.file, 1, "0" * 64, 4.0, 864, 496, has_audio=True))


@dataclass(frozen=True)
class Driven:
    """What came of a run: tasks, and what the account's file took in seconds of CPU."""

    done: int
    most_in_flight: int
    account: float
    requests: int


async def drive(url: str, key: str, folder: Path, rows: int, kind: type[Downloader]) -> Driven:
    """Run the rows."""
    most = requests = 0

    def observe(attempts: Attempts, event: RunEvent) -> None:
        nonlocal most, requests
        requests += isinstance(event, RequestEnded)
        if isinstance(event, AttemptChanged):
            most = max(most, attempts.count(Phase.IN_FLIGHT))

    settings = RunSettings(concurrency=None, max_failures=None)
    membership = Membership(url, folder, "crowd", rows, RPM, None)
    account = Account(folder / "account.db", membership, tell=print, timer=time.thread_time)
    found = await run_rows(
        url,
        key,
        folder,
        rows,
        rpm=RPM,
        settings=settings,
        kind=kind,
        observe=observe,
        account=account,
    )
    account.close()
    return Driven(found.count(Phase.DONE), most, account.seconds, requests)


def main() -> int:
    """0 where the targets are met; prints what was measured, a line of JSON for each."""
    missed = sum(not measured(*each) for each in (("in flight", Unfetched), ("all", Downloader)))
    return 1 if missed else 0


def measured(name: str, kind: type[Downloader]) -> bool:
    """Whether the targets are met; prints what was measured."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,))
    server.start()
    url, key = ours.recv()
    before, started = _cpu(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ran = anyio.run(drive, url, key, Path(folder), ROWS, kind)
    cpu, wall = _cpu() - before, time.perf_counter() - started
    ours.send("enough")
    server.join()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    per_row = 1000 * cpu / ROWS
    found = {"measured": name, "rows": ROWS, "done": ran.done, "most in flight": ran.most_in_flight}
    found |= {"seconds": round(wall, 1)}
    found |= {"CPU ms per row": round(per_row, 2), "peak MB": round(memory)}
    of_account = ran.account / cpu
    found |= {"account's CPU ms per request": round(1000 * ran.account / ran.requests, 3)}
    found |= {"account's share of the CPU": round(of_account, 3)}
    sys.stdout.write(json.dumps(found) + "\n")
    light = per_row <= CPU_TARGET and memory <= MEMORY_TARGET and of_account <= ACCOUNT_TARGET
    return ran.done == ROWS and light


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
