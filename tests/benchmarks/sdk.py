"""The same rows through this program and through HiAPI's own SDK in a thread pool, side by side.

Run it as ``python -m tests.benchmarks.sdk``. Both meet the account of the documentation, twenty
times as fast: 1,200 requests a minute, ten tasks at once, generations of about 6.5 s. (The rates
are given as such: a sandbox at ``--speed 20`` counts 60 requests in every 3 s, and its headers
would tell a client so.)

The script beside ours is what somebody writes in an afternoon after the SDK's README:
``tasks.run`` in threads, then the download; once with as many threads as the account takes tasks,
once with three times as many. The SDK tries a refused request again a few times by itself; a row
that it gives up on is one that the script has lost, though it may be paid.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import hiapi
import httpx

from seedance_batch.core.attempt import Phase
from seedance_batch.sandbox.config import checked
from seedance_batch.sandbox.server import running
from seedance_batch.settings import RunSettings

from .figures import best_makespan
from .sockets import run_rows
from .world import Case, jobs

ROWS = 60
SPEED = 20
RPM = 60 * SPEED
SLOTS = 10
THREADS = (SLOTS, 3 * SLOTS)
SETTINGS = {
    "clips": "plain",
    "rpm": RPM,
    "max_at_once": SLOTS,
    "generation_time": f"lognormal:{130 / SPEED}:0.25",
    "seed": 1,
}


@dataclass(frozen=True)
class Result:
    """What came of the rows, by the server's own ledger."""

    name: str
    delivered: int
    charged: int
    seconds: float
    requests: int
    refused: int
    limit: float

    def __str__(self) -> str:
        return (
            f"{self.name:24} delivered {self.delivered:3}/{ROWS}  charged {self.charged:3}  "
            f"makespan {self.seconds:6.1f} s  ratio {self.seconds / self.limit:5.2f}  "
            f"requests/row {self.requests / ROWS:6.2f}  429s {self.refused:5}"
        )


def with_ours(url: str, key: str, folder: Path) -> int:
    """Rows delivered: paid, downloaded and checked."""
    settings = RunSettings(concurrency=SLOTS, poll_interval=2.0 / SPEED, max_failures=None)
    found = anyio.run(partial(run_rows, url, key, folder, ROWS, rpm=RPM, settings=settings))
    return found.count(Phase.DONE)


def with_sdk(threads: int, url: str, key: str, folder: Path) -> int:
    """Rows delivered by what its README shows: ``tasks.run`` in threads, then the download."""
    client = hiapi.HiAPI(api_key=key, base_url=url)

    def make(number: int) -> bool:
        job = jobs(Case(ROWS))[number]
        try:
            task = client.tasks.run(
                model=job.model, input=job.input.wire(), poll_interval=5.0 / SPEED
            )
        except hiapi.HiAPIError:
            return False
        if not task.succeeded:
            return False
        found = next(output.url for output in task.output if output.type == "video")
        with httpx.Client(trust_env=False) as http:
            (folder / f"{job.key}.mp4").write_bytes(http.get(found).content)
        return True

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(make, range(ROWS)))


def measured(name: str, run: Callable[[str, str, Path], int]) -> Result:
    """One contender against a sandbox of its own."""
    with tempfile.TemporaryDirectory() as folder, running(checked(SETTINGS, "sdk")) as address:
        started = time.perf_counter()
        delivered = run(address.api_url, address.api_key, Path(folder))
        seconds = time.perf_counter() - started
        ledger = httpx.get(f"{address.api_url}/sandbox/ledger", trust_env=False).json()
    asked = [r for r in ledger["requests"] if r["origin"] == "api"]
    lengths = [task["final"] - task["created"] for task in ledger["tasks"]]
    limit = best_makespan(lengths, RPM, SLOTS)
    refused = sum(1 for request in asked if request["status"] == 429)
    return Result(name, delivered, len(ledger["tasks"]), seconds, len(asked), refused, limit)


def main() -> int:
    """0 where every row was delivered once."""
    ours = measured("seedance-batch", with_ours)
    sys.stdout.write(f"{ours}\n")
    for threads in THREADS:
        sdk = measured(f"hiapi SDK, {threads} threads", partial(with_sdk, threads))
        sys.stdout.write(f"{sdk}\n")
    return 0 if ours.delivered == ours.charged == ROWS else 1


if __name__ == "__main__":
    sys.exit(main())
