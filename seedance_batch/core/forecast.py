"""Foretells a plan's time, disk space and expiring URLs; arithmetic on a passed-in time."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Final

from seedance_batch.core.attempt import GENERATING_PHASES, UNDER_WAY_PHASES, Attempt, Phase
from seedance_batch.core.manifest import Job
from seedance_batch.core.model import Resolution
from seedance_batch.core.plan.sources import heights
from seedance_batch.core.plan.steps import Plan
from seedance_batch.core.text import size, some, span

QUEUEING: Final = 8.0
"""Seconds that a task waits before it is worked on."""
GENERATING: Final = 122.0
"""Seconds that 5 s of 720p take from there on; other sizes in proportion to length and area."""
REQUESTS_PER_ROW: Final = 1.2
"""A create, and a row's share of the looks at list pages."""
BYTES_PER_PIXEL_SECOND: Final = 0.75
"""Of a clip on disk: 24 frames a second at a generous quarter of a bit for each pixel."""

_REFERENCE: Final = Resolution.P720.area * 5
"""Pixels times seconds of the clip that `GENERATING` is known for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What bounds the speed of a run: tasks at once, requests a minute."""

    slots: int
    rpm: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What to expect of a plan. Times are seconds from now, sizes bytes."""

    seconds: float
    """Until the last clip is made."""
    time_measured: bool
    """Generation times come from this run folder's own clips; else they are assumed."""
    bytes: int
    """Of all clips still to come."""
    urls_expired: int
    """Of clips to fetch: no longer good."""
    urls_expiring: int
    """Of clips to fetch: good, but not until the plan is through."""


def forecast(plan: Plan, pace: Pace, now: float) -> Forecast:
    """What a plan takes; ``now`` is the wall clock in Unix seconds."""
    slowness, weight = _slowness(plan.attempts), _weight(plan.attempts)
    under_way = [*_carried(plan), *plan.also_watched]
    seconds = _makespan(plan, under_way, pace, now, slowness or 1.0)
    expiries = [
        a.state.url_expires_at
        for a in under_way
        if a.state.phase is Phase.DOWNLOADING and a.state.url_expires_at is not None
    ]
    return Forecast(
        seconds=seconds,
        time_measured=slowness is not None,
        bytes=ceil((weight or BYTES_PER_PIXEL_SECOND) * _pixel_seconds(plan, under_way)),
        urls_expired=sum(1 for at in expiries if at <= now),
        urls_expiring=sum(1 for at in expiries if now < at <= now + seconds),
    )


def _carried(plan: Plan) -> Iterator[Attempt]:
    """Attempts of the plan's own rows that are still under way."""
    for step in plan.steps:
        if step.attempt is not None and step.attempt.state.phase in UNDER_WAY_PHASES:
            yield step.attempt


# ── time ────────────────────────────────────────────────────────────────────────────────────────


def generation_seconds(resolution: Resolution, duration: int, slowness: float = 1.0) -> float:
    """How long a clip takes to be made, queueing included."""
    return slowness * (QUEUEING + GENERATING * resolution.area * duration / _REFERENCE)


def _makespan(
    plan: Plan, under_way: Sequence[Attempt], pace: Pace, now: float, slowness: float
) -> float:
    """List scheduling: a row starts when a slot is free and the request budget allows it."""
    generating = (a for a in under_way if a.state.phase in GENERATING_PHASES)
    ends = sorted(_rest(a, now, slowness) for a in generating)
    last = ends[-1] if ends else 0.0
    # A slot is free once fewer are under way than there are slots.
    free = [0.0] * (pace.slots - len(ends)) + ends[-pace.slots :]
    known = {a.intent.key: _rest(a, now, slowness) for a in under_way}
    last_new = _scheduled(plan, free, known, 60.0 / pace.rpm * REQUESTS_PER_ROW, slowness)
    return max(last, last_new)


