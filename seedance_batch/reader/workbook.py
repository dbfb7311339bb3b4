"""XLSX, XLS and ODS: which sheet holds the rows, and what stands there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seedance_batch.core.manifest import Code
from seedance_batch.reader import workbook_process
from seedance_batch.reader.cells import (
    HEADINGS_BELOW,
    Table,
    Value,
    column_letter,
    is_blank,
    quoted,
    text_of,
)
from seedance_batch.reader.headings import heading_index, names_prompt
from seedance_batch.reader.source import Format, Loading, Source, format_of
from seedance_batch.reader.workbook_xml import (
    SheetFacts,
    WorkbookFault,
    ods_facts,
    opened_archive,
    xlsx_facts,
)

_MOST_SHEETS_TRIED: Final = 8


def workbook_tables(source: Source, loading: Loading) -> list[Table]:
    """One sheet as a table: the one asked for, else the first visible one that has a prompt."""
    try:
        table = _load(source, loading)
    except WorkbookFault as fault:
        loading.noted.problem(source.place, str(fault))
        return []
    return [] if table is None else [table]


def _load(source: Source, loading: Loading) -> Table | None:
    file_format = format_of(source.data, source.file)
    archive = None if file_format is Format.XLS else opened_archive(source.data)
    if archive is None and loading.options.visible:
        raise WorkbookFault("does not say which rows are hidden (--visible); save it as .xlsx")
    if archive is None:
        loading.noted.receipt(
            source.place,
            "in an .xls, hidden rows, errors and formulas without a value cannot be seen; "
            "save it as .xlsx if it has any",
        )
    elif "xl/workbook.bin" in archive.namelist():
        raise WorkbookFault("is an XLSB workbook; save it as .xlsx")
    # Before the values: calamine lays out every sheet of an ODS as soon as it opens it.
    known = ods_facts(archive) if archive and file_format is Format.ODS else {}
    with opened_book(source.data) as book:
        return _Reader(source, loading, book, archive, known).chosen()


@dataclass(frozen=True, slots=True)
class _Reader:
    """A workbook while its sheet is chosen and read."""

    source: Source
    loading: Loading
    book: Workbook
    archive: zipfile.ZipFile | None
    """None for an XLS, which is none."""
    known: Mapping[str, SheetFacts]
    """By sheet, of an ODS; those of an XLSX are read when its sheet is."""

    def chosen(self) -> Table | None:
        """The sheet that holds the rows; None, with a problem noted, where there is none."""
        wanted = self.loading.options.sheet
        names = self.book.visible
        if wanted is not None:
            name = _named(wanted, self.book.names)
            if name is None:
                listed = ", ".join(map(quoted, self.book.names))
                self.loading.noted.problem(
                    self.source.place, f"has no sheet {quoted(wanted)}; its sheets are {listed}"
                )
                return None
            names = [name]
        table = self._first_with_prompt(names)
        if table is None:
            self.loading.noted.problem(self.source.place, "is empty")
            return None
        others = [name for name in self.book.visible if name != table.sheet]
        also = f" (also there: {', '.join(others)})" if others else ""
        self.loading.about["sheet"] = f"{table.sheet}{also}"
        return table

    def _first_with_prompt(self, names: Sequence[str]) -> Table | None:
        first: tuple[Table, list[_Merged]] | None = None
        for name in names[:_MOST_SHEETS_TRIED]:
            read = self._table(name)
            if read is None:
                continue
            first = first or read
            column_map = self.loading.options.column_map
            if any(names_prompt(heading, column_map) for heading in read[0].headings):
                first = read
                break
        if first is None:
            return None
        table, merged = first
        self._tell_hidden(table)
        self._tell_merged(table, merged)
        return table

    def _table(self, name: str) -> tuple[Table, list[_Merged]] | None:
        facts = self._facts(name)
        values = self.book.values(name)
        if values is None:
            return None
        _make_room(values, facts)
        _put_texts(values, facts)
        merged = list(_spread_merged(values))
        rows = values.rows
        flawed = {row - values.top for row, _ in facts.flaws}
        kept = [i for i, row in enumerate(rows) if i in flawed or not all(map(is_blank, row))]
        if not kept:
            return None
        texts = [[c if isinstance(c, str) else "" for c in rows[i]] for i in kept[:10]]
        titles = heading_index(texts, self.loading.options.column_map)
        heading_row, *body = kept[titles:]
        table = Table(
            self.source.file,
            [text_of(cell) for cell in rows[heading_row]],
            [rows[index] for index in body],
            [values.top + index + 1 for index in body],
            values.top + heading_row + 1,
            sheet=name,
            first_letter=values.left,
            flaws=_flaws(facts, values, body),
            hidden_columns=frozenset(column - values.left for column in facts.hidden_columns),
            hidden=frozenset(
                number for number, i in enumerate(body) if values.top + i in facts.hidden
            ),
        )
        if titles:
            self.loading.noted.receipt(table.heading_place(), HEADINGS_BELOW)
        return table, merged

    def _facts(self, name: str) -> SheetFacts:
        if self.archive is None:
            return SheetFacts()
        return self.known.get(name) or xlsx_facts(self.archive, name)

    def _tell_hidden(self, table: Table) -> None:
        if not self.loading.options.visible:
            for index in sorted(table.hidden):
                self.loading.noted.warning(
                    table.place(index),
                    "is hidden in the workbook, but is sent like any other row "
                    "(--visible leaves it out)",
                    Code.HIDDEN_ROW,
                )

    def _tell_merged(self, table: Table, merged: Sequence[_Merged]) -> None:
        """A prompt that is merged over several rows orders several clips."""
        column_map = self.loading.options.column_map
        for first, last, position in merged:
            within = [i for i, line in enumerate(table.lines) if first <= line <= last]
            if len(within) > 1 and names_prompt(table.headings[position], column_map):
                letter = column_letter(table.first_letter + position)
                for index in within:
                    self.loading.noted.warning(
                        table.place(index, position),
                        f"{letter}{first}:{letter}{last} is merged; its text is used for "
                        f"{len(within)} rows, and each is paid for",
                        Code.MERGED,
                    )


_Merged = tuple[int, int, int]
"""Of cells merged downwards: first and last line of the sheet, and the column of the table."""


def _make_room(values: SheetValues, facts: SheetFacts) -> None:
    """Calamine ends a sheet at its last value; a formula without one may stand further down."""
    for row, column in facts.flaws:
        line, position = row - values.top, column - values.left
        if line < 0 or position < 0:
            continue
        width = max(position + 1, len(values.rows[0]))
        while len(values.rows) <= line:
            values.rows.append([None] * width)
        values.rows[line].extend([None] * (position + 1 - len(values.rows[line])))


def _put_texts(values: SheetValues, facts: SheetFacts) -> None:
    """Calamine leaves errors blank, where a person sees ``#REF!``, and drops tabs from ODS."""
    for (row, column), text in facts.texts.items():
        line, position = row - values.top, column - values.left
        if 0 <= line < len(values.rows) and 0 <= position < len(values.rows[line]):
            values.rows[line][position] = text


