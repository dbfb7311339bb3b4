"""How a workbook looks: widths, heights, colours, number formats.

Pure. Widths are in Excel's characters, heights in points, pictures in pixels.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from seedance_batch.core.outcome import Status

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
