"""The package from Python: read, plan and run a batch, with typed results and DataFrames.

The same rooms as the command line's. Blocking calls may be made from a running event loop (a
notebook): the work then goes on in a thread of its own.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, Unpack

import anyio
import anyio.to_thread

from seedance_batch.batch import (
    Report,
    open_batch,
    open_plan,
    read_source,
    run_batch,
    work_in,
)
from seedance_batch.batch.opening import Source
from seedance_batch.batch.running import fetch_clips
from seedance_batch.batch.sheets import given_inputs
from seedance_batch.batch.summing import refused_doubts
from seedance_batch.batch.unfinished import open_unfinished
from seedance_batch.errors import (
    AccountStopped,
    BudgetExceeded,
    ConsentNeeded,
    Exit,
    ManifestError,
    RowsFailed,
    SeedanceBatchError,
    SettingsError,
    UsageError,
    WorkUnfinished,
)
from seedance_batch.events import Observer, RunEvent
from seedance_batch.keywords import ReadKeywords, RunKeywords, check_type, choices
from seedance_batch.manifest import Finding, Manifest
from seedance_batch.model import INPUT_FIELDS
from seedance_batch.outcome import Outcome
from seedance_batch.overview import purchase
from seedance_batch.plan import UNSETTLED, Plan, running_problem
from seedance_batch.reins import Holder, beside_any_loop
from seedance_batch.tally import tally
from seedance_batch.writer.table import table

if TYPE_CHECKING:
    import pandas

    from seedance_batch.batch import Batch
    from seedance_batch.reader import ReadOptions
    from seedance_batch.settings import RunSettings

T = TypeVar("T")

__all__ = [
    "Finished",
    "Planned",
    "Reading",
    "SeedanceBatchError",
    "arun",
    "plan",
    "read",
    "run",
]


@dataclass(frozen=True, slots=True)
class Reading:
    """A manifest as it was read; see `read`."""

    manifest: Manifest

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What forbids sending, each with its cell."""
        return self.manifest.problems

    def to_frame(self) -> pandas.DataFrame:
        """One row per job: ``row``, ``id``, ``model`` and HiAPI's fourteen input fields."""
        import pandas as pd

        lines = [
            {
                "row": job.row.number,
                "id": job.key,
                "model": job.model,
                **{name: getattr(job.input, name) for name in INPUT_FIELDS},
            }
            for job in self.manifest.jobs
        ]
        return pd.DataFrame(lines, columns=["row", "id", "model", *INPUT_FIELDS])


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would do; see `plan`. Costs are estimates in US dollars."""

    plan: Plan

    @property
    def new_rows(self) -> int:
        """Rows that would be paid for."""
        return self.plan.new_rows

    @property
    def new_cost(self) -> Decimal | None:
        """What they would cost; None where any price is unknown."""
        return self.plan.new_cost

    def to_frame(self) -> pandas.DataFrame:
        """One row per step: ``id action reason seconds cost_usd spent_before_usd``.

        ``seconds`` are billed seconds; amounts are ``Decimal``, None where unknown.
        """
        import pandas as pd

        columns = ["id", "action", "reason", "seconds", "cost_usd", "spent_before_usd"]
        lines = [
            (s.key, s.action.value, s.reason, s.seconds, s.cost, s.spent_before)
            for s in self.plan.steps
        ]
        return pd.DataFrame(lines, columns=columns)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended; see `run`."""

    folder: Path
    """The run folder: sheets, clips, journal."""
    columns: tuple[str, ...]
    report: Report
    given_inputs: tuple[str, ...] = ()
    """Inputs that the manifest gave under other headings, which the sheet does not repeat."""

    @property
    def exit_code(self) -> Exit:
        """What the command line would have exited with; 0 when every row is done."""
        return self.report.exit_code

    @property
    def outcomes(self) -> list[Outcome]:
        """How each row stands, in manifest order, removed ones last."""
        return self.report.outcomes

    def raise_for_exit(self) -> Finished:
        """Itself where every row is done; else raises what the exit code stands for.

        `RowsFailed` (3), `BudgetExceeded` (4), `WorkUnfinished` (5), `AccountStopped` (6).
        """
        if self.exit_code is Exit.OK:
            return self
        sums, why = tally(self.outcomes), self.report.ending.message
        counts = ", ".join(f"{n:,} {status}" for status, n in sums.statuses.items() if n)
        raise _RAISED.get(self.exit_code, SeedanceBatchError)(
            f"{counts}." + (f" No more rows were sent: {why}." if why else ""),
            hint=shlex.join(["seedance-batch", "status", str(self.folder)]),
        )

    def to_frame(self) -> pandas.DataFrame:
        """The results sheet: the person's columns, then ours, typed; one row per manifest row."""
        import pandas as pd

        sheet = table(self.columns, self.report.outcomes, self.given_inputs)
        lines = [(*line.person, *line.ours) for line in sheet.lines()]
        return pd.DataFrame(lines, columns=list(sheet.header))


