"""How each row of a run folder stands, how many stand so, and what they cost. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from seedance_batch.core.attempt import (
    UNFINISHED_PHASES,
    Attempt,
    ErrorClass,
    Kind,
    Phase,
    Reason,
    Surety,
    TakeName,
    reason_of,
    surety,
    way_out,
)
from seedance_batch.core.pricing import money
from seedance_batch.core.text import in_usd, shown, some, spaced
from seedance_batch.errors import Exit

# ── How each row of a run folder stands: rows and attempts in, one line per row out ───────────────
# Pure. Sheets, page, status and exit code are all views of these values.


class Status(StrEnum):
    """How a row stands, in the words of the results sheet."""

    NEW = "new"
    """Nothing was sent for it."""
    BLOCKED = "blocked"
    """Nothing was sent for it, since a row that feeds it has no clip."""
    SUBMITTING = "submitting"
    IN_FLIGHT = "in_flight"
    DOWNLOADING = "downloading"
    DONE = "done"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"
    EXPIRED = "expired"
    MEDIA_MISMATCH = "media_mismatch"
    CHANGED = "changed"
    """Done, but for what the row asked before it was edited."""
    REMOVED = "removed"
    """Paid for, and no longer in the manifest."""


STATUS_OF: Final = {
    phase: Status.NEW if phase is Phase.PLANNED else Status(phase.value) for phase in Phase
}

LONGEST_MESSAGE: Final = 1_000
"""Characters of an error message; some services answer with a web page."""
FAILED: Final = frozenset({Status.FAILED, Status.EXPIRED, Status.MEDIA_MISMATCH, Status.BLOCKED})
UNSENT: Final = frozenset({Status.NEW, Status.CHANGED})
"""What the row asks for was never sent."""


@dataclass(frozen=True, slots=True)
class RowRecord:
    """A `Job` of the last-read manifest, as the journal keeps it for sheets and page."""

    number: int
    key: str
    content: str
    cells: Mapping[str, str]
    """The person's columns, in their order, text unchanged."""
    model: str
    resolution: str
    duration: int
    aspect_ratio: str
    follows: tuple[str, ...] = ()
    """Keys of the rows that it takes frames or clips from."""


@dataclass(frozen=True, slots=True)
class TakeOfRow:
    """A take of another row, as a row that was made from it sees it."""

    key: str
    take: TakeName
    is_former: bool
    """Whether the other row shows another take by now."""
    is_others: bool
    """Whether the row takes its frame or clip from another row by now."""

    def __str__(self) -> str:
        return f"{self.key} {self.take}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a row stands: it adds to the row's record its status and all of its attempts."""

    key: str
    status: Status
    row: RowRecord | None
    """None for a row that left the manifest."""
    shown: Attempt | None
    """The attempt that the line shows: the final clip's, else the draft's."""
    attempts: tuple[Attempt, ...] = ()
    """All of the row's attempts, oldest first."""
    waits_for: Outcome | None = None
    """Of a blocked row: the row at the beginning of its chain that has no clip."""
    made_from: tuple[TakeOfRow, ...] = ()
    """What the shown attempt took from other rows."""

    @property
    def is_stale(self) -> bool:
        """Whether it was made from another take than it would be by now."""
        return any(take.is_former or take.is_others for take in self.made_from)


def outcomes(rows: Sequence[RowRecord], attempts: Iterable[Attempt]) -> list[Outcome]:
    """One outcome per row in manifest order, then the removed ones that have attempts."""
    by_key: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_key[attempt.intent.key].append(attempt)
    present = [_outcome(row.key, row, by_key.pop(row.key, [])) for row in rows]
    found = present + [_outcome(key, None, found) for key, found in by_key.items()]
    if any(row.follows for row in rows):
        found = _blocked(found)
    if any(outcome.shown and outcome.shown.intent.made_from for outcome in found):
        found = _with_sources(found)
    return found


