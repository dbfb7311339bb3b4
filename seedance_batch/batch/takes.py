"""The takes of a run folder: which rows and takes are meant, and whether their clips are sound."""

from __future__ import annotations

import csv
import os
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from seedance_batch.clips.kept import (
    Checked,
    CheckJob,
    Hands,
    KeptClips,
    Wanted,
    checked_clips,
    damage,
)
from seedance_batch.clips.partial import move_aside
from seedance_batch.core.attempt import (
    KEPT_PHASES,
    Attempt,
    Charged,
    Clip,
    Intent,
    Kind,
    Phase,
    TakeName,
    charged,
)
from seedance_batch.core.columns import guarded
from seedance_batch.core.model import INPUT_FIELDS
from seedance_batch.core.outcome import Outcome, RowRecord, Status
from seedance_batch.core.select import Selection, meant_ids, select
from seedance_batch.core.text import first_few, in_usd, spaced
from seedance_batch.errors import StoreAway
from seedance_batch.publish import replacing
from seedance_batch.reader.headings import field_of
from seedance_batch.writer.lines import utc

# ── Which rows are meant, and which take of each: for films, copies and data sets ─────────────────


@dataclass(frozen=True, slots=True)
class Lacking:
    """A row that has no clip to show, and why."""

    key: str
    reason: str
    is_paid: bool = False
    """Whether its clip was downloaded once, so that it can be fetched again for nothing."""


def take_of(outcome: Outcome, kind: Kind) -> Attempt | None:
    """The newest take of what the row asks for now, else of what it asked for before."""
    done = [
        a
        for a in outcome.attempts
        if a.intent.kind is kind and a.state.phase is Phase.DONE and a.state.clip is not None
    ]
    content = outcome.row.content if outcome.row else None
    present = [a for a in done if a.intent.content == content]
    return next(reversed(present or done), None)


def absence(outcome: Outcome, kind: Kind) -> str:
    """Why a row has no take of that kind."""
    other = next(each for each in Kind if each is not kind)
    return f"only a {other}" if take_of(outcome, other) else spaced(outcome.status)


def chosen_of(rows: list[Outcome], columns: Sequence[str], selection: Selection) -> list[Outcome]:
    """The rows of a run folder that are meant, as the journal kept them. Raises as `select`.

    Of a row of which takes were kept, those are the only ones of their kind.
    """
    if selection == Selection():
        return rows
    kept = [_KeptRow(outcome.row) for outcome in rows if outcome.row is not None]
    aliases = {h: known for h in columns if (known := field_of(h)) is not None}
    keys = set(select(kept, rows, selection, aliases))
    meant = meant_ids(selection.takes, keys)
    takes = {meant[key]: names for key, names in selection.takes.items() if key in meant}
    return [_kept_only(o, takes.get(o.key, ())) for o in rows if o.key in keys]


def _kept_only(outcome: Outcome, kept: Collection[TakeName]) -> Outcome:
    """The row as if no other takes of the kept ones' kinds were made; the best of them is shown."""
    done = [a for a in outcome.attempts if a.state.phase is Phase.DONE]
    meant = [a for a in done if a.intent.take in kept]
    if not meant:
        return outcome
    kinds = {a.intent.kind for a in meant}
    left = tuple(a for a in outcome.attempts if a in meant or a.intent.kind not in kinds)
    narrowed = replace(outcome, attempts=left)
    return replace(narrowed, shown=take_of(narrowed, Kind.FINAL) or take_of(narrowed, Kind.DRAFT))


@dataclass(frozen=True)
class _KeptRow:
    """A row as the journal kept it, to choose by; values that it did not keep are its cells."""

    row: RowRecord

    @property
    def key(self) -> str:
        return self.row.key

    @property
    def model(self) -> str:
        return self.row.model

    @property
    def input(self) -> object:
        row = self.row
        fields: dict[str, Any] = dict.fromkeys(INPUT_FIELDS)
        fields |= {field_of(heading) or "": text for heading, text in row.cells.items()}
        asked = {"resolution": row.resolution, "duration": row.duration}
        return SimpleNamespace(**fields | asked | {"aspect_ratio": row.aspect_ratio})


# ── Whether clips still are what was downloaded, and what was asked for ───────────────────────────


@dataclass(frozen=True, slots=True)
class ClipFinding:
    """An attempt and what is wrong with its clip; None where all is well."""

    attempt: Attempt
    fault: str | None
    can_be_fetched: bool = False
    """Whether ``fetch`` asks for the clip anew."""

    @property
    def is_claim(self) -> bool:
        """Whether money was paid and the right clip was not had."""
        return self.fault is not None and charged(self.attempt.state) is Charged.YES

    def as_json(self) -> dict[str, Any]:
        """The finding as programs are told it."""
        intent = self.attempt.intent
        return {
            "id": intent.key,
            "kind": intent.kind,
            "attempt": intent.number,
            "task_id": self.attempt.state.task_id,
            "message": self.fault,
            "est_cost_usd": in_usd(intent.est_cost),
            "can_be_fetched": self.can_be_fetched,
        }


def check_clips(
    kept: KeptClips, attempts: Iterable[Attempt], hands: Hands | None = None
) -> list[ClipFinding]:
    """Check every paid attempt: its file's bytes, and what they decode to. Raises `StoreAway`."""
    paid = [a for a in attempts if a.state.phase in KEPT_PHASES | {Phase.EXPIRED}]
    jobs = {
        a.id: CheckJob(str(kept.folder.resolve()), a.state.clip, Wanted.of(a.intent))
        for a in paid
        if a.state.clip is not None
    }
    found = dict(zip(jobs, checked_clips(kept, list(jobs.values()), hands), strict=True))
    return [_finding(attempt, found.get(attempt.id)) for attempt in paid]


