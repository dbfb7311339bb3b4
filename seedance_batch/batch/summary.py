"""What a person is told of a plan and asked to agree to, and what a run came to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from seedance_batch.core import names
from seedance_batch.core.attempt import RESEND_WINDOW, UNDER_WAY_PHASES, Kind, Phase
from seedance_batch.core.outcome import Outcome, Status, costs, made_otherwise, tally, tally_object
from seedance_batch.core.overview import purchase
from seedance_batch.core.plan import Sign
from seedance_batch.core.pricing import money, up_to_a_cent
from seedance_batch.core.steps import UNSETTLED, Action, running_problem, total
from seedance_batch.core.text import clock_words, first_few, in_usd, redact, shown, some, spaced
from seedance_batch.errors import BudgetExceeded, ConsentNeeded, Exit
from seedance_batch.events import Stop
from seedance_batch.reader.source import is_address
from seedance_batch.settings import NO_CAP

if TYPE_CHECKING:
    from seedance_batch.batch.access import Site
    from seedance_batch.batch.batch import Batch
    from seedance_batch.core.attempt import Attempt
    from seedance_batch.core.manifest import Finding
    from seedance_batch.core.plan import Doubt
    from seedance_batch.core.steps import Plan, Step
    from seedance_batch.events import RowSkipped
    from seedance_batch.runner.runner import RunEnding
    from seedance_batch.writer.files import Written

_SHOWN_TROUBLE = 10
_SHOWN_DOUBTS = 3
_LONGEST_TROUBLE = 400
"""Characters of what went wrong with a row; the sheets have more."""


# ── What a plan comes to, and what speaks against it ──────────────────────────────────────────────


def work_in(plan: Plan) -> int:
    """How many attempts a plan would see to their end, also those that no step of it carries."""
    kept = (step.attempt for step in plan.steps if not step.action.spends)
    under_way = sum(
        a is not None and a.state.phase in UNDER_WAY_PHASES and a.id not in plan.left_alone
        for a in kept
    )
    return len(plan.new) + len(plan.also_watched) + under_way


def kept_back(plan: Plan) -> list[Step]:
    """Rows with a clip that were asked for otherwise, and are made anew only on demand."""
    blocked = (step for step in plan.steps if step.action is Action.BLOCKED)
    return [s for s in blocked if s.attempt and s.attempt.state.phase is Phase.DONE]


def lifetime_cost(plan: Plan) -> Decimal | None:
    """What a run folder will have cost once a plan is carried out, in whole cents; None if unknown.

    The smallest ``--max-cost`` under which all of the plan fits.
    """
    committed, new = plan.spending.committed, plan.new_cost
    if committed is None or new is None:
        return None
    return up_to_a_cent(committed + new)


def opening_object(
    site: Site, plan: Plan | None = None, warnings: Sequence[Finding] = ()
) -> dict[str, Any]:
    """What a run sets out to do, for machines; without a plan nothing new is paid for.

    ``warnings`` are those of the manifest that concern the rows to be paid for.
    """
    cost = Decimal(0) if plan is None else plan.new_cost
    return {
        "folder": str(site.folder.path),
        "sandbox": site.access.sandbox,
        "rows": 0 if plan is None else len(plan.steps),
        "new_rows": 0 if plan is None else plan.new_rows,
        "new_cost_usd": in_usd(cost),
        "warnings": [each.as_json() for each in warnings],
    }


def refused_doubts(batch: Batch, plan: Plan) -> str | None:
    """Why a yes to a plan is none to all of it; None where it is, and in the sandbox."""
    words = "" if batch.access.sandbox else bought_words(batch, plan)
    if not words:
        return None
    lines = doubt_lines(batch, _bought(batch, plan))
    return "\n".join([f"{words}Nothing was sent.", *(f"  {line}" for line in lines)])


def bought_words(batch: Batch, plan: Plan) -> str:
    """How many of a plan's new rows look bought already, and where; empty for none."""
    found = _bought(batch, plan)
    count = sum(len(doubt.keys) for doubt in found)
    if not count:
        return ""
    of = some(plan.new_rows, "new row")
    of = of if count == plan.new_rows else f"{count:,} of {of}"
    beside = batch.bought_beside(plan) if all(d.sign is Sign.FOLDER for d in found) else None
    if beside is not None:
        return f"{of} {'is' if count == 1 else 'are'} bought in {relative(beside.path)} already. "
    return f"{of} {'looks' if count == 1 else 'look'} bought already. "


def _bought(batch: Batch, plan: Plan) -> list[Doubt]:
    """The doubts that a yes has to be for. What a lost journal may have sent is not bought again
    without `--again`, whatever is agreed to."""
    return [doubt for doubt in batch.doubts(plan) if doubt.sign is not Sign.LOST]


