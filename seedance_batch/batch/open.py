"""Opens what a command works with: manifest, API, run folder, journal, prices."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

import anyio

from seedance_batch.batch.access import (
    Site,
    check_store,
    claim_store,
    day_cap,
    load_prices,
    open_site,
    sandbox_access,
    too_old,
)
from seedance_batch.batch.batch import Batch
from seedance_batch.batch.orders import UNICODE_HINT, check_names, locale_encoding
from seedance_batch.batch.ownership import (
    check_claim,
    check_table,
    claim,
    continues,
    drop_unless_used,
    manifest_of,
)
from seedance_batch.batch.takeover import Tell, look_owned, open_owned, silent
from seedance_batch.clips.kept import KeptClips
from seedance_batch.core.attempt import COMING_PHASES, Attempt, ErrorClass, Kind, Phase, Reason
from seedance_batch.core.chains import KnownRow, is_unlinked, linked
from seedance_batch.core.manifest import (
    SANDBOX_ORIGIN,
    Code,
    Finding,
    Job,
    Manifest,
    ReadAs,
    Severity,
    Trouble,
)
from seedance_batch.core.model import Allow, TaskInput
from seedance_batch.core.names import check_pattern
from seedance_batch.core.outcome import RowRecord
from seedance_batch.core.plan import as_ordered, draft_job, draft_models
from seedance_batch.core.select import meant_ids
from seedance_batch.core.steps import RerunChoice
from seedance_batch.core.text import shown, some
from seedance_batch.errors import ManifestError, SeedanceBatchError, SettingsError, UsageError
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import has_traces, look_into
from seedance_batch.reader.read import manifest_of_source, read_frame, read_manifest
from seedance_batch.reader.source import (
    MAX_BODY,
    ReadOptions,
    Source,
    WebManifest,
    address_of,
    is_address,
)
from seedance_batch.run_folder import RunFolder, default_folder, folder_of, held, real
from seedance_batch.settings import (
    NO_CAP,
    RunSettings,
    access_from,
    check_callbacks,
    check_settings,
    public_access,
)

if TYPE_CHECKING:
    import pandas

    from seedance_batch.api.addresses import Answered

ManifestSource: TypeAlias = "str | Path | pandas.DataFrame"
"""A manifest's path or its address on the web, ``-`` for standard input, a run folder for the
manifest that was last run there, or a table in memory."""


def read_source(
    source: ManifestSource, options: ReadOptions, *, allow_private: bool | None = None
) -> Manifest:
    """The manifest in a file, at an address or in a DataFrame, with its faults as findings.

    ``allow_private``: whether an address may be this machine's own; None: where the API's is.
    Raises `UsageError` where it cannot be had at all.
    """
    if not isinstance(source, str | Path):
        return read_frame(source, options=options)
    if is_address(source):
        if allow_private is None:
            allow_private = public_access(os.environ).private_files
        return _fetched(str(source), options, allow_private)
    _check_name(source)
    home = RunFolder(real(source).parent)
    if options.folder is None and home.exists():
        with look_into(home.journal) as journal:  # a sheet of ours: files lie where they lay
            manifest = Path(manifest_of(journal, home) or source)
        options = replace(options, folder=manifest.parent)
    return read_manifest(source, options)


_MOST_FETCHED: Final = 32 * 1024 * 1024
_PATIENCE: Final = 60.0
"""Seconds for a manifest to arrive."""


def _fetched(link: str, options: ReadOptions, allow_private: bool) -> Manifest:
    """The manifest at an address: fetched once, and kept in memory only."""
    from seedance_batch.api.addresses import NotFetched, fetch_small

    address = address_of(link, workbook=options.visible or options.sheet is not None)
    try:
        answer = anyio.run(
            lambda: fetch_small(
                address.url, allow_private=allow_private, most=_MOST_FETCHED, patience=_PATIENCE
            )
        )
    except NotFetched as why:
        raise UsageError(f"{shown(address.path)} {why}. Nothing was sent.") from why
    check_answer(address, answer)
    host = urlsplit(answer.url).hostname
    about: dict[str, str] = {ReadAs.FETCHED: f"{len(answer.data):,} bytes from {host}"}
    source = Source(answer.data, address.file, Path.cwd())
    return manifest_of_source(source, address.path, address.name, options, about)


def check_answer(address: WebManifest, answer: Answered) -> None:
    """Raise `UsageError` for what is no manifest, with what leads to one."""
    is_page = answer.data.lstrip()[:1] == b"<"
    if address.is_google and (is_page or answer.status in {401, 403}):
        raise UsageError(
            "Google shows a page in place of the table: it is not shared with everybody who has "
            "the link. Nothing was sent.",
            hint="in Google: Share, General access, Anyone with the link; or File, Download",
        )
    if answer.status != HTTPStatus.OK:
        raise UsageError(f"{shown(address.path)} answers {answer.status}. Nothing was sent.")
    if is_page:
        raise UsageError(
            f"{shown(address.path)} is a web page, and no manifest. Nothing was sent.",
            hint="give the address of the file itself, as a download has it",
        )


def _check_name(source: str | Path) -> None:
    # Journal and sheets hold the paths of manifest and run folder as text.
    try:
        str(real(source)).encode()
    except UnicodeEncodeError:
        shown_name, encoding = os.fsencode(source).decode(errors="replace"), locale_encoding()
        if encoding is not None:
            raise UsageError(
                f"This system's locale ({encoding}) cannot write the name {shown_name}. Nothing "
                "was sent.",
                hint=UNICODE_HINT,
            ) from None
        raise UsageError(
            f"The name {str(source)!r} is not UTF-8: rename the file or its folder."
        ) from None


def _refused(manifest: Manifest, problems: Sequence[Finding]) -> ManifestError:
    count = some(len(problems), "problem")
    return ManifestError(
        f"{manifest.path} has {count}; nothing was sent.",
        problems,
        hint=f"fix the problems above, then run: seedance-batch check {shlex.quote(manifest.path)}",
    )


@contextlib.contextmanager
def open_batch(
    source: ManifestSource,
    options: ReadOptions,
    settings: RunSettings,
    environ: Mapping[str, str],
    tell: Tell = silent,
) -> Iterator[Batch]:
    """Open a batch for running: the folder is held, and nothing is sent yet.

    ``tell`` is told what is waited for, and which journal is used, where the batch has a store.
    Raises what is wrong before anything could be: settings, manifest, folder, journal, API.
    """
    from seedance_batch.api.addresses import check_file_proxy
    from seedance_batch.clips.cluster import check_dask

    source, settings = at_home(source, settings)
    check_settings(settings)
    access = None if settings.sandbox else access_from(environ, settings.api_url)
    if access is not None and not access.private_files:
        check_file_proxy()
    manifest, folder = _found(source, options, settings)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(folder))
        if not folder.exists() and has_traces(folder.path):
            stack.callback(drop_unless_used, folder)
        journal, owner = stack.enter_context(open_owned(folder, settings.store, tell))
        manifest = _as_before(manifest, folder, journal, settings)
        claim(journal, folder, manifest, SANDBOX_ORIGIN if access is None else access.origin)
        if access is None:
            access = stack.enter_context(
                sandbox_access(settings.sandbox_config, folder.sandbox_state)
            )
        check_callbacks(settings, access)
        check_dask(settings.dask)
        kept = claim_store(folder, journal, settings)
        site = Site(folder, journal, access, settings, kept, owner=owner)
        yield _batch(site, manifest, options, needed=True)


@contextlib.contextmanager
def open_plan(
    source: ManifestSource,
    options: ReadOptions,
    settings: RunSettings,
    environ: Mapping[str, str],
) -> Iterator[Batch]:
    """Open a batch for looking only: no lock, no new folder, no key, nothing sent."""
    source, settings = at_home(source, settings)
    check_settings(settings)
    manifest, folder = _found(source, options, settings)
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(look_owned(folder, settings.store))
        if settings.sandbox:
            access = stack.enter_context(sandbox_access(settings.sandbox_config, None))
        else:
            access = public_access(environ, settings.api_url)
        manifest = _as_before(manifest, folder, journal, settings)
        check_claim(journal, folder, manifest, access.origin)
        check_store(folder, journal, settings.store)
        site = Site(folder, journal, access, settings, KeptClips(folder.path))
        yield _batch(site, manifest, options, needed=False)


def _as_before(
    manifest: Manifest, folder: RunFolder, journal: Journal, settings: RunSettings
) -> Manifest:
    """The manifest with what the run folder knows better: ids, spellings, rows mended there.

    Raises `FolderMismatch` where the folder at its usual place is another table's.
    """
    known = _as_linked(_as_known(manifest, folder, journal), folder, journal)
    found = _as_mended(_as_ordered(known, journal), folder, journal)
    if settings.out is None:
        check_table(journal, folder, found)
    return found


def _as_mended(manifest: Manifest, folder: RunFolder, journal: Journal) -> Manifest:
    """Rows that failed as the manifest reads them, and were ordered as a failed sheet mended them,
    are read as mended: they have that clip, and the refused text is nobody's wish any more."""
    mended = journal.facts().mended or {}
    if not mended or continues(manifest, folder):
        return manifest
    attempts = [a for a in journal.attempts() if a.state.phase is not Phase.PLANNED]
    ordered: dict[tuple[Kind, str], dict[str, Attempt]] = defaultdict(dict)
    for attempt in attempts:
        ordered[attempt.intent.kind, attempt.intent.key][attempt.intent.content] = attempt
    models = draft_models(attempts)
    jobs = [
        _mended(job, mended[job.key], ordered, models) if job.key in mended else job
        for job in manifest.jobs
    ]
    return replace(manifest, jobs=tuple(jobs))


