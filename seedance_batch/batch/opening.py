"""Opens what a command works with: manifest, API, run folder, journal, prices."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from seedance_batch import journal as journals
from seedance_batch.batch.claiming import check_claim, claim, continues
from seedance_batch.batch.hearing import check_callbacks
from seedance_batch.batch.prices import load_prices
from seedance_batch.batch.rehearsal import sandbox
from seedance_batch.errors import ManifestError, SettingsError, UsageError
from seedance_batch.folder import RunFolder, default_folder, folder_of, held, wal_is_safe
from seedance_batch.journal import Journal, look_into, open_journal
from seedance_batch.manifest import Job, Manifest
from seedance_batch.names import check_pattern
from seedance_batch.outcome import RowRecord, outcomes
from seedance_batch.overview import price_note
from seedance_batch.plan import Plan, RerunChoice, draft_job, flag_changes, make_plan
from seedance_batch.pricing import PriceTable
from seedance_batch.reader import ReadOptions, read, read_frame
from seedance_batch.reader.findings import grouped
from seedance_batch.select import Selection, select
from seedance_batch.settings import (
    SANDBOX_ORIGIN,
    Access,
    RunSettings,
    access_from,
    check_settings,
    public_access,
)
from seedance_batch.state import ErrorClass, Kind, Phase

if TYPE_CHECKING:
    import pandas

Source: TypeAlias = "str | Path | pandas.DataFrame"
"""A manifest's path, ``-`` for standard input, a run folder for the manifest that was last run
there, or a table in memory."""


@dataclass(frozen=True, slots=True)
class Site:
    """A run folder at work: held by this process, with its journal and its API."""

    folder: RunFolder
    journal: Journal
    access: Access
    settings: RunSettings


@dataclass(frozen=True)
class Batch:
    """A manifest, its run folder, and the API to run it with; see `open_batch`."""

    manifest: Manifest
    settings: RunSettings
    access: Access
    folder: RunFolder
    journal: Journal
    prices: PriceTable | None
    flags: Mapping[str, str]
    """The flags that change bodies: ``model``, ``set.…``."""

    @property
    def kind(self) -> Kind:
        """Drafts or finals."""
        return Kind.DRAFT if self.settings.draft else Kind.FINAL

    @property
    def site(self) -> Site:
        """Where it runs."""
        return Site(self.folder, self.journal, self.access, self.settings)

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """The manifest's jobs as they would be sent for `kind`."""
        if self.kind is Kind.FINAL:
            return self.manifest.jobs
        return tuple(map(draft_job, self.manifest.jobs))

    def plan(
        self, *, rerun: RerunChoice | None = None, selected: Collection[str] | None = None
    ) -> Plan:
        """What a run would do now, for all rows or the ``selected`` keys."""
        return make_plan(
            self.jobs,
            self.journal.attempts(),
            table=self.prices,
            kind=self.kind,
            rerun=rerun,
            selected=selected,
            rows_known=self._rows_elsewhere,
            flag_changes=flag_changes(self._flags_before(), self.flags),
            remake=self.settings.remake,
        )

    def chosen(self, selection: Selection) -> tuple[str, ...] | None:
        """The keys that a selection means; None where it means every row.

        Raises `EmptySelection` and, for what cannot be understood, `UsageError`.
        """
        if selection == Selection():
            return None
        rows = [row_record(job) for job in self.manifest.jobs]
        return select(self.jobs, outcomes(rows, self.journal.attempts()), selection)

    def redo(self, picks: Path, keys: Collection[str], *, record: bool) -> frozenset[str]:
        """Which of these keys this very list of picks has not had made anew yet.

        So the same command continues after a crash, and does not buy a third take. ``record``
        notes which attempts the list asks for, before they are made.
        """
        name = f"redo.{hashlib.sha256(picks.read_bytes()).hexdigest()}"
        numbers: dict[str, list[int]] = {key: [] for key in keys}
        lasts = dict.fromkeys(keys, 0)
        for attempt in self.journal.attempts():
            key, number = attempt.intent.key, attempt.intent.number
            if attempt.intent.kind is self.kind and key in numbers:
                lasts[key] = max(lasts[key], number)
                if attempt.state.phase is not Phase.FAILED:
                    numbers[key].append(number)
        asked: dict[str, int] = json.loads(self.journal.meta(name) or "{}")
        asked = {key: last + 1 for key, last in lasts.items()} | asked
        if record:
            self.journal.write(journals.set_meta({name: json.dumps(asked)}))
        return frozenset(k for k in keys if max(numbers[k], default=0) < asked[k])

    @cached_property
    def _rows_elsewhere(self) -> frozenset[str]:
        """Keys of the folder's other rows, where only its failed ones were fed back."""
        if not _is_part(self.manifest, self.folder):
            return frozenset()
        return frozenset(row.key for row in self.journal.rows())

    def _flags_before(self) -> Mapping[str, str]:
        kept = self.journal.meta(f"flags.{self.kind}")
        found: Mapping[str, str] = self.flags if kept is None else json.loads(kept)
        return found

    def _flags_hold(self) -> bool:
        """Whether this run's flags are the folder's from now on.

        Where they only kept rows from being made anew, the same command again must keep them too.
        """
        if self.settings.remake or not flag_changes(self._flags_before(), self.flags):
            return True
        ours = (a for a in self.journal.attempts() if a.intent.kind is self.kind)
        return all(attempt.state.phase is Phase.PLANNED for attempt in ours)

    def remember(self) -> None:
        """Keep manifest and flags in the journal, so that any sheet can be rebuilt from there."""
        rows = [row_record(job) for job in self.manifest.jobs]
        columns = self.manifest.columns
        if self._rows_elsewhere:
            rows, columns = _merged(self.journal.rows(), rows), self.journal.columns()
        facts = {
            "prices_note": price_note(self.prices),
            "given_inputs": self.manifest.source.get("given_inputs", ""),
        }
        if self._flags_hold():
            facts[f"flags.{self.kind}"] = json.dumps(dict(self.flags))
        digest = hashlib.sha256(repr((columns, rows)).encode(errors="replace")).hexdigest()
        if self.journal.meta("rows_digest") != digest:
            self.journal.write(journals.set_rows(rows, columns))
            facts["rows_digest"] = digest
        self.journal.write(journals.set_meta(facts))


