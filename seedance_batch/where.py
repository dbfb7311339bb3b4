"""The language of ``--where``: SQL's WHERE over a manifest's rows, answered by SQLite in memory.

A condition is taken apart into words first. Only columns, texts, numbers, comparisons and a few
functions get as far as SQLite, so that a condition can read the rows' values and do nothing else.
"""

from __future__ import annotations

import difflib
import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from seedance_batch.errors import UsageError

LONGEST: Final = 1000
"""Characters of a condition."""

Value = str | int | float | bool | None

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
class Column:
    """A column's values, row by row."""

    values: Sequence[Value]
    is_text: bool = False
    """Compared as text also where it looks like a number: an id, a status."""


def matching(condition: str, columns: Mapping[str, Column]) -> frozenset[int]:
    """Which rows a condition holds for, by their position from 0.

    A name is a column's, in brackets where it is not one word (``[Scene no.]``) and whatever its
    capitals. A column of the person's compares as numbers where every cell that is filled is one.
    Raises `UsageError` for all that is no such condition; its message names the character.
    """
    if len(condition) > LONGEST:
        raise UsageError(f"--where is longer than {LONGEST:,} characters")
    stored = [_stored(column) for column in columns.values()]
    sql = " ".join(_translated(condition, columns, stored))
    with closing(sqlite3.connect(":memory:")) as connection:
        _fill(connection, stored)
        connection.set_authorizer(_reads_only)
        try:
            found = connection.execute(f"SELECT position FROM rows WHERE (\n{sql}\n)").fetchall()
        except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError):
            raise UsageError(
                f"--where is no condition of SQL: {condition.strip() or 'it is empty'}", hint=_HINT
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

    values: Sequence[Value]
    affinity: str
    first_text: tuple[int, str] | None
    """Position and text of the first cell that is no number, where others are."""


def _stored(column: Column) -> _Stored:
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


def _encodable(value: Value) -> Value:
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
    condition: str, columns: Mapping[str, Column], stored: Sequence[_Stored]
) -> Iterator[str]:
    """The condition's words, with the table's own names for its columns."""
    known = _names(columns)
    before: list[tuple[str, int | None]] = []
    at = 0
    while at < len(condition):
        match = _TOKEN.match(condition, at)
        if match is None:
            raise _wrong(at, f"{condition[at]!r} is not known here")
        kind = match.lastgroup or ""
        if kind != "blank":
            column = _column_of(match, condition, known)
            before.append((kind, column))
            _check_order(before, at, list(columns), stored)
            yield f"c{column}" if column is not None else _plain(match)
        at = match.end()


def _names(columns: Mapping[str, Column]) -> dict[str, int]:
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
        raise _wrong(match.start(), f"{text} is written null, as in: seed is null")
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
            f"{as_written(headings[column])} is compared with a number, and row {row + 1} of the "
            f"manifest holds {text!r} there",
        )


def _wrong(at: int, words: str) -> UsageError:
    return UsageError(f"--where, character {at + 1}: {words}", hint=_HINT)
