"""``plan``, ``run``, ``rerun``, ``promote``: plan, ask once, run, a canary first, sum up."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from seedance_batch.cli import flags, planning
from seedance_batch.cli.hints import command_again, next_command, or_elsewhere, was_typed
from seedance_batch.core.text import shown, some
from seedance_batch.errors import Exit, ManifestError, UsageError
from seedance_batch.streams import say_aside, tell

if TYPE_CHECKING:
    from seedance_batch.batch.batch import Batch
    from seedance_batch.batch.summary import Consent, Report
    from seedance_batch.core.saved_plan import SavedPlan
    from seedance_batch.core.steps import Plan
    from seedance_batch.reader.source import ReadOptions
    from seedance_batch.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class Running(flags.Planning):
    """What ``run`` and ``promote`` take."""

    dry_run: bool = flags.option("--dry-run", help="Show the plan and stop.")
    serve: bool = flags.option("--serve", hidden=True, help="Open the page, alive, beside the run.")


@dataclass(frozen=True, kw_only=True)
class Rerunning(Running):
    """What ``rerun`` takes."""

    classes: tuple[str, ...] = flags.option("--class", help="Only failed rows of this error class.")
    reasons: tuple[str, ...] = flags.option(
        "--reason", hidden=True, help="Only rows refused for this: sound, face, picture, ..."
    )
    force: bool = flags.option("--force", help="Also send refused content again, unchanged.")
    stale: bool = flags.option("--stale", help="Rows made from a take that was replaced since.")


@flags.command(
    flags.Planning,
    epilog="Example: seedance-batch plan shots.csv --max-cost 40 --save plan.json",
)
def plan(given: flags.Planning) -> int:
    """Show what a run of MANIFEST would do to each row, why, and for how much.

    Sends nothing and changes nothing. With --max-cost, exits with 4 when the plan costs more.
    What its signs mean: seedance-batch help legend.
    """
    return planning.show(given, planning.Meant())


@flags.command(Running, epilog="Example: seedance-batch run manifests/storyboard.csv --sandbox")
def run(given: Running) -> int:
    """Turn the rows of MANIFEST into clips. Run it again to continue.

    Shows the plan and its price, asks before new money is spent, and leaves clips and results
    sheets in runs/<name> beside the manifest. Nothing is ever paid for twice.
    """
    return _shown_or_done(given, planning.Meant())


@flags.command(Rerunning, epilog="Example: seedance-batch rerun shots.csv --class transient")
def rerun(given: Rerunning) -> int:
    """Try failed rows of MANIFEST again, or make rows marked redo (--from). Each try costs money.

    Takes transient failures; refused content needs an edit or --force, paid rows need --class.
    """
    from seedance_batch.batch.open import rerun_choice

    given, _ = planning.as_saved(given)
    choice = rerun_choice(
        given.classes, force=given.force, reasons=given.reasons, stale=given.stale
    )
    return _shown_or_done(given, planning.Meant(choice, {"redo"}))


@flags.command(Running, epilog="Example: seedance-batch promote runs/shots --from picks.csv")
def promote(given: Running) -> int:
    """Make final clips of the drafts marked keep in a picks file.

    A final clip is a new generation and may differ from its draft, also where the row gives a
    seed, which is sent again.
    """
    if given.picks is None:
        raise UsageError("promote needs a list of picks.", hint=command_again(picks="picks.csv"))
    if given.draft and was_typed("draft"):
        raise UsageError("promote makes final clips; use --draft with run.")
    click.echo("A final is a new generation, and may differ from its draft.", err=True)
    # A config file's --draft is for run.
    return _shown_or_done(replace(given, draft=False), planning.Meant(marks={"keep"}))


def _shown_or_done(given: Running, meant: planning.Meant) -> int:
    return planning.show(given, meant) if given.dry_run else carry_out(given, meant)


# ── Carries a plan out: ask once, run, perhaps a canary first, and sum up ─────────────────────────


_BY_SIGNAL: Final = {Exit.HUNG_UP, Exit.INTERRUPTED, Exit.TERMINATED}


def carry_out(given: Running, meant: planning.Meant) -> int:
    """``run`` and its kin: plan, ask, work, sum up; returns the exit code.

    Where the page is served it stays at a terminal until Ctrl-C; the run folder is free then.
    """
    with contextlib.ExitStack() as served:
        code = _carried_out(given, meant, served)
        if given.serve and code not in _BY_SIGNAL and _at_a_terminal():
            from seedance_batch.cli.outputs import until_ended

            click.echo("The page is served until Ctrl-C.", err=True)
            with until_ended() as wait:
                wait()
        return code


def _carried_out(given: Running, meant: planning.Meant, served: contextlib.ExitStack) -> int:
    from seedance_batch.batch import ownership
    from seedance_batch.batch.open import open_batch
    from seedance_batch.batch.summary import consented, opening_object
    from seedance_batch.core.steps import cheapest, fitting

    given, saved = planning.as_saved(given)
    options, settings = planning.chosen(given, saved)
    with (
        or_elsewhere(),
        _paid_rows_first(given, options, settings),
        open_batch(given.manifest, options, settings, os.environ, say_aside) as batch,
    ):
        found = planning.wanted(batch, given, saved, meant)
        planning.say(batch, found, verbose=given.verbose, quiet=given.quiet, err=True)
        if given.save is not None:
            planning.save_plan(batch, found, given, given.save)
        batch.remember_cap()
        found, over_budget = planning.under_caps(batch, found)
        found = consented(batch, found, _consent(given, saved))
        if given.serve:
            from seedance_batch.cli.outputs import page_served

            address = served.enter_context(page_served(batch.folder, "127.0.0.1", 0))
            click.echo(f"page     {address}", err=True)
            if _at_a_terminal():
                click.launch(address)
        if found.rerun is not None:
            batch.remember_redo(found.rerun)
        if saved is not None and not batch.access.sandbox:
            ownership.note(batch.folder, batch.access.origin, saved.digest)
        if given.as_json:
            tell("start", opening_object(batch, found, batch.warnings(found)))
        if given.canary is not None and found.new_rows > given.canary:
            first = replace(
                found, steps=cheapest(fitting(found, batch.settings.max_cost), given.canary)
            )
            code = canary(batch, found, first, given)
            if code is not None:
                return code
            tried = frozenset(step.key for step in first.steps)
            found = planning.rest_of(batch, found, tried)
        report = work(batch, found, given)
        if over_budget:
            report = replace(report, exit_code=max(report.exit_code, Exit.BUDGET))
        sum_up(batch, found, report, given)
        return report.exit_code


@contextlib.contextmanager
def _paid_rows_first(
    given: flags.Planning, options: ReadOptions, settings: RunSettings
) -> Iterator[None]:
    """Where a manifest has problems, paid rows under way are seen to their end before it ends."""
    try:
        yield
    except ManifestError:
        from seedance_batch.batch.open import open_unfinished
        from seedance_batch.cli.folder import fetched

        with open_unfinished(given.manifest, options, settings, os.environ) as found:
            if found is not None:
                site, coming = found
                rows = some(coming, "paid row")
                click.echo(
                    f"The manifest has problems, so nothing new is sent. {rows} under way will be "
                    "finished first.",
                    err=True,
                )
                fetched(site, (), given)
        raise


def _consent(given: flags.Planning, saved: SavedPlan | None) -> Consent:
    """The question is put on a terminal only; a saved plan is a yes to what it holds."""
    from seedance_batch.batch.summary import Consent

    return Consent(
        yes=given.yes or saved is not None,
        again=given.again,
        ask=partial(click.confirm, err=True) if _at_a_terminal() else None,
        nobody=", but there is no terminal to ask in",
        to_agree=command_again(yes=True, save=given.save),
        to_see=command_again(dry_run=True, verbose=1),
        to_buy_again=command_again(again=True, yes=given.yes),
    )


def _at_a_terminal() -> bool:
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # it was closed
        return False


def canary(batch: Batch, found: Plan, first: Plan, given: flags.Planning) -> int | None:
    """Run the rows of ``first``; the exit code where the rest is not to follow."""
    from seedance_batch.core.outcome import Status

    click.echo(f"Canary: {some(first.new_rows, 'row')} first.", err=True)
    report = work(batch, first, given)
    keys = {step.key for step in first.new}
    well = sum(o.key in keys and o.status is Status.DONE for o in report.outcomes)
    if report.exit_code == Exit.OK and well == len(keys):
        return None
    sum_up(batch, found, _held_back(report, found, well, len(keys)), given)
    if report.exit_code in {Exit.OK, Exit.SOME_FAILED} and _at_a_terminal():
        question = f"{well} of {len(keys)} came back well. Go on with the rest?"
        return None if click.confirm(question, err=True) else report.exit_code
    return report.exit_code


def _held_back(report: Report, found: Plan, well: int, tried: int) -> Report:
    """The report, saying what was held back for it."""
    from seedance_batch.events import Stop

    others = found.new_rows - tried
    words = f"{well:,} of {some(tried, 'canary row')} came back well"
    ending = report.ending
    if ending.stop is None:
        ending = replace(ending, stop=Stop.CANARY, message=words)
    return replace(report, ending=replace(ending, unsent=ending.unsent + others))


def work(batch: Batch, found: Plan, given: flags.Planning) -> Report:
    """Run a plan under the observer that fits where the output goes."""
    import anyio

    from seedance_batch.batch.running import run_batch
    from seedance_batch.batch.summary import work_in
    from seedance_batch.progress import observer_for

    watching = observer_for(
        work_in(found),
        found.attempts,
        stream=sys.stderr,
        as_json=given.as_json,
        progress=given.progress,
        foretold=planning.foretold(batch, found),
    )
    with contextlib.closing(watching) as observer:
        return anyio.run(lambda: run_batch(batch, found, observer, signals=True))


def sum_up(batch: Batch, found: Plan, report: Report, given: flags.Planning) -> None:
    """What came of it: counts, money, paths, and the next command."""
    from seedance_batch.batch.summary import closing_lines, closing_object

    lines = list(closing_lines(batch, found, report))
    command = next_command(batch, found, report)
    if command is not None:
        lines.append(f"hint: {shown(command)}")
    if given.as_json:
        tell("end", closing_object(batch, report))
    else:
        for line in lines:
            click.echo(line)
    _for_github(lines)


def _for_github(lines: list[str]) -> None:
    """In GitHub Actions the summary also goes where the job shows it."""
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if not target:
        return
    indented = (f"    {line}".rstrip() for line in lines)  # a code block that no text can end
    try:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write("\n".join(["### seedance-batch", "", *indented, "", ""]))
    except OSError as error:
        click.echo(f"GITHUB_STEP_SUMMARY cannot be written: {error}", err=True)
