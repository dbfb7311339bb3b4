"""Picks the rows that a command is about: by position, id, condition, number or sample. Pure."""

from __future__ import annotations

import difflib
import hashlib
import re
import sqlite3
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Protocol

from seedance_batch.core.attempt import TakeName, reason_of
from seedance_batch.core.model import INPUT_FIELDS, LIST_FIELDS
from seedance_batch.core.outcome import Outcome, Status
from seedance_batch.core.text import some
from seedance_batch.errors import EmptySelection, UsageError


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for; a row has to satisfy all of it. Then the sample is drawn, then cut."""

    rows: str | None = None
    """Row numbers and ranges, e.g. ``1-20,57,90-``."""
    ids: Collection[str] | None = None
    where: str | None = None
    from_ids: Collection[str] | None = None
    """Ids read from a list of picks."""
    takes: Mapping[str, Collection[TakeName]] = field(default_factory=dict)
    """By id: the takes that the list means, where it says which; joining and exporting use them."""
    sample: int | None = None
    sample_seed: int = 0
    limit: int | None = None


class AnyRow(Protocol):
    """A row that may be chosen: a `Job`, or what a journal kept of one."""

    @property
    def key(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def row(self) -> Numbered: ...
    @property
    def input(self) -> object:
        """HiAPI's fields, as attributes."""


class Numbered(Protocol):
    """A row's place and cells."""

    @property
    def number(self) -> int: ...
    @property
    def cells(self) -> Mapping[str, str]: ...


def select(
    jobs: Sequence[AnyRow],
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
            f"The selection matches none of {some(len(jobs), 'row')}.",
            hint="leave out --rows, --ids, --where and --limit to see every row",
        )
    return tuple(keys)


def _tests(
    jobs: Sequence[AnyRow],
    outcomes: Iterable[Outcome],
    selection: Selection,
    aliases: Mapping[str, str],
) -> Iterator[Callable[[AnyRow], bool]]:
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
        raise UsageError(f"{flag} {number}: give at least 1", hint=f"{flag} 10")
    return number


def _sampled(keys: Sequence[str], size: int, seed: int) -> list[str]:
    """Some keys in their order: the same seed draws the same, wherever rows were added or moved."""
    drawn = frozenset(sorted(keys, key=lambda key: _lot(key, seed))[:size])
    return [key for key in keys if key in drawn]