def doubt_lines(batch: Batch, found: Sequence[Doubt]) -> list[str]:
    """What speaks for it that rows were bought; another run folder is named beside these."""
    folder = relative(batch.folder.path)
    return [_doubt(doubt, folder, batch) for doubt in found if doubt.sign is not Sign.FOLDER]


def _doubt(doubt: Doubt, folder: str, batch: Batch) -> str:
    count = len(doubt.keys)
    rows = f"{some(count, 'new row')} {'was' if count == 1 else 'were'} bought"
    which = first_few(list(map(shown, doubt.keys)), _SHOWN_DOUBTS)
    put_back = "put a copy of journal.db back, or buy them again with --again"
    match doubt.sign:
        case Sign.SHEETS:
            return (
                f"The sheets in {folder} say that {rows}, but its journal does not "
                f"know this ({which}): {put_back}."
            )
        case Sign.CLIPS:
            return (
                f"{folder} contains clips that its journal does not know, apparently of "
                f"{some(count, 'new row')} ({which}): {put_back}."
            )
        case Sign.MANIFEST:
            return (
                f"This results sheet says that {rows} ({which}): run it in its "
                "own run folder, or name that folder with --out."
            )
        case Sign.LOST:
            return (
                f"{_copy_words(batch)} It does not know what was sent after that, longer ago than "
                f"a request can be repeated: {some(count, 'new row')} ({which}) will be ambiguous "
                "and not be sent. reconcile then shows the tasks that may be theirs; --again buys "
                "them again."
            )
        case _:
            return f"{rows} in another run folder ({which})."


def _copy_words(batch: Batch) -> str:
    """What is known of a journal that lacks records."""
    facts, since = batch.journal.facts(), batch.journal.lost_since or 0.0
    if facts.copied_by is None:
        return f"This journal was copied without its log during the run of {clock_words(since)}."
    if not facts.copied_by:
        return f"The store has no copy of this batch's journal of {clock_words(since)}."
    return f"This journal is the store's copy of {clock_words(since)}, by {shown(facts.copied_by)}."


def lost_lines(batch: Batch, plan: Plan) -> list[str]:
    """What was taken over from a lost machine, and what becomes of what its copy does not know;
    `doubt_lines` says it of rows for which it is too late."""
    since, lost = batch.journal.lost_since, batch.journal.lost(plan.kind)
    late = any(doubt.sign is Sign.LOST for doubt in batch.doubts(plan))
    again = [step for step in plan.new if lost(step.key)]
    if since is None or late or not again or batch.settings.again:
        return []
    until = clock_words(since + RESEND_WINDOW)
    return [
        f"{_copy_words(batch)} What was sent after that is sent again until {until} with the same "
        "keys and bytes: it is paid for once, though the plan counts it as new."
    ]


# ── Caps ──────────────────────────────────────────────────────────────────────────────────────────


def over_budget(problem: str) -> BudgetExceeded:
    """The error of a plan that passes a cap."""
    return BudgetExceeded(f"Over the budget: {problem}. Nothing was sent.")


def within_caps(batch: Batch, found: Plan) -> tuple[Plan, str | None]:
    """What of a plan is begun under its caps, and why its new rows are not, where they are not.

    Paid work under way is seen to its end whatever a cap says. Raises `BudgetExceeded` where there
    is none. Rows that fit under ``max_cost`` are sent one by one: a run decides about them.
    """
    settings = batch.settings
    problem = running_problem(found, settings.max_cost, settings.max_cost_per_row)
    if problem is None:
        return found, None
    begun = found.begun_only(f"over the budget: {problem}")
    if begun is None:
        raise over_budget(problem)
    return begun, problem


class Caps(TypedDict, total=False):
    """Caps in US dollars, as flags and keywords name them."""

    max_cost: Decimal
    max_cost_per_row: Decimal | None


def caps_needed(
    found: Plan, max_cost: Decimal | None, max_cost_per_row: Decimal | None
) -> Caps | None:
    """The caps, by name, that the plan fits under; None where it lacks prices."""
    needed = lifetime_cost(found)
    if found.new_cost is None:
        return None
    if needed is None:  # what earlier attempts have cost is not known, and will not be
        return {"max_cost": NO_CAP, "max_cost_per_row": None}
    caps: Caps = {}
    if max_cost is not None and needed > max_cost:
        caps["max_cost"] = needed
    dearest = max(step.cost or Decimal(0) for step in found.new)
    if max_cost_per_row is not None and dearest > max_cost_per_row:
        caps["max_cost_per_row"] = dearest
    return caps


