"""The results to hand over: sheets written from outcomes, in manifest order.

Everything here is a view of what the journal holds, so any sheet can be rebuilt at any time. A
sheet is replaced whole, and one that a person changed is kept first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seedance_batch.outcome import FAILED, Outcome, Status, exit_code
from seedance_batch.redact import redact
from seedance_batch.tally import tally
from seedance_batch.writer.csv_sheet import write_csv
from seedance_batch.writer.jsonl_sheet import write_jsonl
from seedance_batch.writer.place import Placing
from seedance_batch.writer.summary import summary, write_summary
from seedance_batch.writer.summary_sheet import About
from seedance_batch.writer.table import Table, table
from seedance_batch.writer.xlsx_sheet import fits_workbook, write_xlsx

SHEETS: Final = (
    "results.csv",
    "results.xlsx",
    "results.jsonl",
    "failed.csv",
    "failed.xlsx",
    "summary.json",
)
"""All that `write_sheets` writes, in that order; the summary comes last and names the rest."""

NEEDS_A_PERSON: Final = FAILED | {Status.AMBIGUOUS}
"""Rows of the failed sheets."""

_FAILED_SHEETS: Final = frozenset({"failed.csv", "failed.xlsx"})


@dataclass(frozen=True, slots=True)
class SheetSource:
    """What the sheets are made from; the journal holds all of it."""

    folder: Path
    """The run folder; it exists."""
    columns: tuple[str, ...]
    """The person's columns, in their order."""
    outcomes: Sequence[Outcome]
    """In manifest order, removed rows last, as `outcome.outcomes` gives them."""
    prices_note: str
    """Where prices come from, and of which day; says so where no real money is meant."""
    written_hashes: Mapping[str, str]
    """Sheet file name → sha256 of what we last wrote, as `Written.hashes` gave it."""
    manifest_name: str
    given_inputs: Collection[str] = ()
    """Inputs that the person's columns give under a heading of another name."""
    exit_code: int | None = None
    """The command's, where it is not what the outcomes alone say."""
    posters: bool = True
    """Whether clips get a picture in the workbooks (never above 2,000 rows)."""
    journal_mark: str = ""
    """Tells the journal that the sheets are made from."""
    announce: Callable[[Mapping[str, str]], None] | None = None
    """Records hashes before a sheet takes its name; see `place.Placing`."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the sheets."""

    files: dict[str, Path]
    """Sheet name → where it lies; a numbered sibling where another program held the file."""
    hashes: Mapping[str, str]
    """File name → sha256; to be recorded for the next `SheetSource.written_hashes`."""
    kept: tuple[Path, ...] = ()
    """Copies of sheets that a person had changed."""
    siblings: tuple[Path, ...] = ()
    """Those of `files` that could not take their own name."""
    notes: tuple[str, ...] = ()
    """What a person should hear: a sheet that could not be written, and why."""


def write_sheets(source: SheetSource, *, only: Collection[str] | None = None) -> Written:
    """Write the sheets of a run folder, or ``only`` those of `SHEETS` that are named.

    A failed sheet exists only while a row needs a person. Raises ``OSError`` where the disk
    refuses; sheets written before that are whole and current.
    """
    wanted = [name for name in SHEETS if only is None or name in only]
    placing = Placing(source.folder, source.written_hashes, source.announce)
    placing.sweep(wanted)
    notes = [note for name in wanted if (note := _write(name, source, placing))]
    return Written(
        placing.files,
        placing.hashes,
        tuple(placing.kept),
        tuple(placing.siblings),
        tuple(notes),
    )


def _write(name: str, source: SheetSource, placing: Placing) -> str | None:
    """Write one sheet; what a person should hear about it, if anything."""
    if name == "summary.json":
        placing.put(name, lambda path: write_summary(path, _summary(source, placing)))
        return None
    found = _table(name, source)
    if name in _FAILED_SHEETS and not found.outcomes:
        placing.withdraw(name)
    elif name.endswith(".xlsx"):
        return _write_workbook(name, found, source, placing)
    else:
        write = write_jsonl if name.endswith(".jsonl") else write_csv
        placing.put(name, lambda path: write(path, found))
    return None


def _write_workbook(name: str, found: Table, source: SheetSource, placing: Placing) -> str | None:
    if not fits_workbook(found):
        placing.withdraw(name)
        return f"{name} was not written: no workbook holds a table of this size"
    about = None if name in _FAILED_SHEETS else _about(source)
    posters = source.folder if source.posters else None
    placing.put(name, lambda path: write_xlsx(path, found, about, posters=posters))
    return None


def _table(name: str, source: SheetSource) -> Table:
    outcomes = source.outcomes
    if name in _FAILED_SHEETS:
        outcomes = [outcome for outcome in outcomes if outcome.status in NEEDS_A_PERSON]
    return table(source.columns, outcomes, source.given_inputs)


def _about(source: SheetSource) -> About:
    prices = redact(source.prices_note)
    return About(source.manifest_name, source.folder, prices, tally(source.outcomes))


def _summary(source: SheetSource, placing: Placing) -> dict[str, object]:
    code = exit_code(source.outcomes) if source.exit_code is None else source.exit_code
    paths = {name: placing.files.get(name, source.folder / name) for name in SHEETS[:-1]}
    files = {name: path for name, path in paths.items() if path.exists()}
    return summary(
        _about(source), files=files, exit_code=int(code), journal_mark=source.journal_mark
    )
