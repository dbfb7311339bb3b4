"""Commands on a run folder: ``status``, ``fetch``, ``reconcile``, ``results``, ``verify``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from seedance_batch.cli import flags
from seedance_batch.cli.hints import command_again
from seedance_batch.core.text import clock_words, first_few, shown, some
from seedance_batch.errors import Exit, UsageError
from seedance_batch.streams import say_aside, tell

if TYPE_CHECKING:
    from seedance_batch.batch.access import Site
    from seedance_batch.batch.reconcile import Question
    from seedance_batch.core.attempt import Attempt

_SHOWN_CANDIDATES: Final = 10
_LOOK_EVERY: Final = 2.0
"""Seconds between looks of ``status --watch``."""


@dataclass(frozen=True, kw_only=True)
class Standing(flags.Out, flags.Json):
    """What ``status`` takes."""

    folder: Path | str | None = flags.argument("[FOLDER]", optional=True)
    sandbox: bool = flags.option("--sandbox", help="Use the manifest's sandbox run folder.")
    by: str | None = flags.option(
        "--by", metavar="COLUMN", help="Group the counts by one of your columns."
    )
    watch: bool = flags.option("--watch", help="Keep refreshing while a run is going on.")


@flags.command(Standing, epilog="Example: seedance-batch status manifests/runs/storyboard-sandbox")
def status(given: Standing) -> int:
    """Show how run FOLDER stands: rows by status, and money. Sends nothing.

    Without FOLDER it shows the account: the runs that are going on under each API key on this
    machine, their requests of the last minute, and what they have cost today and this month.
    """
    if given.folder is None and given.out is None:
        return _account(given)
    from seedance_batch.batch.sheets import catch_up, is_at_work, standing
    from seedance_batch.batch.takes import note_of_missing
    from seedance_batch.clips.kept import KeptClips
    from seedance_batch.core.manifest import SANDBOX_ORIGIN
    from seedance_batch.core.outcome import exit_code, standing_lines, standing_object
    from seedance_batch.journal.opening import look_into
    from seedance_batch.run_folder import folder_of

    source = given.folder or given.out or Path()
    folder = folder_of(source, out=given.out, sandbox=given.sandbox)
    catch_up(folder)
    while True:
        at_work = given.watch and is_at_work(folder)
        with look_into(folder.journal) as journal:
            found = standing(journal)
            columns, facts = journal.columns(), journal.facts()
        # A store is asked by others: this command sends nothing.
        sandbox, store = facts.origin == SANDBOX_ORIGIN, facts.store
        if given.by is not None and given.by not in columns:
            by_name = {name.casefold(): name for name in columns}
            close = get_close_matches(given.by.casefold(), by_name, n=1) or [*by_name][:1]
            raise UsageError(
                f"There is no column {given.by!r} among {first_few(columns, 12) or 'none'}.",
                hint=command_again(by=by_name[close[0]] if close else None),
            )
        if given.as_json:
            tell("status", standing_object(found, by=given.by, sandbox=sandbox))
        else:
            if given.watch:
                click.clear()
            for line in standing_lines(found, by=given.by, sandbox=sandbox):
                click.echo(line)
        if not at_work or sys.stdout.closed:
            missing = None if store else note_of_missing(KeptClips(folder.path), found)
            if missing is not None:
                click.echo(missing, err=True)
            return max(exit_code(found), Exit.OK if missing is None else Exit.SOME_FAILED)
        time.sleep(_LOOK_EVERY)


def _account(given: Standing) -> int:
    """Show what runs on this machine know of their accounts."""
    from seedance_batch.core.account import account_lines
    from seedance_batch.runner.account_file import views
    from seedance_batch.runner.sharing import local_day

    if given.by is not None:
        raise UsageError("--by needs a run folder: its rows have the columns.")
    while True:
        try:
            found = views(local_day(time.time()), time.monotonic())
        except OSError as error:
            raise UsageError(f"The account cannot be read: {error}.") from error
        if given.watch and not given.as_json:
            click.clear()
        for view in found:
            if given.as_json:
                tell("account", view.as_json())
            else:
                click.echo("\n".join(account_lines(view)))
        if not found and not given.as_json:
            click.echo("No run has used an API key on this machine yet.")
        if not given.watch or not any(view.runs for view in found) or sys.stdout.closed:
            return Exit.OK
        time.sleep(_LOOK_EVERY)


@dataclass(frozen=True, kw_only=True)
class Fetching(flags.OfFolder, flags.Address, flags.Waiting, flags.Watched):
    """What ``fetch`` takes."""


@flags.command(Fetching, epilog="Example: seedance-batch fetch shots.csv")
def fetch(given: Fetching) -> int:
    """Download every paid clip of run FOLDER that is missing or damaged. Never submits anything."""
    from seedance_batch.batch.access import open_site
    from seedance_batch.batch.takes import lacking

    with open_site(given.folder, flags.run_settings(given), os.environ, say_aside) as site:
        return fetched(site, lacking(site.kept, site.journal.attempts()), given)


def fetched(site: Site, lost: Collection[int], given: flags.Watched) -> int:
    """See what is in flight to its end, and fetch the clips that are lost; the exit code."""
    import anyio

    from seedance_batch.batch.running import fetch_clips
    from seedance_batch.batch.summary import (
        closing_object,
        fetched_lines,
        opening_object,
        outcome_lines,
    )
    from seedance_batch.core.attempt import COMING_PHASES, Phase
    from seedance_batch.events import AttemptChanged, RunEvent
    from seedance_batch.progress import observer_for

    arrived: list[Attempt] = []

    def observe(event: RunEvent) -> None:
        observer(event)
        if isinstance(event, AttemptChanged) and event.attempt.state.phase is Phase.DONE:
            arrived.append(event.attempt)

    attempts = site.journal.attempts()
    observer = observer_for(
        sum(a.state.phase in COMING_PHASES or a.id in lost for a in attempts),
        attempts,
        as_json=given.as_json,
        progress=given.progress,
        stream=sys.stderr,
    )
    if given.as_json:
        tell("start", opening_object(site))
    try:
        report = anyio.run(lambda: fetch_clips(site, observe, lost, signals=True))
    finally:
        observer.close()
    if given.as_json:
        tell("end", closing_object(site, report))
    else:
        for line in (*fetched_lines(arrived), *outcome_lines(site, report)):
            click.echo(line)
    return report.exit_code


@dataclass(frozen=True, kw_only=True)
class Deciding(flags.OfFolder, flags.Address, flags.Json):
    """What ``reconcile`` takes."""

    adopt: tuple[str, ...] = flags.option(
        "--adopt",
        metavar="ROW=TASK",
        help="Record that TASK belongs to ROW (ROW@draft for a draft).",
    )
    release: tuple[str, ...] = flags.option(
        "--release", metavar="ROW", help="Record that ROW has no task."
    )


@flags.command(
    Deciding, epilog="Example: seedance-batch reconcile runs/shots --adopt 17=tk-hiapi-…"
)
def reconcile(given: Deciding) -> int:
    """Settle doubtful rows of run FOLDER: list tasks that may be theirs, or decide.

    Nothing is decided by itself. To adopt costs nothing more. To release a row whose task exists
    after all means that it was paid for, and will be again by a rerun.
    """
    import anyio

    from seedance_batch.batch.access import open_site
    from seedance_batch.batch.reconcile import questions
    from seedance_batch.batch.sheets import put_up, rebuild

    with open_site(given.folder, flags.run_settings(given), os.environ, say_aside) as site:
        _decide(site, given)
        left = anyio.run(questions, site)
        put_up(site.kept, site.journal, rebuild(site.folder, site.journal), None)
    if given.as_json:
        for question in left:
            tell("question", _as_object(question))
        return Exit.UNFINISHED if left else Exit.OK
    if not left:
        click.echo("No row is ambiguous.")
    for question in left:
        for line in _question_lines(question, left):
            click.echo(line)
    return Exit.UNFINISHED if left else Exit.OK


def _decide(site: Site, given: Deciding) -> None:
    """Record what ``--adopt`` and ``--release`` say, and what follows of it."""
    import anyio

    from seedance_batch.batch.reconcile import adopt, release
    from seedance_batch.core.pricing import money

    for key, task_id in flags.pairs("--adopt", given.adopt).items():
        note = anyio.run(adopt, site, key, task_id)
        click.echo(f"{key} is task {task_id}; run continues the task at no further cost.", err=True)
        if note is not None:
            click.echo(f"  {shown(note)}", err=True)
    for key in given.release:
        freed = anyio.run(release, site, key)
        cost = freed.intent.est_cost
        price = "an unknown price" if cost is None else money(cost)
        click.echo(
            f"{key} is released; rerun makes the clip again for {price}. If its task exists "
            "after all, that clip was paid for as well.",
            err=True,
        )


def _as_object(question: Question) -> dict[str, Any]:
    less = [c for c in question.candidates if not c.is_likely]
    return {
        "id": question.attempt.intent.key,
        "kind": question.attempt.intent.kind,
        "candidates": [c.task.task_id for c in question.likely],
        "less_likely": [{"task_id": c.task.task_id, "doubts": c.doubts} for c in less],
        "forgotten": question.attempt.state.task_id if question.forgotten else None,
    }


def _question_lines(question: Question, left: list[Question]) -> Iterator[str]:
    """What is known of a row in doubt, and how to decide."""
    from seedance_batch.batch.reconcile import sent_at

    name, intent, state = question.name, question.attempt.intent, question.attempt.state
    why = "its task is gone" if question.forgotten else "its request got no answer"
    yield f"{shown(name)}: {shown(state.error_message or why)}"
    sent = clock_words(sent_at(question.attempt))
    asked = f"{intent.duration} s of {shown(intent.resolution)}, sent {sent}"
    yield f"  a {intent.kind} of {asked}"
    yield from _candidate_lines(question)
    if question.forgotten:
        yield f"  the service no longer knows its task {shown(state.task_id or '')}"
        yield (
            "  the task may come back, and run asks for it; releasing the row may mean paying twice"
        )
        yield f"hint: {shown(command_again(adopt=None, release=[name]))}"
    elif not question.same_key:
        yield "  it was sent with another API key: only that key shows whether the task exists"
    elif not question.candidates and question.is_fresh:
        yield (
            "  no unclaimed task in the account yet; the row was sent minutes ago, so try again "
            "later"
        )
    elif not question.candidates:
        yield "  no unclaimed task in the account was made since then"
        yield f"hint: {shown(command_again(adopt=None, release=[name]))}"
    elif _is_clear(question, left):
        choice = [f"{name}={question.likely[0].task.task_id}"]
        yield f"hint: {shown(command_again(adopt=choice, release=None))}"
    else:
        yield (
            f"  look at them, then: --adopt {shown(name)}=TASK; or --release {shown(name)} if"
            " you are sure that no task is this row's: otherwise it is paid for twice"
        )


def _candidate_lines(question: Question) -> Iterator[str]:
    from seedance_batch.batch.reconcile import tells_order

    for candidate in question.candidates[:_SHOWN_CANDIDATES]:
        task = candidate.task
        made = f"made {clock_words(task.created)}" if task.created else "made at an unknown time"
        told = f", {task.duration or 0:g} s of {task.resolution}" if tells_order(task) else ""
        doubts = f": {'; '.join(candidate.doubts)}" if candidate.doubts else ""
        word = "could be" if candidate.is_likely else "less likely"
        yield f"  {word} {shown(task.task_id)} ({task.status}, {made}{shown(told)}){shown(doubts)}"
    more = len(question.candidates) - _SHOWN_CANDIDATES
    if more > 0:
        yield f"  … and {more:,} more, see --json"
    if question.candidates and not any(tells_order(c.task) for c in question.candidates):
        yield (
            "  the service does not say what these tasks were asked for; for a finished task, "
            "--adopt"
        )
        yield "  checks the clip"


def _is_clear(question: Question, left: list[Question]) -> bool:
    """Whether only one task is likely the row's, and only this row's."""
    ids = [candidate.task.task_id for other in left for candidate in other.likely]
    return len(question.likely) == 1 and ids.count(question.likely[0].task.task_id) == 1


@flags.command(flags.Rehearsed, epilog="Example: seedance-batch results runs/shots")
def results(given: flags.Rehearsed) -> int:
    """Write the results sheets of run FOLDER again, from its journal.

    Where `[export]` is installed, results.parquet is one of them; runs keep it up to date then.
    """
    from seedance_batch.batch.access import kept_clips, open_folder
    from seedance_batch.batch.sheets import put_up, rebuild

    opened = open_folder(given.folder, flags.run_settings(given), say_aside)
    with opened as (folder, journal, _):
        written = rebuild(folder, journal, columnar=True)
        not_put = put_up(kept_clips(folder, journal), journal, written, None)
    for path in written.files.values():
        click.echo(path)
    for path in written.kept:
        click.echo(f"kept your edits in {path}", err=True)
    for note in written.notes:
        click.echo(note, err=True)
    if not_put is not None:
        click.echo(not_put, err=True)
        return Exit.UNFINISHED
    return Exit.OK


@dataclass(frozen=True, kw_only=True)
class Verifying(flags.Rehearsed, flags.Spread, flags.Json):
    """What ``verify`` takes."""

    claims: Path | None = flags.option(
        "--claims", help="Write a list of clips to claim a refund for."
    )


@flags.command(Verifying, epilog="Example: seedance-batch verify runs/shots --claims claims.csv")
def verify(given: Verifying) -> int:
    """Check every clip of run FOLDER again: its bytes, and what they decode to."""
    from seedance_batch.batch.access import kept_clips
    from seedance_batch.batch.takes import check_clips, write_claims
    from seedance_batch.journal.opening import look_into
    from seedance_batch.run_folder import folder_of

    if given.claims is not None:
        flags.check_place(given.claims)
    folder = folder_of(given.folder, out=given.out, sandbox=given.sandbox)
    with look_into(folder.journal) as journal:
        kept = kept_clips(folder, journal)
        with flags.hands(given, kept) as hands:
            found = check_clips(kept, journal.attempts(), hands)
    bad = [finding for finding in found if finding.fault is not None]
    if given.as_json:
        tell("verify", {"checked": len(found), "faults": [each.as_json() for each in bad]})
    else:
        for finding in bad:
            click.echo(f"{shown(finding.attempt.intent.key)}: {shown(finding.fault or '')}")
        click.echo(f"{some(len(found), 'clip')} checked, {len(bad):,} with problems.")
    if given.claims is not None:
        count = write_claims(given.claims, found)
        click.echo(f"{some(count, 'claim')} in {given.claims}", err=True)
    if any(finding.can_be_fetched for finding in bad):
        command = command_again("fetch", only={"out", "sandbox"})
        click.echo(f"hint: {shown(command)}", err=True)
    return Exit.SOME_FAILED if bad else Exit.OK
