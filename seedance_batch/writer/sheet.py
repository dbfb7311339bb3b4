"""One worksheet, filled from top to bottom: typed cells, links, pictures; never a formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from seedance_batch.guard import stored
from seedance_batch.posters import Thumbnail
from seedance_batch.writer import layout
from seedance_batch.writer.table import Value

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

Look = Mapping[str, Any]
"""Format properties by xlsxwriter's names."""

_A_NUMBER: Final = {"num_format": "General", "align": "right"}
"""A number in a column of texts."""
_LINKED: Final = frozenset({"video_file", "last_frame_file"})
"""Our columns that open a file of the run folder."""
_LINK_LOOK: Final = {"font_color": "#1D4ED8", "underline": 1}
_MOST_LINKS: Final = 65_000
"""Excel takes 65,530 in a worksheet."""
_LONGEST_LINK: Final = 2_000
"""Excel takes 2,079 characters."""


class Formats:
    """The workbook's cell formats, each made once."""

    def __init__(self, book: Workbook) -> None:
        self._book = book
        self._made: dict[tuple[tuple[str, Any], ...], Format] = {}

    def __call__(self, *looks: Look) -> Format:
        """The format that joins these looks, later ones winning."""
        joined: dict[str, Any] = {"valign": "top", "font_size": 10}
        for look in looks:
            joined |= look
        key = tuple(sorted(joined.items()))
        if key not in self._made:
            self._made[key] = self._book.add_format(joined)
        return self._made[key]


class Sheet:
    """A worksheet and the place of its next line."""

    def __init__(
        self, book: Workbook, name: str, formats: Formats, columns: Sequence[layout.Column]
    ) -> None:
        self._sheet: Worksheet = book.add_worksheet(name)
        self._formats = formats
        self._columns = columns
        self._plain = [formats(_base(column)) for column in columns]
        self._at = {column.name: index for index, column in enumerate(columns) if column.name}
        self._next = 0
        self._links = 0
        for index, column in enumerate(columns):
            folding = _folding(column, columns[index - 1] if index else None)
            self._sheet.set_column(index, index, column.width, self._plain[index], folding)
        if columns and columns[-1].folded:
            self._sheet.set_column(len(columns), len(columns), None, None, {"collapsed": True})
        self._sheet.set_landscape()
        self._sheet.fit_to_pages(1, 0)

    def header(self, headings: Sequence[str], looks: Sequence[Look]) -> None:
        """Write the header, freeze it, and a narrow first column with it."""
        self._sheet.set_row(0, layout.HEADER_ROW)
        for index, (heading, look) in enumerate(zip(headings, looks, strict=True)):
            # Left, also above numbers: the filter's button stands on the right.
            cell = self._formats({"valign": "vcenter", "indent": 1, "num_format": "@"}, look)
            self._sheet.write_string(0, index, stored(heading), cell)
        narrow = bool(self._columns) and self._columns[0].width <= layout.NARROW
        self._sheet.freeze_panes(1, int(narrow))
        self._next = 1

    def line(self, values: Sequence[Value], looks: Mapping[str, Look], height: float = 0.0) -> None:
        """Write the next line, at least ``height`` points high; ``looks`` by our column names."""
        row, self._next = self._next, self._next + 1
        self._sheet.set_row(row, max(height, layout.row_height(self._columns, values)))
        for index, value in enumerate(values):
            if value is not None and value != "":
                name = self._columns[index].name
                self._cell(row, index, value, looks.get(name, {}))

    def picture(self, name: str, picture: Thumbnail, words: str) -> None:
        """Set a picture into our column ``name`` of the line just written, above its text."""
        box = layout.PICTURE_BOX
        scale = min(box[0] / picture.width, box[1] / picture.height)
        options = {
            "image_data": BytesIO(picture.jpeg),
            "x_offset": 4,
            "y_offset": 4,
            "x_scale": scale,
            "y_scale": scale,
            "object_position": 1,  # sorted, filtered and hidden with its line
            "description": words[:200],
        }
        self._sheet.insert_image(self._next - 1, self._at[name], "poster.jpg", options)

    def finish(self) -> None:
        """Filters over everything written, and the header on every printed page."""
        sheet = self._sheet
        sheet.autofilter(0, 0, max(self._next - 1, 1), len(self._columns) - 1)
        sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        sheet.hide_gridlines(0)  # printed too
        sheet.set_paper(8)  # A3
        sheet.repeat_rows(0)

    def _cell(self, row: int, index: int, value: str | int | float | Decimal, look: Look) -> None:
        linked = isinstance(value, str) and self._may_link(index, value)
        if linked:
            look = {**_LINK_LOOK, **look}
        cell = self._formats(_base(self._columns[index]), look) if look else self._plain[index]
        if not isinstance(value, str):
            if self._columns[index].number_format == "@":
                cell = self._formats(_base(self._columns[index]), _A_NUMBER)
            self._sheet.write_number(row, index, float(value), cell)
        elif linked:
            self._links += 1
            target = f"external:{_link_target(value)}"
            self._sheet.write_url(row, index, target, cell, stored(value))
        else:
            self._sheet.write_string(row, index, stored(value), cell)

    def _may_link(self, index: int, file: str) -> bool:
        if self._columns[index].name not in _LINKED or self._links >= _MOST_LINKS:
            return False
        return len(_link_target(file)) < _LONGEST_LINK


def _folding(column: layout.Column, before: layout.Column | None) -> dict[str, Any]:
    """A folded column is hidden in a group; the sign that opens the group stands behind it."""
    if column.folded:
        return {"level": 1, "hidden": True}
    return {"collapsed": True} if before and before.folded else {}


def _base(column: layout.Column) -> Look:
    return {
        "num_format": column.number_format,
        "text_wrap": column.wrapped,
        "align": column.align,
        "indent": 1,
    }


_LINK_ESCAPES: Final = str.maketrans({sign: f"%{ord(sign):02x}" for sign in '% #"<>[]^`{}?'})


def _link_target(file: str) -> str:
    """A file of the run folder as a workbook links to it: relative, what is special escaped."""
    return file.translate(_LINK_ESCAPES)