# ── Consent ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Consent:
    """What was agreed to beforehand, whom to ask for the rest, and what to say if nobody agrees."""

    yes: bool
    again: bool
    ask: Callable[[str], bool] | None
    """Puts a question to a person; None where nobody can be asked."""
    to_agree: str
    """Hints: what agrees to the plan, what shows it, and what agrees to rows in doubt."""
    to_see: str
    to_buy_again: str
    nobody: str = ""
    """Why nobody can be asked, as the end of a sentence."""


def consented(batch: Batch, found: Plan, consent: Consent) -> Plan:
    """The plan, as far as it was agreed to: with one yes to new money, which names its amount.

    The sandbox never asks. Without a yes, sends that were taken back are left as they are. A yes
    that nobody saw the plan for is none to rows that look bought already. Raises `ConsentNeeded`.
    """
    rows, again = purchase(found, batch.settings.max_cost), consent.again
    if not (consent.yes or batch.access.sandbox) and (rows or found.settling):
        if consent.ask is not None and consent.ask(_question(batch, found, rows)):
            again = again or rows is not None
        elif rows is None:
            found = found.without_settling(UNSETTLED)
        elif consent.ask is None:
            sentence = f"The plan would send {rows}{consent.nobody}. Nothing was sent."
            raise ConsentNeeded(sentence, hint=consent.to_agree)
        else:
            raise ConsentNeeded("Nothing was sent.", hint=consent.to_see)
    problem = None if again else refused_doubts(batch, found)
    if problem is not None:
        raise ConsentNeeded(problem, hint=f"to buy them again: {consent.to_buy_again}")
    return found


def _question(batch: Batch, found: Plan, rows: str | None) -> str:
    """What a yes is asked for: new rows, sends that were taken back, or both."""
    bought = bought_words(batch, found) if rows else ""
    parts = [] if rows is None else [f"{rows} anyway" if bought else rows]
    if found.settling:
        sums = total(found.settling)
        parts.append(f"again {some(sums.rows, 'unanswered row')} for up to {money(sums.cost)}")
    return f"{bought}Send {', and '.join(parts)}?"


# ── What a run came to ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False)  # asyncio prints what its tasks return
class Report:
    """How a run ended."""

    exit_code: Exit
    ending: RunEnding
    outcomes: list[Outcome]
    written: Written
    page: Path
    """The review page."""
    skipped: tuple[RowSkipped, ...] = ()
    left: tuple[Step, ...] = ()
    """What a plan for the same rows would hold now, save for what is done."""
    store: str | None = None
    """The address of the store that has the clips; None where the run folder does."""


def closing_lines(site: Site, plan: Plan, report: Report) -> Iterator[str]:
    """The summary that ends a run, save for the command that goes on from there."""
    if not work_in(plan):
        yield _nothing(report)
    yield from outcome_lines(site, report, _unseen(plan, report))
    stop, unsent = report.ending.stop, report.ending.unsent
    if stop in _NOT_SENT:
        noun, singular, plural, what = _NOT_SENT[stop]
        why = "the budget is used up" if stop is Stop.BUDGET else shown(report.ending.message)
        yield f"{some(unsent, noun)} {singular if unsent == 1 else plural} {what}: {why}."
    if stop is Stop.DAY_BUDGET:
        yield "Tomorrow the same command goes on; --max-cost-per-day sets another cap."


_NOT_SENT: Final[Mapping[Stop | None, tuple[str, str, str, str]]] = {
    Stop.BUDGET: ("row", "is", "are", "left"),
    Stop.DAY_BUDGET: ("row", "is", "are", "left"),
    Stop.OWNER: ("row", "was", "were", "not sent"),
    Stop.STORE: ("row", "was", "were", "not sent"),
    Stop.FAILURES: ("row", "was", "were", "not sent"),
    Stop.CANARY: ("other row", "was", "were", "held back"),
}
"""What is said of rows that a run did not send, by what ended it."""


def _nothing(report: Report) -> str:
    if report.exit_code is not Exit.OK:
        return "Nothing can be done without you: the rows below wait for a decision."
    if {outcome.status for outcome in report.outcomes} <= {Status.DONE, Status.REMOVED}:
        stale = sum(outcome.is_stale for outcome in report.outcomes)
        if stale:
            are = "is" if stale == 1 else "are"
            return f"Nothing to do here: every row has its clip; {some(stale, 'clip')} {are} stale."
        return "Nothing to do: every row is done."
    return "Nothing to do for these rows."


