"""A workbook's own XML: no bombs; what its values do not tell: hidden rows, formulas, errors."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Final
from xml.parsers import expat

from seedance_batch.reader.workbook_process import DAMAGED

# ── Workbooks as archives of XML: no bombs, no document types, every part whole before it is used


MOST_UNPACKED: Final = 1 << 30
"""Bytes of XML in a workbook; a sheet of 100,000 long prompts has a fifth of that."""
MOST_RATIO: Final = 300
"""Unpacked to packed; sheets of equal rows reach about 50, one repeated byte 1,000."""
_RATIO_MATTERS_FROM: Final = 100 << 20
_CHUNK: Final = 1 << 20


class WorkbookFault(Exception):
    """Why a workbook is not read, in words for its user."""


def opened_archive(data: bytes) -> zipfile.ZipFile:
    """A workbook's archive, every XML part of which can be unpacked. Raises `WorkbookFault`."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        names = [info for info in archive.infolist() if info.filename.endswith((".xml", ".rels"))]
        unpacked = 0
        for info in names:
            unpacked += _unpacked_size(archive, info, MOST_UNPACKED - unpacked)
    except _ZIP_FAULTS:
        raise WorkbookFault(DAMAGED) from None
    if unpacked > _RATIO_MATTERS_FROM and unpacked > MOST_RATIO * len(data):
        raise WorkbookFault(_bomb(unpacked))
    return archive


_ZIP_FAULTS: Final = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
    *(OSError, ValueError, OverflowError),
)


def _unpacked_size(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowed: int) -> int:
    """Unpacks a part and throws it away: what its header says proves nothing."""
    size = 0
    for chunk in _chunks(archive, info.filename):
        size += len(chunk)
        if size > allowed:
            raise WorkbookFault(_bomb(size))
    return size


def _bomb(size: int) -> str:
    return f"unpacks to more than {size >> 20:,} MiB: that is not a manifest"


def _chunks(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    with archive.open(name) as part:
        while chunk := part.read(_CHUNK):
            yield chunk


Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]
Text = Callable[[str], None]


def walk(
    archive: zipfile.ZipFile,
    name: str,
    start: Start,
    end: End | None = None,
    text: Text | None = None,
) -> None:
    """Hand a part's elements and texts to handlers. Raises `WorkbookFault`."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    if end is not None:
        parser.EndElementHandler = end
    if text is not None:
        parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        for chunk in _chunks(archive, name):
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, *_ZIP_FAULTS):  # no such part, or an odd encoding
        raise WorkbookFault(DAMAGED) from None


def _refuse_doctype(*_: object) -> None:
    raise WorkbookFault("contains a document type, which no spreadsheet program writes")


# ── What a workbook's values do not tell: hidden rows, formulas without a value, errors, the ──────
#    extent
#
# A pass over the XML inside XLSX and ODS files, before anything is laid out in memory.


MOST_CELLS: Final = 10_000_000
"""Cells in the rectangle around all values: readers lay it out in full."""

NO_VALUE: Final = "is a formula without a value; open the file in a spreadsheet program and save it"


@dataclass(slots=True)
class SheetFacts:
    """What was seen in a sheet's XML; rows and columns count from 0."""

    hidden: set[int] = field(default_factory=set)
    """Rows that the person does not see."""
    hidden_columns: set[int] = field(default_factory=set)
    flaws: dict[tuple[int, int], str] = field(default_factory=dict)
    """(row, column) → what is wrong with the cell."""
    texts: dict[tuple[int, int], str] = field(default_factory=dict)
    """(row, column) → what a person sees where calamine reads less: errors, tabs in ODS."""
    rows: list[int] = field(default_factory=lambda: [1 << 30, -1])
    columns: list[int] = field(default_factory=lambda: [1 << 30, -1])

    def saw(self, row: int, column: int) -> None:
        """Stretch the rectangle around all values; `check_size` judges it."""
        if row < self.rows[0]:
            self.rows[0] = row
        if row > self.rows[1]:
            self.rows[1] = row
        if column < self.columns[0]:
            self.columns[0] = column
        if column > self.columns[1]:
            self.columns[1] = column

    def check_size(self) -> None:
        """Raise `WorkbookFault` where the values lie too far apart to be laid out."""
        height, width = (last - first + 1 for first, last in (self.rows, self.columns))
        if height > 0 and width > 0 and height * width > MOST_CELLS:
            raise WorkbookFault(
                f"has values {height:,} rows and {width:,} columns apart; "
                "delete the cells far outside the table"
            )