def _blocked(found: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, those blocked that wait for a row without a clip, directly or in a line."""
    waiting = {o.key: o.row.follows for o in found if o.row and o.status is Status.NEW}
    failed = {o.key: o for o in found if is_dead_end(o)}
    blocked = blocked_by(failed, waiting)
    return [
        replace(o, status=Status.BLOCKED, waits_for=failed[blocked[o.key]])
        if o.key in blocked
        else o
        for o in found
    ]


def blocked_by(failed: Iterable[str], waiting: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Rows that wait for a failed one, and which: the one at the beginning of each row's chain.

    ``waiting``: the rows to which nothing was sent, each with the rows that it takes something of.
    """
    followers: dict[str, list[str]] = defaultdict(list)
    for key, follows in waiting.items():
        for source in follows:
            followers[source].append(key)
    left = [(key, key) for key in failed]
    blocked: dict[str, str] = {}
    while left:
        key, first = left.pop()
        for follower in followers.get(key, ()):
            if follower not in blocked:
                blocked[follower] = first
                left.append((follower, first))
    return blocked


def is_dead_end(outcome: Outcome) -> bool:
    """Whether a row has failed and has no clip, so that rows which take something of it wait."""
    phases = (attempt.state.phase for attempt in outcome.attempts)
    return outcome.status in FAILED and Phase.DONE not in phases


def _with_sources(found: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, each with the takes that its clip was made from."""
    by_id = {attempt.id: attempt for outcome in found for attempt in outcome.attempts}
    rows = {outcome.key: outcome.row for outcome in found}
    taken: dict[tuple[str, Kind], list[Attempt]] = defaultdict(list)
    for attempt in by_id.values():
        if attempt.state.phase is Phase.DONE:
            taken[attempt.intent.key, attempt.intent.kind].append(attempt)

    def seen(attempt: Attempt, row: RowRecord | None) -> TakeOfRow:
        intent = attempt.intent
        shown = _shown(rows[intent.key], sorted(taken[intent.key, intent.kind], key=lambda a: a.id))
        former = shown is not None and shown.id != attempt.id
        follows = row.follows if row else ()
        others = bool(follows) and intent.key not in follows
        return TakeOfRow(intent.key, intent.take, former, others)

    def with_sources(outcome: Outcome) -> Outcome:
        if outcome.shown is None or not outcome.shown.intent.made_from:
            return outcome
        ids = dict.fromkeys(each.attempt for each in outcome.shown.intent.made_from)
        takes = tuple(seen(by_id[each], outcome.row) for each in ids if each in by_id)
        return replace(outcome, made_from=takes)

    return list(map(with_sources, found))


def _outcome(key: str, row: RowRecord | None, attempts: list[Attempt]) -> Outcome:
    ordered = tuple(sorted(attempts, key=lambda a: a.id))
    shown = _shown(row, ordered)
    return Outcome(key, _status(row, shown), row, shown, ordered)


def _status(row: RowRecord | None, shown: Attempt | None) -> Status:
    if row is None:
        return Status.REMOVED
    if shown is None:
        return Status.NEW
    status = STATUS_OF[shown.state.phase]
    # A draft's content is never the row's own; its clip is one to look at all the same.
    edited = shown.intent.kind is Kind.FINAL and shown.intent.content != row.content
    return Status.CHANGED if edited and status is Status.DONE else status


def _shown(row: RowRecord | None, attempts: Sequence[Attempt]) -> Attempt | None:
    """The newest final of the row's present content, else its newest draft, else the newest."""
    finals = [a for a in attempts if a.intent.kind is Kind.FINAL]
    current = [a for a in finals if row is None or a.intent.content == row.content]
    for group in (current, finals, attempts):
        if group:
            return next((a for a in reversed(group) if a.state.phase is Phase.DONE), group[-1])
    return None


def exit_code(found: Iterable[Outcome]) -> Exit:
    """0 all done · 3 some failed · 5 unfinished, or not sent yet; the worst wins."""
    outcomes = list(found)
    statuses = {outcome.status for outcome in outcomes}
    unsent = Exit.UNFINISHED if statuses & UNSENT else Exit.OK
    failed = Exit.SOME_FAILED if statuses & FAILED else Exit.OK
    return max(unfinished(outcomes), unsent, failed)


def unfinished(found: Iterable[Outcome]) -> Exit:
    """5 where any attempt is unfinished, also one that its row's line does not show: a former
    content's, a second take's, a removed row's. Else 0.
    """
    phases = {attempt.state.phase for outcome in found for attempt in outcome.attempts}
    return Exit.UNFINISHED if phases & UNFINISHED_PHASES else Exit.OK


def message(attempt: Attempt) -> str:
    """The last trouble of an attempt in one line, with its code and without secrets."""
    words = (attempt.state.error_code, attempt.state.error_message)
    return shown(": ".join(part for part in words if part), LONGEST_MESSAGE, one_line=True)


def next_step(outcome: Outcome) -> str:
    """What a person would do next about this row, in a few words; empty when nothing."""
    match outcome.status:
        case Status.NEW | Status.CHANGED:
            return "run"
        case Status.DOWNLOADING if outcome.shown and outcome.shown.state.error_message:
            return _after_trouble(outcome.shown.state.file)
        case Status.SUBMITTING | Status.IN_FLIGHT | Status.DOWNLOADING:
            return "run again: it continues, and nothing is paid for twice"
        case Status.AMBIGUOUS:
            return "reconcile"
        case Status.EXPIRED:
            return "paid, but its file is gone: fetch asks for it again"
        case Status.MEDIA_MISMATCH if came_damaged(outcome):
            return "paid, file damaged: fetch tries again; verify --claims lists it"
        case Status.MEDIA_MISMATCH:
            return "look at the kept file; verify --claims lists it"
        case Status.BLOCKED if outcome.waits_for is not None:
            source = outcome.waits_for
            return f"{source.key}, which it waits for, has no clip: {next_step(source)}"
        case Status.BLOCKED:
            return "run"
        case Status.DONE if outcome.is_stale:
            others = any(take.is_others for take in outcome.made_from)
            what = "another row than it names now" if others else "an earlier take of another row"
            return f"made from {what}: rerun --stale makes it anew"
        case Status.FAILED:
            return _after_failure(outcome.shown) + made_otherwise(outcome)
        case Status.DONE | Status.REMOVED:
            return ""


def _after_trouble(file: str | None) -> str:
    """The way to a paid clip that does not arrive: for free, and by hand where nothing else helps.

    A right clip that lies at its name is taken as it is (`Downloader.fetch`).
    """
    by_hand = "" if file is None else f"; or save video_url as {file} in the run folder, then run"
    return f"paid: fetch asks for it again{by_hand}"


def came_damaged(outcome: Outcome) -> bool:
    """Whether no whole video came of a paid clip's downloads; ``fetch`` tries again."""
    clip = outcome.shown.state.clip if outcome.shown else None
    return outcome.status is Status.MEDIA_MISMATCH and clip is not None and clip.is_damaged


def made_otherwise(outcome: Outcome) -> str:
    """A clip that a failed row has all the same: it was mended elsewhere, and paid there."""
    done = (a.state.clip for a in outcome.attempts if a.state.phase is Phase.DONE)
    files = [clip.file for clip in done if clip is not None]
    return f" (another version of this row is made: {files[-1]})" if files else ""


def _after_failure(attempt: Attempt | None) -> str:
    if attempt is None or attempt.state.error_class in {ErrorClass.TRANSIENT, ErrorClass.RELEASED}:
        return "rerun"
    return way_out(attempt)


# ── What attempts add up to, by how sure it is that they were charged for ─────────────────────────


@dataclass(frozen=True, slots=True)
class Sum:
    """Attempts and what they add up to, in US dollars, as far as prices are known."""

    attempts: int = 0
    amount: Decimal = Decimal(0)
    unpriced: int = 0
    """Attempts that no price is known for; `amount` lacks them."""

    @classmethod
    def of(cls, costs: Sequence[Decimal | None]) -> Sum:
        """The sum of estimates, one for each attempt."""
        known = [cost for cost in costs if cost is not None]
        return cls(len(costs), sum(known, Decimal(0)), len(costs) - len(known))


@dataclass(frozen=True, slots=True)
class Spending:
    """What attempts have cost, by the estimates recorded when each of them was planned.

    An attempt that is known to be free is in none of the sums.
    """

    settled: Sum = Sum()
    reserved: Sum = Sum()
    unknown: Sum = Sum()

    @classmethod
    def of(cls, attempts: Iterable[Attempt]) -> Spending:
        """The sums over some attempts."""
        costs: dict[Surety | None, list[Decimal | None]] = defaultdict(list)
        for attempt in attempts:
            costs[surety(attempt.state)].append(attempt.intent.est_cost)
        return cls(*(Sum.of(costs[sure]) for sure in Surety))

    @property
    def parts(self) -> dict[Surety, Sum]:
        """Each sum by how sure it is."""
        return dict(zip(Surety, (self.settled, self.reserved, self.unknown), strict=True))

    @property
    def unpriced(self) -> int:
        """Attempts that count and have no estimate."""
        return sum(part.unpriced for part in self.parts.values())

    @property
    def committed(self) -> Decimal | None:
        """All that counts against ``--max-cost``; None where it is not known."""
        whole = sum((part.amount for part in self.parts.values()), Decimal(0))
        return None if self.unpriced else whole

    def as_json(self) -> dict[str, Any]:
        """The sums as programs are told them, everywhere."""
        return {
            **{f"{sure}_usd": in_usd(part.amount) for sure, part in self.parts.items()},
            **{f"{sure}_attempts": part.attempts for sure, part in self.parts.items()},
            "unpriced_attempts": self.unpriced,
        }


def spent(attempts: Iterable[Attempt]) -> Decimal:
    """US dollars: estimates of all that was, or may have been, charged."""
    counted = (a.intent.est_cost for a in attempts if surety(a.state) is not None)
    return sum((cost for cost in counted if cost is not None), Decimal(0))


# ── What a run folder amounts to: rows by status, and money by how sure it is ─────────────────────
# Pure; derived from the outcomes each time, never kept beside them.


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts and money of a whole run folder."""

    rows: int
    """The manifest's rows; removed ones are not among them."""
    statuses: Mapping[Status, int]
    """Every status in its order, also those with no row."""
    money: Spending
    """Over all attempts."""
    reasons: Mapping[Reason, int]
    """How many failed rows were refused for what; those with no row are left out."""


def tally(outcomes: Sequence[Outcome]) -> Tally:
    """Add up a run folder's outcomes."""
    counts = Counter(outcome.status for outcome in outcomes)
    failed = (o.shown.state for o in outcomes if o.status is Status.FAILED and o.shown)
    reasons = Counter(filter(None, map(reason_of, failed)))
    return Tally(
        rows=len(outcomes) - counts[Status.REMOVED],
        statuses={status: counts[status] for status in Status},
        money=Spending.of(attempt for outcome in outcomes for attempt in outcome.attempts),
        reasons={reason: reasons[reason] for reason in Reason if reasons[reason]},
    )


# ── How a run folder stands, for people and as JSON values: rows by status, and money ─────────────


def standing_lines(
    found: Sequence[Outcome], *, by: str | None = None, sandbox: bool = False
) -> Iterator[str]:
    """Counts and sums; with ``by`` once more for each value of that column."""
    yield from _block(tally(found))
    if sandbox:
        yield ""
        yield "Sandbox prices, no real money."
    for value, part in _groups(found, by):
        yield ""
        yield f"{by}: {shown(value) or '(empty)'}"
        yield from _block(tally(part))


def _block(sums: Tally) -> Iterator[str]:
    for status, count in sums.statuses.items():
        if count:
            yield f"  {spaced(status):<16}{count:>8,}"
        if status is Status.FAILED and sums.reasons.keys() - {Reason.OTHER}:
            for reason, refused in sums.reasons.items():
                yield f"    {reason:<14}{refused:>8,}"
    yield f"  {'spent':<16}{spent_in_words(sums)}"


def spent_in_words(sums: Tally) -> str:
    """Money in a few words: a range where failed attempts may have been charged."""
    settled, reserved, unknown = (part.amount for part in sums.money.parts.values())
    text = f"{money(settled)} settled"
    if unknown:
        text = _with_unknown(settled, unknown, sums.statuses.get(Status.FAILED, 0))
    unpriced = sums.money.unpriced
    parts = [text, f"{money(reserved)} reserved" if reserved else ""]
    parts.append(f"{some(unpriced, 'attempt')} at an unknown price" if unpriced else "")
    return ", ".join(part for part in parts if part)


def _with_unknown(settled: Decimal, unknown: Decimal, failed_rows: int) -> str:
    """What is sure, and what failed attempts may have cost; their rows may be done by now."""
    if failed_rows:
        return f"{money(settled)} to {money(settled + unknown)} settled (failed rows: unknown)"
    return f"{money(settled)} settled, earlier failed attempts: $0 to {money(unknown)}"


def costs(spent: Spending) -> list[str]:
    """What was paid for how many clips, and what else may have to be paid, each in a few words."""
    settled, reserved, unknown = spent.parts.values()
    parts = [f"{_known(settled)} for {some(settled.attempts, 'clip')}"]
    if reserved.attempts:
        parts.append(f"{_known(reserved)} reserved")
    if unknown.attempts:
        up_to = "" if unknown.unpriced == unknown.attempts else "up to "
        parts.append(f"{up_to}{_known(unknown)} for attempts without a clip")
    if 0 < spent.unpriced < sum(part.attempts for part in spent.parts.values()):
        parts.append(f"{some(spent.unpriced, 'attempt')} at an unknown price")
    return parts


def _known(part: Sum) -> str:
    """What is known of a sum: where no attempt of it has a price, that is not nothing."""
    return "an unknown amount" if 0 < part.unpriced == part.attempts else money(part.amount)


def standing_object(
    found: Sequence[Outcome], *, by: str | None = None, sandbox: bool = False
) -> dict[str, Any]:
    """The same as JSON values."""
    groups = {value: tally_object(tally(part)) for value, part in _groups(found, by)}
    return {"sandbox": sandbox} | tally_object(tally(found)) | ({"by": {by: groups}} if by else {})


def tally_object(sums: Tally) -> dict[str, Any]:
    """Counts and money as JSON values."""
    return {
        "rows": sums.rows,
        "statuses": {status.value: count for status, count in sums.statuses.items() if count},
        "reasons": {reason.value: count for reason, count in sums.reasons.items()},
        "money": sums.money.as_json(),
    }


def _groups(found: Sequence[Outcome], by: str | None) -> Iterator[tuple[str, list[Outcome]]]:
    if by is None:
        return
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        groups[outcome.row.cells.get(by, "") if outcome.row else ""].append(outcome)
    yield from groups.items()