def _unseen(plan: Plan, report: Report) -> list[Step]:
    """What was asked for and not had, and is no trouble of its row: that has another clip."""
    kept = kept_back(plan)
    kept += [s for s in plan.steps if s.attempt and s.attempt.id in plan.left_alone]
    fine = {o.key for o in report.outcomes if o.status in {Status.DONE, Status.REMOVED}}
    seen = {step.key for step in kept}
    left = (s for s in report.left if s.action is Action.BLOCKED and s.key in fine - seen)
    return [*kept, *left]


def outcome_lines(site: Site, report: Report, kept: Sequence[Step] = ()) -> Iterator[str]:
    """Counts, money, what went wrong, and where everything is."""
    yield from _counts(site, report)
    for step in kept[:_SHOWN_TROUBLE]:
        yield f"  {shown(step.key)} {shown(step.reason)}"
    if len(kept) > _SHOWN_TROUBLE:
        yield f"  … and {len(kept) - _SHOWN_TROUBLE:,} more"
    yield from _trouble(report.outcomes)
    yield ""
    clips = names.FOLDERS[site.settings.kind]
    if site.kept.store is None:
        yield f"  clips    {relative(site.folder.path / clips)}{os.sep}"
    else:
        yield f"  clips    {site.kept.store.address(clips)}/"
    sheets = [
        p for n, p in report.written.files.items() if n.startswith("results.") and ".json" not in n
    ]
    yield f"  results  {relative(sheets[0])}"
    for path in sheets[1:]:
        yield f"           {relative(path)}"
    for name in ("failed.csv", "failed.xlsx"):
        if name in report.written.files:
            yield f"  failed   {relative(report.written.files[name])}"
    yield f"  page     {relative(report.page)}"
    if site.kept.store is not None:
        yield f"           {site.kept.store.address(report.page.name)}"
    for note in (*report.written.notes, *(f"kept your edits in {p}" for p in report.written.kept)):
        yield shown(note)


def fetched_lines(arrived: Sequence[Attempt]) -> Iterator[str]:
    """What ``fetch`` has brought."""
    files = [a.state.clip.file for a in arrived if a.state.clip is not None]
    if not files:
        yield "Nothing was fetched."
        return
    yield f"Fetched {some(len(files), 'clip')}: {first_few(list(map(shown, files)), _SHOWN_DOUBTS)}"


def _counts(site: Site, report: Report) -> Iterator[str]:
    sums = tally(report.outcomes)
    words = [f"{count:,} {spaced(status)}" for status, count in sums.statuses.items() if count]
    drafts = sum(o.shown is not None and o.shown.intent.kind is Kind.DRAFT for o in report.outcomes)
    only = f" ({drafts:,} of them as drafts only)" if drafts else ""
    yield f"{some(sums.rows, 'row')}: {', '.join(words) or 'none'}{only}."
    note = " (sandbox prices, no real money)" if site.access.sandbox else " (estimate)"
    yield f"Cost: {', '.join(costs(sums.money))}{note}."


def _trouble(outcomes: list[Outcome]) -> Iterator[str]:
    bad = [o for o in outcomes if o.status not in {Status.DONE, Status.NEW, Status.REMOVED}]
    for outcome in bad[:_SHOWN_TROUBLE]:
        message = outcome.shown.state.error_message if outcome.shown else None
        if outcome.waits_for is not None:
            message = f"waits for {outcome.waits_for.key}, which has no clip"
        words = f": {message}" if message else ""
        made = made_otherwise(outcome) if outcome.status is Status.FAILED else ""
        told = f"{shown(words, _LONGEST_TROUBLE)}{shown(made)}"
        yield f"  {shown(outcome.key)} {outcome.status.value}{told}"
    if len(bad) > _SHOWN_TROUBLE:
        yield f"  … and {len(bad) - _SHOWN_TROUBLE:,} more, see the results sheet"


def closing_object(site: Site, report: Report) -> dict[str, Any]:
    """The summary for machines."""
    return {
        "exit_code": int(report.exit_code),
        "folder": str(site.folder.path),
        **tally_object(tally(report.outcomes)),
        "stop": report.ending.stop,
        "message": redact(report.ending.message) or None,
        "unsent": report.ending.unsent,
        "files": {name: str(path) for name, path in report.written.files.items()},
        "page": str(report.page),
    }


def relative(path: Path | str) -> str:
    """A path as a person in the working directory would type it; an address as it is."""
    if is_address(path):
        return str(path)
    try:
        found = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    if found.startswith("-") and found != "-":  # no flag, and not standard input
        return os.path.join(".", found)  # noqa: PTH118 - a Path drops the dot
    return str(path) if found.startswith("..") else found
