"""What every format becomes before its rows are understood: headings, rows of values, places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final

from seedance_batch.core.manifest import Place

Scalar = str | int | float | bool | date | time | timedelta | None
"""A cell as its format gave it; ``datetime`` is a ``date``."""
Value = Scalar | tuple[Scalar, ...]

Origin = int | Place | None
"""Where a cell stands: another line of the same file, or elsewhere; None for its row's line."""

HEADINGS_BELOW: Final = "the headings are here; everything above them is left out"


@dataclass(slots=True)
class Table:
    """A rectangle of cells; short rows lack their last cells."""

    file: str
    headings: list[str]
    """As written: may be empty or repeat."""
    rows: list[Sequence[Value]]
    lines: Sequence[int]
    """Where each row begins, 1-based; as many as rows."""
    heading_line: int = 1
    sheet: str | None = None
    first_letter: int = 0
    """In a workbook, how many columns lie left of the first one."""
    origins: list[Sequence[Origin]] | None = None
    """Where each cell stands, for formats that write a row over many lines or places."""
    flaws: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """(row, column) → what is wrong with a cell, where its value does not tell."""
    is_repeated: bool = False
    """Whether its rows were multiplied by ``variants``: a line's equals are meant."""
    hidden: frozenset[int] = frozenset()
    """The rows that a workbook hides, as long as none was left out or repeated."""
    hidden_columns: frozenset[int] = frozenset()
    is_csv: bool = False
    """Our own CSV sheets guard their cells against being taken for formulas; others do not."""

    def place(self, row: int, position: int | None = None, heading: str | None = None) -> Place:
        """Where a row stands, or the cell of it at that column."""
        origin = None
        if position is not None and self.origins is not None:
            origin = self.origins[row][position]
        if isinstance(origin, Place):
            return origin
        return self._place(origin or self.lines[row], position, heading)

    def heading_place(self, position: int | None = None, heading: str | None = None) -> Place:
        """Where the headings stand, or one of them."""
        return self._place(self.heading_line, position, heading)

    def _place(self, line: int, position: int | None, heading: str | None) -> Place:
        if position is None:
            return Place(self.file, self.sheet, line)
        letter = None if self.sheet is None else column_letter(self.first_letter + position)
        return Place(self.file, self.sheet, line, heading or self.headings[position], letter)


def column_letter(index: int) -> str:
    """``A`` for 0, ``AA`` for 26."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def text_of(value: Value) -> str:
    """A cell as a person sees it: 5 and not 5.0, dates as ISO, list items on lines."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "\n".join(text_of(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, datetime):
        is_midnight = value.time() == time() and value.tzinfo is None
        return value.date().isoformat() if is_midnight else value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _float_text(value: float) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def is_blank(value: Value) -> bool:
    """Whether nothing was written here; white space is nothing."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value == ()
