"""The columns of our own sheets: their names, their order, and what a cell does to a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Final

# ── Their names, their order, and how a header that has them is known ─────────────────────────────
# Pure, and light to import: the writer lays sheets out by it, the reader recognises them by it.


RESULT_COLUMNS: Final = (
    "row",
    "id",
    "status",
    "error_class",
    "reason",
    "message",
    "next_step",
    "attempts",
    "task_id",
    "model",
    "resolution",
    "duration",
    "aspect_ratio",
    "kind",
    "est_cost_usd",
    "row_cost_usd",
    "charged",
    "video_file",
    "last_frame_file",
    "video_url",
    "url_expires_at",
    "media_ok",
    "got_duration",
    "got_resolution",
    "bytes",
    "sha256",
    "submitted_at",
    "finished_at",
    "made_from",
)
"""Our block, in the order in which it follows the person's own columns, without a gap."""

INPUT_COLUMNS: Final = ("id", "model", "resolution", "duration", "aspect_ratio")
"""Those of our columns that are a row's inputs: an edit there is an edit of the row."""

PREFIX: Final = "sb_"
"""Set before one of our names where the person has a column of that name."""

_ENOUGH: Final = 10
"""So many of our names, in our order, make a header one of ours; people delete columns."""


def folded(heading: str) -> str:
    """How two headings are compared: NFC, without case and outer white space."""
    return unicodedata.normalize("NFC", heading).strip().casefold()


def result_columns(
    person_columns: Iterable[str], given_inputs: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Our block beside these columns: (name, heading) pairs in order.

    An input that the person has is left out: theirs is the one. ``given_inputs`` names those that
    they have under a heading of another name (``seconds`` read as ``duration``). Of another name
    of ours, theirs keeps it, and ours has a prefix more than theirs.
    """
    theirs: dict[str, int] = {}
    for prefixes, name in map(_unprefixed, person_columns):
        theirs[name] = max(prefixes, theirs.get(name, 0))
    given = {name for name in INPUT_COLUMNS if name in given_inputs or name in theirs}
    return [
        (name, PREFIX * (theirs.get(name, -1) + 1) + name)
        for name in RESULT_COLUMNS
        if name not in given
    ]


def our_columns(header: Sequence[str]) -> dict[int, str]:
    """Where a sheet's header holds our block: index → our name, empty if it is no sheet of ours.

    What is not in the answer is the person's own, also where it bears one of our names. Columns
    may have been deleted, or put in between; one that was moved counts as the person's. The names
    in `INPUT_COLUMNS` are to be read as inputs, the rest was written by us and is no input.
    """
    chain = _longest_chain(_candidates(header))
    known = sum(name not in INPUT_COLUMNS for name in chain.values())
    return chain if known >= _ENOUGH else {}


def _candidates(header: Sequence[str]) -> list[tuple[int, str]]:
    """The (index, our name) of headings that may be ours: of one name the most prefixed."""
    found = [(i, *_unprefixed(heading)) for i, heading in enumerate(header)]
    most = {name: prefixes for prefixes, name in sorted(f[1:] for f in found)}
    return [(i, name) for i, prefixes, name in found if name in _ORDER and most[name] == prefixes]


def _unprefixed(heading: str) -> tuple[int, str]:
    """How many prefixes a heading has, and what stands behind them; inputs never have one."""
    whole = name = folded(heading)
    prefixes = 0
    while name.startswith(PREFIX):
        name, prefixes = name.removeprefix(PREFIX), prefixes + 1
    return (0, whole) if name in INPUT_COLUMNS else (prefixes, name)


_ORDER: Final = {name: position for position, name in enumerate(RESULT_COLUMNS)}


_Chain = tuple[tuple[int, str], ...]
"""(index in the header, our name) pairs that keep our order."""


def _longest_chain(candidates: Sequence[tuple[int, str]]) -> dict[int, str]:
    """The longest run of candidates that keeps our order; of equals the one furthest right.

    The person's columns come first, so a ``status`` of theirs never wins over ours behind it.
    """
    best: dict[int, _Chain] = {}
    """Our position → the best chain that begins with it, looking from the right."""
    for index, name in reversed(candidates):
        here = _ORDER[name]
        tail = max((best[p] for p in best if p > here), default=(), key=len)
        if len(tail) + 1 > len(best.get(here, ())):
            best[here] = ((index, name), *tail)
    longest = max(best.values(), default=(), key=lambda chain: (len(chain), chain[0][0]))
    return dict(longest)


# ── What a cell of our own sheets does to a text: the CSV's guard, the workbook's limits ──────────
# Pure, and light to import: the writer guards and marks, the reader takes the guard off again and
# refuses a marked text. Nobody else's sheets carry either.


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


def is_part(name: str) -> bool:
    """Whether a sheet of ours of that name holds only the rows that have no good clip."""
    return name.startswith("failed")
