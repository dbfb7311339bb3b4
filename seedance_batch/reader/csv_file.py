"""CSV and its cousins: the delimiter is detected, quotes are read strictly, bytes are kept."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from seedance_batch.core.manifest import Place
from seedance_batch.reader.cells import HEADINGS_BELOW, Table, Value, is_blank, quoted
from seedance_batch.reader.decoding import decoded
from seedance_batch.reader.headings import field_of, heading_index
from seedance_batch.reader.source import Loading, Source

_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_NAMES: Final = {**{name: sign for sign, name in _DELIMITERS.items()}, "\\t": "\t"}
_SNIFFED: Final = 1 << 16
_SHORT: Final = 32
"""Cells no longer than this are kept once, however often they occur."""
_NEVER_CLOSED: Final = "a cell that begins here opens a quote and never closes it"
_GOES_ON: Final = "a cell here continues after its closing quote; double the quotes inside a cell"


def csv_tables(source: Source, loading: Loading) -> list[Table]:
    """The file's one table; none, with a problem noted, where it cannot be read."""
    text = decoded(source, loading)
    if text is None:
        return []
    if _is_list(source, text, loading):
        return _listed(source, text, loading)
    asked = loading.options.delimiter
    if asked is not None and (len(_NAMES.get(asked, asked)) != 1 or asked in '"\r\n'):
        loading.noted.problem(source.place, f"--delimiter {quoted(asked)} is not one character")
        return []
    delimiter, skipped = _announced(text)
    delimiter = _NAMES.get(asked, asked) if asked else delimiter or _detected(text)
    loading.about["delimiter"] = _DELIMITERS.get(delimiter, delimiter)
    body = text[skipped:]
    plain = _without_blanks(body, delimiter)
    if plain != body:
        words = "spaces between a quote and the next delimiter are left out"
        loading.noted.receipt(source.place, words)
    table = _table(source, loading, plain, delimiter, first_line=2 if skipped else 1)
    return [table] if table else []


def _announced(text: str) -> tuple[str | None, int]:
    """Excel's first line ``sep=;``: the delimiter, and how much of the text says so."""
    end = text.find("\n") + 1
    line = text[:end].strip("\r\n").strip('"')
    is_announcement = len(line) == 5 and line[:4].casefold() == "sep="
    return (line[4], end) if is_announcement else (None, 0)


def _detected(text: str) -> str:
    """The delimiter under which most headings are ones we know, then most cells line up."""
    sample = text[:_SNIFFED]
    return max((",", ";", "\t"), key=lambda sign: _likelihood(sample, sign))


def _likelihood(sample: str, delimiter: str) -> tuple[int, int]:
    records = _lenient(sample, delimiter)
    header = next((record for record in records if any(cell.strip() for cell in record)), [])
    known = max((sum(1 for cell in row if field_of(cell)) for row in records[:10]), default=0)
    alike = sum(len(record) == len(header) for record in records) if len(header) > 1 else 0
    return known, alike


def _lenient(sample: str, delimiter: str) -> list[list[str]]:
    records: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            records.append(record)
            if len(records) == 50:
                break
    except csv.Error:
        pass
    return records


def _without_blanks(text: str, delimiter: str) -> str:
    """The text without blanks around quoted cells: ``1, "A cat" , 5`` is no strict CSV."""
    blanks, sign = " " if delimiter == "\t" else " \t", re.escape(delimiter)
    if not re.search(rf'[{sign}\r\n][{blanks}]+"|"[{blanks}]+(?:[{sign}\r\n]|\Z)', text):
        return text
    cell = rf'(\A|[{sign}\r\n])[{blanks}]*("(?:[^"]|"")*+")[{blanks}]*(?=[{sign}\r\n]|\Z)'
    return re.sub(cell, r"\1\2", text)


