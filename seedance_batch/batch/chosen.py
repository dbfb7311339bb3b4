"""Which rows of a run folder are meant, and which take of each: how joining, sharing and
exporting begin."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from seedance_batch.core.attempt import Attempt, Kind, Phase, TakeName
from seedance_batch.core.model import INPUT_FIELDS
from seedance_batch.core.outcome import Outcome, RowRecord
from seedance_batch.core.select import Selection, meant_ids, select
from seedance_batch.core.text import spaced
from seedance_batch.reader.headings import field_of


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
    meant = [a for a in done if TakeName(a.intent.kind, a.intent.number) in kept]
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
