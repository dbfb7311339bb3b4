"""Picks the rows that a command is about, by position, id, condition, number or sample."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from seedance_batch.errors import EmptySelection, UsageError
from seedance_batch.manifest import Job
from seedance_batch.model import INPUT_FIELDS, LIST_FIELDS
from seedance_batch.outcome import Outcome, Status
from seedance_batch.where import Column, Value, matching
from seedance_batch.words import some


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for; a row has to satisfy all of it. Then the sample is drawn, then cut."""

    rows: str | None = None
    """Row numbers and ranges, e.g. ``1-20,57,90-``."""
    ids: Collection[str] | None = None
    where: str | None = None
    from_ids: Collection[str] | None = None
    """Ids read from a list of picks."""
    sample: int | None = None
    sample_seed: int = 0
    limit: int | None = None


def select(
    jobs: Sequence[Job],
    outcomes: Iterable[Outcome],
    selection: Selection,
    aliases: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """The keys of the chosen jobs, in manifest order. ``jobs`` are as their rows are written.

    ``aliases``: which of the person's headings name an input field, and which.

    Raises `UsageError` for what cannot be understood or names no row, `EmptySelection` when no
    row is left.
    """
    chosen = jobs
    for accepts in _tests(jobs, outcomes, selection, aliases or {}):
        chosen = [job for job in chosen if accepts(job)]
    keys = [job.key for job in chosen]
    if selection.sample is not None:
        keys = _sampled(keys, _positive("--sample", selection.sample), selection.sample_seed)
    if selection.limit is not None:
        keys = keys[: _positive("--limit", selection.limit)]
    if not keys:
        raise EmptySelection(
            f"None of {some(len(jobs), 'row')} matches the selection.",
            hint="leave --rows, --ids, --where, --limit out to see what there is",
        )
    return tuple(keys)


def _tests(
    jobs: Sequence[Job],
    outcomes: Iterable[Outcome],
    selection: Selection,
    aliases: Mapping[str, str],
) -> Iterator[Callable[[Job], bool]]:
    if selection.rows is not None:
        yield _in_ranges(selection.rows, max((job.row.number for job in jobs), default=0))
    if selection.ids is not None:
        yield _has_id("--ids", selection.ids, jobs)
    if selection.from_ids is not None:
        yield _has_id("--from", selection.from_ids, jobs)
    if selection.where is not None:
        yield _where(selection.where, jobs, outcomes, aliases)


def _positive(flag: str, number: int) -> int:
    if number < 1:
        raise UsageError(f"{flag} {number}: at least 1", hint=f"{flag} 10")
    return number


def _sampled(keys: Sequence[str], size: int, seed: int) -> list[str]:
    """Some keys in their order: the same seed draws the same, wherever rows were added or moved."""
    drawn = frozenset(sorted(keys, key=lambda key: _lot(key, seed))[:size])
    return [key for key in keys if key in drawn]


def _lot(key: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{key}".encode("utf-8", "surrogatepass")).digest()


# ── --rows, --ids ───────────────────────────────────────────────────────────────────────────────

_RANGE: Final = re.compile(r"(\d{1,9})|(\d{0,9})\s*-\s*(\d{0,9})")


def _in_ranges(text: str, last: int) -> Callable[[Job], bool]:
    ranges = [_range(part.strip(), last) for part in text.split(",")]
    return lambda job: any(job.row.number in wanted for wanted in ranges)


def _range(part: str, last: int) -> range:
    """``57``, ``1-20``, ``90-`` or ``-5``, up to the manifest's last row."""
    match = _RANGE.fullmatch(part)
    if match is None or part == "-":
        raise UsageError(f"--rows: {part!r} is no row number or range", hint="--rows 1-20,57")
    first = int(match[1] or match[2] or 1)
    until = int(match[1] or match[3] or last)
    if first > last:
        raise UsageError(f"--rows: there is no row {first}, the manifest has {last:,}")
    if first < 1 or until < first:
        raise UsageError(f"--rows: {part} is no range of rows", hint="--rows 1-20,57")
    return range(first, until + 1)


def _has_id(flag: str, ids: Collection[str], jobs: Sequence[Job]) -> Callable[[Job], bool]:
    known = {job.key for job in jobs}
    wanted = frozenset(ids)
    missing = sorted(wanted - known)
    if missing:
        close = difflib.get_close_matches(missing[0], known, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        others = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        raise UsageError(f"{flag}: no row has the id {missing[0]}{others}{meant}")
    return lambda job: job.key in wanted


# ── --where ─────────────────────────────────────────────────────────────────────────────────────

_FIELDS: Final = tuple(name for name in INPUT_FIELDS if name not in LIST_FIELDS)


def _where(
    condition: str, jobs: Sequence[Job], outcomes: Iterable[Outcome], aliases: Mapping[str, str]
) -> Callable[[Job], bool]:
    standing = {outcome.key: outcome for outcome in outcomes}
    found = matching(condition, _columns(jobs, standing, aliases))
    keys = {job.key for at, job in enumerate(jobs) if at in found}
    return lambda job: job.key in keys


def _columns(
    jobs: Sequence[Job], standing: Mapping[str, Outcome], aliases: Mapping[str, str]
) -> dict[str, Column]:
    """What a condition may name: the person's columns, HiAPI's fields, and how a row stands.

    Where a person has a column of one of our names, theirs keeps it, and ours is ``sb_<name>``.
    """
    columns = {name: _field(jobs, name) for name in _FIELDS}
    for heading in dict.fromkeys(heading for job in jobs for heading in job.row.cells):
        field = aliases.get(heading)
        own = Column([job.row.cells.get(heading, "") for job in jobs])
        columns[heading] = columns[field] if field in columns else own
    ours: dict[str, list[Value]] = {
        "status": [_status(standing.get(job.key)) for job in jobs],
        "error_class": [_error_class(standing.get(job.key)) for job in jobs],
    }
    columns |= {f"sb_{name}": Column(values, is_text=True) for name, values in ours.items()}
    columns = {**{name: columns[f"sb_{name}"] for name in ours}, **columns}
    columns["model"] = Column([job.model for job in jobs], is_text=True)
    return columns | {"id": Column([job.key for job in jobs], is_text=True)}


def _field(jobs: Sequence[Job], name: str) -> Column:
    return Column([getattr(job.input, name) for job in jobs], is_text=name == "prompt")


def _status(outcome: Outcome | None) -> str:
    return (outcome.status if outcome else Status.NEW).value


def _error_class(outcome: Outcome | None) -> str | None:
    shown = outcome.shown if outcome else None
    return shown.state.error_class.value if shown and shown.state.error_class else None
