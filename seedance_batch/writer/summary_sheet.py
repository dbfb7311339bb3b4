"""The workbook's summary: how many rows stand how, what it cost, where prices come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from seedance_batch.outcome import Status
from seedance_batch.state import Sum, Surety
from seedance_batch.tally import Tally
from seedance_batch.writer import layout
from seedance_batch.writer.sheet import Formats, Sheet

if TYPE_CHECKING:
    from xlsxwriter.workbook import Workbook


@dataclass(frozen=True, slots=True)
class About:
    """What the summary says."""

    manifest: str
    folder: Path
    prices: str
    tally: Tally


_MEANING: Final = {
    Status.NEW: "nothing was sent yet",
    Status.SUBMITTING: "sent, no answer yet",
    Status.IN_FLIGHT: "being made",
    Status.DOWNLOADING: "made and paid, the clip is on its way",
    Status.DONE: "the clip is here and checked",
    Status.FAILED: "no clip; see message and next_step",
    Status.AMBIGUOUS: "whether it was made is not known; reconcile settles it",
    Status.EXPIRED: "paid, but the clip could not be had any more",
    Status.MEDIA_MISMATCH: "paid, but the clip is not what was asked for",
    Status.CHANGED: "edited since its clip was made; run makes it anew",
    Status.REMOVED: "paid, and no longer in the manifest",
}
_SURE: Final = {
    Surety.SETTLED: "clips that were made",
    Surety.RESERVED: "sent, and not settled yet",
    Surety.UNKNOWN: "failed; whether that was charged is not known",
}


_COLUMNS: Final = (
    layout.Column("label", 26, False, "@"),
    layout.Column("count", 12, False, "0"),
    layout.Column("amount", 14, False, layout.MONEY),
    layout.Column("words", 56, False, "@"),
)
_BOLD: Final = {"bold": True}
_TEXT: Final = {"align": "left", "num_format": "@"}
_HEADING: Final = {column.name: layout.HEADER_OURS for column in _COLUMNS}


def write_summary_sheet(book: Workbook, formats: Formats, about: About) -> None:
    """Add the sheet ``summary``."""
    sheet = Sheet(book, "summary", formats, _COLUMNS)
    for label, words in _facts(about):
        sheet.line((label, words), {"label": _BOLD, "count": _TEXT})
    sheet.line((), {})
    sheet.line(("status", "rows", " ", "meaning"), _HEADING)
    for status, count in about.tally.statuses.items():
        if count:
            look = {"label": layout.STATUS_COLOURS[status]}
            sheet.line((status, count, None, _MEANING[status]), look)
    sheet.line(("rows in the manifest", about.tally.rows), {"label": _BOLD, "count": _BOLD})
    sheet.line((), {})
    sheet.line(("estimated cost", "attempts", "US dollars", "meaning"), _HEADING)
    for surety, total in about.tally.money.items():
        words = _SURE[surety] + _unpriced(total)
        sheet.line((surety, total.attempts, total.amount, words), {})
    attempts = sum(total.attempts for total in about.tally.money.values())
    amount = sum((total.amount for total in about.tally.money.values()), Decimal(0))
    words = "at most; what row_cost_usd adds up to"
    sheet.line(("total", attempts, amount, words), {"label": _BOLD, "amount": _BOLD})


def _facts(about: About) -> Iterator[tuple[str, str]]:
    yield "manifest", about.manifest
    yield "run folder", str(about.folder)
    yield "prices", about.prices
    yield "texts", "A text too long for a cell is marked so at its end; results.csv has it whole."


def _unpriced(total: Sum) -> str:
    return f"; no price is known for {total.unpriced} of them" if total.unpriced else ""