def _spread_merged(values: SheetValues) -> Iterator[_Merged]:
    """A cell merged downwards says the same in each of its rows, as a person sees it."""
    bottom = values.top + len(values.rows) - 1
    for (first, column), (last, last_column) in values.merged:
        position = column - values.left
        is_upright = column == last_column and values.top <= first < min(last, bottom)
        if is_upright and 0 <= position < len(values.rows[first - values.top]):
            value = values.rows[first - values.top][position]
            for row in range(first + 1, min(last, bottom) + 1):
                values.rows[row - values.top][position] = value
            yield first + 1, min(last, bottom) + 1, position


def _flaws(
    facts: SheetFacts, values: SheetValues, body: Sequence[int]
) -> dict[tuple[int, int], str]:
    """The flaws of a sheet by row of the table, and column of the rectangle."""
    numbers = {values.top + index: number for number, index in enumerate(body)}
    return {
        (numbers[row], column - values.left): words
        for (row, column), words in facts.flaws.items()
        if row in numbers
    }


def _named(wanted: str, names: Sequence[str]) -> str | None:
    if wanted in names:
        return wanted
    alike = [name for name in names if name.strip().casefold() == wanted.strip().casefold()]
    if len(alike) == 1:
        return alike[0]
    if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted[:6]) <= len(names):
        return names[int(wanted[:6]) - 1]
    return None


# ── A workbook's sheets and their values, read by calamine in another process: see there for why ──


READ_PATIENCE: Final = 120.0
"""Seconds for a whole workbook; a sheet of 100,000 rows takes two."""


@dataclass(frozen=True, slots=True)
class SheetValues:
    """The rectangle of a sheet that holds values; rows and columns count from 0."""

    top: int
    left: int
    rows: list[list[Value]]
    merged: list[tuple[tuple[int, int], tuple[int, int]]]
    """First and last (row, column) of each merged range."""


class Workbook:
    """An open workbook; ask it inside the ``with`` of `opened_book`."""

    def __init__(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        self._process = process
        self._send(b"%d\n" % len(data))
        self._send(data)
        answer = self._answer()
        self.names: list[str] = answer["names"]
        self.visible: list[str] = answer["visible"]
        """The worksheets that a person sees, in order."""

    def values(self, name: str) -> SheetValues | None:
        """A sheet's values; None where it has none. Raises `WorkbookFault`."""
        self._send(json.dumps(name).encode() + b"\n")
        answer = self._answer()
        if answer["start"] is None:
            return None
        top, left = answer["start"]
        merged = [((a, b), (c, d)) for (a, b), (c, d) in answer["merged"]]
        return SheetValues(top, left, answer["rows"], merged)

    def _send(self, data: bytes) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # the missing answer tells as much
                self._process.stdin.write(data)
                self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise WorkbookFault(workbook_process.DAMAGED)
        answer: dict[str, Any] = json.loads(line, object_hook=workbook_process.told)
        if "fault" in answer:
            raise WorkbookFault(answer["fault"])
        return answer


@contextmanager
def opened_book(data: bytes) -> Iterator[Workbook]:
    """A workbook to ask for its values. Raises `WorkbookFault` where it cannot be read."""
    with _started() as process:
        guard = threading.Timer(READ_PATIENCE, process.kill)
        guard.daemon = True
        guard.start()
        try:
            yield Workbook(process, data)
        finally:
            guard.cancel()
            process.kill()


def _started() -> subprocess.Popen[bytes]:
    script = Path(workbook_process.__file__)
    try:
        return subprocess.Popen(  # noqa: S603 - our own script, under the Python that runs this
            # -P: the script's neighbours are no modules that it should find.
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "RUST_BACKTRACE": "0", "PYTHONIOENCODING": "utf-8"},
        )
    except OSError as error:
        raise WorkbookFault(
            f"cannot be read: no process could be started to read it ({error})"
        ) from None
