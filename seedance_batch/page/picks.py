"""Reads picks.csv, the choices made on the review page: which rows to keep, reject or redo.

Parsing is pure; only `read_picks` touches a file. What a choice leads to is decided elsewhere.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from seedance_batch.core.attempt import Kind, TakeName
from seedance_batch.core.columns import unguarded
from seedance_batch.core.manifest import Finding, Place, Severity
from seedance_batch.errors import EmptySelection, ManifestError, UsageError
from seedance_batch.reader.source import Format, Loading, Noted, ReadOptions, Source, format_of
from seedance_batch.reader.table import text_of


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
    if (file_format := format_of(data, path.name)) in _WORKBOOKS:
        found, problems = _of_workbook(Source(data, path.name, path.parent), file_format)
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


def _of_workbook(source: Source, file_format: Format) -> tuple[list[Pick], list[Finding]]:
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
    text = _decoded(data)
    if text is None:
        return [], [_problem(Place(file), "is not UTF-8; save it as “CSV UTF-8”")]
    try:
        lines = _lines(text)
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


def _decoded(data: bytes) -> str | None:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        return None


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
    return Pick(cells["id"], mark, cells.get("note", ""), take, _number(stars)), wrong


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


_TAKE: Final = re.compile(rf"({'|'.join(Kind)})\s*([1-9]\d{{0,8}})")


def _take(text: str) -> TakeName | None:
    found = _TAKE.fullmatch(text.strip().casefold())
    return TakeName(Kind(found[1]), int(found[2])) if found else None


def _problem(place: Place, words: str) -> Finding:
    return Finding(Severity.PROBLEM, place, words)


def _counted(problems: Sequence[Finding]) -> str:
    return "a problem" if len(problems) == 1 else f"{len(problems)} problems"
