"""Shows a plan: as lines for people, as JSON values for machines. Prints nothing itself."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from math import ceil
from statistics import median
from typing import Final

from seedance_batch.core.attempt import GENERATING_PHASES, UNDER_WAY_PHASES, Attempt, Phase
from seedance_batch.core.chains import heights, longest_chain
from seedance_batch.core.manifest import Job
from seedance_batch.core.model import LONGEST_REFERENCE, Resolution
from seedance_batch.core.outcome import Sum
from seedance_batch.core.pricing import PriceTable, money
from seedance_batch.core.steps import Action, Plan, Step, Total, fitting, total
from seedance_batch.core.text import first_few, redact, shown, size, some, span

_LABELS: Final = {
    Action.IN_FLIGHT: "in flight",
    Action.FETCH: "to fetch",
    Action.SETTLE: "unanswered",
}


def overview(
    plan: Plan, *, verbose: bool = False, files: Mapping[str, str] | None = None
) -> list[str]:
    """The plan in a few lines; with ``verbose`` one more for each row, with its reason.

    ``files`` are the names of the rows' clips, by key, as far as they are known.
    """
    lines = list(_table(plan))
    if verbose and plan.steps:
        lines += ["", "  row   line", *(_row(step, files or {}) for step in plan.steps)]
    notes = list(_notes(plan))
    return [*lines, "", *notes] if notes else lines


def _table(plan: Plan) -> Iterator[str]:
    if not plan.steps:
        yield "Nothing to do."
        return
    for action, sums in plan.totals.items():
        yield _line(action.sign, label(action), sums, spends=action.may_cost)
    if plan.new:
        yield _line(" ", "new money", plan.new_total, spends=True)


def _line(sign: str, name: str, total: Total, *, spends: bool) -> str:
    cost = money(total.cost) if spends else ""
    rows = some(total.rows, "row")
    return f"  {sign} {name:<10}{rows:>12}{total.seconds:>10,} s{cost:>14}".rstrip()


def label(action: Action) -> str:
    """An action's name for people."""
    return _LABELS.get(action, action.value)


def _row(step: Step, files: Mapping[str, str]) -> str:
    """Its number as --rows counts, its line in the file or sheet, and what becomes of it."""
    row = step.job.row if step.job else None
    numbers = f"{row.number if row else '':>5}{(row and row.place.line) or '':>7}"
    asked = step.job.input if step.job else None
    shape = f"{asked.aspect_ratio.value} {asked.resolution.value} " if asked else ""
    parts = [
        shown(step.key),
        shown(files.get(step.key, "")),
        f"{shape}{step.seconds} s",
        money(step.cost) if step.action.may_cost else "",
        shown(step.reason + _waiting(step)),
    ]
    return f"{numbers}  {step.action.sign} {'  '.join(filter(None, parts))}"


def _waiting(step: Step) -> str:
    return f"; after {first_few(step.waits_for, _EDITS)}" if step.waits_for else ""


# ── what a person should know beside the table ──────────────────────────────────────────────────


def _notes(plan: Plan) -> Iterator[str]:
    if plan.left_out:
        count, have = some(plan.left_out, "row"), "has" if plan.left_out == 1 else "have"
        yield f"Left out: {count} that {have} not failed; use run instead."
    yield from _edits(plan)
    yield from _chains(plan)
    yield from _stale(plan)
    yield from _answered(plan)
    yield from _unanswered(plan)
    yield from _spent(plan)
    if plan.new:
        yield from _lookalikes(plan)
        yield from _unknown(plan)
        yield from _bounded(plan)
        yield from _low(plan)
        if plan.table is not None:
            yield price_note(plan.table)


_EDITS: Final = 3
"""Different edits that are named."""