def _lot(key: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{key}".encode("utf-8", "surrogatepass")).digest()


# ── --rows, --ids ───────────────────────────────────────────────────────────────────────────────

_RANGE: Final = re.compile(r"(\d{1,9})|(\d{0,9})\s*-\s*(\d{0,9})")


def _in_ranges(text: str, last: int) -> Callable[[AnyRow], bool]:
    ranges = [_range(part.strip(), last) for part in text.split(",")]
    return lambda job: any(job.row.number in wanted for wanted in ranges)


def _range(part: str, last: int) -> range:
    """``57``, ``1-20``, ``90-`` or ``-5``, up to the manifest's last row."""
    match = _RANGE.fullmatch(part)
    if match is None or part == "-":
        raise UsageError(
            f"--rows: {part!r} is neither a row number nor a range", hint="--rows 1-20,57"
        )
    first = int(match[1] or match[2] or 1)
    until = int(match[1] or match[3] or last)
    if first > last:
        raise UsageError(f"--rows: there is no row {first}, the manifest has {last:,}")
    if first < 1 or until < first:
        raise UsageError(f"--rows: {part} is not a range of rows", hint="--rows 1-20,57")
    return range(first, until + 1)


def meant_ids(ids: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """The known id that each of these means, else the id itself.

    A spreadsheet turns 1.0, 01 and 1.10 into numbers: where no id is spelled so, one that is the
    same number is meant, if it is the only one.
    """
    numbers: dict[Decimal, list[str]] = defaultdict(list)
    for key in known:
        if (number := _number(key)) is not None:
            numbers[number].append(key)
    return {each: each if each in known else _same_number(each, numbers) for each in ids}


def _same_number(spelled: str, numbers: Mapping[Decimal, Sequence[str]]) -> str:
    number = _number(spelled)
    same = [] if number is None else numbers.get(number, [])
    return same[0] if len(same) == 1 else spelled


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _PLAIN_NUMBER.fullmatch(text) else None


_PLAIN_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


def _has_id(flag: str, ids: Collection[str], jobs: Sequence[AnyRow]) -> Callable[[AnyRow], bool]:
    known = {job.key for job in jobs}
    wanted = frozenset(meant_ids(ids, known).values())
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
    condition: str,
    jobs: Sequence[AnyRow],
    outcomes: Iterable[Outcome],
    aliases: Mapping[str, str],
) -> Callable[[AnyRow], bool]:
    standing = {outcome.key: outcome for outcome in outcomes}
    found = matching(condition, _columns(jobs, standing, aliases))
    keys = {job.key for at, job in enumerate(jobs) if at in found}
    return lambda job: job.key in keys


def _columns(
    jobs: Sequence[AnyRow], standing: Mapping[str, Outcome], aliases: Mapping[str, str]
) -> dict[str, SqlColumn]:
    """What a condition may name: the person's columns, HiAPI's fields, and how a row stands.

    Where a person has a column of one of our names, theirs keeps it, and ours is ``sb_<name>``.
    """
    columns = {name: _field(jobs, name) for name in _FIELDS}
    for heading in dict.fromkeys(heading for job in jobs for heading in job.row.cells):
        field = aliases.get(heading)
        own = SqlColumn([job.row.cells.get(heading, "") for job in jobs])
        columns[heading] = columns[field] if field in columns else own
    ours: dict[str, list[SqlValue]] = {
        "status": [_status(standing.get(job.key)) for job in jobs],
        "error_class": [_error_class(standing.get(job.key)) for job in jobs],
        "reason": [_reason(standing.get(job.key)) for job in jobs],
    }
    columns |= {f"sb_{name}": SqlColumn(values, is_text=True) for name, values in ours.items()}
    columns = {**{name: columns[f"sb_{name}"] for name in ours}, **columns}
    columns["model"] = SqlColumn([job.model for job in jobs], is_text=True)
    return columns | {"id": SqlColumn([job.key for job in jobs], is_text=True)}


def _field(jobs: Sequence[AnyRow], name: str) -> SqlColumn:
    return SqlColumn([getattr(job.input, name) for job in jobs], is_text=name == "prompt")


def _status(outcome: Outcome | None) -> str:
    return (outcome.status if outcome else Status.NEW).value


def _error_class(outcome: Outcome | None) -> str | None:
    shown = outcome.shown if outcome else None
    return shown.state.error_class.value if shown and shown.state.error_class else None


def _reason(outcome: Outcome | None) -> str | None:
    return reason_of(outcome.shown.state) if outcome and outcome.shown else None


# ── The language of ``--where``: SQL's WHERE over a manifest's rows, answered by SQLite in memory
# A condition is taken apart into words first. Only columns, texts, numbers, comparisons and a few
# functions get as far as SQLite, so that a condition can read the rows' values and do nothing
# else.


LONGEST_CONDITION: Final = 1000
"""Characters of a condition."""

SqlValue = str | int | float | bool | None

_HINT: Final = "--where \"client = 'Acme' and duration > 8\""
_NUMBER: Final = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")
_WORDS: Final = frozenset(
    "and or not in is null like glob between escape true false case when then else end "
    "isnull notnull collate nocase".split()
)
_FUNCTIONS: Final = frozenset(
    "abs coalesce ifnull instr length lower ltrim max min nullif replace round rtrim substr trim "
    "upper".split()
)
_TOKEN: Final = re.compile(
    r"""(?P<blank>\s+)
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | \[(?P<column>[^\[\]]*)\]
    | (?P<number>\d+(?:\.\d+)?(?![\w.]))
    | (?P<word>[^\W\d]\w*)
    | (?P<order><=|>=|<>|<|>)
    | (?P<other>==|!=|\|\||[-=+*/%(),])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class SqlColumn:
    """A column's values, row by row."""

    values: Sequence[SqlValue]
    is_text: bool = False
    """Compared as text also where it looks like a number: an id, a status."""


def matching(condition: str, columns: Mapping[str, SqlColumn]) -> frozenset[int]:
    """Which rows a condition holds for, by their position from 0.

    A name is a column's, in brackets where it is not one word (``[Scene no.]``) and whatever its
    capitals. A column of the person's compares as numbers where every cell that is filled is one.
    Raises `UsageError` for all that is no such condition; its message names the character.
    """
    if len(condition) > LONGEST_CONDITION:
        raise UsageError(f"--where is longer than {LONGEST_CONDITION:,} characters")
    stored = [_stored(column) for column in columns.values()]
    sql = " ".join(_translated(condition, columns, stored))
    with closing(sqlite3.connect(":memory:")) as connection:
        _fill(connection, stored)
        connection.set_authorizer(_reads_only)
        try:
            found = connection.execute(f"SELECT position FROM rows WHERE (\n{sql}\n)").fetchall()
        except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError):
            raise UsageError(
                f"--where is not an SQL condition: {condition.strip() or 'it is empty'}", hint=_HINT
            ) from None
    return frozenset(position for (position,) in found)


def as_name(heading: str) -> str:
    """How a column may be written as one word: ``Client name`` is ``Client_name``."""
    text = unicodedata.normalize("NFKC", heading.strip())
    name = "".join(c if f"_{c}".isidentifier() else "_" for c in text)
    return name if name.isidentifier() else f"_{name}"


def as_written(name: str) -> str:
    """How a column's own name stands in a condition: in brackets, where it is not one word."""
    return name if name.isidentifier() and name.lower() not in _WORDS else f"[{name}]"


# ── the rows ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Stored:
    """A column as it is put into the table."""

    values: Sequence[SqlValue]
    affinity: str
    first_text: tuple[int, str] | None
    """Position and text of the first cell that is no number, where others are."""


def _stored(column: SqlColumn) -> _Stored:
    if column.is_text:
        return _Stored(column.values, "TEXT", None)
    texts = [(at, v) for at, v in enumerate(column.values) if isinstance(v, str) and v.strip()]
    words = [(at, text) for at, text in texts if not _NUMBER.fullmatch(text.strip())]
    if words:
        mixed = len(words) < len(texts)
        return _Stored(column.values, "TEXT", words[0] if mixed else None)
    # All that is filled is a number, so that an empty cell is neither above nor below another.
    empty = {at for at, v in enumerate(column.values) if isinstance(v, str) and not v.strip()}
    is_empty = len(empty) == len(column.values)
    values = [v if is_empty or at not in empty else None for at, v in enumerate(column.values)]
    return _Stored(values, "TEXT" if is_empty else "NUMERIC", None)


def _fill(connection: sqlite3.Connection, columns: Sequence[_Stored]) -> None:
    """Make the table of all rows."""
    kinds = "".join(f", c{at} {column.affinity}" for at, column in enumerate(columns))
    connection.execute(f"CREATE TABLE rows (position INTEGER PRIMARY KEY{kinds})")
    rows = zip(*(map(_encodable, column.values) for column in columns), strict=True)
    places = ", ?" * len(columns)
    connection.executemany(
        f"INSERT INTO rows VALUES (?{places})", ((at, *row) for at, row in enumerate(rows))
    )


def _encodable(value: SqlValue) -> SqlValue:
    """The value without halves of characters, which JSON can hold and UTF-8 cannot."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _reads_only(action: int, first: str | None, second: str | None, *_: object) -> int:
    """SQLite's authorizer: values of rows may be read, and the functions above be called."""
    if action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}:
        return sqlite3.SQLITE_OK
    is_call = action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS | {"like", "glob"}
    return sqlite3.SQLITE_OK if is_call else sqlite3.SQLITE_DENY