def _mended(
    job: Job,
    known: Mapping[str, Any],
    ordered: Mapping[tuple[Kind, str], Mapping[str, Attempt]],
    models: Iterable[str | None],
) -> Job:
    finals, drafts = ordered[Kind.FINAL, job.key], ordered[Kind.DRAFT, job.key]
    final = finals.get(known["ordered"])
    if known["read"] != job.content or (final is None and known.get("draft") not in drafts):
        return job
    as_read = [finals.get(job.content)]
    if final is None:
        as_read += [drafts.get(draft_job(job, model).content) for model in models]
    if any(each is not None and each.state.phase is not Phase.FAILED for each in as_read):
        return job
    body = known["asked"] if final is None else final.intent.asked
    allow = Allow(resolution_4k=True, mixed_references=True, blobs=True)  # it was let through
    return replace(
        job,
        row=replace(job.row, cells=known["cells"]),
        model=body["model"],
        input=TaskInput.model_validate(body["input"], context=allow),
        content=known["ordered"],
        media=(),  # the journal holds them
    )


def _as_known(manifest: Manifest, folder: RunFolder, journal: Journal) -> Manifest:
    """A sheet of ours, fed back: ids that a spreadsheet has made numbers of are those of before."""
    if not continues(manifest, folder):
        return manifest
    known = {row.key: row for row in journal.rows()}
    meant = meant_ids((job.key for job in manifest.jobs), known)
    times = Counter(meant.values())
    other = {key for key, found in meant.items() if key != found and times[found] == 1}
    jobs = [_respelled(j, known[meant[j.key]]) if j.key in other else j for j in manifest.jobs]
    if other:
        jobs = [_with_sources(job, {key: meant[key] for key in other}) for job in jobs]
    return replace(manifest, jobs=tuple(jobs))