def _edits(plan: Plan) -> Iterator[str]:
    """What was edited in rows that are bought again for it."""
    edited: dict[str, list[str]] = defaultdict(list)
    for step in plan.steps:
        if step.action is Action.CHANGED:
            edited[step.reason].append(step.key)
    for reason, keys in islice(edited.items(), _EDITS):
        rows = shown(keys[0]) if len(keys) == 1 else some(len(keys), "row")
        yield f"{rows}: {shown(reason)}."
    more = sum(len(keys) for keys in islice(edited.values(), _EDITS, None))
    if more:
        yield f"{some(more, 'more row')} changed: plan -v shows each."


def _chains(plan: Plan) -> Iterator[str]:
    """Rows that wait for others, and the longest line of them."""
    waiting = [step for step in plan.new if step.waits_for]
    if not waiting:
        return
    line = longest_chain(plan.new)
    wait = "waits for another row's clip" if len(waiting) == 1 else "wait for other rows' clips"
    if len(line) == 1:  # what they wait for is on its way
        yield f"{some(len(waiting), 'row')} {wait}."
        return
    named = [*line[:_EDITS], "…", line[-1]] if len(line) > _EDITS + 1 else line
    yield (
        f"{some(len(waiting), 'row')} {wait}; the longest chain has {some(len(line), 'row')}: "
        f"{' → '.join(map(shown, named))}."
    )


def _stale(plan: Plan) -> Iterator[str]:
    """Rows whose clip was made from what another row has replaced since."""
    keys = [shown(step.key) for step in plan.steps if step.stale]
    if keys:
        was, kept = "clips were made from other takes than feed their rows", "They are kept"
        if len(keys) == 1:
            was, kept = "clip was made from another take than feeds its row", "It is kept"
        named = first_few(keys, _EDITS)
        yield f"{len(keys):,} {was} now ({named}). {kept}; rerun --stale makes new ones."


def _answered(plan: Plan) -> Iterator[str]:
    """Wishes for another take that have had theirs: a list of picks is easily given twice."""
    redo = plan.rerun.redo if plan.rerun else {}
    done = [s for s in plan.steps if s.action is Action.DONE and s.key in redo]
    if done:
        have = "already has a new take" if len(done) == 1 else "already have new takes"
        yield (
            f"{some(len(done), 'row')} marked redo {have}. To get yet another take, mark the new"
            " one on the review page and export the list again."
        )


def _unanswered(plan: Plan) -> Iterator[str]:
    """What resends may cost: of rows that are asked for still, and of those that are not."""
    sent = [a for a in plan.attempts if a.state.phase is Phase.SUBMITTING]
    still = [a for a in sent if a.id not in plan.taken_back]
    if still:
        resent = "It is" if len(still) == 1 else "They are"
        yield (
            f"{_were_sent(len(still))} and got no answer. {resent} sent again under the same key,"
            f" which costs {_up_to(still)} if the first request never arrived, as agreed before."
        )
    settled = [step.attempt for step in plan.settling if step.attempt is not None]
    if settled:
        yield (
            f"{_were_sent(len(settled))} and got no answer, and the manifest no longer asks for"
            " this. If you say yes, the same is sent again under the same key, to learn whether"
            f" it was accepted; this costs {_up_to(settled)} if the first request never arrived."
            " Otherwise nothing is sent."
        )


def _were_sent(count: int) -> str:
    return f"{some(count, 'row')} {'was' if count == 1 else 'were'} sent"


def _up_to(attempts: Sequence[Attempt]) -> str:
    costs = Sum.of([attempt.intent.est_cost for attempt in attempts])
    return "an unknown amount" if costs.unpriced else f"up to {money(costs.amount)}"


def _lookalikes(plan: Plan) -> Iterator[str]:
    """Rows without an id that any change makes new ones: what they show was paid for before."""
    left = {
        step.attempt.intent.prompt
        for step in plan.steps
        if step.action is Action.REMOVED
        and step.attempt is not None
        and step.attempt.state.phase is Phase.DONE
    }
    again = sum(step.job is not None and step.job.input.prompt in left for step in plan.new)
    if again:
        verb = "repeats" if again == 1 else "repeat"
        yield (
            f"{some(again, 'new row')} {verb} the prompt of a row that was made before and has left"
            " the manifest: with an id column, an edited row stays the same row."
        )