_RAISED: Final[Mapping[Exit, type[SeedanceBatchError]]] = {
    error.exit_code: error for error in (RowsFailed, BudgetExceeded, WorkUnfinished, AccountStopped)
}


def read(source: Source, **options: Unpack[ReadKeywords]) -> Reading:
    """Read a manifest: a file of any format, or a DataFrame.

    ``options`` are those of `ReadOptions`: ``sheet``, ``encoding``, ``delimiter``,
    ``column_map``, ``model``, ``overrides``, … Problems are values, never exceptions. Raises
    `UsageError` for a file that cannot be opened, `SettingsError` for an option that there is not.
    """
    found = choices(options, running=False)
    return Reading(read_source(_checked(source), found.reading))


def plan(source: Source, **options: Unpack[RunKeywords]) -> Planned:
    """What `run` would do with the same options, and what it would cost. Sends nothing.

    Raises `ManifestError` carrying every problem, and what else is wrong before a run.
    """
    found = choices(options)
    _checked(source)

    def make() -> Planned:
        with open_plan(source, found.reading, found.settings, os.environ) as batch:
            return Planned(batch.plan(selected=batch.chosen(found.selection)))

    return beside_any_loop(make)


def run(
    source: Source,
    *,
    yes: bool = False,
    on_event: Observer | None = None,
    progress: bool = True,
    **options: Unpack[RunKeywords],
) -> Finished:
    """Run a batch to its end; the same call again continues it, and pays for nothing twice.

    ``options`` are those of `RunSettings` (``sandbox``, ``out``, ``concurrency``, ``rpm``,
    ``max_cost``, ``draft``, …), of `ReadOptions`, and of `Selection` (``rows``, ``ids``,
    ``where``, ``limit``, …). New money needs ``yes=True``, save in the sandbox; ``on_event`` is
    told every event of `seedance_batch.events`; ``progress`` shows bars.

    What was begun is returned, however it ended: with failed rows (``exit_code`` 3), used-up
    budget (4), work still under way (5) or account trouble (6); `Finished.raise_for_exit` makes
    exceptions of these. What stops a run before it begins is raised, a `SeedanceBatchError`:
    `ManifestError`, `ConsentNeeded`, `BudgetExceeded`, `FolderInUse`, `ApiUnreachable`, … What
    ``on_event`` raises, and Ctrl-C in a notebook, ends the run in order and is raised then.
    """
    holder = Holder()

    async def work() -> Finished:
        return await _arun(source, holder, options, yes=yes, on_event=on_event, progress=progress)

    finished = beside_any_loop(lambda: anyio.run(work), holder)
    return holder.let_go(finished)


async def arun(
    source: Source,
    *,
    yes: bool = False,
    on_event: Observer | None = None,
    progress: bool = True,
    **options: Unpack[RunKeywords],
) -> Finished:
    """`run`, to be awaited on asyncio."""
    holder = Holder()
    return holder.let_go(
        await _arun(source, holder, options, yes=yes, on_event=on_event, progress=progress)
    )