def _with_sources(job: Job, keys: Mapping[str, str]) -> Job:
    sources = tuple(replace(s, key=keys.get(s.key, s.key)) for s in job.sources)
    return replace(job, sources=sources)


def _as_linked(manifest: Manifest, folder: RunFolder, journal: Journal) -> Manifest:
    """A failed sheet, whose rows may be fed by rows that it lacks: those of the run folder.

    Raises `ManifestError` where a row is fed by none of them.
    """
    if not any(map(is_unlinked, manifest.jobs)):
        return manifest
    rows = [KnownRow(job.key, job.row.line) for job in manifest.jobs]
    if continues(manifest, folder):
        kept = journal.rows()
        missing = {row.key for row in rows} - {row.key for row in kept}
        rows = [KnownRow(row.key, tuple(row.cells.items())) for row in kept]
        rows += [KnownRow(job.key, job.row.line) for job in manifest.jobs if job.key in missing]
    jobs, troubles = linked(manifest.jobs, rows, MAX_BODY)
    check_troubles(manifest, troubles)
    return replace(manifest, jobs=jobs)


def check_troubles(manifest: Manifest, troubles: Iterable[Trouble]) -> None:
    """Raise `ManifestError` for links that cannot be followed."""
    found = [
        Finding(
            Severity.PROBLEM,
            replace(trouble.job.row.place, column=trouble.field or None),
            trouble.words,
            (trouble.job.row.number,),
            Code.LINK,
        )
        for trouble in troubles
    ]
    if found:
        wait = "it waits" if len(found) == 1 else "they wait"
        raise ManifestError(
            f"{some(len(found), 'row')} cannot get what {wait} for; nothing was sent.",
            found,
            hint="choose those rows as well; what waits for what: "
            f"seedance-batch plan {shlex.quote(manifest.path)} -v",
        )