def row_record(job: Job) -> RowRecord:
    """What the journal keeps of a row."""
    return RowRecord(
        number=job.row.number,
        key=job.key,
        content=job.content,
        cells=job.row.cells,
        model=job.model,
        resolution=job.input.resolution.value,
        duration=job.input.duration,
        aspect_ratio=job.input.aspect_ratio.value,
    )


def read_source(source: Source, options: ReadOptions) -> Manifest:
    """The manifest in a file or a DataFrame, with whatever is wrong in it as findings."""
    if not isinstance(source, str | Path):
        return read_frame(source, options=options)
    _check_name(source)
    home = RunFolder(Path(source).resolve().parent)
    if options.folder is None and home.exists():
        with look_into(home.journal) as journal:  # a sheet of ours: files lie where they lay
            manifest = Path(journal.meta("manifest") or source)
        options = replace(options, folder=manifest.parent)
    return read(source, options)


def _check_name(source: str | Path) -> None:
    # Journal and sheets hold the manifest's path as text.
    try:
        str(Path(source).resolve()).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"The name {str(source)!r} is not UTF-8: rename the file or its folder."
        ) from None


def read_manifest(source: Source, options: ReadOptions) -> Manifest:
    """A manifest without problems. Raises `ManifestError` carrying all of them at once."""
    manifest = read_source(source, options)
    if manifest.problems:
        count = len(manifest.problems)
        noun = "problem" if count == 1 else "problems"
        raise ManifestError(
            f"{manifest.path} has {count} {noun}; nothing was sent.",
            grouped(manifest.problems),
            hint=f"edit the cells above, then: seedance-batch check {shlex.quote(manifest.path)}",
        )
    return manifest


