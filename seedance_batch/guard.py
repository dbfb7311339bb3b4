"""What a cell of our own sheets does to a text: the CSV's guard, the workbook's limits.

Pure, and light to import: the writer guards and marks, the reader takes the guard off again and
refuses a marked text. Nobody else's sheets carry either.
"""

from __future__ import annotations

import re
from typing import Final

_APOSTROPHE: Final = "'"

_RISKY: Final = re.compile(
    r"""'*(?:                       # apostrophes count along, so that typed ones stay reversible
        [\x00-\x1f]                 # TAB, CR, LF: some programs drop these, and then look again
        | [ \xa0]*[=@＝＠]          # spreadsheets also take the full-width forms
        | [ \xa0]*[+\-＋－](?!(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?\Z)
    )""",
    re.VERBOSE,
)
"""A cell that a spreadsheet program could evaluate; plain numbers with a sign are none."""


def guarded(text: str) -> str:
    """The text as it stands in a CSV cell: an apostrophe before what could be a formula.

    Nothing is lost: ``unguarded(guarded(text)) == text`` for every text, also for ``'=x``.
    """
    return _APOSTROPHE + text if _RISKY.match(text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given; only for cells of our own CSV sheets."""
    if text.startswith(_APOSTROPHE) and _RISKY.match(text, 1):
        return text[1:]
    return text


CELL_LIMIT: Final = 32_767
"""UTF-16 code units that a cell of a workbook can hold."""

_MARK: Final = " […not as it was: a workbook's cell cannot hold this text, results.csv does]"

_UNSTORABLE: Final = re.compile(r"[\ud800-\udfff\ufffe\uffff]")
"""No spelling that a workbook knows; its own for the control characters is xlsxwriter's work."""


def stored(text: str) -> str:
    """The text as a workbook's cell can hold it, with a mark at its end where it is another."""
    shown = _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if len(shown) > CELL_LIMIT // 2 and _units(shown) > CELL_LIMIT:
        room = 2 * (CELL_LIMIT - len(_MARK))
        shown = shown.encode("utf-16-le")[:room].decode("utf-16-le", "ignore")
    return text if shown == text and not _taken_for_markup(text) else shown + _MARK


def was_altered(text: str) -> bool:
    """Whether `stored` marked this text; such a cell must never be read as an input."""
    return text.endswith(_MARK)


def _taken_for_markup(text: str) -> bool:
    # xlsxwriter writes such a text unescaped, as a rich string that it takes for its own; with
    # the mark behind it, it is text like any other.
    return text.startswith("<r>") and text.endswith("</r>")


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)
