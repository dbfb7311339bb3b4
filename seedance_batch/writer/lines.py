"""Outcomes as lines of typed values: what stands in which column, whatever the file format.

Pure. One line per outcome, the person's columns first; one line per attempt for the takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from seedance_batch.core.attempt import Attempt, Clip, Phase, charged, reason_of, surety
from seedance_batch.core.columns import INPUT_COLUMNS, folded, result_columns
from seedance_batch.core.names import address_in
from seedance_batch.core.outcome import Outcome, message, next_step, spent

SheetValue = str | int | float | Decimal | None
"""A cell: text, a number, US dollars, or nothing."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a results sheet."""

    outcome: Outcome
    person: tuple[str, ...]
    """Their cells, text unchanged, in the order of their columns."""
    ours: tuple[SheetValue, ...]
    """Our cells, in the order of our block."""


@dataclass(frozen=True, slots=True)
class ResultTable:
    """A results sheet before it has a format."""

    columns: tuple[str, ...]
    """The person's headings."""
    block: tuple[tuple[str, str], ...]
    """Our (name, heading) pairs behind them."""
    outcomes: tuple[Outcome, ...]
    store: str | None = None
    """The address of the store that has the clips of done rows; None where the folder does."""

    @property
    def header(self) -> tuple[str, ...]:
        """All headings in order."""
        return (*self.columns, *(heading for _, heading in self.block))

    def lines(self) -> Iterator[Line]:
        """One line per outcome, in the outcomes' order."""
        values = [_OF_OUTCOME[name] for name, _ in self.block]
        names = [name for name, _ in self.block]
        for outcome in self.outcomes:
            ours = tuple(value(outcome) for value in values)
            if self.store is not None and outcome.shown is not None:
                ours = _located(names, ours, outcome.shown, self.store)
            yield Line(outcome, self._person(outcome), ours)

    def theirs(self) -> Iterator[tuple[str, ...]]:
        """The person's cells alone, line by line."""
        return map(self._person, self.outcomes)

    def _person(self, outcome: Outcome) -> tuple[str, ...]:
        cells = outcome.row.cells if outcome.row else _remembered(outcome, self.columns)
        return tuple(cells.get(column, "") for column in self.columns)


def table(
    columns: Sequence[str],
    outcomes: Sequence[Outcome],
    given_inputs: Collection[str] = (),
    store: str | None = None,
) -> ResultTable:
    """The results of a run folder; ``given_inputs`` as `columns.result_columns` has it."""
    block = tuple(result_columns(columns, given_inputs))
    return ResultTable(tuple(columns), block, tuple(outcomes), store)


_FILES: Final = frozenset({"video_file", "last_frame_file"})


def _located(
    names: Sequence[str], values: Sequence[SheetValue], attempt: Attempt, store: str
) -> tuple[SheetValue, ...]:
    """The cells of an attempt, with the addresses of what the store has of it."""
    if attempt.state.phase is not Phase.DONE:
        return tuple(values)
    return tuple(
        address_in(store, value) if name in _FILES and isinstance(value, str) else value
        for name, value in zip(names, values, strict=True)
    )


def _remembered(outcome: Outcome, columns: Sequence[str]) -> Mapping[str, str]:
    """A removed row's prompt and inputs, by its attempt, in the person's columns of those names."""
    found = {name: text(_OF_OUTCOME[name](outcome)) for name in INPUT_COLUMNS}
    if outcome.shown:
        found["prompt"] = outcome.shown.intent.prompt
    return {column: found[folded(column)] for column in columns if folded(column) in found}


# ── our columns ─────────────────────────────────────────────────────────────────────────────────


def _media_ok(attempt: Attempt) -> str | None:
    return {Phase.DONE: "yes", Phase.MEDIA_MISMATCH: "no"}.get(attempt.state.phase)


def _of_clip(value: Callable[[Clip], SheetValue]) -> Callable[[Attempt], SheetValue]:
    return lambda attempt: value(attempt.state.clip) if attempt.state.clip else None


