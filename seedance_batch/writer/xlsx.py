"""Results as a workbook: the rows, their takes, and a summary, fit to hand to a client."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from seedance_batch.clips.stills import Thumbnail, poster, thumbnail
from seedance_batch.core.attempt import Attempt, Surety
from seedance_batch.core.columns import stored
from seedance_batch.core.outcome import Status, Sum, Tally
from seedance_batch.run_folder import WORKBOOK_PARTS
from seedance_batch.writer.lines import TAKE_COLUMNS, Line, ResultTable, SheetValue, take_lines, utc

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

MOST_POSTERS: Final = 2_000
"""A table of more lines gets no pictures: they would make the workbook slow to open."""

_MOST_COLUMNS: Final = 16_384
_MOST_ROWS: Final = 1_048_576


def fits_workbook(table: ResultTable) -> bool:
    """Whether a worksheet is wide and long enough for the table and its takes."""
    takes = sum(len(outcome.attempts) for outcome in table.outcomes)
    return len(table.header) <= _MOST_COLUMNS and max(len(table.outcomes), takes) < _MOST_ROWS


def write_xlsx(
    path: Path, table: ResultTable, about: About | None, *, posters: Path | None
) -> None:
    """Fill ``path`` with a workbook whose first sheet is a manifest that continues its folder.

    With ``about`` it has sheets of takes and summary too. ``posters`` is the run folder, where
    lines are to show their clip. The same arguments give the same bytes.
    """
    with _workbook(path, _newest(table)) as book:
        formats = Formats(book)
        _write_rows(formats, table, "results" if about else "failed", posters)
        if about:
            _write_takes(formats, table)
            _write_summary(formats, about)


@contextmanager
def _workbook(path: Path, created: datetime) -> Iterator[Workbook]:
    from xlsxwriter.exceptions import FileCreateError
    from xlsxwriter.workbook import Workbook

    # Its parts lie beside it until it is whole: where the system's own place for them is full,
    # missing or read-only, the run folder still has room.
    scratch = TemporaryDirectory(prefix=WORKBOOK_PARTS, dir=path.parent)
    options = {"constant_memory": True, "tmpdir": scratch.name}
    try:
        with scratch, Workbook(str(path), options) as book:
            book.set_properties({"created": created, "comments": "seedance-batch"})
            yield book
    except FileCreateError as error:
        raise OSError(*error.args) from error


def _newest(table: ResultTable) -> datetime:
    """The last thing that happened: a time of writing would make each workbook another."""
    states = [attempt.state for outcome in table.outcomes for attempt in outcome.attempts]
    last = max((state.finished_at or state.submitted_at or 0.0 for state in states), default=0.0)
    return datetime.fromisoformat(utc(last) or "1970-01-01T00:00:00Z").replace(tzinfo=None)


# ── the rows ────────────────────────────────────────────────────────────────────────────────────


def _write_rows(formats: Formats, table: ResultTable, name: str, posters: Path | None) -> None:
    theirs = person_columns(table.columns, table.theirs())
    ours = [our_column(name) for name, _ in table.block]
    sheet = Sheet(formats, name, [*theirs, *ours])
    sheet.header(table.header, [HEADER_THEIRS] * len(theirs) + [HEADER_OURS] * len(ours))
    folder = posters if len(table.outcomes) <= MOST_POSTERS else None
    numbers = number_columns(table.theirs())
    for line in table.lines():
        _write_row(sheet, line, numbers, folder)
    sheet.finish()


def _write_row(sheet: Sheet, line: Line, numbers: Collection[int], folder: Path | None) -> None:
    picture = _picture(folder, line.outcome.shown)
    looks = {"status": STATUS_COLOURS[line.outcome.status]}
    if picture:
        looks["video_file"] = BELOW_PICTURE
    theirs = (plain_number(t) if i in numbers else t for i, t in enumerate(line.person))
    sheet.line((*theirs, *line.ours), looks, PICTURE_ROW if picture else 0.0)
    if picture:
        sheet.picture("video_file", picture, f"clip of {line.outcome.key}")


def _picture(folder: Path | None, shown: Attempt | None) -> Thumbnail | None:
    if folder is None or shown is None or shown.state.clip is None:
        return None
    # Twice the size it is shown at, for screens of high density.
    box = (2 * PICTURE_BOX[0], 2 * PICTURE_BOX[1])
    file = poster(folder, shown.state.clip)
    return thumbnail(file, box) if file else None


# ── the takes ───────────────────────────────────────────────────────────────────────────────────


def _write_takes(formats: Formats, table: ResultTable) -> None:
    sheet = Sheet(formats, "takes", [our_column(name) for name in TAKE_COLUMNS])
    sheet.header(TAKE_COLUMNS, [HEADER_OURS] * len(TAKE_COLUMNS))
    for attempt, values in take_lines(table):
        sheet.line(values, {"status": STATUS_COLOURS[attempt.state.phase]})
    sheet.finish()


# ── How a workbook looks: widths, heights, colours, number formats ────────────────────────────────
# Pure. Widths are in Excel's characters, heights in points, pictures in pixels.


MONEY_FORMAT: Final = "$#,##0.00??"

_NUMBER_FORMATS: Final = {
    "row": "0",
    "attempts": "0",
    "attempt": "0",
    "duration": "0",
    "est_cost_usd": MONEY_FORMAT,
    "row_cost_usd": MONEY_FORMAT,
    "got_duration": '0.00" s"',
    "bytes": "#,##0",
}
"""Our columns that hold numbers; every other column holds text, and stays text when edited."""

_TECHNICAL: Final = frozenset(
    {"task_id", "video_url", "url_expires_at", "bytes", "sha256", "submitted_at", "finished_at"}
)
"""Our columns that are folded away: for support and scripts, one click away for a person."""

_PLAIN_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")
_LONGEST_NUMBER: Final = 11
"""Characters; the general format shows longer numbers rounded or with an exponent."""

_WRAPPED: Final = frozenset({"message", "next_step"})

_WIDTHS: Final = {
    "row": 8,
    "id": 18,
    "status": 18,
    "error_class": 17,
    "reason": 12,
    "message": 44,
    "next_step": 30,
    "attempts": 12,
    "attempt": 11,
    "kind": 8,
    "shown": 8,
    "task_id": 24,
    "model": 15,
    "resolution": 12,
    "duration": 12,
    "aspect_ratio": 13,
    "est_cost_usd": 16,
    "row_cost_usd": 16,
    "charged": 11,
    "video_file": 30,
    "last_frame_file": 26,
    "video_url": 26,
    "url_expires_at": 21,
    "media_ok": 11,
    "got_duration": 15,
    "got_resolution": 15,
    "bytes": 13,
    "sha256": 20,
    "submitted_at": 21,
    "finished_at": 21,
    "made_from": 22,
}

HEADER_THEIRS: Final = {"bold": True, "bg_color": "#1F2937", "font_color": "#FFFFFF"}
HEADER_OURS: Final = {"bold": True, "bg_color": "#0F766E", "font_color": "#FFFFFF"}

_GREEN: Final = {"bg_color": "#DCFCE7", "font_color": "#14532D"}
_BLUE: Final = {"bg_color": "#DBEAFE", "font_color": "#1E3A8A"}
_AMBER: Final = {"bg_color": "#FEF3C7", "font_color": "#78350F", "bold": True}
_RED: Final = {"bg_color": "#FEE2E2", "font_color": "#7F1D1D", "bold": True}
_GREY: Final = {"bg_color": "#F3F4F6", "font_color": "#4B5563"}

STATUS_COLOURS: Final[Mapping[str, Mapping[str, Any]]] = {
    Status.NEW: {},
    Status.BLOCKED: _AMBER,
    "planned": {},
    Status.SUBMITTING: _BLUE,
    Status.IN_FLIGHT: _BLUE,
    Status.DOWNLOADING: _BLUE,
    Status.DONE: _GREEN,
    Status.FAILED: _RED,
    Status.AMBIGUOUS: _AMBER,
    Status.EXPIRED: _AMBER,
    Status.MEDIA_MISMATCH: _AMBER,
    Status.CHANGED: _BLUE,
    Status.REMOVED: _GREY,
}
"""Bold ones want a person; the word itself says the same without colour."""

HEADER_ROW: Final = 20.0
NARROW: Final = 24
"""A first column up to this width stays in sight when the sheet is scrolled sideways."""

PICTURE_BOX: Final = (200, 90)
"""A clip's picture, at most, in pixels."""
PICTURE_ROW: Final = 90.0
"""Height of a line with a picture and, below it, the clip's name."""
BELOW_PICTURE: Final = {"valign": "bottom"}