def _table(
    source: Source, loading: Loading, text: str, delimiter: str, first_line: int
) -> Table | None:
    # The module's limit guards programs that read forever; a cell may hold a whole data URI.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    is_over = False

    def given() -> Iterator[str]:
        nonlocal is_over
        yield from io.StringIO(text, newline="")
        is_over = True

    reader = csv.reader(given(), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    line = first_line
    try:
        for record in _sharing(reader):
            if any(record) and not all(is_blank(cell) for cell in record):
                rows.append(record)
                lines.append(line)
            line = first_line + reader.line_num
    except csv.Error:
        loading.noted.problem(Place(source.file, line=line), _NEVER_CLOSED if is_over else _GOES_ON)
        return None
    if not rows:
        loading.noted.problem(source.place, "is empty")
        return None
    top = heading_index(rows, loading.options.column_map)
    body: list[Sequence[Value]] = list(rows[top + 1 :])
    table = Table(source.file, rows[top], body, lines[top + 1 :], lines[top], is_csv=True)
    if top:
        loading.noted.receipt(table.heading_place(), HEADINGS_BELOW)
    _check_widths(table, loading)
    return table


def _sharing(records: Iterable[list[str]]) -> Iterator[list[str]]:
    """The records, with short cells that repeat kept in memory once."""
    known: dict[str, str] = {}
    share = known.setdefault
    for record in records:
        yield [share(cell, cell) if len(cell) <= _SHORT else cell for cell in record]


def _check_widths(table: Table, loading: Loading) -> None:
    """A row that is wider than the headings has lost its columns, mostly to a comma."""
    width = len(table.headings)
    for index, row in enumerate(table.rows):
        if len(row) > width:
            if any(row[width:]):
                loading.noted.problem(
                    table.place(index),
                    f"has {len(row)} cells, but there are {width} headings; a cell that contains "
                    "the delimiter needs quotes around it",
                )
            table.rows[index] = row[:width]


# ── A text file with one prompt a line ────────────────────────────────────────────────────────────

_LIST: Final = ".txt"
_BARS: Final = "\t;|"
"""What divides the cells of a table; a comma is too common in prompts to tell one."""
_MARK: Final = re.compile(r"\s*(?:[-*•–]|[0-9]{1,4}[.)])\s+")


def _is_list(source: Source, text: str, loading: Loading) -> bool:
    """Whether a text is a list of prompts, and no table that was saved as ``.txt``."""
    if not source.file.casefold().endswith(_LIST) or loading.options.delimiter:
        return False
    lines = [line for line in text[:_SNIFFED].splitlines() if line.strip()]
    if _is_heading(lines[0]):
        return True
    if loading.options.column_map or _announced(text)[0]:
        return False
    return not any(_is_table(lines, sign) for sign in (*_BARS, ","))


def _is_table(lines: Sequence[str], sign: str) -> bool:
    """Whether a sign divides lines into cells: under known headings, or the same in each line."""
    if any(sign in line and any(map(field_of, line.split(sign))) for line in lines[:10]):
        return True
    counts = {line.count(sign) for line in lines}
    return sign in _BARS and len(lines) > 1 and len(counts) == 1 and 0 not in counts


def _is_heading(line: str) -> bool:
    return field_of(line.strip().strip('"')) == "prompt"


def _listed(source: Source, text: str, loading: Loading) -> list[Table]:
    loading.about["format"] = "a list of prompts, one per line"
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and _is_heading(lines[0][1]):
        lines = lines[1:]
    told = [(n, line.rstrip("\r")) for n, line in lines if not line.lstrip().startswith("#")]
    for number in sorted({n for n, _ in lines} - {n for n, _ in told}):
        words = "begins with # and is left out as a comment"
        loading.noted.warning(Place(source.file, line=number), words)
    _warn_of_wrapped(source, told, loading)
    marked = len(told) > 1 and all(_MARK.match(line) for _, line in told)
    if marked:
        words = "the list mark or number at the start of each line is left out"
        loading.noted.receipt(source.place, words)
    rows = [[_MARK.sub("", line, count=1) if marked else line] for _, line in told]
    return [Table(source.file, ["prompt"], list(rows), [n for n, _ in told])]


def _warn_of_wrapped(source: Source, lines: Sequence[tuple[int, str]], loading: Loading) -> None:
    """A sentence that was broken over several lines would be bought as several prompts."""
    if all(line.lstrip()[:1].islower() for _, line in lines):
        return
    for (_, before), (number, line) in pairwise(lines):
        if line.lstrip()[:1].islower() and not before.rstrip().endswith((".", "!", "?", "…")):
            words = "seems to continue the line above, but is a prompt of its own"
            loading.noted.warning(Place(source.file, line=number), words)