# ── the words ───────────────────────────────────────────────────────────────────────────────────


def _translated(
    condition: str, columns: Mapping[str, SqlColumn], stored: Sequence[_Stored]
) -> Iterator[str]:
    """The condition's words, with the table's own names for its columns."""
    known = _names(columns)
    before: list[tuple[str, int | None]] = []
    at = 0
    while at < len(condition):
        match = _TOKEN.match(condition, at)
        if match is None:
            raise _wrong(at, f"{condition[at]!r} is not understood here")
        kind = match.lastgroup or ""
        if kind != "blank":
            column = _column_of(match, condition, known)
            before.append((kind, column))
            _check_order(before, at, list(columns), stored)
            yield f"c{column}" if column is not None else _plain(match)
        at = match.end()


def _names(columns: Mapping[str, SqlColumn]) -> dict[str, int]:
    """Positions by every name that a column may be given; its own heading wins."""
    found: dict[str, int] = {}
    for name_of in (str, str.strip, as_name):
        for at, heading in enumerate(columns):
            found.setdefault(name_of(heading), at)
    for name, at in list(found.items()):
        found.setdefault(name.casefold(), at)
    return found


def _column_of(match: re.Match[str], condition: str, known: Mapping[str, int]) -> int | None:
    """The position of the column that a token names; None where it names none."""
    kind, text = match.lastgroup, match[match.lastgroup or 0]
    if kind == "quoted":  # SQL's way to write a name, and other languages' way to write a text
        return known.get(text[1:-1])
    if kind == "column":
        return _known(text.strip(), match, known)
    if kind != "word" or text.lower() in _WORDS:
        return None
    if text in {"None", "NULL", "nil"}:
        raise _wrong(match.start(), f"write {text} as null, as in: seed is null")
    is_call = condition[match.end() :].lstrip().startswith("(")
    return None if is_call and text.lower() in _FUNCTIONS else _known(text, match, known)


def _known(name: str, match: re.Match[str], known: Mapping[str, int]) -> int:
    at = known.get(name, known.get(name.casefold()))
    if at is None:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {as_written(close[0])}?" if close else ""
        named: dict[int, str] = {}
        for other, of in known.items():
            named.setdefault(of, other)
        hint = f"columns: {', '.join(map(as_written, named.values()))}"
        raise UsageError(
            f"--where, character {match.start() + 1}: there is no column {name}{meant}", hint=hint
        )
    return at


def _plain(match: re.Match[str]) -> str:
    if match.lastgroup == "quoted":
        text = match[0][1:-1].replace('""', '"').replace("'", "''")
        return f"'{text}'"
    return match[0]


def _check_order(
    before: Sequence[tuple[str, int | None]],
    at: int,
    headings: Sequence[str],
    stored: Sequence[_Stored],
) -> None:
    """Refuse ``[Price] > 20`` where a cell is no number: as a text it would be above any number."""
    if len(before) < 3 or before[-2][0] != "order":
        return
    (left, one), _, (right, other) = before[-3:]
    column = one if right == "number" else other if left == "number" else None
    told = None if column is None else stored[column].first_text
    if column is not None and told is not None:
        row, text = told
        raise _wrong(
            at,
            f"{as_written(headings[column])} is compared with a number, but row {row + 1} of the "
            f"manifest has {text!r} there",
        )


def _wrong(at: int, words: str) -> UsageError:
    return UsageError(f"--where, character {at + 1}: {words}", hint=_HINT)
