"""What a person chose: marks, stars and notes of takes, kept in the run folder or in picks.csv.

The served page's are in a small SQLite file of its own, ``marks.db``, each on the disk before it is
answered: the journal is a run's, and choosing must neither wait for a run nor hold one up. What a
mark leads to is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from seedance_batch.core.attempt import Attempt, Kind, TakeName
from seedance_batch.core.columns import unguarded
from seedance_batch.core.manifest import Finding, Place, Severity
from seedance_batch.core.outcome import Outcome, Status
from seedance_batch.errors import EmptySelection, FolderUnusable, ManifestError, UsageError
from seedance_batch.reader.cells import text_of
from seedance_batch.reader.source import Format, Loading, Noted, ReadOptions, Source, format_of


class Mark(StrEnum):
    """What a person decided about a row."""

    KEEP = "keep"
    REJECT = "reject"
    REDO = "redo"


@dataclass(frozen=True, slots=True)
class Pick:
    """One line of picks.csv: what was said of one take; a row may have several."""

    id: str
    """The row's key, as the journal has it."""
    mark: Mark | None
    """None where there is only a note."""
    note: str
    take: TakeName | None = None
    """The take that was looked at; None in a list that does not say."""
    stars: int = 0
    """1 to 5; 0 where none were given."""


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


# ── marks.db ──────────────────────────────────────────────────────────────────────────────────────

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


def read_marks(folder: Path, since: int = 0) -> list[TakeMark]:
    """What was said of takes after the change ``since``, oldest first; nothing where no file is.

    Where ``since`` is of another file than the one that lies there, everything.
    Raises `FolderUnusable` where the file cannot be read.
    """
    path = folder / MARKS
    if not path.exists():
        return []
    query = (
        "SELECT key, take, mark, stars, note, seen, change, at FROM marks WHERE change > ?"
        " OR ? > (SELECT max(change) FROM marks) ORDER BY change"
    )
    # Not `ro`: what a killed program left half written is taken back by whoever reads next.
    with _opened(path, f"{path.resolve().as_uri()}?mode=rw") as connection:
        if not _is_made(connection, path):
            return []
        return [_of(values) for values in connection.execute(query, (since, since))]


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
            name = None if attempt is None else attempt.intent.take
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


def _has_clip(attempt: Attempt | None) -> bool:
    return attempt is not None and attempt.state.clip is not None


# ── picks.csv, the choices that the review page exports. Parsing is pure; `read_picks` reads ──────


PICK_COLUMNS: Final = ("id", "mark", "note", "take", "stars")
_NEEDED: Final = PICK_COLUMNS[:2]
EXPORT: Final = "export picks.csv on the review page again"
_HINT: Final = f"{EXPORT}: seedance-batch report FOLDER"