_LINE: Final = 15.0
_MOST_LINES: Final = 6
_SAMPLE: Final = 200
_PROMPT_WIDTH: Final = 60
_PROSE: Final = 40
"""Columns whose usual text is longer than this, with spaces in it, are wrapped."""


@dataclass(frozen=True, slots=True)
class SheetColumn:
    """How one column looks."""

    name: str
    """Our name for it; empty for a person's column."""
    width: float
    wrapped: bool
    number_format: str

    @property
    def folded(self) -> bool:
        """Whether a person sees it only after a click on its group."""
        return self.name in _TECHNICAL

    @property
    def align(self) -> str:
        """Numbers stand right, texts left."""
        return "left" if self.number_format == "@" else "right"


def our_column(name: str) -> SheetColumn:
    """One of ours."""
    return SheetColumn(name, _WIDTHS[name], name in _WRAPPED, _NUMBER_FORMATS.get(name, "@"))


def person_columns(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> list[SheetColumn]:
    """The person's, measured by their first lines."""
    sample = [line for _, line in zip(range(_SAMPLE), lines, strict=False)]
    return [_person(heading, [line[i] for line in sample]) for i, heading in enumerate(columns)]


def _person(heading: str, cells: Sequence[str]) -> SheetColumn:
    filled = [cell for cell in cells if cell]
    if _is_prose(filled):
        return SheetColumn("", _PROMPT_WIDTH, True, "@")
    longest = max((_shown_width(cell) for cell in [heading + "  ▾", *filled]), default=0)
    return SheetColumn("", min(max(longest + 3, 8), 34), False, "@")


def _is_prose(cells: Sequence[str]) -> bool:
    prose = [cell for cell in cells if "\n" in cell or " " in cell or not cell.isascii()]
    if not prose or len(prose) * 2 < len(cells):
        return False
    return "\n" in "".join(prose) or median(_shown_width(cell) for cell in prose) > _PROSE


def plain_number(text: str) -> str | int | float:
    """A person's cell as a number, where it is one that reads back as exactly this text."""
    if len(text) > _LONGEST_NUMBER or not _PLAIN_NUMBER.fullmatch(text):
        return text
    number = float(text) if "." in text else int(text)
    return number if str(number) == text else text


def number_columns(lines: Iterable[Sequence[str]]) -> set[int]:
    """Which of the person's columns hold plain numbers only; of a mixed one, sorting would suffer.

    A scene ``100`` among ``010`` and ``020`` stays a text as they do.
    """
    filled: set[int] = set()
    mixed: set[int] = set()
    for line in lines:
        for index, text in enumerate(line):
            if text and index not in mixed:
                (mixed if plain_number(text) is text else filled).add(index)
    return filled - mixed


def row_height(columns: Sequence[SheetColumn], values: Sequence[object]) -> float:
    """The height that shows a line's wrapped cells, up to a few lines of text."""
    lines = [
        _lines(value, column.width)
        for column, value in zip(columns, values, strict=False)
        if column.wrapped and isinstance(value, str)
    ]
    return _LINE * min(max(lines, default=1), _MOST_LINES)


def _lines(text: str, width: float) -> int:
    shown = text[: int(width) * _MOST_LINES].split("\n")[:_MOST_LINES]
    return sum(1 + int(_shown_width(part) / width) for part in shown)


def _shown_width(text: str) -> int:
    """Characters, where the wide ones of East Asia count twice."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text[:500])


# ── The workbook's summary: how many rows stand how, what it cost, where prices come from ─────────


@dataclass(frozen=True, slots=True)
class About:
    """What the summary says."""

    manifest: str
    folder: Path
    prices: str
    tally: Tally


_MEANING: Final = {
    Status.NEW: "not sent yet",
    Status.BLOCKED: "not sent: a row that it waits for has no clip; see next_step",
    Status.SUBMITTING: "sent, no answer yet",
    Status.IN_FLIGHT: "being made",
    Status.DOWNLOADING: "made and paid for; still to download",
    Status.DONE: "downloaded and checked",
    Status.FAILED: "no clip; see message and next_step",
    Status.AMBIGUOUS: "it is not known whether the clip was made; reconcile settles that",
    Status.EXPIRED: "paid for, but the clip could no longer be downloaded",
    Status.MEDIA_MISMATCH: "paid for, but the clip is not what was asked for",
    Status.CHANGED: "edited since its clip was made; run makes a new clip",
    Status.REMOVED: "paid for, but no longer in the manifest",
}
_SURE: Final = {
    Surety.SETTLED: "clips that were made",
    Surety.RESERVED: "sent, but not settled yet",
    Surety.UNKNOWN: "failed; it is not known whether these were charged",
}


_COLUMNS: Final = (
    SheetColumn("label", 26, False, "@"),
    SheetColumn("count", 12, False, "0"),
    SheetColumn("amount", 14, False, MONEY_FORMAT),
    SheetColumn("words", 56, False, "@"),
)
_BOLD: Final = {"bold": True}
_TEXT: Final = {"align": "left", "num_format": "@"}
_HEADING: Final = {column.name: HEADER_OURS for column in _COLUMNS}


def _write_summary(formats: Formats, about: About) -> None:
    sheet = Sheet(formats, "summary", _COLUMNS)
    for label, words in _facts(about):
        sheet.line((label, words), {"label": _BOLD, "count": _TEXT})
    sheet.line((), {})
    sheet.line(("status", "rows", " ", "meaning"), _HEADING)
    for status, count in about.tally.statuses.items():
        if count:
            look = {"label": STATUS_COLOURS[status]}
            sheet.line((status, count, None, _MEANING[status]), look)
    sheet.line(("rows in the manifest", about.tally.rows), {"label": _BOLD, "count": _BOLD})
    sheet.line((), {})
    sheet.line(("estimated cost", "attempts", "US dollars", "meaning"), _HEADING)
    parts = about.tally.money.parts
    for surety, total in parts.items():
        words = _SURE[surety] + _unpriced(total)
        sheet.line((surety, total.attempts, total.amount, words), {})
    attempts = sum(total.attempts for total in parts.values())
    amount = sum((total.amount for total in parts.values()), Decimal(0))
    words = "at most; what row_cost_usd adds up to"
    sheet.line(("total", attempts, amount, words), {"label": _BOLD, "amount": _BOLD})


def _facts(about: About) -> Iterator[tuple[str, str]]:
    yield "manifest", about.manifest
    yield "run folder", str(about.folder)
    yield "prices", about.prices
    yield (
        "texts",
        "A text too long for a cell ends with a mark that says so; results.csv has the whole text.",
    )


def _unpriced(total: Sum) -> str:
    return f"; no price is known for {total.unpriced} of them" if total.unpriced else ""


# ── One worksheet, filled from top to bottom: typed cells, links, pictures; never a formula ───────


CellFormat = Mapping[str, Any]
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
    """The cell formats of a workbook, each made once."""

    def __init__(self, book: Workbook) -> None:
        self.book = book
        self._made: dict[tuple[tuple[str, Any], ...], Format] = {}

    def __call__(self, *looks: CellFormat) -> Format:
        """The format that joins these looks, later ones winning."""
        joined: dict[str, Any] = {"valign": "top", "font_size": 10}
        for look in looks:
            joined |= look
        key = tuple(sorted(joined.items()))
        if key not in self._made:
            self._made[key] = self.book.add_format(joined)
        return self._made[key]


class Sheet:
    """A worksheet and the place of its next line."""

    def __init__(self, formats: Formats, name: str, columns: Sequence[SheetColumn]) -> None:
        self._sheet: Worksheet = formats.book.add_worksheet(name)
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

    def header(self, headings: Sequence[str], looks: Sequence[CellFormat]) -> None:
        """Write the header, freeze it, and a narrow first column with it."""
        self._sheet.set_row(0, HEADER_ROW)
        for index, (heading, look) in enumerate(zip(headings, looks, strict=True)):
            # Left, also above numbers: the filter's button stands on the right.
            cell = self._formats({"valign": "vcenter", "indent": 1, "num_format": "@"}, look)
            self._sheet.write_string(0, index, stored(heading), cell)
        narrow = bool(self._columns) and self._columns[0].width <= NARROW
        self._sheet.freeze_panes(1, int(narrow))
        self._next = 1

    def line(
        self, values: Sequence[SheetValue], looks: Mapping[str, CellFormat], height: float = 0.0
    ) -> None:
        """Write the next line, at least ``height`` points high; ``looks`` by our column names."""
        row, self._next = self._next, self._next + 1
        self._sheet.set_row(row, max(height, row_height(self._columns, values)))
        for index, value in enumerate(values):
            if value is not None and value != "":
                name = self._columns[index].name
                self._cell(row, index, value, looks.get(name, {}))

    def picture(self, name: str, picture: Thumbnail, words: str) -> None:
        """Set a picture into our column ``name`` of the line just written, above its text."""
        box = PICTURE_BOX
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

    def _cell(
        self, row: int, index: int, value: str | int | float | Decimal, look: CellFormat
    ) -> None:
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
        return "://" not in file and len(_link_target(file)) < _LONGEST_LINK


def _folding(column: SheetColumn, before: SheetColumn | None) -> dict[str, Any]:
    """A folded column is hidden in a group; the sign that opens the group stands behind it."""
    if column.folded:
        return {"level": 1, "hidden": True}
    return {"collapsed": True} if before and before.folded else {}


def _base(column: SheetColumn) -> CellFormat:
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