def _local(name: str) -> str:
    return name.rpartition(":")[2]


# ── XLSX ────────────────────────────────────────────────────────────────────────────────────────


def xlsx_facts(archive: zipfile.ZipFile, sheet: str) -> SheetFacts:
    """The facts of an XLSX workbook's sheet. Raises `WorkbookFault`."""
    part = _sheet_part(archive, sheet)
    handlers = _XlsxWalk()
    walk(archive, part, handlers.start, handlers.end, handlers.text)
    handlers.facts.check_size()
    return handlers.facts


def _sheet_part(archive: zipfile.ZipFile, sheet: str) -> str:
    relation: list[str] = []
    targets: dict[str, str] = {}

    def workbook(name: str, attributes: dict[str, str]) -> None:
        if _local(name) == "sheet" and attributes.get("name") == sheet:
            relation.extend(v for k, v in attributes.items() if k.endswith(":id"))

    def relations(name: str, attributes: dict[str, str]) -> None:
        if _local(name) == "Relationship":
            targets[attributes.get("Id", "")] = attributes.get("Target", "")

    walk(archive, "xl/workbook.xml", workbook)
    walk(archive, "xl/_rels/workbook.xml.rels", relations)
    target = targets.get(relation[0] if relation else "", "")
    if not target:
        raise WorkbookFault(DAMAGED)
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


_CELL: Final = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")


_TRUE: Final = frozenset({"1", "true"})
_NO_HEIGHT: Final = frozenset({"0", "0.0"})
_MOST_COLUMNS: Final = 16_384


class _XlsxWalk:
    """Handlers for a worksheet part; a cell is judged when it ends."""

    def __init__(self) -> None:
        self.facts = SheetFacts()
        self._row = -1
        self._column = -1
        self._type = ""
        self._has_formula = False
        self._value: list[str] = []
        self._in_value = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        name = name if ":" not in name else _local(name)
        if name == "c":
            self._begin_cell(attributes)
        elif name in {"v", "t"}:
            self._in_value = True
        elif name == "f":
            self._has_formula = True
        elif name == "row":
            number = attributes.get("r")
            self._row = int(number) - 1 if number and number.isdigit() else self._row + 1
            self._column = -1
            if attributes.get("hidden") in _TRUE or attributes.get("ht") in _NO_HEIGHT:
                self.facts.hidden.add(self._row)
        elif name == "col" and attributes.get("hidden") in _TRUE:
            first, last = _count(attributes.get("min")), _count(attributes.get("max"))
            self.facts.hidden_columns.update(range(first - 1, min(last, _MOST_COLUMNS)))

    def end(self, name: str) -> None:
        """An element ends."""
        name = name if ":" not in name else _local(name)
        if name == "c":
            self._end_cell()
        elif name in {"v", "t"}:
            self._in_value = False

    def text(self, text: str) -> None:
        """Characters, some of which are a value."""
        if self._in_value:
            self._value.append(text)

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        place = attributes.get("r")
        match = _CELL.fullmatch(place) if place else None
        if match is None:
            self._column += 1
        else:
            self._column = _column_index(match[1])
            self._row = int(match[2]) - 1
        self._type = attributes.get("t", "")
        self._has_formula = False
        self._value = []

    def _end_cell(self) -> None:
        if self._value:
            self.facts.saw(self._row, self._column)
            if self._type == "e":
                self.facts.texts[self._row, self._column] = "".join(self._value)
        elif self._has_formula and self._type != "str":
            self.facts.saw(self._row, self._column)
            self.facts.flaws[self._row, self._column] = NO_VALUE


@cache
def _column_index(letters: str) -> int:
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - ord("A") + 1
    return index - 1


# ── ODS ─────────────────────────────────────────────────────────────────────────────────────────