def read_picks(path: Path) -> list[Pick]:
    """The picks of a file, in its order.

    Takes what the page exports, and what spreadsheet programs make of it: UTF-8 or UTF-16, comma,
    semicolon or tab, columns in any order, or a workbook. Raises `UsageError` where there is no
    such file, and `ManifestError`, with every problem and its place, where one cannot be
    understood.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    if format_of(data, path.name) in _WORKBOOKS:
        found, problems = _of_workbook(Source(data, path.name, path.parent))
    else:
        found, problems = parse_picks(data, path.name)
    if problems:
        raise ManifestError(f"{path} has {_counted(problems)}", problems, hint=_HINT)
    return found


def picked(
    picks: Iterable[Pick], marks: Collection[str] | None, source: Path, page: str | None = None
) -> list[str]:
    """The ids of the picks that bear one of these marks; None means any but reject.

    ``source`` is where the picks are from, ``page`` the command that writes the page to choose on,
    for hints. Raises `EmptySelection` where there are none.
    """
    if marks is None:  # of several takes the last one that is listed says it
        last = {pick.id: pick.mark for pick in picks}
        found = [key for key, mark in last.items() if mark is not Mark.REJECT]
    else:
        found = list(dict.fromkeys(pick.id for pick in picks if pick.mark in marks))
    if not found:
        marked = f"row marked {' or '.join(marks)}" if marks else "row that is not marked reject"
        hint = None if page is None else f"{EXPORT}: {page}"
        raise EmptySelection(f"{source} has no {marked}.", hint=hint)
    return found


def kept_takes(picks: Iterable[Pick]) -> dict[str, frozenset[TakeName]]:
    """By row: the takes that were marked keep, where the list says which."""
    found: dict[str, frozenset[TakeName]] = {}
    for pick in picks:
        if pick.mark is Mark.KEEP and pick.take is not None:
            found[pick.id] = found.get(pick.id, frozenset()) | {pick.take}
    return found


_WORKBOOKS: Final = frozenset({Format.XLSX, Format.XLS, Format.ODS})


def _of_workbook(source: Source) -> tuple[list[Pick], list[Finding]]:
    """As `parse_picks`, from the first sheet."""
    from seedance_batch.reader.read import tables_of

    loading = Loading(ReadOptions(), Noted())
    tables = tables_of(source, loading)
    if not tables:
        return [], [*loading.noted]
    table = tables[0]
    rows = [[text_of(value) for value in row] for row in table.rows]
    lines = [(table.heading_line, table.headings), *zip(table.lines, rows, strict=True)]
    return _found_in(source.file, lines)


def parse_picks(data: bytes, file: str) -> tuple[list[Pick], list[Finding]]:
    """Picks, and the problems that forbid using them; ``file`` names the places."""
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        lines = _lines(data.decode("utf-16" if wide else "utf-8-sig"))
    except UnicodeDecodeError:
        return [], [_problem(Place(file), "is not UTF-8; save it as “CSV UTF-8”")]
    except csv.Error as error:
        return [], [_problem(Place(file), f"cannot be read as CSV: {error}")]
    return _found_in(file, lines) if lines else ([], [_problem(Place(file), "is empty")])


def _found_in(
    file: str, lines: Sequence[tuple[int, Sequence[str]]]
) -> tuple[list[Pick], list[Finding]]:
    (heading_line, headings), *rest = lines
    at = _columns(headings)
    missing = [name for name in _NEEDED if name not in at]
    if missing:
        place = Place(file, line=heading_line)
        return [], [_problem(place, f"has no column {' and no '.join(missing)}")]
    return _picks(file, at, rest)


def _lines(text: str) -> list[tuple[int, list[str]]]:
    """(line where it begins, cells) of every line that is not blank."""
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=lambda sign: len(_columns(first.split(sign))))
    # A note may be longer than the module's default limit.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines, begins = [], 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            lines.append((begins, cells))
        begins = reader.line_num + 1
    return lines


def _columns(headings: Iterable[str]) -> dict[str, int]:
    """Which of our columns stands where; others may stand beside them."""
    names = [heading.strip(' "\r').casefold() for heading in headings]
    return {name: names.index(name) for name in PICK_COLUMNS if name in names}


def _picks(
    file: str, at: dict[str, int], lines: Iterable[tuple[int, Sequence[str]]]
) -> tuple[list[Pick], list[Finding]]:
    picks: list[Pick] = []
    problems: list[Finding] = []
    first_lines: dict[str, dict[TakeName | None, int]] = {}
    for line, cells in lines:
        pick, wrong = _pick({name: _cell(cells, index) for name, index in at.items()})
        earlier = first_lines.setdefault(pick.id, {})
        before = _same_take(earlier, pick.take)
        if pick.id and before is not None:
            wrong["id"] = f"{pick.id!r} is already in line {before}"
        earlier.setdefault(pick.take, line)
        for column, words in wrong.items():
            problems.append(_problem(Place(file, line=line, column=column), words))
        picks.append(pick)
    return picks, problems


def _same_take(earlier: dict[TakeName | None, int], take: TakeName | None) -> int | None:
    """The line that speaks of the same take of a row; one that names no take speaks of any."""
    of_any = take is None or None in earlier
    return min(earlier.values(), default=None) if of_any else earlier.get(take)


def _cell(cells: Sequence[str], index: int) -> str:
    return unguarded(cells[index]) if index < len(cells) else ""


def _pick(cells: dict[str, str]) -> tuple[Pick, dict[str, str]]:
    """A line's pick, and what is wrong with it by column."""
    wrong: dict[str, str] = {}
    word = cells["mark"].strip().casefold()
    mark = Mark(word) if word in list(Mark) else None
    if not cells["id"]:
        wrong["id"] = "is empty"
    if word and mark is None:
        wrong["mark"] = f"{cells['mark']!r} is not one of {', '.join(Mark)}"
    take = _take(cells.get("take", ""))
    if take is None and cells.get("take", "").strip():
        wrong["take"] = f"{cells['take']!r} is not a take such as final 1 or draft 2"
    stars = cells.get("stars", "").strip()
    if stars not in {"", *"012345"}:
        wrong["stars"] = f"{stars!r} is not a number from 1 to 5"
    count = int(stars) if stars.isdecimal() else 0
    return Pick(cells["id"], mark, cells.get("note", ""), take, count), wrong


_TAKE: Final = re.compile(rf"({'|'.join(Kind)})\s*([1-9]\d{{0,8}})")


def _take(text: str) -> TakeName | None:
    found = _TAKE.fullmatch(text.strip().casefold())
    return TakeName(Kind(found[1]), int(found[2])) if found else None


def _problem(place: Place, words: str) -> Finding:
    return Finding(Severity.PROBLEM, place, words)


def _counted(problems: Sequence[Finding]) -> str:
    return "a problem" if len(problems) == 1 else f"{len(problems)} problems"
