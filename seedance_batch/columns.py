"""The columns of our own sheets: their names, their order, and how a header that has them is known.

Pure, and light to import: the writer lays sheets out by it, the reader recognises them by it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Final

RESULT_COLUMNS: Final = (
    "row",
    "id",
    "status",
    "error_class",
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