@contextlib.contextmanager
def open_batch(
    source: Source,
    options: ReadOptions,
    settings: RunSettings,
    environ: Mapping[str, str],
) -> Iterator[Batch]:
    """Open a batch for running: the folder is held, and nothing is sent yet.

    Raises what is wrong before anything could be: settings, manifest, folder, journal, API.
    """
    source, settings = at_home(source, settings)
    check_settings(settings)
    access = None if settings.sandbox else access_from(environ, settings.api_url)
    manifest = read_manifest(source, options)
    check_pattern(settings.name, [*manifest.columns, *_NAMED_INPUTS])
    folder = folder_for(manifest, settings)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(folder))
        journal = stack.enter_context(open_journal(folder.journal, wal=wal_is_safe(folder.path)))
        claim(journal, folder, manifest, SANDBOX_ORIGIN if access is None else access.origin)
        if access is None:
            access = stack.enter_context(sandbox(settings.sandbox_config, folder.sandbox_state))
        check_callbacks(settings, access)
        prices = anyio.run(lambda: load_prices(access, settings.price_file, needed=True))
        yield Batch(manifest, settings, access, folder, journal, prices, body_flags(options))


@contextlib.contextmanager
def open_plan(
    source: Source,
    options: ReadOptions,
    settings: RunSettings,
    environ: Mapping[str, str],
) -> Iterator[Batch]:
    """Open a batch for looking only: no lock, no new folder, no key, nothing sent."""
    source, settings = at_home(source, settings)
    check_settings(settings)
    manifest = read_manifest(source, options)
    check_pattern(settings.name, [*manifest.columns, *_NAMED_INPUTS])
    folder = folder_for(manifest, settings)
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(look_into(folder.journal))
        if settings.sandbox:
            access = stack.enter_context(sandbox(settings.sandbox_config, None))
        else:
            access = public_access(environ, settings.api_url)
        check_claim(journal, folder, manifest, access.origin)
        prices = anyio.run(lambda: load_prices(access, settings.price_file, needed=False))
        yield Batch(manifest, settings, access, folder, journal, prices, body_flags(options))


def rerun_choice(classes: Sequence[str], *, force: bool) -> RerunChoice:
    """Which failed rows to make again. Raises `SettingsError` for a class that there is not."""
    try:
        chosen = frozenset(map(ErrorClass, classes)) or None
    except ValueError as error:
        known = ", ".join(ErrorClass)
        raise SettingsError(f"--class: {error}; there are {known}.") from error
    return RerunChoice(chosen, force=force)


def at_home(source: Source, settings: RunSettings) -> tuple[Source, RunSettings]:
    """A run folder in a manifest's place means the manifest that was last run there.

    Raises `FolderMissing` for a folder that nothing was run in.
    """
    if not isinstance(source, str | Path) or not os.path.isdir(source):  # noqa: PTH112 - never raises
        return source, settings
    folder = folder_of(Path(source), out=None, sandbox=False)
    with look_into(folder.journal) as journal:
        manifest, origin = journal.meta("manifest") or "", journal.meta("origin")
    in_sandbox = origin == SANDBOX_ORIGIN
    return manifest, replace(settings, out=folder.path, sandbox=in_sandbox or settings.sandbox)


_NAMED_INPUTS: Final = ("model", "resolution", "duration", "aspect_ratio")
"""Inputs that ``--name`` may use beside the person's columns."""


def folder_for(manifest: Manifest, settings: RunSettings) -> RunFolder:
    """Where this manifest's runs are kept."""
    if settings.out is not None:
        return RunFolder(settings.out.resolve())
    named = Path(manifest.path)
    if not named.is_file():  # standard input, or a table in memory
        named = Path.cwd() / f"{manifest.name}.csv"
    return default_folder(named, sandbox=settings.sandbox)


def body_flags(options: ReadOptions) -> dict[str, str]:
    """The reading flags that change what is sent, by name."""
    flags = {f"set {name}": value for name, value in options.overrides.items()}
    return flags | ({"model": options.model} if options.model else {})


def _is_part(manifest: Manifest, folder: RunFolder) -> bool:
    """A failed sheet of ours: what it lacks did not leave the manifest."""
    return continues(manifest, folder) and manifest.name.startswith("failed")


def _merged(before: Sequence[RowRecord], edited: Sequence[RowRecord]) -> list[RowRecord]:
    """The rows of before, with those that were edited in their old places."""
    new = {row.key: row for row in edited}
    kept = [
        replace(new.pop(row.key), number=row.number) if row.key in new else row for row in before
    ]
    return [*kept, *new.values()]
