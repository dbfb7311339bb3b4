"""From what a run left behind to its figures: limit, makespan, requests per row, lag, refusals."""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass
from statistics import median

from seedance_batch.core.attempt import Phase
from seedance_batch.events import AttemptChanged

from .world import START, Case, Played, jobs


@dataclass(frozen=True)
class Figures:
    """All times are seconds."""

    limit: float
    """The shortest time that the account allows: see `limit_of`."""
    makespan: float
    """Until the last row had ended."""
    requests: int
    rows: int
    lag_median: float
    """From a task's end to the run's knowing of it."""
    lag_p95: float
    refused: int
    """Answers of 429."""
    most_a_minute: int
    """Requests in any 60 s."""
    tasks: int
    done: int

    @property
    def ratio(self) -> float:
        """Makespan to limit."""
        return self.makespan / self.limit

    @property
    def per_row(self) -> float:
        """Requests to rows."""
        return self.requests / self.rows

    @property
    def refusals(self) -> float:
        """Share of requests that were answered 429."""
        return self.refused / self.requests

    def __str__(self) -> str:
        return (
            f"limit {self.limit:7.1f} s  makespan {self.makespan:7.1f} s  ratio {self.ratio:5.3f}  "
            f"requests/row {self.per_row:5.2f}  lag median {self.lag_median:5.1f} s "
            f"p95 {self.lag_p95:5.1f} s  429s {self.refusals:6.2%}  "
            f"at most {self.most_a_minute}/min  done {self.done}/{self.rows}"
        )


def figures(played: Played, slots: int | None = None) -> Figures:
    """What a run came to; ``slots`` is the account's cap where the person's is not the tighter."""
    lags = sorted(lags_of(played))
    phases = [a.state.phase for a in played.world.attempts.by_id.values()]
    return Figures(
        limit=limit_of(played, slots or played.case.concurrency),
        makespan=played.seconds,
        requests=len(played.requests),
        rows=played.case.rows,
        lag_median=median(lags),
        lag_p95=lags[int(0.95 * len(lags))],
        refused=sum(1 for r in played.requests if r.status == 429),
        most_a_minute=most_in_a_window([r.time for r in played.requests], 60.0),
        tasks=len(played.tasks),
        done=sum(1 for phase in phases if phase is Phase.DONE),
    )


def limit_of(played: Played, slots: int | None) -> float:
    """List scheduling of these very tasks: a submit every 60/R s, no slot ever idle."""
    if played.case.chain > 1:
        return _best_of_chains(played, slots or len(played.tasks))
    return best_makespan(
        [t.times.final - t.times.created for t in played.tasks], played.case.rpm, slots
    )


def _best_of_chains(played: Played, slots: int) -> float:
    """When the last of these tasks ends if no place is ever idle while a row could be sent, and the
    longest chain goes first."""
    seconds = {
        json.loads(t.input_json)["prompt"]: t.times.final - t.times.created for t in played.tasks
    }
    lengths = [seconds[job.input.prompt] for job in jobs(played.case)]
    chain = played.case.chain
    ready = [(-chain, row) for row in range(0, len(lengths), chain)]
    running: list[tuple[float, int, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < slots:
            height, row = heapq.heappop(ready)
            heapq.heappush(running, (now + lengths[row], height, row))
        now, height, row = heapq.heappop(running)
        if height < -1:
            heapq.heappush(ready, (height + 1, row + 1))
    return now


def best_makespan(seconds: list[float], rpm: float, slots: int | None) -> float:
    """When the last of these tasks ends at best, submitted in this order."""
    ends: list[float] = []
    last = start = 0.0
    for length in seconds:
        if slots is not None and len(ends) >= slots:
            start = max(start, heapq.heappop(ends))
        heapq.heappush(ends, start + length)
        last, start = max(last, start + length), start + 60.0 / rpm
    return last


def lags_of(played: Played) -> list[float]:
    """From each task's end to the moment at which its attempt left ``in_flight``."""
    ends = {task.task_id: task.times.final for task in played.tasks}
    found = []
    for at, event in played.world.events:
        if isinstance(event, AttemptChanged) and event.before is Phase.IN_FLIGHT:
            found.append(at - ends[event.attempt.state.task_id or ""])
    return found


def most_in_a_window(times: list[float], seconds: float) -> int:
    """The most of these moments that any half-open window of so many seconds holds."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def goodput(played: Played, after: float, until: float, cap: int) -> float:
    """Share of ``cap`` slots that were at work between two moments, in seconds from the start."""
    begin, end = START + after, START + until
    busy = sum(
        max(0.0, min(t.times.final, end) - max(t.times.created, begin)) for t in played.tasks
    )
    return busy / (cap * (until - after))


__all__ = ["Case", "Figures", "best_makespan", "figures", "goodput", "lags_of", "most_in_a_window"]