async def _arun(
    source: Source,
    holder: Holder,
    options: RunKeywords,
    *,
    yes: bool,
    on_event: Observer | None,
    progress: bool,
) -> Finished:
    reading, settings, selection = choices(options)
    check_type("yes", yes, bool)
    check_type("progress", progress, bool)
    if not (on_event is None or callable(on_event)):
        raise SettingsError(f"on_event takes a function of one event, not {on_event!r}.")
    _checked(source)
    watch = None if on_event is None else holder.guarding(on_event)
    async with (
        _paid_rows_first(source, reading, settings, holder, watch),
        _opened(lambda: open_batch(source, reading, settings, os.environ)) as batch,
    ):
        found = await anyio.to_thread.run_sync(lambda: batch.plan(selected=batch.chosen(selection)))
        batch.remember_cap()
        agreed = _agreed(batch, found, yes=yes)
        found, over_budget = agreed, bool(found.new and not agreed.new)
        with _watched(found, watch, progress=progress) as observer:
            report = await run_batch(batch, found, observer, signals=False, reins=holder.take)
        if over_budget:
            report = replace(report, exit_code=max(report.exit_code, Exit.BUDGET))
        given = given_inputs(batch.journal)
        return Finished(batch.folder.path, batch.journal.columns(), report, given)


@contextlib.asynccontextmanager
async def _paid_rows_first(
    source: Source,
    reading: ReadOptions,
    settings: RunSettings,
    holder: Holder,
    watch: Observer | None,
) -> AsyncIterator[None]:
    """Where a manifest has problems, paid rows under way are seen to their end before it raises."""
    try:
        yield
    except ManifestError:
        unfinished = partial(open_unfinished, source, reading, settings, os.environ)
        async with _opened(unfinished) as found:
            if found is not None:
                observer = watch or (lambda event: None)
                await fetch_clips(found[0], observer, (), signals=False, reins=holder.take)
        raise


@contextlib.asynccontextmanager
async def _opened(enter: Callable[[], contextlib.AbstractContextManager[T]]) -> AsyncIterator[T]:
    """A blocking context manager, entered and left in a worker thread."""
    manager = enter()
    opened = await anyio.to_thread.run_sync(manager.__enter__)
    try:
        yield opened
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(manager.__exit__, None, None, None)


def _agreed(batch: Batch, found: Plan, *, yes: bool) -> Plan:
    settings = batch.settings
    problem = running_problem(found, settings.max_cost, settings.max_cost_per_row)
    if problem is not None:
        begun = found.begun_only(f"over the budget: {problem}")
        if begun is None:
            raise BudgetExceeded(f"Over the budget: {problem}. Nothing was sent.")
        found = begun
    rows = None if yes or batch.access.sandbox else purchase(found, settings.max_cost)
    if rows is not None:
        raise ConsentNeeded(
            f"The plan would send {rows}. Nothing was sent.", hint="pass yes=True to agree"
        )
    doubtful = None if settings.again else refused_doubts(batch, found)
    if doubtful is not None:
        raise ConsentNeeded(doubtful, hint="where you want them again: pass again=True")
    agreed = yes or batch.access.sandbox
    return found if agreed else found.without_settling(UNSETTLED)


@contextlib.contextmanager
def _watched(found: Plan, on_event: Observer | None, *, progress: bool) -> Iterator[Observer]:
    from seedance_batch.progress import bars_for

    shown = progress and sys.stderr is not None
    bars = bars_for(work_in(found), found.attempts, sys.stderr) if shown else None

    def observe(event: RunEvent) -> None:
        if bars is not None:
            bars(event)
        if on_event is not None:
            on_event(event)

    try:
        yield observe
    finally:
        if bars is not None:
            bars.close()


def _checked(source: Source) -> Source:
    """Raises `UsageError` for what is neither a path nor a table."""
    if isinstance(source, str | Path) or hasattr(source, "itertuples"):
        return source
    raise UsageError(
        f"A manifest is a path or a pandas DataFrame, not a {type(source).__name__}.",
        hint="pandas.DataFrame(rows) makes one of a list of dicts",
    )