def ods_facts(archive: zipfile.ZipFile) -> dict[str, SheetFacts]:
    """The facts of an ODS workbook's sheets by name. Raises `WorkbookFault`."""
    handlers = _OdsWalk()
    walk(archive, "content.xml", handlers.start, handlers.end, handlers.text)
    return handlers.sheets


_MOST_REPEATED: Final = 100_000
"""Cells that one of an ODS table stands for, but for the rest of an empty sheet."""


class _OdsWalk:
    """Handlers for ``content.xml``; rows and cells may stand for many."""

    def __init__(self) -> None:
        self.sheets: dict[str, SheetFacts] = {}
        self._facts = SheetFacts()
        self._row = 0
        self._rows = 1
        self._columns = 0
        self._column = 0
        self._cell_column = 0
        self._seen: list[str] = []
        self._has_tab = False
        self._has_paragraph = False
        self._in_note = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if name.startswith("text:"):
            self._begin_text(name, attributes)
        elif name == "table:table":
            self._facts = SheetFacts()
            self.sheets[attributes.get("table:name", "")] = self._facts
            self._row = self._columns = 0
        elif name == "table:table-column":
            self._begin_column(attributes)
        elif name == "table:table-row":
            self._begin_row(attributes)
        elif name in {"table:table-cell", "table:covered-table-cell"}:
            self._cell(attributes)
        elif name == "office:annotation":
            self._in_note = True

    def end(self, name: str) -> None:
        """An element ends."""
        if name == "table:table-row":
            self._row += self._rows
        elif name == "office:annotation":
            self._in_note = False
        elif name == "table:table-cell" and self._has_tab:
            self._put("".join(self._seen))

    def _put(self, cell: str) -> None:
        """A text stands in its cell, and wherever that is repeated."""
        width = self._column - self._cell_column
        is_table = self._rows * width <= _MOST_REPEATED
        for row in range(self._row, self._row + (self._rows if is_table else 1)):
            for column in range(self._cell_column, self._cell_column + (width if is_table else 1)):
                self._facts.texts[row, column] = cell

    def text(self, text: str) -> None:
        """Characters of a cell, or of a note at it."""
        if not self._in_note:
            self._seen.append(text)

    def _begin_text(self, name: str, attributes: dict[str, str]) -> None:
        if self._in_note:
            return
        if name == "text:tab":
            self._has_tab = True
            self._seen.append("\t")
        elif name == "text:s":
            self._seen.append(" " * _count(attributes.get("text:c")))
        elif name == "text:line-break":
            self._seen.append("\n")
        elif name == "text:p":
            self._seen += ["\n"] * self._has_paragraph
            self._has_paragraph = True

    def _begin_column(self, attributes: dict[str, str]) -> None:
        first = self._columns
        self._columns += _count(attributes.get("table:number-columns-repeated"))
        if attributes.get("table:visibility", "visible") != "visible":
            self._facts.hidden_columns.update(range(first, min(self._columns, _MOST_COLUMNS)))

    def _begin_row(self, attributes: dict[str, str]) -> None:
        self._rows = _count(attributes.get("table:number-rows-repeated"))
        self._column = 0
        if attributes.get("table:visibility", "visible") != "visible" and self._rows < 10_000:
            self._facts.hidden.update(range(self._row, self._row + self._rows))

    def _cell(self, attributes: dict[str, str]) -> None:
        repeated = _count(attributes.get("table:number-columns-repeated"))
        self._cell_column, self._seen = self._column, []
        self._has_tab = self._has_paragraph = False
        kind = attributes.get("office:value-type")
        if kind is not None:
            self._facts.saw(self._row, self._column)
            self._facts.saw(self._row + self._rows - 1, self._column + repeated - 1)
            self._facts.check_size()
        if "table:formula" in attributes:
            if attributes.get("calcext:value-type") == "error":
                self._facts.texts[self._row, self._column] = "#VALUE!"
            elif kind is None:
                self._facts.flaws[self._row, self._column] = NO_VALUE
        self._column += repeated


def _count(text: str | None) -> int:
    return int(text[:9]) if text and text.isascii() and text.isdigit() else 1