def lacking(kept: KeptClips, attempts: Iterable[Attempt]) -> set[int]:
    """Ids of paid attempts whose clip is not there as the journal has it.

    Reads every clip on a disk; of a store it reads the list. Raises `StoreAway`.
    """
    attempts = list(attempts)
    gone = {a.id for a in attempts if a.state.phase is Phase.EXPIRED or _came_damaged(a)}
    done = _done(attempts)
    if kept.store is not None:
        return gone | _of_other_size(kept, done)
    return gone | {key for key, (_, clip) in done.items() if damage(kept.folder, clip) is not None}


def _done(attempts: Iterable[Attempt]) -> dict[int, tuple[Attempt, Clip]]:
    """Those that are done, with their clips, by id."""
    return {
        a.id: (a, a.state.clip)
        for a in attempts
        if a.state.phase is Phase.DONE and a.state.clip is not None
    }


def _of_other_size(kept: KeptClips, done: Mapping[int, tuple[Attempt, Clip]]) -> set[int]:
    """Ids of those that are missing, or have another size."""
    sizes = kept.sizes([clip for _, clip in done.values()])
    return {key for key, (_, clip) in done.items() if sizes.get(clip.file) != clip.bytes}


_LASTING: Final = 7 * 86_400.0
"""Seconds for which the service keeps a file, where it does not say otherwise."""


def gone_from_disk(
    kept: KeptClips, attempts: Iterable[Attempt], fetchable_at: float | None = None
) -> set[int]:
    """Ids of done attempts whose file is missing, or has another size: one look at its entry.

    A store that does not answer is not known to lack any.

    ``fetchable_at``, the time in Unix seconds, leaves out those that the service no longer has by
    what it said: to ask for them again is the person's decision, since it ends them where they
    are gone.
    """
    done = _done(attempts)
    try:
        gone = _of_other_size(kept, done)
    except StoreAway:
        return set()
    if fetchable_at is None:
        return gone
    kept_there = {key for key in gone if _is_kept(done[key][0], fetchable_at)}
    return kept_there | {key for key in gone if kept.stands(done[key][1])}


def _is_kept(attempt: Attempt, now: float) -> bool:
    """Whether the service has the file still, as far as is known."""
    state = attempt.state
    if state.task_id is None:
        return False
    made = state.finished_at or now
    return now < max(state.url_expires_at or 0.0, made + _LASTING)


def set_aside(kept: KeptClips, attempt: Attempt) -> str | None:
    """Make room where a clip belongs; what to say of the file that stood there, if one did.

    Raises `StorageFailed` where it cannot be moved.
    """
    clip = attempt.state.clip
    if clip is None or not os.path.lexists(kept.folder / clip.file):
        return None
    if damage(kept.folder, clip) is None:  # a damaged download, kept as it came
        return None
    move_aside(kept.folder, clip.file)
    key = attempt.intent.key
    return f"row {key}: {clip.file} is not the file that was downloaded; it was moved aside"


def note_of_missing(kept: KeptClips, outcomes: Iterable[Outcome]) -> str | None:
    """A line about clips of done rows that are missing, or changed by their size; None if none.

    One look at each file's entry, none into it: `verify` does that.
    """
    shown = [o.shown for o in outcomes if o.status is Status.DONE and o.shown]
    missing = gone_from_disk(kept, shown)
    gone = [a.state.clip.file for a in shown if a.state.clip and a.id in missing]
    if not gone:
        return None
    which = f"{first_few(gone, 1)} {'is' if len(gone) == 1 else 'are'}"
    place = "on disk" if kept.store is None else f"in {kept.store.url}"
    command = f"seedance-batch fetch {shlex.quote(str(kept.folder))}"
    return f"{which} done and paid, but missing or changed {place}; to download again: {command}"


def _came_damaged(attempt: Attempt) -> bool:
    """Whether its downloads were given up because none was a whole video."""
    clip = attempt.state.clip
    return attempt.state.phase is Phase.MEDIA_MISMATCH and clip is not None and clip.is_damaged


def _finding(attempt: Attempt, checked: Checked | None) -> ClipFinding:
    if checked is None:
        return ClipFinding(attempt, attempt.state.error_message or "there is no clip")
    fetchable = _came_damaged(attempt)
    if checked.damage is not None:
        fetchable |= attempt.state.phase is Phase.DONE
    return ClipFinding(attempt, checked.damage or checked.misfit, can_be_fetched=fetchable)


CLAIM_COLUMNS = ("id", "task_id", "asked", "got", "paid_usd", "reason", "finished_at")


def write_claims(path: Path, found: Iterable[ClipFinding]) -> int:
    """Write what to claim back as CSV: asked, got, paid. Returns the number of claims."""
    claims = [finding for finding in found if finding.is_claim]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as out:
        sheet = csv.writer(out)
        sheet.writerow(CLAIM_COLUMNS)
        sheet.writerows([guarded(cell) for cell in _claim(finding)] for finding in claims)
    return len(claims)


def _claim(finding: ClipFinding) -> tuple[str, ...]:
    intent, state = finding.attempt.intent, finding.attempt.state
    return (
        intent.key,
        state.task_id or "",
        _asked(intent),
        _got(state.clip),
        in_usd(intent.est_cost) or "",
        finding.fault or "",
        utc(state.finished_at) or "",
    )


def _asked(intent: Intent) -> str:
    sound = "sound" if intent.generate_audio else "silent"
    return f"{intent.duration} s {intent.resolution} {intent.aspect_ratio} {sound}"


def _got(clip: Clip | None) -> str:
    if clip is None:
        return "no file"
    sound = "sound" if clip.has_audio else "silent"
    return f"{clip.seconds:.2f} s {clip.width}x{clip.height} {sound}"
