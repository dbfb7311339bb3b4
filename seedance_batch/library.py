"""The package from Python: read, plan and run a batch, with typed results and DataFrames.

The same rooms as the command line's. Blocking calls may be made from a running event loop (a
notebook): the work then goes on in a thread of its own.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

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
from seedance_batch.errors import (
    BudgetExceeded,
    ConsentNeeded,
    Exit,
    SeedanceBatchError,
    SettingsError,
)
from seedance_batch.events import Observer, RunEvent
from seedance_batch.manifest import Finding, Manifest
from seedance_batch.model import INPUT_FIELDS
from seedance_batch.outcome import Outcome
from seedance_batch.plan import Plan, budget_problem
from seedance_batch.pricing import money
from seedance_batch.reader import ReadOptions
from seedance_batch.select import Selection
from seedance_batch.settings import RunSettings
from seedance_batch.writer.table import table

if TYPE_CHECKING:
    import pandas

    from seedance_batch.batch import Batch

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

T = TypeVar("T")
Source: TypeAlias = "str | Path | pandas.DataFrame"


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

    @property
    def exit_code(self) -> Exit:
        """What the command line would have exited with; 0 when every row is done."""
        return self.report.exit_code

    @property
    def outcomes(self) -> list[Outcome]:
        """How each row stands, in manifest order, removed ones last."""
        return self.report.outcomes

    def to_frame(self) -> pandas.DataFrame:
        """The results sheet: the person's columns, then ours, typed; one row per manifest row."""
        import pandas as pd

        sheet = table(self.columns, self.report.outcomes)
        lines = [(*line.person, *line.ours) for line in sheet.lines()]
        return pd.DataFrame(lines, columns=list(sheet.header))


def read(source: Source, **options: Any) -> Reading:
    """Read a manifest: a file of any format, or a DataFrame.

    ``options`` are those of `ReadOptions`: ``sheet``, ``encoding``, ``delimiter``,
    ``column_map``, ``model``, ``overrides``, … Problems are values, never exceptions. Raises
    `UsageError` for a file that cannot be opened.
    """
    reading, _, rest = _split(options)
    _refuse(rest)
    return Reading(read_source(source, reading))


def plan(source: Source, **options: Any) -> Planned:
    """What `run` would do with the same options, and what it would cost. Sends nothing.

    Raises `ManifestError` carrying every problem, and what else is wrong before a run.
    """
    reading, settings, rest = _split(options)
    selection = _selection(rest)
    _refuse(rest)

    def make() -> Planned:
        with open_plan(source, reading, settings, os.environ) as batch:
            return Planned(batch.plan(selected=batch.chosen(selection)))

    return _beside_any_loop(make)


def run(
    source: Source,
    *,
    yes: bool = False,
    on_event: Observer | None = None,
    progress: bool = True,
    **options: Any,
) -> Finished:
    """Run a batch to its end; the same call again continues it, and pays for nothing twice.

    ``options`` are those of `RunSettings` (``sandbox``, ``out``, ``concurrency``, ``rpm``,
    ``max_cost``, ``draft``, …), of `ReadOptions`, and of `Selection` (``rows``, ``ids``,
    ``where``, ``limit``, …). New money needs ``yes=True``, save in the sandbox; ``on_event`` is
    told every event of `seedance_batch.events`; ``progress`` shows bars.

    A row that fails is in the result. Raises `SeedanceBatchError` for what stops a whole run:
    `ManifestError`, `ConsentNeeded`, `BudgetExceeded`, `FolderInUse`, `ApiUnreachable`, …
    """
    work = partial(arun, source, yes=yes, on_event=on_event, progress=progress, **options)
    return _beside_any_loop(lambda: anyio.run(work))


async def arun(
    source: Source,
    *,
    yes: bool = False,
    on_event: Observer | None = None,
    progress: bool = True,
    **options: Any,
) -> Finished:
    """`run`, to be awaited on asyncio."""
    reading, settings, rest = _split(options)
    selection = _selection(rest)
    _refuse(rest)
    async with _opened(lambda: open_batch(source, reading, settings, os.environ)) as batch:
        found = await anyio.to_thread.run_sync(lambda: batch.plan(selected=batch.chosen(selection)))
        _agree(batch, found, yes=yes)
        with _watched(found, on_event, progress=progress) as observer:
            report = await run_batch(batch, found, observer, signals=False)
        return Finished(batch.folder.path, batch.journal.columns(), report)


@contextlib.asynccontextmanager
async def _opened(
    enter: Callable[[], contextlib.AbstractContextManager[Batch]],
) -> AsyncIterator[Batch]:
    """A blocking context manager, entered and left in a worker thread."""
    manager = enter()
    batch = await anyio.to_thread.run_sync(manager.__enter__)
    try:
        yield batch
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(manager.__exit__, None, None, None)


def _agree(batch: Batch, found: Plan, *, yes: bool) -> None:
    settings = batch.settings
    cap = None if settings.max_cost is None else Decimal("Infinity")
    problem = budget_problem(found, cap, settings.max_cost_per_row)
    if problem is not None:
        raise BudgetExceeded(f"Over the budget: {problem}. Nothing was sent.")
    if found.new and not yes and not batch.access.sandbox:
        raise ConsentNeeded(
            f"The plan has {found.new_rows:,} new rows for {money(found.new_cost)}; nothing was "
            "sent.",
            hint="pass yes=True to agree",
        )


@contextlib.contextmanager
def _watched(found: Plan, on_event: Observer | None, *, progress: bool) -> Iterator[Observer]:
    from seedance_batch.progress import bars_for

    bars = bars_for(work_in(found), found.attempts, sys.stderr) if progress else None

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


def _split(options: dict[str, Any]) -> tuple[ReadOptions, RunSettings, dict[str, Any]]:
    """Reading options, settings, and what is neither."""
    reading = {f.name for f in fields(ReadOptions)}
    settings = {f.name for f in fields(RunSettings)}
    chosen = {k: _as_field(k, v) for k, v in options.items() if k in settings}
    return (
        ReadOptions(**{k: v for k, v in options.items() if k in reading}),
        RunSettings(**chosen),
        {k: v for k, v in options.items() if k not in reading | settings},
    )


def _as_field(name: str, value: Any) -> Any:
    if name in {"max_cost", "max_cost_per_row"} and value is not None:
        return _amount(name, value)
    if name in {"out", "sandbox_config", "price_file"} and value is not None:
        return Path(value)
    return value


def _amount(name: str, value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise SettingsError(f"{name}={value!r} is no amount of US dollars.")
    return amount


def _selection(rest: dict[str, Any]) -> Selection:
    names = {f.name for f in fields(Selection)} & rest.keys()
    return Selection(**{name: rest.pop(name) for name in names})


def _refuse(rest: dict[str, Any]) -> None:
    if rest:
        raise SettingsError(f"There is no option {', '.join(map(repr, sorted(rest)))}.")


def _beside_any_loop(work: Callable[[], T]) -> T:
    """Do blocking work here, or in a thread where an event loop runs here (a notebook)."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