def _scheduled(
    plan: Plan, free: list[float], known: Mapping[str, float], spacing: float, slowness: float
) -> float:
    """When the last new row ends: the one of the longest chain goes first, as in a run.

    ``free`` are the times at which slots are free, ``known`` those at which rows end that are on
    their way.
    """
    heapq.heapify(free)
    waits = {s.key: set(s.waits_for) for s in plan.new}
    followers: dict[str, list[int]] = defaultdict(list)
    high = heights(plan.new)
    for number, step in enumerate(plan.new):
        for key in step.waits_for:
            followers[key].append(number)
    ready = [(-high[s.key], number) for number, s in enumerate(plan.new) if not s.waits_for]
    heapq.heapify(ready)
    ends = [(known.get(key, 0.0), key) for key in followers if key not in waits]
    heapq.heapify(ends)
    start = last = 0.0
    while ready or ends:
        start = max(start, free[0]) if ready else max(start, ends[0][0])
        while ends and ends[0][0] <= start:
            _, ended = heapq.heappop(ends)
            for number in followers[ended]:
                waits[plan.new[number].key].discard(ended)
                if not waits[plan.new[number].key]:
                    heapq.heappush(ready, (-high[plan.new[number].key], number))
        if not ready:
            continue
        _, number = heapq.heappop(ready)
        step, start = plan.new[number], max(start, free[0])
        end = start + (_job_seconds(step.job, slowness) if step.job else 0.0)
        heapq.heapreplace(free, end)
        if step.key in followers:
            heapq.heappush(ends, (end, step.key))
        last, start = max(last, end), start + spacing
    return last


def _job_seconds(job: Job, slowness: float) -> float:
    return generation_seconds(job.input.resolution, job.input.duration, slowness)


def _rest(attempt: Attempt, now: float, slowness: float) -> float:
    """Seconds until a task is likely to end."""
    whole = slowness * _intent_seconds(attempt)
    since = attempt.state.submitted_at
    return whole if since is None else max(0.0, whole - (now - since))


def _new_sizes(plan: Plan) -> list[tuple[Resolution, int]]:
    return [(s.job.input.resolution, s.job.input.duration) for s in plan.new if s.job]


def _intent_seconds(attempt: Attempt) -> float:
    intent = attempt.intent
    return generation_seconds(Resolution(intent.resolution), intent.duration)


def _slowness(attempts: Iterable[Attempt]) -> float | None:
    """How this folder's clips compare with what is assumed; None before there is one."""
    ratios = [
        (a.state.finished_at - a.state.submitted_at) / _intent_seconds(a)
        for a in attempts
        if a.state.phase is Phase.DONE
        and a.state.finished_at is not None
        and a.state.submitted_at is not None
        and a.state.finished_at > a.state.submitted_at
    ]
    return median(ratios) if ratios else None


# ── disk ────────────────────────────────────────────────────────────────────────────────────────


def clip_bytes(attempt: Attempt) -> int:
    """About how many bytes an attempt's clip will have."""
    pixels = Resolution(attempt.intent.resolution).area
    return ceil(BYTES_PER_PIXEL_SECOND * pixels * attempt.intent.duration)


def _pixel_seconds(plan: Plan, under_way: Iterable[Attempt]) -> int:
    """Area times length of all clips still to come."""
    sizes = _new_sizes(plan)
    sizes += [(Resolution(a.intent.resolution), a.intent.duration) for a in under_way]
    return sum(resolution.area * duration for resolution, duration in sizes)


def _weight(attempts: Iterable[Attempt]) -> float | None:
    """Bytes for each pixel and second of this folder's clips; None before there is one."""
    clips = [a.state.clip for a in attempts if a.state.clip is not None]
    weights = [c.bytes / (c.width * c.height * c.seconds) for c in clips if c.width and c.seconds]
    return median(weights) if weights else None


# ── for people ──────────────────────────────────────────────────────────────────────────────────


def forecast_lines(found: Forecast, pace: Pace) -> Iterator[str]:
    """A forecast in up to three lines; none where nothing is to come."""
    if found.seconds:
        how = (
            "at the pace of this folder's earlier clips"
            if found.time_measured
            else "assuming 130 s for 5 s of 720p"
        )
        yield (
            f"Takes about {span(found.seconds)} with {pace.slots} tasks at once"
            f" and {pace.rpm:g} requests a minute, {how}."
        )
    if found.bytes:
        yield f"Needs about {size(found.bytes)} on disk."
    if late := found.urls_expired + found.urls_expiring:
        yield (
            f"{some(late, 'clip')} to fetch "
            f"{'has a URL that has' if late == 1 else 'have URLs that have'} expired or soon will;"
            " a fresh URL is requested for each."
        )
