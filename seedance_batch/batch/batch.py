"""A manifest, its run folder and its API together: what is planned, chosen and remembered there."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path

from seedance_batch import journal as journals
from seedance_batch.batch import register, traces
from seedance_batch.batch.claiming import continues, whereabouts
from seedance_batch.batch.late_clips import resumed
from seedance_batch.batch.neighbours import Neighbour, bought_beside
from seedance_batch.folder import RunFolder
from seedance_batch.identity import folder_mark
from seedance_batch.journal import Journal
from seedance_batch.manifest import Job, Manifest, Told
from seedance_batch.outcome import RowRecord, outcomes
from seedance_batch.overview import price_note
from seedance_batch.plan import (
    Action,
    BodyFlags,
    Doubt,
    Flags,
    Plan,
    RerunChoice,
    Traces,
    doubts,
    draft_job,
    make_plan,
)
from seedance_batch.pricing import PriceTable
from seedance_batch.reader.headings import field_of
from seedance_batch.reader.source import STDIN
from seedance_batch.select import Selection, select
from seedance_batch.settings import Access, RunSettings
from seedance_batch.state import Attempt, Kind, Phase


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
    """The flags that change bodies, with their values: ``model``, ``set resolution``, …"""

    @property
    def kind(self) -> Kind:
        """Drafts or finals."""
        return Kind.DRAFT if self.settings.draft else Kind.FINAL

    @property
    def site(self) -> Site:
        """Where it runs."""
        return Site(self.folder, self.journal, self.access, self.settings)

    @cached_property
    def folder_mark(self) -> str | None:
        """Tells the run folder from others, and tells nothing else; None where there is none."""
        if not self.folder.exists():
            return None
        return folder_mark(self.journal.meta("folder_id") or "")

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
            list(resumed(self.journal.attempts(), time.time())),
            table=self.prices,
            kind=self.kind,
            rerun=rerun,
            selected=selected,
            rows_known=self._rows_elsewhere,
            flags=Flags(self.flags, self._made_with(), self.settings.remake),
        )

    def chosen(self, selection: Selection) -> tuple[str, ...] | None:
        """The keys that a selection means; None where it means every row.

        Raises `EmptySelection` and, for what cannot be understood, `UsageError`.
        """
        if selection == Selection():
            return None
        rows = [row_record(job) for job in self.manifest.jobs]
        standing = outcomes(rows, self.journal.attempts())
        aliases = {h: field for h in self.manifest.columns if (field := field_of(h)) is not None}
        return select(self.manifest.jobs, standing, selection, aliases)

    @property
    def dropped_cap(self) -> Decimal | None:
        """The cap of the last run that had one, where this one has none."""
        kept = self.journal.meta("max_cost")
        return None if kept is None or self.settings.max_cost is not None else Decimal(kept)

    def bought_beside(self, plan: Plan) -> Neighbour | None:
        """Another run folder that has bought rows that this plan would buy for the first time.

        For a table that has no file, wherever on this machine that folder is.
        """
        first = (s for s in plan.new if s.action is not Action.RERUN)
        wanted = Counter(step.job.content for step in first if step.job is not None)
        if not wanted:
            return None
        origin = self.access.origin
        placeless = self.manifest.path == STDIN or self.manifest.told
        elsewhere = register.folders(origin) if placeless else ()
        return bought_beside(self.folder, origin, wanted, elsewhere)

    def doubts(self, plan: Plan) -> list[Doubt]:
        """The new rows of a plan that look bought already; see `plan.doubts`."""
        if not plan.new:
            return []
        beside = self.bought_beside(plan)
        sheets = self._told_by_sheets
        made_at = traces.made_at(self.journal)
        found = Traces(
            sheets=sheets,
            sheets_are_own=traces.are_own(self.folder, self.folder_mark, made_at),
            clips=traces.clips_of(self, plan, listed=bool(sheets)),
            made_at=made_at,
            manifest={} if continues(self.manifest, self.folder) else self.manifest.told,
            elsewhere=beside.contents if beside else frozenset(),
            lost_since=self.journal.lost_since,
        )
        return doubts(plan, found, time.time())

    @cached_property
    def _told_by_sheets(self) -> Mapping[str, Told]:
        return traces.told_by_sheets(self.folder, self.journal)

    def only_drafts(self, keys: Collection[str]) -> bool:
        """Whether these rows have takes, and all of them are drafts."""
        kinds = {a.intent.kind for a in self.journal.attempts() if a.intent.key in keys}
        return kinds == {Kind.DRAFT}

    def redo(self, picks: Path, keys: Collection[str], *, record: bool) -> frozenset[str]:
        """Which of these keys this very list of picks has not had made anew yet.

        So the same command continues after a crash, and does not buy a third take. ``record``
        notes which attempts the list asks for, before they are made.

        What is noted is the number of the take that each row is owed: one more than its last when
        the list was first used. A row with takes 1 and 2 is owed 3, however often the command is
        repeated; once 3 is sent nothing is owed, and where 3 failed, 4 settles it as well.
        """
        kind = "draft." if self.kind is Kind.DRAFT else ""
        name = f"redo.{kind}{hashlib.sha256(picks.read_bytes()).hexdigest()}"
        numbers: dict[str, list[int]] = {key: [] for key in keys}
        lasts = dict.fromkeys(keys, 0)
        for attempt in self.journal.attempts():
            key, number = attempt.intent.key, attempt.intent.number
            if attempt.state.phase is Phase.PLANNED:
                continue  # turned away: no take, and its number is still to be had
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

    # ── flags ───────────────────────────────────────────────────────────────────────────────────

    def _made_with(self) -> Callable[[Attempt], BodyFlags]:
        """The flags of orders, as the journal has them now: a canary adds some on the way."""
        kept, usual = self._flags_kept(), self._folder_flags()
        return lambda a: kept.get(_order(a.intent.key, a.intent.number), usual)

    def _flags_kept(self) -> dict[str, BodyFlags]:
        """Flags of orders, by row and number."""
        kept = self.journal.meta(f"made_with.{self.kind}")
        found: dict[str, BodyFlags] = json.loads(kept or "{}")
        return found

    def _folder_flags(self) -> BodyFlags:
        """Those of orders for which none are kept: an earlier version knew one set a folder."""
        found: BodyFlags = json.loads(self.journal.meta(f"flags.{self.kind}") or "{}")
        return found

    def _flags_of(self, plan: Plan) -> dict[str, BodyFlags]:
        """Flags of all orders, once this plan is carried out.

        Noted before the order is: what is never sent has its number taken by the next plan.
        """
        found, made_with = self._flags_kept(), self._made_with()
        for step in plan.new:
            found[_order(step.key, step.number)] = self.flags
        for step in plan.steps:
            if step.action is Action.MOVED and step.attempt is not None:
                found[_order(step.key, step.number)] = made_with(step.attempt)
        usual = self._folder_flags()
        return {order: flags for order, flags in found.items() if flags != usual}

    # ── what is remembered ──────────────────────────────────────────────────────────────────────

    def remember(self, plan: Plan) -> None:
        """Keep manifest and flags in the journal, so that any sheet can be rebuilt from there."""
        rows, columns = self._asked_for(plan), self.manifest.columns
        if self._rows_elsewhere:
            rows, columns = _merged(self.journal.rows(), rows), self.journal.columns()
        facts = {
            "prices_note": price_note(self.prices),
            "given_inputs": self.manifest.source.get("given_inputs", ""),
            f"made_with.{self.kind}": json.dumps(self._flags_of(plan)),
        }
        if self.manifest.path != STDIN and not continues(self.manifest, self.folder):
            facts |= whereabouts(self.manifest, self.folder)
        if self.settings.max_cost is not None:
            facts["max_cost"] = str(self.settings.max_cost)
        digest = hashlib.sha256(repr((columns, rows)).encode(errors="replace")).hexdigest()
        if self.journal.meta("rows_digest") != digest:
            self.journal.write(journals.set_rows(rows, columns))
            facts["rows_digest"] = digest
        self.journal.write(journals.set_meta(facts))

    def _asked_for(self, plan: Plan) -> list[RowRecord]:
        """The manifest's rows, each with what it asks for: flags speak for rows that they buy."""
        if plan.kind is Kind.DRAFT:  # its flags speak for no final
            before = {row.key: row for row in self.journal.rows()}
            return [_unless_edited(row_record(job), before) for job in self.manifest.jobs]
        steps = {step.key: step for step in plan.steps}
        others = [job.key for job in self.jobs if job.key not in steps]
        if others:
            steps |= {step.key: step for step in self.plan(selected=others).steps}
        kept = {key: step.kept for key, step in steps.items() if step.kept is not None}
        rows = map(row_record, self.manifest.jobs)
        return [_standing_for(row, kept[row.key]) if row.key in kept else row for row in rows]


def _unless_edited(row: RowRecord, before: Mapping[str, RowRecord]) -> RowRecord:
    old = before.get(row.key, row)
    return replace(old, number=row.number) if old.cells == row.cells else row


def _order(key: str, number: int) -> str:
    return f"{key}\n{number}"


def _standing_for(row: RowRecord, attempt: Attempt) -> RowRecord:
    intent = attempt.intent
    return replace(
        row,
        content=intent.content,
        model=intent.model,
        resolution=intent.resolution,
        duration=intent.duration,
        aspect_ratio=intent.aspect_ratio,
    )


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