def _respelled(job: Job, known: RowRecord) -> Job:
    """The job under the key of that row, also in the cell that the key stands in."""
    id_in = {heading for heading, cell in known.cells.items() if cell == known.key}
    cells = job.row.cells
    cells = {h: known.key if h in id_in and c == job.key else c for h, c in cells.items()}
    return replace(job, key=known.key, row=replace(job.row, cells=cells))


def _as_ordered(manifest: Manifest, journal: Journal) -> Manifest:
    orders = journal.orders()
    if not orders or all((job.key, job.content) in orders for job in manifest.jobs):
        return manifest
    return replace(manifest, jobs=as_ordered(manifest.jobs, journal.attempts()))


def _batch(site: Site, manifest: Manifest, options: ReadOptions, *, needed: bool) -> Batch:
    """A batch under the cap that is in force, with prices that it can be held against; ``needed``
    as in `load_prices`."""
    from seedance_batch.batch.preflight import unknown_model_findings

    given = site.settings.max_cost
    cap = site.journal.facts().max_cost if given is None else given
    settings = replace(site.settings, max_cost=None if cap == NO_CAP else cap)
    prices, absence = anyio.run(
        lambda: load_prices(site.access, settings.price_file, needed=needed)
    )
    problems = unknown_model_findings(manifest, site.access.base_url)
    if problems:
        raise _refused(manifest, problems)
    caps = settings.max_cost, settings.max_cost_per_row, day_cap(site)
    capped = any(cap is not None and cap.is_finite() for cap in caps)
    is_old = capped and prices is not None and too_old(prices, time.time())
    return Batch(
        **{**vars(site), "settings": settings},
        manifest=manifest,
        prices=None if is_old else prices,
        flags=body_flags(options, settings),
        reading=reading_flags(options),
        cap_given=given,
        old_prices=prices if is_old else None,
        absence=absence,
    )


def _found(
    source: ManifestSource, options: ReadOptions, settings: RunSettings
) -> tuple[Manifest, RunFolder]:
    private = settings.sandbox or public_access(os.environ, settings.api_url).private_files
    manifest = read_source(source, options, allow_private=private)
    if manifest.problems:
        raise _refused(manifest, manifest.problems)
    check_pattern(settings.name, [*manifest.columns, *_NAMED_INPUTS])
    folder, kind = folder_for(manifest, settings), settings.kind
    check_names(manifest.jobs, settings.name, kind, folder)
    return manifest, folder


_E = TypeVar("_E", bound=StrEnum)


def rerun_choice(
    classes: Sequence[str], *, force: bool, reasons: Sequence[str], stale: bool
) -> RerunChoice:
    """Which rows to make again: failed ones, or those that are ``stale`` in their place.

    Raises `SettingsError` for an unknown class or reason.
    """
    named = _members("--class", "classes", ErrorClass, classes)
    return RerunChoice(
        frozenset() if named is None and stale and not reasons else named,
        force=force,
        reasons=_members("--reason", "reasons", Reason, reasons),
        stale=stale,
    )


