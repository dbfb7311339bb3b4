"""A manifest, its run folder and its API together: what is planned, chosen and remembered there."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from seedance_batch.batch import ownership
from seedance_batch.batch.access import Site
from seedance_batch.batch.orders import resumed
from seedance_batch.batch.ownership import Neighbour, continues, whereabouts
from seedance_batch.core.attempt import Attempt, Kind, Phase, TakeName
from seedance_batch.core.columns import is_part
from seedance_batch.core.decide import BodyFlags, Flags
from seedance_batch.core.manifest import (
    Asked,
    Finding,
    Job,
    Manifest,
    Place,
    Severity,
    Told,
    folder_mark,
)
from seedance_batch.core.model import family_model
from seedance_batch.core.outcome import RowRecord, outcomes
from seedance_batch.core.overview import Absence, price_note
from seedance_batch.core.plan import Doubt, Traces, contents_of, doubts, draft_job, make_plan
from seedance_batch.core.pricing import PriceTable
from seedance_batch.core.select import Selection, meant_ids, select
from seedance_batch.core.steps import Action, Plan, RerunChoice, Step
from seedance_batch.errors import UsageError
from seedance_batch.journal import records
from seedance_batch.journal.records import Facts, KindFacts, order_name
from seedance_batch.page.marks import Mark, Pick
from seedance_batch.reader.headings import field_of
from seedance_batch.reader.source import STDIN

_DELIMITERS: Final = {"semicolon": ";", "tab": "\t"}
"""Those that the sheets keep of a manifest; others are commas."""


@dataclass(frozen=True)
class Batch(Site):
    """A manifest beside its run folder and the API to run it with; see `open_batch`."""

    manifest: Manifest
    prices: PriceTable | None
    flags: Mapping[str, str]
    """The flags that change bodies, with their values: ``model``, ``set resolution``, …"""
    reading: tuple[str, ...] = ()
    """The flags by which the manifest was read, as words of a command line."""
    cap_given: Decimal | None = None
    """What was said of the cap this time; `settings` has the one in force."""
    old_prices: PriceTable | None = None
    """A list kept from before that is too old to hold a cap against, where today's is not to be
    had."""
    absence: Absence | None = None
    """Why today's list is not to be had."""

    @property
    def kind(self) -> Kind:
        """Drafts or finals."""
        return self.settings.kind

    @cached_property
    def folder_mark(self) -> str | None:
        """Tells the run folder from others, and tells nothing else; None where there is none."""
        if not self.folder.exists():
            return None
        return folder_mark(self.journal.facts().folder_id or "")

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """The manifest's jobs as they would be sent for `kind`."""
        if self.kind is Kind.FINAL:
            return self.manifest.jobs
        return tuple(draft_job(job, self.settings.draft_model) for job in self.manifest.jobs)

    def plan(
        self, *, rerun: RerunChoice | None = None, selected: Collection[str] | None = None
    ) -> Plan:
        """What a run would do now, for all rows or the ``selected`` keys."""
        attempts = list(resumed(self.journal.attempts(), time.time()))
        facts = self.journal.facts_of(self.kind)  # as they are now: a canary adds some on the way
        return make_plan(
            self.jobs,
            attempts,
            table=self.prices,
            kind=self.kind,
            rerun=rerun,
            selected=selected,
            rows_known=self._rows_elsewhere,
            flags=Flags(self.flags, lambda a: facts.flags_of(a.intent), self.settings.remake),
            contents_elsewhere=self._contents_elsewhere(attempts),
        )

    def afterwards(self, plan: Plan) -> tuple[Step, ...]:
        """A plan for the same rows, now that it was carried out.

        Failures are not chosen anew; wishes for another take are, until a take answers them.
        """
        asked = plan.rerun is not None and (plan.rerun.redo or plan.rerun.stale)
        rerun = plan.rerun.only_redo() if plan.rerun and asked else None
        return self.plan(rerun=rerun, selected={step.key for step in plan.steps}).steps

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

    def warnings(self, plan: Plan) -> list[Finding]:
        """What reading the manifest warned of that concerns the rows that a plan would buy."""
        found = self.manifest.warnings_of(step.job for step in plan.new if step.job is not None)
        model = self.settings.draft_model if self.kind is Kind.DRAFT else None
        if plan.new and model is not None and family_model(model) is None:
            words = f"{model!r} is not a model that this program knows"
            found.append(Finding(Severity.WARNING, Place("--draft-model"), words))
        return found

    @property
    def kept_cap(self) -> Decimal | None:
        """The cap in force, where it is one that was given before and not this time."""
        return self.settings.max_cost if self.cap_given is None else None

    def remember_cap(self) -> None:
        """Keep a cap that was given: it is the folder's until another one is."""
        if self.cap_given is not None:
            self.journal.write(records.set_facts(Facts(max_cost=self.cap_given)))

    def bought_beside(self, plan: Plan) -> Neighbour | None:
        """Another run folder, beside this one or elsewhere on this machine, that has bought rows
        that this plan would buy for the first time.
        """
        first = [s.job for s in plan.new if s.action is not Action.RERUN and s.job is not None]
        if not first:
            return None
        wanted = Counter(job.content for job in first)
        spellings = {content: job.content for job in first for content in contents_of(job)}
        origin = self.access.origin
        elsewhere = ownership.folders(origin)
        return ownership.bought_beside(self.folder, origin, wanted, spellings, elsewhere)

    def doubts(self, plan: Plan) -> list[Doubt]:
        """The new rows of a plan that look bought already; see `core.plan.doubts`."""
        if not plan.new:
            return []
        beside = self.bought_beside(plan)
        sheets = self._told_by_sheets
        made_at = self.journal.facts().made_at
        found = Traces(
            sheets=sheets,
            sheets_are_own=ownership.sheets_are_own(self.folder, self.folder_mark, made_at),
            clips=ownership.clips_of(self, plan, listed=bool(sheets)),
            made_at=made_at,
            manifest={} if continues(self.manifest, self.folder) else self.manifest.told,
            elsewhere=beside.contents if beside else frozenset(),
            lost_since=self.journal.lost_since,
            lost=self.journal.lost(self.kind),
        )
        return doubts(plan, found, time.time())

    @cached_property
    def _told_by_sheets(self) -> Mapping[str, Told]:
        return ownership.told_by_sheets(self.folder, self.journal)

    def wishes(self, picks: Iterable[Pick], selected: Collection[str]) -> dict[str, TakeName]:
        """The rows marked redo among some picks, with the takes that are meant.

        Raises `UsageError` where none of them is of the kind that is made here.
        """
        redone: dict[str, TakeName | None] = {}
        for pick in picks:
            if pick.mark is Mark.REDO and not self._is_nearer(redone.get(pick.id), pick.take):
                redone[pick.id] = pick.take
        meant = meant_ids(redone, frozenset(selected))
        wishes = {meant[key]: take for key, take in redone.items() if meant[key] in selected}
        taken = {a.intent.kind for a in self.journal.attempts() if a.intent.key in selected}
        drafts = self.kind is Kind.FINAL and taken == {Kind.DRAFT}
        if drafts or all(take and take.kind is not self.kind for take in wishes.values()):
            kind = "drafts only" if self.kind is Kind.FINAL else "final clips, but --draft is not"
            raise UsageError(
                f"The rows marked redo have {kind}; nothing was sent.",
                hint="--draft" if self.kind is Kind.FINAL else "leave out --draft",
            )
        return self._redo(wishes)

    def _is_nearer(self, one: TakeName | None, other: TakeName | None) -> bool:
        """Whether the first wish is for the kind that is made here, or else for a newer take."""
        if one is None or other is None:
            return False
        here = one.kind is self.kind, other.kind is self.kind
        return here == (True, False) or (here[0] == here[1] and one.number > other.number)

    def _redo(self, wishes: Mapping[str, TakeName | None]) -> dict[str, TakeName]:
        """Which take each row's wish for another one is for.

        A list of picks says it; an older one does not. Its wish is for the take that the row showed
        when such a list was first used, so that the same list, however it was saved since, never
        buys a third one. Rows without any take are left out.
        """
        taken = {**self._last_takes(), **self._takes_redone()}
        found = {key: take or _named(self.kind, taken.get(key)) for key, take in wishes.items()}
        return {key: take for key, take in found.items() if take is not None}

    def remember_redo(self, choice: RerunChoice) -> None:
        """Note which takes were asked for anew, before their successors are made."""
        asked = {key: t.number for key, t in choice.redo.items() if t.kind is self.kind}
        if asked:
            noted = KindFacts(redone={**self._takes_redone(), **asked})
            self.journal.write(records.set_kind_facts(self.kind, noted))

    def _takes_redone(self) -> Mapping[str, int]:
        """The take of each row that was asked for anew last."""
        return self.journal.facts_of(self.kind).redone or {}

    def _last_takes(self) -> dict[str, int]:
        """The number of each row's last take; of its last attempt where none came to be one."""
        kept: dict[str, int] = {}
        others: dict[str, int] = {}
        for attempt in self.journal.attempts():
            key, phase = attempt.intent.key, attempt.state.phase
            if attempt.intent.kind is self.kind and phase is not Phase.PLANNED:
                into = others if phase is Phase.FAILED else kept
                into[key] = max(into.get(key, 0), attempt.intent.number)
        return others | kept

    def _contents_elsewhere(self, attempts: Sequence[Attempt]) -> dict[str, str]:
        """What rows ask for in the kind that this is not: those of which a send got no answer.

        Of no others: to make drafts of all rows takes longer than the rest of a plan.
        """
        keys = {
            a.intent.key
            for a in attempts
            if a.state.phase is Phase.SUBMITTING and a.intent.kind is not self.kind
        }
        jobs = [job for job in self.manifest.jobs if job.key in keys] if keys else []
        if self.kind is Kind.DRAFT:
            return {job.key: job.content for job in jobs}
        sent = {a.intent.key: a.intent.model for a in attempts if a.intent.kind is Kind.DRAFT}
        return {job.key: draft_job(job, sent.get(job.key)).content for job in jobs}

    @cached_property
    def _rows_elsewhere(self) -> frozenset[str]:
        """Keys of the folder's other rows, where only its failed ones were fed back."""
        if not (continues(self.manifest, self.folder) and is_part(self.manifest.name)):
            return frozenset()
        return frozenset(row.key for row in self.journal.rows())

    # ── flags ───────────────────────────────────────────────────────────────────────────────────

    def _flags_of(self, plan: Plan) -> dict[str, BodyFlags]:
        """Flags of all orders that are not the usual ones, once this plan is carried out.

        Noted before the order is: what is never sent has its number taken by the next plan.
        """
        facts = self.journal.facts_of(self.kind)
        found = dict(facts.made_with or {})
        for step in plan.new:
            found[order_name(step.key, step.number)] = self.flags
        for step in plan.steps:
            if step.action is Action.MOVED and step.attempt is not None:
                found[order_name(step.key, step.number)] = facts.flags_of(step.attempt.intent)
        return {order: flags for order, flags in found.items() if flags != (facts.flags or {})}

    # ── what is remembered ──────────────────────────────────────────────────────────────────────

    def remember(self, plan: Plan) -> None:
        """Keep manifest and flags in the journal, so that any sheet can be rebuilt from there."""
        rows, columns = self._asked_for(plan), self.manifest.columns
        if self._rows_elsewhere:
            rows, columns = _merged(self.journal.rows(), rows), self.journal.columns()
        flags = KindFacts(made_with=self._flags_of(plan))
        self.journal.write(records.set_kind_facts(self.kind, flags))
        facts = Facts(
            prices_note=price_note(self.prices),
            given_inputs=self.manifest.given_inputs,
            mended=self._mended(),
            delimiter=_DELIMITERS.get(self.manifest.source.get("delimiter", ""), ","),
        )
        if self.manifest.path != STDIN and not continues(self.manifest, self.folder):
            facts = whereabouts(self.manifest, self.folder, replace(facts, reading=self.reading))
        digest = hashlib.sha256(repr((columns, rows)).encode(errors="replace")).hexdigest()
        if self.journal.facts().rows_digest != digest:
            self.journal.write(records.set_rows(rows, columns))
            facts = replace(facts, rows_digest=digest)
        self.journal.write(records.set_facts(facts))

    def _mended(self) -> Mapping[str, Mapping[str, Any]] | None:
        """See `Facts.mended`; None where nothing is to be noted."""
        if not self._rows_elsewhere:
            return None
        known = dict(self.journal.facts().mended or {})
        before = {row.key: row for row in self.journal.rows()}
        for job, sent in zip(self.manifest.jobs, self.jobs, strict=True):
            row = before.get(job.key)
            if row is None or row.content == job.content:
                continue
            read = known.get(job.key, {}).get("read", row.content)
            note: dict[str, Any] = {
                "read": read,
                "ordered": job.content,
                "cells": dict(job.row.cells),
            }
            if self.kind is Kind.DRAFT and not job.sources:
                asked = {"model": job.model, "input": job.input.wire()}
                note |= {"draft": sent.content, "asked": asked}
            known[job.key] = note
        return known

    def _asked_for(self, plan: Plan) -> list[RowRecord]:
        """The manifest's rows, each with what it asks for: flags speak for rows that they buy."""
        if plan.kind is Kind.DRAFT:  # its flags speak for no final
            before = {row.key: row for row in self.journal.rows()}
            return [_unless_edited(row_record(job), before) for job in self.manifest.jobs]
        steps = {step.key: step for step in plan.steps}
        others = [job.key for job in self.jobs if job.key not in steps]
        if others:
            # --remake is a wish for the rows that were chosen.
            of_others = replace(self, settings=replace(self.settings, remake=False))
            steps |= {step.key: step for step in of_others.plan(selected=others).steps}
        kept = {key: step.kept for key, step in steps.items() if step.kept is not None}
        rows = map(row_record, self.manifest.jobs)
        return [_standing_for(row, kept[row.key]) if row.key in kept else row for row in rows]


def _unless_edited(row: RowRecord, before: Mapping[str, RowRecord]) -> RowRecord:
    old = before.get(row.key, row)
    return replace(old, number=row.number) if old.cells == row.cells else row


def _named(kind: Kind, number: int | None) -> TakeName | None:
    return None if number is None else TakeName(kind, number)


def _standing_for(row: RowRecord, attempt: Attempt) -> RowRecord:
    names = Asked.__annotations__.keys() - {"key"}  # a renamed row has its own
    return replace(row, **{name: getattr(attempt.intent, name) for name in names})


def row_record(job: Job) -> RowRecord:
    """What the journal keeps of a row."""
    follows = tuple(dict.fromkeys(source.key for source in job.sources))
    return RowRecord(number=job.row.number, cells=job.row.cells, follows=follows, **job.asked)


def _merged(before: Sequence[RowRecord], edited: Sequence[RowRecord]) -> list[RowRecord]:
    """The rows of before, with those that were edited in their old places."""
    new = {row.key: row for row in edited}
    kept = [
        replace(new.pop(row.key), number=row.number) if row.key in new else row for row in before
    ]
    return [*kept, *new.values()]
