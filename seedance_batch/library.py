"""The package from Python: read, plan and run a batch, with typed results and DataFrames.

The same rooms as the command line's. Blocking calls may be made from a running event loop (a
notebook): the work then goes on in a thread of its own.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import reprlib
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NamedTuple,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

import anyio
import anyio.to_thread

from seedance_batch.batch.open import (
    ManifestSource,
    open_batch,
    open_plan,
    open_unfinished,
    read_source,
)
from seedance_batch.batch.running import Report, fetch_clips, run_batch
from seedance_batch.batch.sheets import given_inputs
from seedance_batch.batch.summary import refused_doubts, work_in
from seedance_batch.core.manifest import Finding, Manifest
from seedance_batch.core.model import INPUT_FIELDS, Allow
from seedance_batch.core.outcome import Outcome, tally
from seedance_batch.core.overview import purchase
from seedance_batch.core.plan.steps import UNSETTLED, Plan, running_problem
from seedance_batch.core.select import Selection
from seedance_batch.core.text import shown
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
from seedance_batch.events import Observer, Remark, RunEvent
from seedance_batch.reader.columnar import as_given, types_of
from seedance_batch.reader.read import grouped
from seedance_batch.reader.source import ReadOptions, is_address
from seedance_batch.runner.runner import Holder, beside_any_loop
from seedance_batch.settings import NO_CAP, RunSettings
from seedance_batch.writer.lines import table

if TYPE_CHECKING:
    import pandas

    from seedance_batch.batch.batch import Batch

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

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is sent as it stands and should be looked at first, each with its cell."""
        return self.manifest.warnings

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
    warnings: tuple[Finding, ...] = ()
    """What reading warned of that concerns the rows to be paid for, each with its cell."""

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
    types: Mapping[str, Any] = field(default_factory=dict)
    """Those of a DataFrame's own columns, which the sheet gives back."""

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
        return as_given(pd.DataFrame(lines, columns=list(sheet.header)), self.types)


_RAISED: Final[Mapping[Exit, type[SeedanceBatchError]]] = {
    error.exit_code: error for error in (RowsFailed, BudgetExceeded, WorkUnfinished, AccountStopped)
}


def read(source: ManifestSource, **options: Unpack[ReadKeywords]) -> Reading:
    """Read a manifest: a file of any format, or a DataFrame.

    ``options`` are those of `ReadOptions`: ``sheet``, ``encoding``, ``delimiter``,
    ``column_map``, ``model``, ``overrides``, … Problems are values, never exceptions. Raises
    `UsageError` for a file that cannot be opened, `SettingsError` for an option that there is not.
    """
    found = choices(options, running=False)
    _checked(source)
    if is_address(source):  # which is asked in an event loop
        return Reading(beside_any_loop(lambda: read_source(source, found.reading)))
    return Reading(read_source(source, found.reading))


def plan(source: ManifestSource, **options: Unpack[RunKeywords]) -> Planned:
    """What `run` would do with the same options, and what it would cost. Sends nothing.

    Raises `ManifestError` carrying every problem, and what else is wrong before a run.
    """
    found = choices(options)
    _checked(source)

    def make() -> Planned:
        with open_plan(source, found.reading, found.settings, os.environ) as batch:
            plan = batch.plan(selected=batch.chosen(found.selection))
            return Planned(plan, tuple(batch.warnings(plan)))

    return beside_any_loop(make)