def _members(flag: str, plural: str, kind: type[_E], names: Sequence[str]) -> frozenset[_E] | None:
    try:
        return frozenset(map(kind, names)) or None
    except ValueError as error:
        known = ", ".join(kind)
        raise SettingsError(f"{flag}: {error}; the {plural} are {known}.") from error


def at_home(source: ManifestSource, settings: RunSettings) -> tuple[ManifestSource, RunSettings]:
    """A run folder in a manifest's place means the manifest that was last run there.

    Raises `FolderMissing` for a folder that nothing was run in.
    """
    if not isinstance(source, str | Path) or not os.path.isdir(source):  # noqa: PTH112 - never raises
        return source, settings
    folder = folder_of(Path(source), out=None, sandbox=False)
    with look_into(folder.journal) as journal:
        manifest = manifest_of(journal, folder)
        in_sandbox = journal.facts().origin == SANDBOX_ORIGIN
    return manifest, replace(settings, out=folder.path, sandbox=in_sandbox or settings.sandbox)


_NAMED_INPUTS: Final = ("model", "resolution", "duration", "aspect_ratio")
"""Inputs that ``--name`` may use beside the person's columns."""


def folder_for(manifest: Manifest, settings: RunSettings) -> RunFolder:
    """Where this manifest's runs are kept."""
    if settings.out is not None:
        _check_name(settings.out)
        return RunFolder(real(settings.out))
    named = Path(manifest.path)
    if not named.is_file():  # standard input, or a table in memory
        named = Path.cwd() / f"{manifest.name}.csv"
    return default_folder(named, sandbox=settings.sandbox)


_SET: Final = "set "


def body_flags(options: ReadOptions, settings: RunSettings) -> dict[str, str]:
    """The flags that change what is sent, by name."""
    flags = {f"{_SET}{name}": value for name, value in options.overrides.items()}
    models = {"model": options.model}
    models["draft_model"] = settings.draft_model if settings.draft else None
    return flags | {name: model for name, model in models.items() if model}


def reading_flags(options: ReadOptions) -> tuple[str, ...]:
    """The flags by which a manifest was read, as one types them, without those of `body_flags`."""
    allow, max_body = options.allow or Allow(), options.max_body
    texts = {
        "--sheet": options.sheet,
        "--encoding": options.encoding,
        "--delimiter": options.delimiter,
        "--max-body": None if max_body == MAX_BODY else str(max_body),
    }
    switches = {
        "--visible": options.visible,
        "--fix-mixed": options.fix_mixed,
        "--allow-outside": options.allow_outside,
        "--allow-4k": allow.resolution_4k,
        "--allow-mixed": allow.mixed_references,
    }
    pairs = [(name, text) for name, text in texts.items() if text is not None]
    pairs += [("--map", f"{field}={heading}") for field, heading in options.column_map.items()]
    on = [name for name, is_on in switches.items() if is_on]
    return (*chain.from_iterable(pairs), *on)


def overrides_in(flags: Mapping[str, str]) -> dict[str, str]:
    """The ``--set`` values among what `body_flags` named."""
    return {
        name.removeprefix(_SET): value for name, value in flags.items() if name.startswith(_SET)
    }


# ── Paid rows that are in flight while their manifest has problems: they are seen to their end ────


@contextlib.contextmanager
def open_unfinished(
    source: ManifestSource, options: ReadOptions, settings: RunSettings, environ: Mapping[str, str]
) -> Iterator[tuple[Site, int] | None]:
    """The run folder of a manifest that cannot be run, and how many paid rows are in flight there.

    None where there are none. Nothing is submitted by whoever opens it: no row of the manifest is
    read from here.
    """
    found = None
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(SeedanceBatchError):  # the manifest's problems are what is told
            source, settings = at_home(source, settings)
            folder = folder_for(read_source(source, options), settings)
            if coming := _coming_in(folder):
                found = stack.enter_context(open_site(folder.path, settings, environ)), coming
        yield found


def _coming_in(folder: RunFolder) -> int:
    """How many paid rows are in flight in a run folder."""
    if not folder.exists():
        return 0
    with look_into(folder.journal) as journal:
        return sum(a.state.phase in COMING_PHASES for a in journal.attempts())
