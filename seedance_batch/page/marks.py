"""Keeps marks, stars and notes of takes in the run folder, each on the disk before it is answered.

A small SQLite file of its own, ``marks.db``: the journal is a run's, and choosing must neither wait
for a run nor hold one up. What a mark leads to is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seedance_batch.core.attempt import Attempt, Kind, TakeName
from seedance_batch.core.outcome import Outcome, Status
from seedance_batch.errors import FolderUnusable, UsageError
from seedance_batch.page.picks import EXPORT, Mark, Pick, read_picks

MARKS: Final = "marks.db"
LONGEST_NOTE: Final = 10_000
"""Characters."""
MOST_STARS: Final = 5
_VERSION: Final = 1
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS marks (
    key TEXT NOT NULL, take TEXT NOT NULL, mark TEXT NOT NULL, stars INTEGER NOT NULL,
    note TEXT NOT NULL, seen INTEGER NOT NULL, at REAL NOT NULL, change INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (key, take)
) STRICT;
PRAGMA user_version = {_VERSION};
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class TakeMark:
    """What a person said of one take of a row."""

    key: str
    take: str
    """``final 2``; empty for a row of which nothing was sent."""
    mark: Mark | None
    stars: int
    """1 to 5; 0 where none were given."""
    note: str
    seen: bool
    """Whether the take had a clip when it was marked: a wish of before says nothing of the clip."""
    change: int
    """Counts all changes; a later one is greater."""
    at: float
    """When it was said last, in Unix seconds."""


def read_marks(folder: Path, since: int = 0) -> list[TakeMark]:
    """What was said of takes after the change ``since``, oldest first; nothing where no file is.

    Where ``since`` is of another file than the one that lies there, everything.
    Raises `FolderUnusable` where the file cannot be read.
    """
    path = folder / MARKS
    if not path.exists():
        return []
    query = (
        "SELECT key, take, mark, stars, note, seen, change, at FROM marks WHERE change > ?1"
        " OR ?1 > (SELECT max(change) FROM marks) ORDER BY change"
    )
    # Not `ro`: what a killed program left half written is taken back by whoever reads next.
    with _opened(path, f"{path.resolve().as_uri()}?mode=rw") as connection:
        if not _is_made(connection, path):
            return []
        return [_of(values) for values in connection.execute(query, (since,))]


def save_mark(folder: Path, key: str, take: str, said: dict[str, Any]) -> TakeMark:
    """Change what is said of a take; what ``said`` does not name stays as it is.

    ``said`` has ``mark`` (a `Mark`'s word, or empty), ``stars``, ``note``, ``seen``, any of them.
    It is on the disk when this returns. Raises `FolderUnusable` where it cannot be written, and
    ``ValueError`` for what is no such thing.
    """
    if unknown := said.keys() - _CHECKS.keys():
        raise ValueError(f"a take has no {', '.join(sorted(unknown))}")
    checked = {name: _CHECKS[name](value) for name, value in said.items()}
    path = folder / MARKS
    with contextlib.suppress(FileExistsError, OSError):  # the notes are for their owner alone
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with _opened(path, path) as connection:
        if not _is_made(connection, path):
            connection.executescript(_SCHEMA)
        connection.execute("BEGIN IMMEDIATE")
        query = "SELECT mark, stars, note, seen FROM marks WHERE key = ? AND take = ?"
        found = connection.execute(query, (key, take)).fetchone() or ("", 0, "", 0)
        values = dict(zip(("mark", "stars", "note", "seen"), found, strict=True)) | checked
        last = connection.execute("SELECT coalesce(max(change), 0) FROM marks").fetchone()[0]
        connection.execute(
            "INSERT OR REPLACE INTO marks (key, take, mark, stars, note, seen, at, change)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (key, take, *values.values(), now := time.time(), last + 1),
        )
        connection.execute("COMMIT")
    return _of((key, take, *values.values(), last + 1, now))


def mark_values(marks: Iterable[TakeMark]) -> list[list[Any]]:
    """Marks as the page has them."""
    return [[m.key, m.take, m.mark or "", m.stars, m.note, m.seen, m.at] for m in marks]


def _is_made(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has its table; a program that was killed leaves one without."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise FolderUnusable(
            f"The marks in {path} have version {version}; this program knows {_VERSION}.",
            hint="pip install --upgrade seedance-batch",
        )
    return bool(version)


def _of(values: tuple[Any, ...]) -> TakeMark:
    key, take, mark, stars, note, seen, change, at = values
    return TakeMark(key, take, Mark(mark) if mark else None, stars, note, bool(seen), change, at)


def _mark(value: Any) -> str:
    return Mark(value).value if value else ""


def _stars(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_STARS:
        raise ValueError(f"{value!r} is no number of stars")
    return value


def _note(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NOTE:
        raise ValueError(f"a note is a text of {LONGEST_NOTE:,} characters at most")
    return value.encode(errors="replace").decode()  # a lone half of a character is none


def _seen(value: Any) -> int:
    return int(bool(value))


_CHECKS: Final = {"mark": _mark, "stars": _stars, "note": _note, "seen": _seen}


@contextlib.contextmanager
def _opened(path: Path, database: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection, closed after the block; what SQLite cannot do is told with the file's name."""
    try:
        connection = sqlite3.connect(
            database, isolation_level=None, timeout=5.0, uri=isinstance(database, str)
        )
        with contextlib.closing(connection):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            yield connection
    except sqlite3.Error as error:
        raise FolderUnusable(
            f"The marks in {path} cannot be used: {error}.",
            hint="check that the folder is writable, or move that file away; picks.csv goes on",
        ) from error


# ── Marks as picks: what `--from marks` leads to. Pure, but for reading the file ──────────────────


SAVED: Final = Path("marks")
"""What ``--from`` calls the marks that the served page saves."""


def picks_of(
    given: Path, folder: Path, standing: Callable[[], Sequence[Outcome]], page: str | None = None
) -> list[Pick]:
    """The picks of a list, or with `SAVED` the marks of the run folder, in manifest order.

    ``standing`` says how its rows stand, ``page`` is the command that writes the page to choose on,
    for hints. Raises what `read_picks` and `read_marks` do.
    """
    if given == SAVED:
        return list(_marked(standing(), read_marks(folder)))
    try:
        return read_picks(given)
    except UsageError as error:
        error.hint = None if page is None else f"{EXPORT}: {page}"
        raise


def _marked(found: Sequence[Outcome], marks: Sequence[TakeMark]) -> Iterator[Pick]:
    """A pick for each take that something was said of, and for each row without any."""
    said = {(mark.key, mark.take): mark for mark in marks}
    for outcome in found:
        takes: Sequence[Attempt | None] = outcome.attempts or [None]
        for attempt in takes:
            name = None if attempt is None else _name(attempt)
            there = said.get((outcome.key, str(name or "")))
            if there is None:
                continue
            mark = there.mark if there.seen is _has_clip(attempt) else None
            if mark is not None and attempt is not None and not _counts(outcome, attempt, there):
                mark = None
            if mark or there.note or there.stars:
                yield Pick(outcome.key, mark, there.note, name, there.stars)


def _counts(outcome: Outcome, attempt: Attempt, said: TakeMark) -> bool:
    """Whether what was said of a take is a word on the row as it stands.

    A *redo* that was answered stays one of the shown kind, so that the plan says so and the same
    command again buys nothing. A kept draft that has a newer one beside it speaks for the row if
    that was asked to be the same, or if whoever kept the older one could see both.
    """
    intent, shown = attempt.intent, outcome.shown
    later = [a for a in outcome.attempts if a.intent.kind is intent.kind and a.id > attempt.id]
    if said.mark is Mark.REDO:
        return not later or (shown is not None and shown.intent.kind is intent.kind)
    if said.mark is Mark.KEEP and intent.kind is Kind.DRAFT:
        newer = [a for a in later if a.state.clip is not None]
        alike = all(a.intent.content == intent.content for a in newer)
        seen = all(said.at >= (a.state.finished_at or 0.0) for a in newer)
        return outcome.status is not Status.CHANGED and (alike or seen)
    return True


def _name(attempt: Attempt) -> TakeName:
    return TakeName(attempt.intent.kind, attempt.intent.number)


def _has_clip(attempt: Attempt | None) -> bool:
    return attempt is not None and attempt.state.clip is not None
