"""What a run came to, in words and as JSON values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedance_batch.core import names
from seedance_batch.core.attempt import RESEND_WINDOW, UNDER_WAY_PHASES, Kind, Phase
from seedance_batch.core.outcome import Outcome, Status, costs, made_otherwise, tally, tally_object
from seedance_batch.core.plan.make import Sign
from seedance_batch.core.plan.steps import Action
from seedance_batch.core.text import clock_words, first_few, in_usd, redact, shown, some, spaced
from seedance_batch.errors import Exit
from seedance_batch.events import Stop
from seedance_batch.reader.source import is_address

if TYPE_CHECKING:
    from seedance_batch.batch.access import Site
    from seedance_batch.batch.batch import Batch
    from seedance_batch.batch.running import Report
    from seedance_batch.core.attempt import Attempt
    from seedance_batch.core.manifest import Finding
    from seedance_batch.core.plan.make import Doubt
    from seedance_batch.core.plan.steps import Plan, Step

_SHOWN_TROUBLE = 10
_SHOWN_DOUBTS = 3
_LONGEST_TROUBLE = 400
"""Characters of what went wrong with a row; the sheets have more."""


def closing_lines(site: Site, plan: Plan, report: Report) -> Iterator[str]:
    """The summary that ends a run, save for the command that goes on from there."""
    if not work_in(plan):
        yield _nothing(report)
    yield from outcome_lines(site, report, _unseen(plan, report))
    if report.ending.stop is Stop.BUDGET:
        are = "is" if report.ending.unsent == 1 else "are"
        yield f"{some(report.ending.unsent, 'row')} {are} left: the budget is used up."
    if report.ending.stop is Stop.DAY_BUDGET:
        are = "is" if report.ending.unsent == 1 else "are"
        left = f"{some(report.ending.unsent, 'row')} {are} left"
        yield f"{left}: {shown(redact(report.ending.message))}."
        yield "Tomorrow the same command goes on; --max-cost-per-day sets another cap."
    if report.ending.stop in {Stop.OWNER, Stop.STORE}:
        left = some(report.ending.unsent, "row")
        yield f"{left} {'was' if report.ending.unsent == 1 else 'were'} not sent: " + shown(
            f"{redact(report.ending.message)}."
        )
    if report.ending.stop is Stop.CANARY:
        were = "was" if report.ending.unsent == 1 else "were"
        others = some(report.ending.unsent, "other row")
        yield f"{others} {were} held back: {report.ending.message}."
    if report.ending.stop is Stop.FAILURES:
        were = "was" if report.ending.unsent == 1 else "were"
        unsent = f"{some(report.ending.unsent, 'row')} {were} not sent"
        yield f"{unsent}: {shown(redact(report.ending.message))}."


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


def kept_back(plan: Plan) -> list[Step]:
    """Rows with a clip that were asked for otherwise, and are made anew only on demand."""
    blocked = (step for step in plan.steps if step.action is Action.BLOCKED)
    return [s for s in blocked if s.attempt and s.attempt.state.phase is Phase.DONE]


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
    clips = names.FOLDERS[Kind.DRAFT if site.settings.draft else Kind.FINAL]
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


def work_in(plan: Plan) -> int:
    """How many attempts a plan would see to their end, also those that no step of it carries."""
    kept = (step.attempt for step in plan.steps if not step.action.spends)
    under_way = sum(
        a is not None and a.state.phase in UNDER_WAY_PHASES and a.id not in plan.left_alone
        for a in kept
    )
    return len(plan.new) + len(plan.also_watched) + under_way


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


def lifetime_cost(plan: Plan) -> Decimal | None:
    """What a run folder will have cost once a plan is carried out, in whole cents; None if unknown.

    The smallest ``--max-cost`` under which all of the plan fits.
    """
    committed, new = plan.spending.committed, plan.new_cost
    if committed is None or new is None:
        return None
    return (committed + new).quantize(Decimal("0.01"), ROUND_UP)


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


def refused_doubts(batch: Batch, plan: Plan) -> str | None:
    """Why a yes to a plan is none to all of it; None where it is, and in the sandbox."""
    if batch.access.sandbox:
        return None
    found = _bought(batch, plan)
    if not found:
        return None
    lines = [f"{bought_words(batch, plan)}Nothing was sent."]
    return "\n".join([*lines, *(f"  {line}" for line in doubt_lines(batch, found))])


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
