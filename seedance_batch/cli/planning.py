"""Makes the plan that a command line means, shows it, keeps it, and holds it against its caps."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from seedance_batch.cli import flags
from seedance_batch.cli.hints import (
    CHOICE,
    as_planned,
    command_again,
    flag_of,
    or_elsewhere,
    remember_as_typed,
    was_typed,
)
from seedance_batch.core.text import moment, shown, some
from seedance_batch.errors import BudgetExceeded, Exit, PlanDrifted, SettingsError, UsageError
from seedance_batch.streams import tell

if TYPE_CHECKING:
    from seedance_batch.batch.batch import Batch
    from seedance_batch.core.overview import Pace
    from seedance_batch.core.pricing import PriceTable
    from seedance_batch.core.saved_plan import SavedPlan
    from seedance_batch.core.steps import Plan, RerunChoice
    from seedance_batch.page.marks import Pick
    from seedance_batch.reader.source import ReadOptions
    from seedance_batch.settings import RunSettings


@dataclass(frozen=True, slots=True)
class Meant:
    """Which rows a command is for, beside those that its flags choose."""

    choice: RerunChoice | None = None
    marks: Collection[str] | None = None
    """Those of a list of picks that count; None for any but reject."""


def show(given: flags.Planning, meant: Meant) -> int:
    """``plan``: the plan on stdout, and exit 4 where it does not fit."""
    from seedance_batch.batch.open import open_plan
    from seedance_batch.batch.summary import over_budget
    from seedance_batch.core.steps import budget_problem

    given, saved = as_saved(given)
    with or_elsewhere(), open_plan(given.manifest, *chosen(given, saved), os.environ) as batch:
        found = wanted(batch, given, saved, meant)
        if given.as_json:
            doubts = [{"sign": d.sign, "ids": d.keys} for d in batch.doubts(found)]
            warnings = [each.as_json() for each in batch.warnings(found)]
            beside = {
                "doubts": doubts,
                "warnings": warnings,
                "lost_since": _lost_since(batch, found),
                "no_price_list": batch.absence and asdict(batch.absence),
            }
            tell("plan", _document(batch, found, given) | beside)
            say(batch, found, quiet=True, err=True)
        else:
            say(batch, found, verbose=given.verbose)
        if given.save is not None:
            save_plan(batch, found, given, given.save)
        caps = batch.settings.max_cost, batch.settings.max_cost_per_row
        if (problem := budget_problem(found, *caps)) is not None:
            error = over_budget(problem)
            error.hint = _under_caps(found, *caps)
            raise error
    return Exit.OK


def _lost_since(batch: Batch, found: Plan) -> str | None:

    since, lost = batch.journal.lost_since, batch.journal.lost(found.kind)
    return moment(since) if since and any(lost(step.key) for step in found.new) else None


def chosen(given: flags.Planning, saved: SavedPlan | None) -> tuple[ReadOptions, RunSettings]:
    """Reading options and settings; a saved plan brings the flags that it was made with.

    What a file or variable says of those is overruled; what was typed raises `SettingsError`.
    """
    from seedance_batch.batch.open import overrides_in
    from seedance_batch.core.attempt import Kind

    options, settings = flags.read_options(given), flags.run_settings(given)
    if saved is None:
        return options, settings
    ours = {"overrides", "model", "draft", "draft_model", *CHOICE} - {"picks", "sample_seed"}
    if any(map(was_typed, ours)):
        raise SettingsError(
            "--plan brings its own rows, --draft, --set and its models: leave out those flags.",
            hint=command_again(without=ours),
        )
    overrides = overrides_in(saved.flags)
    options = replace(options, overrides=overrides, model=saved.flags.get("model"))
    draft, model = saved.kind is Kind.DRAFT, saved.flags.get("draft_model")
    return options, replace(settings, draft=draft, draft_model=model)


P = TypeVar("P", bound=flags.Planning)
_BROUGHT: Final = frozenset({each.name for each in fields(flags.OfManifest)}) - {
    *("manifest", "overrides", "model")  # those that change what is sent are kept with the plan
} | {"classes", "reasons", "force", "stale"}
"""Flags that a saved plan brings along: without them it would be held against other rows."""


def as_saved(given: P) -> tuple[P, SavedPlan | None]:
    """What was given, read as the saved plan's manifest and rows were; and the plan, if any.

    What a file or variable says of those flags is overruled. Raises `SettingsError` where one was
    typed otherwise.
    """
    saved = _saved_plan(given.plan_file)
    if saved is None or saved.reading is None:
        return given, saved
    values = {each.name: _brought(each, saved.reading) for each in _brought_flags(given)}
    others = [n for n, value in values.items() if was_typed(n) and getattr(given, n) != value]
    if others:
        raise SettingsError(
            "--plan brings the flags by which it was made: leave out "
            f"{', '.join(map(flag_of, others))}.",
            hint=command_again(without=others),
        )
    for name in saved.reading.keys() & values.keys():
        remember_as_typed(name, values[name])
    return replace(given, **values), saved


def _brought_flags(given: flags.Planning) -> list[Field[Any]]:
    return [each for each in fields(given) if each.name in _BROUGHT]


def _brought(flag: Field[Any], reading: Mapping[str, Any]) -> Any:
    none = {"bool": False, "tuple[str, ...]": ()}.get(str(flag.type))
    value = reading.get(flag.name, none)
    value = tuple(value) if isinstance(value, list) else value
    if type(value) is not type(none) and not (none is None and isinstance(value, str | int)):
        raise UsageError(f"The saved plan is damaged: {flag.name} is {value!r}")
    return value


def _saved_plan(path: Path | None) -> SavedPlan | None:
    """The plan that ``--plan`` names. Raises `UsageError` for a file that is none."""
    if path is None:
        return None
    from seedance_batch.core.saved_plan import from_json

    try:
        return from_json(json.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"The plan {path} cannot be read: {error}") from error


def wanted(batch: Batch, given: flags.Planning, saved: SavedPlan | None, meant: Meant) -> Plan:
    """The plan for the rows that are meant; rows marked redo are among its wishes.

    Raises `PlanDrifted` where a saved plan moved on.
    """
    from seedance_batch.batch.open import check_troubles
    from seedance_batch.core.attempt import Kind

    choice, selected = meant.choice, None
    picks: Sequence[Pick] | None = None
    if saved is None or given.picks is not None:
        page = (
            command_again("report", source=batch.folder.path, only=())
            if batch.folder.exists()
            else None
        )
        if given.picks is not None:
            from seedance_batch.batch.sheets import standing
            from seedance_batch.page.marks import picks_of

            picks = picks_of(given.picks, batch.folder.path, lambda: standing(batch.journal), page)
        selected = batch.chosen(flags.selection(given, picks, marks=meant.marks, page=page))
    if choice is not None and picks is not None:
        try:
            choice = replace(choice, redo=batch.wishes(picks, selected or ()))
        except UsageError as error:
            error.hint = command_again(draft=batch.kind is Kind.FINAL)
            raise
    if saved is None:
        found = batch.plan(rerun=choice, selected=selected)
        check_troubles(batch.manifest, found.troubles)
        return found
    return _held_against(batch, saved, batch.plan(rerun=choice, selected=saved.keys), given)


def _held_against(batch: Batch, saved: SavedPlan, fresh: Plan, given: flags.Planning) -> Plan:
    """What is left to do of a saved plan. Raises `PlanDrifted` where it no longer holds."""
    from seedance_batch.core.saved_plan import approved, drift

    reasons = drift(saved, fresh, batch.access.origin, batch.folder_mark)
    reasons += _used_elsewhere(batch, saved)
    if reasons:
        moved = "\n".join(f"  {reason}" for reason in reasons[:10])
        raise PlanDrifted(
            f"The saved plan no longer holds; nothing was sent:\n{moved}",
            hint=command_again(
                "plan" if fresh.rerun is None else None,
                without={"plan_file"},
                **as_planned(batch) | {"dry_run": fresh.rerun is not None, "save": given.plan_file},
            ),
        )
    return approved(saved, fresh)


def _used_elsewhere(batch: Batch, saved: SavedPlan) -> list[str]:
    """A plan is one yes: it was given where it was carried out first."""
    from seedance_batch.batch.ownership import used_in

    here = batch.folder.path.resolve()
    others = [path for path in used_in(saved.digest) if path.resolve() != here]
    return [f"the plan was already carried out in {others[0]}"] if others else []


def rest_of(batch: Batch, found: Plan, tried: frozenset[str]) -> Plan:
    """What is left of a plan after its canary: nothing that it did not hold, and no row twice."""
    from seedance_batch.core.saved_plan import agreed, approved

    yes, choice = agreed(found), found.rerun
    if choice is not None:
        choice = replace(choice, redo={k: t for k, t in choice.redo.items() if k not in tried})
    fresh = batch.plan(rerun=choice, selected=yes.keys)
    return approved(yes, fresh).without(tried, "tried as a canary just now")


def say(
    batch: Batch, found: Plan, *, verbose: int = 0, quiet: bool = False, err: bool = False
) -> None:
    """The plan, its price, and what to expect of it; where ``quiet``, what to look at first."""
    bought = already_bought(batch, found)
    for line in [] if quiet else _plan_lines(batch, found, bought, verbose=bool(verbose)):
        click.echo(line, err=err)
    for line in [*warning_lines(batch, found), *(bought if quiet else ())]:
        click.echo(line, err=err)


def _plan_lines(batch: Batch, found: Plan, bought: list[str], *, verbose: bool) -> list[str]:
    from seedance_batch.batch.orders import files_of
    from seedance_batch.core.manifest import ReadAs
    from seedance_batch.core.overview import forecast, forecast_lines, no_prices, overview
    from seedance_batch.core.pricing import money

    pace = _pace(batch)
    files = files_of(found, batch.folder, batch.settings.name) if verbose else {}
    lines = overview(found, verbose=verbose, files=files)
    if found.new and batch.prices is None:
        lines += without_prices(batch)
    elif found.new and batch.absence is not None:
        why = no_prices(batch.access.base_url, batch.absence)
        lines.append(f"{why} These are prices of an earlier list.")
    if batch.settings.draft:
        lines += both_prices(batch, found)
    lines += _repeated(found)
    if fetched := batch.manifest.source.get(ReadAs.FETCHED):
        lines.append(f"The manifest was fetched just now: {shown(fetched)}.")
    if found.new and (offer := batch.manifest.source.get(ReadAs.IDS)):
        lines.append(f"Ids: {shown(offer)}; without ids an edited row is a new one.")
    if left_out := batch.manifest.source.get(ReadAs.LEFT_OUT):
        lines.append(f"Left out: {shown(left_out)}.")
    lines += bought
    if batch.kept_cap is not None:
        lines.append(
            f"The earlier cap of {money(batch.kept_cap)} still applies: --max-cost sets "
            "another cap, and --max-cost none removes it."
        )
    if found.new and (line := _todays_cap(batch, found)):
        lines.append(line)
    if not batch.access.sandbox:
        lines += forecast_lines(forecast(found, pace, time.time()), pace)
    return lines


def _todays_cap(batch: Batch, found: Plan) -> str | None:
    """The cap of the day, and whether the plan fits under what is left of it."""
    from seedance_batch.batch.access import account_now, day_cap
    from seedance_batch.core.pricing import money

    view, cap = account_now(batch.access, batch.folder), day_cap(batch)
    if cap is None or not cap.is_finite():
        return None
    used = view.today.total if view else Decimal(0)
    short = found.new_cost is None or used + found.new_cost > cap
    rest = ": not all rows fit today" if short else ""
    return (
        f"Today's cap for all folders under this key is {money(cap)}; {money(used)} is used{rest}."
    )


def without_prices(batch: Batch) -> list[str]:
    """Why there is no cost, and the ways on."""
    from seedance_batch.core.overview import no_prices

    rehearse = "" if batch.access.sandbox else ", or add --sandbox for sample prices"
    old = [] if batch.old_prices is None else [_old_list(batch.old_prices)]
    return [
        no_prices(batch.access.base_url, batch.absence),
        *old,
        "Try again, or give your own prices with --price-file FILE "
        f"(seedance-batch prices --help shows an example){rehearse}.",
    ]


def _old_list(table: PriceTable) -> str:
    from datetime import UTC, datetime

    day = datetime.fromtimestamp(table.dated, UTC).date()
    return (
        f"A list of {day} is kept, but a cap is not checked against a list that may be out of date."
    )


def _pace(batch: Batch) -> Pace:
    from seedance_batch.core.overview import Pace

    return Pace(batch.settings.concurrency or 50, batch.settings.requests_per_minute)


def foretold(batch: Batch, found: Plan) -> float | None:
    """Seconds that the plan is likely to take; the sandbox keeps its own time."""
    from seedance_batch.core.overview import forecast

    return None if batch.access.sandbox else forecast(found, _pace(batch), time.time()).seconds


_MOST_WARNINGS: Final = 12
"""Causes that a plan names; ``check`` has the rest."""


def warning_lines(batch: Batch, found: Plan) -> list[str]:
    """What somebody should look at before these rows are paid for, a line for each cause."""
    from seedance_batch.reader.read import grouped

    lines = [f"warning: {shown(line)}" for line in grouped(batch.warnings(found), numbered=True)]
    if len(lines) <= _MOST_WARNINGS:
        return lines
    reading = {field.name for field in fields(flags.OfManifest)}
    check = command_again("check", source=batch.manifest.path, only=reading)
    more = some(len(lines) - _MOST_WARNINGS, "more warning")
    return [*lines[:_MOST_WARNINGS], f"warning: and {more}; to see all: {check}"]


def already_bought(batch: Batch, found: Plan) -> list[str]:
    """What speaks for it that new rows were bought, whether or not the journal knows."""
    from seedance_batch.batch.summary import doubt_lines, lost_lines

    return [
        *lost_lines(batch, found),
        *doubt_lines(batch, batch.doubts(found)),
        *neighbour_lines(batch, found),
    ]


def neighbour_lines(batch: Batch, found: Plan) -> list[str]:
    """What another run folder has: a renamed manifest would buy it again."""
    from seedance_batch.batch.ownership import is_there
    from seedance_batch.batch.summary import relative

    beside = batch.bought_beside(found)
    if beside is None:
        return []
    folder = relative(beside.path)
    bought = f"{folder} has bought {beside.orders:,} of these rows"
    if is_there(beside.manifest) and beside.manifest != batch.manifest.path:
        other = relative(beside.manifest)
        out = shlex.join(["--out", folder])
        return [f"{bought}; {out} would continue there, instead of {other}."]
    there = command_again(source=batch.manifest.path, out=folder, without={"store"})
    return [f"{bought}; to continue there: {there}"]


def both_prices(batch: Batch, found: Plan) -> list[str]:
    """What these rows cost as drafts, and what they would cost as final clips."""
    from seedance_batch.core.plan import side_by_side
    from seedance_batch.core.pricing import money

    keys = {step.key for step in found.new}
    if not keys:
        return []
    jobs = [job for job in batch.manifest.jobs if job.key in keys]
    prices = side_by_side(jobs, batch.prices, batch.settings.draft_model)
    return [f"As drafts {money(prices.draft.cost)}, as final clips {money(prices.final.cost)}."]


def _repeated(found: Plan) -> list[str]:
    """What would be paid for rows that order the same clip as another row does."""
    from seedance_batch.core.pricing import money
    from seedance_batch.core.steps import total

    seen: set[str] = set()
    again = []
    for step in found.new:
        content = step.job.content if step.job else step.key
        if content in seen:
            again.append(step)
        seen.add(content)
    if not again:
        return []
    return [
        f"{len(again):,} of them {'orders' if len(again) == 1 else 'order'} the same clip as "
        f"another row, for {money(total(again).cost)}."
    ]


def _document(batch: Batch, found: Plan, given: flags.Planning) -> dict[str, Any]:
    from seedance_batch.core.saved_plan import to_json

    reading = {
        each.name: value for each in _brought_flags(given) if (value := getattr(given, each.name))
    }
    document = to_json(found, batch.flags, origin=batch.access.origin, folder=batch.folder_mark)
    return document | {"reading": reading}


def save_plan(batch: Batch, found: Plan, given: flags.Planning, path: Path) -> None:
    """Keep the plan in a file."""
    from seedance_batch.publish import replacing

    text = json.dumps(_document(batch, found, given), ensure_ascii=False, indent=1)
    flags.check_place(path)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error}. Nothing was sent.") from error
    command = command_again(
        "run" if click.get_current_context().info_name == "plan" else None,
        without={"overrides", "model", "draft", *CHOICE - {"picks"}, *_BROUGHT},
        plan_file=path,
    )
    click.echo(f"hint: {shown(command)}", err=True)


def under_caps(batch: Batch, found: Plan) -> tuple[Plan, bool]:
    """What of a plan its caps let begin, and whether they keep its new rows back.

    Raises `BudgetExceeded` where nothing is left of it.
    """
    from seedance_batch.batch.summary import within_caps

    per_row = batch.settings.max_cost_per_row
    try:
        begun, problem = within_caps(batch, found)
    except BudgetExceeded as error:
        error.hint = _under_caps(found, None, per_row)
        raise
    if problem is not None:
        click.echo(f"error: Over the budget: {problem}. No new row is sent.", err=True)
        click.echo(f"hint: {_under_caps(found, None, per_row)}", err=True)
    return begun, problem is not None


def _under_caps(found: Plan, max_cost: Decimal | None, max_cost_per_row: Decimal | None) -> str:
    """The command whose caps the plan fits under, or that brings the prices it lacks."""
    from seedance_batch.batch.summary import caps_needed

    caps = caps_needed(found, max_cost, max_cost_per_row)
    if caps is None:
        return (
            "write prices into a file and add --price-file FILE; for the form, see "
            "seedance-batch prices --help"
        )
    return command_again(**caps)