def _spent(plan: Plan) -> Iterator[str]:
    spent = plan.spending
    if spent.committed != 0:
        settled, reserved, unknown = (part.amount for part in spent.parts.values())
        parts = [f"{money(settled)} settled", f"{money(reserved)} reserved"]
        if unknown:
            parts.append(f"up to {money(unknown)} for failed attempts")
        if spent.unpriced:
            parts.append(f"{some(spent.unpriced, 'attempt')} at an unknown price")
        yield f"Spent so far: {', '.join(parts)}."
    before = sum((step.spent_before for step in plan.new), Decimal(0))
    if before:
        yield f"Rows to be made again have already cost {money(before)}."


def _unknown(plan: Plan) -> Iterator[str]:
    reasons = {step.no_price: None for step in plan.new if step.no_price}
    if not reasons:
        return
    seconds = (f"{n:,} s of {name}" for name, n in sorted(plan.seconds_by_resolution.items()))
    yield f"The cost is unknown: {shown('; '.join(map(str, reasons)))}."
    yield f"It buys  {', '.join(seconds)}."


def _bounded(plan: Plan) -> Iterator[str]:
    rows = sum(step.bounded for step in plan.new)
    if rows:
        yield (
            f"Reference videos of {some(rows, 'row')} could not be measured"
            f" and count as {LONGEST_REFERENCE} s, the longest allowed."
        )


def _low(plan: Plan) -> Iterator[str]:
    """The model's maker charges a minimum where a reference video is sent; HiAPI does not say."""
    priced = (step.job for step in plan.new if step.cost is not None and step.job is not None)
    rows = sum(bool(job.input.reference_video_urls) for job in priced)
    if rows:
        have = "has a reference video" if rows == 1 else "have reference videos"
        yield f"The estimate may be low: {some(rows, 'row')} {have}, and a minimum may be charged."


def purchase(plan: Plan, cap: Decimal | None) -> str | None:
    """What a yes to a plan buys: ``2 of 3 rows for $0.38, as many as fit under the cap of $0.50``.

    None where it buys nothing. ``cap`` is in US dollars, None for none.
    """
    fit = total(fitting(plan, cap))
    if not fit.rows:
        return None
    whole, cost = some(plan.new_rows, "row"), money(fit.cost)
    if fit.rows == plan.new_rows:
        return f"{whole} for {cost}"
    before = plan.spending.committed
    used = f", of which {money(before)} is used" if before else ""
    return f"{fit.rows:,} of {whole} for {cost}, as many as fit under the cap of {money(cap)}{used}"


class NoList(StrEnum):
    """Why a price list did not come, in a word for programs."""

    OFFLINE = "offline"
    """No connection was made."""
    PROXY = "proxy"
    """A proxy of the environment made none."""
    ANSWER = "answer"
    """The API answered with something else, or not in time."""
    FORM = "form"
    """What came is not understood as a price list."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Why today's price list is not there."""

    code: NoList
    message: str
    """In words, without the address."""


def no_prices(address: str, absence: Absence | None = None) -> str:
    """What it means that the API at ``address`` gave no price list."""
    why = "" if absence is None else f": {shown(redact(absence.message)).rstrip('.')}"
    return f"The price list could not be fetched from {address}{why}."


def price_note(table: PriceTable | None) -> str:
    """Where the prices come from, and what they are not."""
    if table is None:
        return "There is no price list."
    if table.sandbox:
        return "Sandbox prices, no real money."
    day = datetime.fromtimestamp(table.dated, UTC).date()
    return (
        "An estimate at list price, not a cap; your account's discount is not included."
        f" Prices from {shown(table.source)}, {day}."
    )


# ── What a plan takes: time, disk space, URLs that expire; arithmetic on a passed-in time ─────────


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
    sizes = [(s.job.input.resolution, s.job.input.duration) for s in plan.new if s.job]
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
