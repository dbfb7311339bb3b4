"""The package from Python: read, plan and run a batch, with typed results and DataFrames.

The same rooms as the command line's. Blocking calls may be made from a running event loop (a
notebook): the work then goes on in a thread of its own.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, Unpack, get_args

import anyio.to_thread

from seedance_batch import errors
from seedance_batch.batch.access import Site, kept_clips, open_site
from seedance_batch.batch.exporting import Exported, export_dataset
from seedance_batch.batch.joining import JoinedFilm, JoinWish, join_films
from seedance_batch.batch.looking import judge_named, judge_of
from seedance_batch.batch.open import (
    ManifestSource,
    check_troubles,
    open_batch,
    open_plan,
    open_unfinished,
    read_source,
    rerun_choice,
)
from seedance_batch.batch.running import fetch_clips, run_batch
from seedance_batch.batch.samples import ExportPart, ExportWish, kept_of
from seedance_batch.batch.sheets import standing
from seedance_batch.batch.summary import (
    Consent,
    Report,
    caps_needed,
    consented,
    within_caps,
    work_in,
)
from seedance_batch.batch.takes import check_clips, lacking, write_claims
from seedance_batch.clips.cluster import hands_on
from seedance_batch.core.attempt import COMING_PHASES, Attempt
from seedance_batch.core.clip_sets import DatasetFormat, Splits
from seedance_batch.core.steps import Plan, RerunChoice
from seedance_batch.core.text import shown
from seedance_batch.errors import Exit
from seedance_batch.events import Observer, Remark, RunEvent
from seedance_batch.journal.opening import look_into
from seedance_batch.library import interface
from seedance_batch.library.interface import (
    FetchKeywords,
    Finished,
    JoinKeywords,
    Planned,
    Reading,
    ReadKeywords,
    RunKeywords,
    Verified,
)
from seedance_batch.page.marks import Mark, picked, picks_of
from seedance_batch.progress import log_event, observer_for
from seedance_batch.reader.read import grouped
from seedance_batch.reader.source import is_address
from seedance_batch.reader.typed_file import types_of
from seedance_batch.run_folder import folder_of
from seedance_batch.runner.runner import Holder, beside_any_loop

if TYPE_CHECKING:
    from seedance_batch.batch.batch import Batch

T = TypeVar("T")
Call: TypeAlias = Literal["run", "rerun", "promote"]
"""Calls that a plan can be made of."""


# ── Looking: nothing is sent ─────────────────────────────────────────────────────────────────────


@interface.speaking_python()
def read(source: ManifestSource, **options: Unpack[ReadKeywords]) -> Reading:
    """Read a manifest: a file of any format, or a DataFrame.

    ``options`` are those of `ReadOptions`: ``sheet``, ``encoding``, ``delimiter``,
    ``column_map``, ``model``, ``overrides``, … Problems are values, never exceptions. Raises
    `UsageError` for a file that cannot be opened, `SettingsError` for an option that there is not.
    """
    found = interface.choices(options, ReadKeywords)
    _checked(source)
    if is_address(source):  # which is asked in an event loop
        return Reading(beside_any_loop(lambda: read_source(source, found.reading)))
    return Reading(read_source(source, found.reading))


@interface.speaking_python()
def plan(
    source: ManifestSource,
    *,
    of: Call = "run",
    classes: Collection[str] | str = (),
    reasons: Collection[str] | str = (),
    force: bool = False,
    stale: bool = False,
    **options: Unpack[RunKeywords],
) -> Planned:
    """What `run` would do with the same options, and what it would cost. Sends nothing.

    ``of`` names another call to plan: `rerun`, with its ``classes``, ``reasons``, ``force`` and
    ``stale``, or `promote`.
    Raises `ManifestError` carrying every problem, and what else is wrong before a run.
    """
    wish = _wish(of, classes, reasons, force=force, stale=stale)
    chosen = _chosen(options, wish)
    _checked(source)

    def make() -> Planned:
        with open_plan(source, chosen.reading, chosen.settings, os.environ) as batch:
            found = _wanted(batch, chosen, wish)
            warnings = tuple(map(interface.finding_in_python, batch.warnings(found)))
            return Planned(found, warnings, batch.absence)

    return beside_any_loop(make)


@interface.speaking_python()
def verify(
    source: Path | str,
    *,
    claims: Path | str | None = None,
    out: Path | str | None = None,
    sandbox: bool = False,
    dask: str | None = None,
) -> Verified:
    """Check every clip of a run folder again: its bytes, and what they decode to.

    ``source`` is a run folder, or the manifest that has one. ``claims`` names a CSV to write, of
    the clips to claim a refund for; ``dask`` is the address of a scheduler whose workers read the
    clips, or ``local``. Raises `FolderMissing` where there is no run folder.
    """
    interface.check_type("claims", claims, Path | str | None)
    given = {"out": out, "sandbox": sandbox, "dask": dask}
    settings = interface.choices(given, FetchKeywords).settings
    folder = folder_of(_named(source), out=settings.out, sandbox=settings.sandbox)
    with look_into(folder.journal) as journal:
        kept = kept_clips(folder, journal)
        with hands_on(dask, kept.seen, tell=_log) as hands:
            found = check_clips(kept, journal.attempts(), hands)
    if claims is not None:
        write_claims(Path(claims), found)
    return Verified(tuple(found))


@interface.speaking_python()
def join(
    source: Path | str,
    *,
    by: str | None = None,
    output: Path | str | None = None,
    audio: Path | str | None = None,
    skip_missing: bool = False,
    progress: bool = True,
    **options: Unpack[JoinKeywords],
) -> list[JoinedFilm]:
    """Make one film of a run folder's clips, or one for each value of the column ``by``.

    Each of them has its ``file``, ``ids`` and ``seconds``; ``output`` is the film's file, with
    ``by`` the folder of the films. Raises `UsageError`: its kind `ClipsLacking` where rows have no
    clip, unless ``skip_missing``.
    """
    interface.check_type("by", by, str | None)
    film, track = interface.path("output", output), interface.path("audio", audio)
    chosen = interface.choices(options, JoinKeywords)
    settings = chosen.settings
    wish = JoinWish(by, film, track, skip_missing, settings.kind, chosen.selection)
    folder = folder_of(_named(source), out=settings.out, sandbox=settings.sandbox)
    return join_films(folder, wish, sys.stderr if progress else None)


@interface.speaking_python()
def export(
    sources: Path | str | Collection[Path | str],
    dest: Path | str,
    *,
    format: Literal["webdataset", "parquet", "hf"] = "webdataset",
    split: str = "train=100",
    skip_missing: bool = False,
    shard_size: int = 1000,
    look: bool = False,
    judge: Callable[[Path, dict[str, Any]], dict[str, Any]] | str | None = None,
    dask: str | None = None,
    progress: bool = True,
    **options: Unpack[interface.ClipKeywords],
) -> Exported:
    """Make a data set of the finished clips of run folders in ``dest``, or what it lacks by now.

    ``shard_size`` is in MB. ``look`` adds columns that tell how each clip looks; ``judge``, a
    function or ``"module:function"``, those that it gives for a clip's path and record.

    Raises `UsageError`: its kind `ClipsGone` where paid clips are not on disk any more, unless
    ``skip_missing``.
    """
    named = [sources] if isinstance(sources, str | Path) else list(sources)
    if format not in set(DatasetFormat):
        raise errors.SettingsError(f"format takes {', '.join(DatasetFormat)}, not {format!r}.")
    if not isinstance(shard_size, int) or shard_size < 1:
        raise errors.SettingsError(f"shard_size takes a whole number, not {shard_size!r}.")
    chosen = interface.choices(options, interface.ClipKeywords)
    settings, place = chosen.settings, interface.path("dest", dest)
    folders = [folder_of(_named(each), out=None, sandbox=settings.sandbox) for each in named]
    wish = ExportWish(
        parts=tuple(ExportPart(folder, chosen.selection) for folder in folders),
        dest=place or Path(),
        form=DatasetFormat(format),
        splits=Splits.parse(split),
        kind=settings.kind,
        skip_missing=skip_missing,
        shard_bytes=shard_size * 10**6,
        look=look,
        judge=judge_named(judge) if isinstance(judge, str) else judge and judge_of(judge),
    )
    interface.check_type("dask", dask, str | None)
    with hands_on(dask, kept_of(wish).seen, tell=_log) as hands:
        return export_dataset(wish, sys.stderr if progress else None, hands)


# ── Working: what costs money needs a yes ────────────────────────────────────────────────────────


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
    return _blocking(partial(_ran, source, options, _Wish(), _Call(yes, on_event, progress)))


async def arun(
    source: ManifestSource,
    *,
    yes: bool = False,
    on_event: Observer | None = None,
    progress: bool = True,
    **options: Unpack[RunKeywords],
) -> Finished:
    """`run`, to be awaited on asyncio."""
    holder, call = Holder(), _Call(yes, on_event, progress)
    with interface.speaking_python():
        return holder.let_go(await _ran(source, options, _Wish(), call, holder))


def rerun(
    source: ManifestSource,
    *,
    classes: Collection[str] | str = (),
    reasons: Collection[str] | str = (),
    force: bool = False,
    stale: bool = False,
    yes: bool = False,
    on_event: Observer | None = None,
    progress: bool = True,
    **options: Unpack[RunKeywords],
) -> Finished:
    """Try failed rows again; each new attempt costs money. Everything else is as with `run`.

    Takes transient failures; refused content needs an edit or ``force=True``; what was paid for
    (``expired``, ``media_mismatch``) has to be named in ``classes``. ``reasons`` takes only what
    was refused for these: with ``"sound"`` and ``overrides={"generate_audio": False}`` the refused
    sound is left out. With ``picks``, a list that the review page exports, or ``"marks"`` for what
    it saved when served, rows marked *redo* get new takes.
    """
    with interface.speaking_python():
        wish = _wish("rerun", classes, reasons, force=force, stale=stale)
    return _blocking(partial(_ran, source, options, wish, _Call(yes, on_event, progress)))


def promote(
    source: ManifestSource,
    *,
    yes: bool = False,
    on_event: Observer | None = None,
    progress: bool = True,
    **options: Unpack[RunKeywords],
) -> Finished:
    """Make final clips of drafts; everything else is as with `run`.

    Of those that are marked *keep* in ``picks``, a list that the review page exports or ``"marks"``
    for what it saved when served, or of those in ``from_ids``. A final clip is a new generation and
    may differ from its draft.
    """
    wish = _wish("promote")
    return _blocking(partial(_ran, source, options, wish, _Call(yes, on_event, progress)))


def fetch(
    source: Path | str,
    *,
    on_event: Observer | None = None,
    progress: bool = True,
    **options: Unpack[FetchKeywords],
) -> Finished:
    """Download every paid clip of a run folder that is missing or damaged; never submits anything.

    ``source`` is the run folder, or the manifest that has one. Raises `FolderMissing` where there
    is none.
    """
    return _blocking(partial(_fetched, source, options, _Call(False, on_event, progress)))


# ── How these calls work ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Wish:
    """Which rows a call is for beside those that its options choose."""

    of: Call = "run"
    choice: RerunChoice | None = None
    marks: Collection[str] | None = None
    """Those of a list of picks that count; None for any but reject."""


def _wish(
    of: Call,
    classes: Collection[str] | str = (),
    reasons: Collection[str] | str = (),
    *,
    force: bool = False,
    stale: bool = False,
) -> _Wish:
    interface.check_type("force", force, bool)
    interface.check_type("stale", stale, bool)
    named = interface.names("classes", classes), interface.names("reasons", reasons)
    if of not in get_args(Call):
        raise errors.SettingsError(f"of takes {', '.join(map(repr, get_args(Call)))}, not {of!r}.")
    if of == "rerun":
        choice = rerun_choice(named[0], reasons=named[1], force=force, stale=stale)
        return _Wish(of, choice, {Mark.REDO})
    return _Wish(of, marks={Mark.KEEP} if of == "promote" else None)


def _chosen(options: RunKeywords, wish: _Wish) -> interface.Choices:
    found = interface.choices(options)
    if wish.of == "promote":
        if found.picks is None and found.selection.from_ids is None:
            raise errors.UsageError("promote needs a list of picks.", hint='pass picks="picks.csv"')
        if found.settings.draft:
            raise errors.UsageError("promote makes final clips; drafts are made by run.")
    return found


def _wanted(batch: Batch, chosen: interface.Choices, wish: _Wish) -> Plan:
    selection, choice = chosen.selection, wish.choice
    picks = None
    if chosen.picks is not None:
        picks = picks_of(chosen.picks, batch.folder.path, partial(standing, batch.journal))
        selection = replace(selection, from_ids=picked(picks, wish.marks, chosen.picks))
    selected = batch.chosen(selection)
    if choice is not None and picks is not None:
        choice = replace(choice, redo=batch.wishes(picks, selected or ()))
    found = batch.plan(rerun=choice, selected=selected)
    check_troubles(batch.manifest, found.troubles)
    return found


@dataclass(frozen=True, slots=True)
class _Call:
    """What a call that works says beside its options."""

    yes: bool
    on_event: Observer | None
    progress: bool

    def check(self) -> None:
        """Raise `SettingsError` for a value of another type."""
        interface.check_type("yes", self.yes, bool)
        interface.check_type("progress", self.progress, bool)
        if not (self.on_event is None or callable(self.on_event)):
            raise errors.SettingsError(
                f"on_event takes a function of one event, not {self.on_event!r}."
            )


def _blocking(work: Callable[[Holder], Coroutine[Any, Any, Finished]]) -> Finished:
    holder = Holder()
    with interface.speaking_python():
        return holder.let_go(beside_any_loop(lambda: anyio.run(work, holder), holder))


async def _ran(
    source: ManifestSource, options: RunKeywords, wish: _Wish, call: _Call, holder: Holder
) -> Finished:
    chosen = _chosen(options, wish)
    call.check()
    _checked(source)
    reading, settings = chosen.reading, chosen.settings
    watch = None if call.on_event is None else holder.guarding(call.on_event)
    async with (
        _paid_rows_first(source, chosen, holder, watch),
        _opened(lambda: open_batch(source, reading, settings, os.environ)) as batch,
    ):
        found = await anyio.to_thread.run_sync(_wanted, batch, chosen, wish)
        batch.remember_cap()
        found, over_budget = _under_caps(batch, found)
        found = consented(batch, found, _consent(batch, call))
        if found.rerun is not None:
            batch.remember_redo(found.rerun)
        with _watched(work_in(found), found.attempts, watch, progress=call.progress) as observer:
            for line in grouped(batch.warnings(found), numbered=True):
                observer(Remark(f"warning: {shown(line)}"))
            report = await run_batch(batch, found, observer, signals=False, reins=holder.take)
        if over_budget:
            report = replace(report, exit_code=max(report.exit_code, Exit.BUDGET))
        return _finished(batch, report, types_of(source))


async def _fetched(
    source: Path | str, options: FetchKeywords, call: _Call, holder: Holder
) -> Finished:
    settings = interface.choices(options, FetchKeywords).settings
    call.check()
    folder = _named(source)
    watch = None if call.on_event is None else holder.guarding(call.on_event)
    async with _opened(lambda: open_site(folder, settings, os.environ)) as site:
        attempts = site.journal.attempts()
        lost = await anyio.to_thread.run_sync(lacking, site.kept, attempts)
        rows = sum(a.state.phase in COMING_PHASES or a.id in lost for a in attempts)
        with _watched(rows, attempts, watch, progress=call.progress) as observer:
            report = await fetch_clips(site, observer, lost, signals=False, reins=holder.take)
        return _finished(site, report)


def _log(words: str) -> None:
    log_event(Remark(words))


def _finished(site: Site, report: Report, types: dict[str, Any] | None = None) -> Finished:
    columns, given = site.journal.columns(), site.journal.facts().given_inputs or ()
    return Finished(site.folder.path, columns, report, given, types or {})


def _under_caps(batch: Batch, found: Plan) -> tuple[Plan, bool]:
    try:
        begun, problem = within_caps(batch, found)
    except errors.BudgetExceeded as error:
        caps = caps_needed(found, None, batch.settings.max_cost_per_row)
        spelt = "price_file=… with prices of your own" if caps is None else interface.spelt(caps)
        error.hint = f"pass {spelt}"
        raise
    return begun, problem is not None


def _consent(batch: Batch, call: _Call) -> Consent:
    return Consent(
        yes=call.yes,
        again=batch.settings.again,
        ask=None,
        to_agree="pass yes=True to agree",
        to_see="",
        to_buy_again="pass again=True",
    )


@contextlib.asynccontextmanager
async def _paid_rows_first(
    source: ManifestSource,
    chosen: interface.Choices,
    holder: Holder,
    watch: Observer | None,
) -> AsyncIterator[None]:
    """Where a manifest has problems, paid rows under way are seen to their end before it raises."""
    try:
        yield
    except errors.ManifestError:
        unfinished = partial(open_unfinished, source, chosen.reading, chosen.settings, os.environ)
        async with _opened(unfinished) as found:
            if found is not None:
                observer = watch or (lambda event: None)
                await fetch_clips(found[0], observer, (), signals=False, reins=holder.take)
        raise


@contextlib.asynccontextmanager
async def _opened(enter: Callable[[], contextlib.AbstractContextManager[T]]) -> AsyncIterator[T]:
    """A blocking context manager, entered and left in a worker thread."""
    manager, opened = enter(), list[T]()
    try:
        await _to_its_end(lambda: opened.append(manager.__enter__()))
        yield opened[0]
    finally:
        if opened:
            with anyio.CancelScope(shield=True):
                await _to_its_end(partial(manager.__exit__, None, None, None))


async def _to_its_end(work: Callable[[], object]) -> None:
    """Blocking work in a worker thread, waited for also where the task is cancelled meanwhile.

    A cancellation by asyncio itself passes through anyio's shields, but not out of a task group.
    """
    failed: list[Exception] = []

    async def begun() -> None:
        try:
            await anyio.to_thread.run_sync(work)
        except Exception as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begun)
    if failed:
        raise failed[0]


@contextlib.contextmanager
def _watched(
    rows: int, attempts: Iterable[Attempt], watch: Observer | None, *, progress: bool
) -> Iterator[Observer]:
    stream = sys.stderr if progress else None
    with contextlib.closing(observer_for(rows, attempts, stream=stream, bars=True)) as bars:

        def observe(event: RunEvent) -> None:
            if isinstance(event, Remark):
                event = Remark(interface.in_python(event.message))
            for told in (log_event, bars, watch):
                if told is not None:
                    told(event)

        yield observe


def _named(source: Path | str) -> Path | str:
    """Raises `UsageError` for what is neither a run folder nor a manifest's path."""
    if isinstance(source, str | Path):
        return source
    raise errors.UsageError(
        f"A run folder is named by its path or its manifest's, not by a {type(source).__name__}."
    )


def _checked(source: ManifestSource) -> None:
    """Raises `UsageError` for what is neither a path nor a table."""
    if not isinstance(source, str | Path) and not hasattr(source, "itertuples"):
        raise errors.UsageError(
            f"A manifest is a path or a pandas DataFrame, not a {type(source).__name__}.",
            hint="pandas.DataFrame(rows) turns a list of dicts into one",
        )