def run(
    source: ManifestSource,
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
    source: ManifestSource,
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
    source: ManifestSource,
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
            for line in grouped(batch.warnings(found), numbered=True):
                observer(Remark(f"warning: {shown(line)}"))
            report = await run_batch(batch, found, observer, signals=False, reins=holder.take)
        if over_budget:
            report = replace(report, exit_code=max(report.exit_code, Exit.BUDGET))
        given = given_inputs(batch.journal)
        columns = batch.journal.columns()
        return Finished(batch.folder.path, columns, report, given, types_of(source))


@contextlib.asynccontextmanager
async def _paid_rows_first(
    source: ManifestSource,
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
        raise ConsentNeeded(doubtful, hint="to buy them again: pass again=True")
    agreed = yes or batch.access.sandbox
    return found if agreed else found.without_settling(UNSETTLED)


@contextlib.contextmanager
def _watched(found: Plan, on_event: Observer | None, *, progress: bool) -> Iterator[Observer]:
    from seedance_batch.progress import bars_for, log_event

    shown = progress and sys.stderr is not None
    bars = bars_for(work_in(found), found.attempts, sys.stderr) if shown else None

    def observe(event: RunEvent) -> None:
        log_event(event)
        if bars is not None:
            bars(event)
        if on_event is not None:
            on_event(event)

    try:
        yield observe
    finally:
        if bars is not None:
            bars.close()


def _checked(source: ManifestSource) -> ManifestSource:
    """Raises `UsageError` for what is neither a path nor a table."""
    if isinstance(source, str | Path) or hasattr(source, "itertuples"):
        return source
    raise UsageError(
        f"A manifest is a path or a pandas DataFrame, not a {type(source).__name__}.",
        hint="pandas.DataFrame(rows) turns a list of dicts into one",
    )


# ── The keyword options of a library call: their types for checkers, and the choices they make ────


Usd: TypeAlias = Decimal | float | int | str


class ReadKeywords(TypedDict, total=False):
    """How a manifest is read; see `seedance_batch.reader.source.ReadOptions`."""

    sheet: str | None
    encoding: str | None
    delimiter: str | None
    column_map: Mapping[str, str]
    model: str | None
    overrides: Mapping[str, object]
    allow: Allow | None
    visible: bool
    fix_mixed: bool
    allow_outside: bool
    max_body: int
    folder: Path | str | None


class RunKeywords(ReadKeywords, total=False):
    """Also which rows, and how they are run.

    See `seedance_batch.core.select.Selection` and `seedance_batch.settings.RunSettings`.
    """

    rows: str | None
    ids: Collection[str] | str | None
    where: str | None
    from_ids: Collection[str] | str | None
    sample: int | None
    sample_seed: int
    limit: int | None

    out: Path | str | None
    sandbox: bool
    sandbox_config: Path | str | None
    api_url: str | None
    price_file: Path | str | None
    concurrency: int | None
    rpm: float | None
    poll_interval: float
    downloads: int
    wait: float | None
    max_cost: Usd | None
    max_cost_per_row: Usd | None
    max_failures: int | None
    storage: str | None
    callback_url: str | None
    callback_bind: str | None
    name: str
    draft: bool
    remake: bool
    again: bool


class Choices(NamedTuple):
    """What the options of a call come to."""

    reading: ReadOptions
    settings: RunSettings
    selection: Selection


def choices(options: Mapping[str, Any], *, running: bool = True) -> Choices:
    """Sort a call's options. ``running`` False takes those of `ReadKeywords` alone.

    Raises `SettingsError` for an option that there is not, and for a value of another type than
    the option takes.
    """
    rooms: list[set[str]] = [
        {field.name for field in fields(room)} for room in (ReadOptions, RunSettings, Selection)
    ]
    _refuse_unknown(options, set().union(*rooms) if running else rooms[0])
    reading, settings, selection = (
        {name: _as_field(name, value) for name, value in options.items() if name in room}
        for room in rooms
    )
    return Choices(ReadOptions(**reading), RunSettings(**settings), Selection(**selection))


def _refuse_unknown(options: Mapping[str, Any], known: set[str]) -> None:
    odd = sorted(options.keys() - known)
    if not odd:
        return
    close = (difflib.get_close_matches(name, sorted(known), n=1) for name in odd)
    meant = ", ".join(repr(found[0]) for found in close if found)
    advice = f"; did you mean {meant}?" if meant else "."
    raise SettingsError(f"There is no option {', '.join(map(repr, odd))}{advice}")


_AMOUNTS: Final = frozenset({"max_cost", "max_cost_per_row"})
_PATHS: Final = frozenset({"out", "sandbox_config", "price_file", "folder"})
_LISTS: Final = frozenset({"ids", "from_ids"})


def _as_field(name: str, value: Any) -> Any:
    if name in _AMOUNTS:
        return None if value is None else _amount(name, value)
    check_type(name, value, _hints()[name])
    if value is None:
        return None
    if name in _PATHS:
        return Path(value)
    if name in _LISTS and isinstance(value, str):  # as the flag has it
        return [part.strip() for part in value.split(",") if part.strip()]
    if name == "overrides":  # 5 and "5" are the same order
        return {key: "" if each is None else str(each) for key, each in value.items()}
    return int(value) if _is(value, int) else value  # NumPy's are whole numbers too


def _amount(name: str, value: Any) -> Decimal:
    if name == "max_cost" and value == "none":
        return NO_CAP
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise SettingsError(f"{name}={value!r} is not an amount in US dollars.")
    return amount


# ── types ───────────────────────────────────────────────────────────────────────────────────────


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raise `SettingsError` where a keyword's value is not what its type hint says."""
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if not any(_is(value, kind) for kind in kinds):
        *others, last = (_TAKES[kind] for kind in kinds)
        takes = f"{', '.join(others)} or {last}" if others else last
        raise SettingsError(f"{name} takes {takes}, not {reprlib.repr(value)}.")


@lru_cache(maxsize=1)
def _hints() -> dict[str, Any]:
    return get_type_hints(RunKeywords)


_TAKES: Final[Mapping[Any, str]] = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    Path: "a path",
    Allow: "an Allow",
    Collection[str]: "a list of strings",
    Mapping[str, str]: "a dict of strings",
    Mapping[str, object]: "a dict",
    type(None): "None",
}


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool) and kind in (int, float):
        return False
    if get_origin(kind) is Collection:
        return isinstance(value, Collection) and all(isinstance(each, str) for each in value)
    if get_origin(kind) is Mapping:
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and isinstance(each, get_args(kind)[1])
            for key, each in value.items()
        )
    return isinstance(value, _ALSO.get(kind, kind))


_ALSO: Final[Mapping[type, Any]] = {int: Integral, float: Real, Path: os.PathLike}