_OF_ATTEMPT: Final[Mapping[str, Callable[[Attempt], SheetValue]]] = {
    "error_class": lambda a: a.state.error_class,
    "reason": lambda a: reason_of(a.state),
    "message": lambda a: message(a) or None,
    "task_id": lambda a: a.state.task_id,
    "est_cost_usd": lambda a: a.intent.est_cost,
    "charged": lambda a: charged(a.state),
    "video_file": _of_clip(lambda clip: clip.file),
    "last_frame_file": _of_clip(lambda clip: clip.last_frame_file),
    "video_url": lambda a: a.state.video_url,
    "url_expires_at": lambda a: utc(a.state.url_expires_at),
    "media_ok": _media_ok,
    "got_duration": _of_clip(lambda clip: round(clip.seconds, 3)),
    "got_resolution": _of_clip(lambda clip: f"{clip.width}x{clip.height}"),
    "bytes": _of_clip(lambda clip: clip.bytes),
    "sha256": _of_clip(lambda clip: clip.sha256),
    "submitted_at": lambda a: utc(a.state.submitted_at),
    "finished_at": lambda a: utc(a.state.finished_at),
}
"""What an attempt says of itself, the same on a line and among the takes."""


def _shown(value: Callable[[Attempt], SheetValue]) -> Callable[[Outcome], SheetValue]:
    return lambda outcome: value(outcome.shown) if outcome.shown else None


def _input(name: str) -> Callable[[Outcome], SheetValue]:
    def value(outcome: Outcome) -> SheetValue:
        # The row's, not the attempt's: fed back, a draft's 480p must not become the row's wish.
        source = outcome.row or (outcome.shown and outcome.shown.intent)
        found: SheetValue = getattr(source, name) if source else None
        return found

    return value


_OF_OUTCOME: Final[Mapping[str, Callable[[Outcome], SheetValue]]] = {
    **{name: _shown(value) for name, value in _OF_ATTEMPT.items()},
    **{name: _input(name) for name in INPUT_COLUMNS},
    "row": lambda outcome: outcome.row.number if outcome.row else None,
    "id": lambda outcome: outcome.key,
    "status": lambda outcome: outcome.status,
    "next_step": next_step,
    "attempts": lambda outcome: len(outcome.attempts),
    "kind": _shown(lambda attempt: attempt.intent.kind),
    "row_cost_usd": lambda outcome: _row_cost(outcome),
    "made_from": lambda outcome: "; ".join(map(str, outcome.made_from)) or None,
}
"""``resolution`` and its like are the row's wish; ``kind`` tells where the clip is but a draft."""


def _row_cost(outcome: Outcome) -> Decimal | None:
    """All that the row may have cost: every attempt that is not known to be free, drafts too."""
    priced = [a for a in outcome.attempts if a.intent.est_cost is not None and surety(a.state)]
    return spent(priced) if priced else None


# ── takes ───────────────────────────────────────────────────────────────────────────────────────

_OF_TAKE: Final[Mapping[str, Callable[[Outcome, Attempt], SheetValue]]] = {
    "row": lambda outcome, _: outcome.row.number if outcome.row else None,
    "id": lambda outcome, _: outcome.key,
    "kind": lambda _, attempt: attempt.intent.kind,
    "attempt": lambda _, attempt: attempt.intent.number,
    "shown": lambda outcome, attempt: "yes" if attempt is outcome.shown else None,
    "status": lambda _, attempt: attempt.state.phase,
}
_ASKED: Final = ("model", "resolution", "duration", "aspect_ratio")

TAKE_COLUMNS: Final = (
    *_OF_TAKE,
    "error_class",
    "reason",
    "message",
    "task_id",
    *_ASKED,
    *(name for name in _OF_ATTEMPT if name not in {"error_class", "reason", "message", "task_id"}),
)
"""The takes sheet's columns; ``shown`` marks the take that the results sheet shows."""


def take_lines(table: ResultTable) -> Iterator[tuple[Attempt, tuple[SheetValue, ...]]]:
    """One line per attempt: rows in their order, a row's attempts oldest first."""
    for outcome in table.outcomes:
        for attempt in outcome.attempts:
            values = tuple(_take(name, outcome, attempt) for name in TAKE_COLUMNS)
            if table.store is not None:
                values = _located(TAKE_COLUMNS, values, attempt, table.store)
            yield attempt, values


def _take(name: str, outcome: Outcome, attempt: Attempt) -> SheetValue:
    if name in _OF_TAKE:
        return _OF_TAKE[name](outcome, attempt)
    if name in _ASKED:
        asked: SheetValue = getattr(attempt.intent, name)
        return asked
    return _OF_ATTEMPT[name](attempt)


# ── texts ───────────────────────────────────────────────────────────────────────────────────────


def utc(seconds: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC, whole seconds; a time no calendar holds is left out."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return None


def text(value: SheetValue) -> str:
    """A value as text: decimals without exponent, nothing as the empty text."""
    if value is None:
        return ""
    return format(value, "f") if isinstance(value, Decimal) else str(value)
