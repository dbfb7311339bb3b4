"""Rows of a table into jobs to be: read each cell, judge the whole, say what is wrong where.

A row that has a problem is still read to its end, so that every row has its number and its key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from seedance_batch.core.manifest import Code, Place, Row, Told
from seedance_batch.core.model import LIST_FIELDS, MEDIA_FIELDS
from seedance_batch.reader.cells import (
    Cell,
    Table,
    Value,
    is_blank,
    parser,
    placeholder,
    quoted,
    text_of,
)
from seedance_batch.reader.headings import Layout, ManifestColumn
from seedance_batch.reader.judge import Judge, RowReading
from seedance_batch.reader.media_files import Found, MediaFiles
from seedance_batch.reader.source import Noted

_MOST_REMEMBERED: Final = 4_096
_REMOVED: Final = "removed"
"""Status of a paid row that had left the manifest when our sheet was written."""


class RowReader:
    """Reads the rows of a manifest's tables, one table after the other."""

    def __init__(self, noted: Noted, files: MediaFiles, judge: Judge) -> None:
        self._noted = noted
        self._files = files
        self._judge = judge
        self._number = 0
        self._ids: dict[str, Place] = {}

    def read(self, table: Table, layout: Layout) -> Iterator[RowReading]:
        """What each row says; removed rows of our sheets are left out. Empties the table."""
        readers = [(column, _remembering(column)) for column in layout.inputs]
        for index, values in enumerate(table.rows):
            table.rows[index] = ()  # a large manifest need not stand in memory twice
            if _is_removed(values, layout.status):
                continue
            if len(values) < len(table.headings):
                values = [*values, *[None] * (len(table.headings) - len(values))]
            self._number += 1
            row = Row(self._number, table.place(index), _texts(values, layout))
            yield self._read(RowReading(table, index, layout, row), values, readers)

    def _read(
        self,
        reading: RowReading,
        values: Sequence[Value],
        readers: Sequence[tuple[ManifestColumn, Callable[[Value], Cell]]],
    ) -> RowReading:
        for column, read in readers:
            value = values[column.position]
            if value is not None and value != "":
                self._take(reading, column, read(value))
        if reading.table.flaws:
            self._take_flaws(reading)
        reading.told = _told(values, reading.layout.told)
        reading.id = self._id(reading)
        if reading.id and "prompt" not in reading.fields:
            words = "is empty, but the row has an id: fill it, or delete the row"
            reading.refused.setdefault("prompt", words)
        reading.model = reading.fields.pop("model", None) or reading.model
        if reading.layout.has_media:
            self._find_media(reading)
        self._judge.judge(reading)
        if not self._is_text(reading):
            reading.input = None
        nothing: dict[str, Any] = {}  # many rows stay until the last one was read
        reading.fields = reading.refused = reading.found = nothing
        return reading

    def _id(self, reading: RowReading) -> str | None:
        row_id: str | None = reading.fields.pop("id", None)
        if row_id:
            here = reading.place("id")
            earlier = self._ids.setdefault(row_id, here)
            if earlier is not here:
                words = f"{quoted(row_id)} is already the id in {earlier.seen_from(here)}"
                self._noted.problem(here, words, Code.DUPLICATE_ID)
        return row_id or None

    def _take(self, reading: RowReading, column: ManifestColumn, cell: Cell) -> None:
        name = str(column.field)
        if cell.problem is not None:
            reading.refused[name] = cell.problem
        elif cell.value is not None:
            reading.fields[name] = cell.value
        if cell.receipt is not None:
            self._noted.receipt(reading.place(name), cell.receipt)

    def _take_flaws(self, reading: RowReading) -> None:
        for column in dict.fromkeys((*reading.layout.inputs, *reading.layout.own)):
            words = reading.table.flaws.get((reading.index, column.position))
            if words and column.field:
                reading.refused[column.field] = words
            elif words:
                self._noted.warning(reading.cell(column), words)

    def _find_media(self, reading: RowReading) -> None:
        for name, kind in MEDIA_FIELDS.items():
            texts = reading.fields.get(name)
            if texts is None:
                continue
            reading.found[name] = [self._files.find(text, kind) for text in texts]
            reading.fields[name] = addressed(name, reading.found[name])

    def _is_text(self, reading: RowReading) -> bool:
        """Whether every cell of the person's is text that any file can hold."""
        texts = reading.row.cells
        joined = "".join(texts.values())
        if "\0" not in joined and _is_unicode(joined):
            return True
        for column in reading.layout.own:
            text = texts[column.heading]
            why = "a NUL character" if "\0" in text else "half a character (a lone surrogate)"
            if "\0" in text or not _is_unicode(text):
                self._noted.problem(reading.cell(column), f"contains {why}")
        return False


def _texts(values: Sequence[Value], layout: Layout) -> dict[str, str]:
    return {
        column.heading: value if type(value := values[column.position]) is str else text_of(value)
        for column in layout.own
    }


def addressed(name: str, found: Sequence[Found]) -> str | list[str]:
    """What a media field holds: one address, or a list where the field takes one."""
    addresses = [one.address for one in found]
    return addresses if name in LIST_FIELDS else addresses[0]


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_removed(values: Sequence[Value], status: int | None) -> bool:
    return status is not None and status < len(values) and values[status] == _REMOVED


def _told(values: Sequence[Value], columns: Sequence[tuple[str, int]]) -> Told | None:
    """What a sheet of ours says of a row; None in any other manifest."""
    if not columns:
        return None
    texts = {name: text_of(values[position]) for name, position in columns}
    return Told(
        texts.get("status", ""),
        texts.get("kind", ""),
        texts.get("task_id", ""),
        _moment(texts.get("submitted_at", "")),
    )


def _moment(text: str) -> float | None:
    """Unix seconds of a time as our sheets write it; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
        return found.timestamp() if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def read_cell(name: str, value: Value) -> Cell:
    """A value as the field of that name takes it."""
    if name == "prompt":
        return _prompt(value)
    return Cell() if is_blank(value) else parser(name)(value)


def _remembering(column: ManifestColumn) -> Callable[[Value], Cell]:
    """The field's parser; texts that repeat down a column are parsed once."""
    if column.field == "prompt":
        return _prompt
    parse = parser(str(column.field))
    known: dict[str, Cell] = {}

    def read(value: Value) -> Cell:
        if not isinstance(value, str):
            return parse(value)
        cell = known.get(value)
        if cell is None:
            cell = Cell() if is_blank(value) else parse(value)
            if len(known) < _MOST_REMEMBERED:
                known[value] = cell
        return cell

    return read


def _prompt(value: Value) -> Cell:
    """The text as it stands: a prompt is never repaired."""
    if isinstance(value, tuple):
        return Cell(problem="is a list, but one text is needed")
    text = text_of(value)
    if text.isspace():
        return Cell(problem="contains only white space")
    if why := placeholder(text):
        return Cell(problem=why)
    return Cell(text)
