"""The results to hand over: sheets written from outcomes, in manifest order.

Everything here is a view of what the journal holds, so any sheet can be rebuilt at any time. A
sheet is replaced whole, and one that a person changed is kept first."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Final

from seedance_batch.core.columns import guarded
from seedance_batch.core.outcome import FAILED, Outcome, Status, exit_code, tally, tally_object
from seedance_batch.core.text import json_line, redact
from seedance_batch.publish import publish, replacing, scratch_file, sha256_of
from seedance_batch.writer.lines import Line, ResultTable, SheetValue, table, text
from seedance_batch.writer.xlsx import About, fits_workbook, write_xlsx

SHEETS: Final = (
    "results.csv",
    "results.xlsx",
    "results.jsonl",
    "results.parquet",
    "failed.csv",
    "failed.xlsx",
    "summary.json",
)
"""All that `write_sheets` writes, in that order; the summary comes last and names the rest.

``results.parquet`` is written where it lies already, or is asked for: its library takes a fifth of
a second to load, which no run shall take for a file that nobody reads.
"""

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
    delimiter: str = ","
    """Of sheets in CSV."""
    columnar: bool = False
    """Whether ``results.parquet`` is asked for, where its library is installed."""
    exit_code: int | None = None
    """The command's, where it is not what the outcomes alone say."""
    store: str | None = None
    """The address of the store that has the clips of done rows; None where the folder does."""
    journal_mark: str = ""
    """Tells the journal that the sheets are made from."""
    announce: Callable[[Mapping[str, str]], None] | None = None
    """Records hashes before a sheet takes its name; see `Placing`."""


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
        placing.put(name, lambda path: _write_summary(path, source, placing))
        return None
    if name == "results.parquet" and not _is_columnar(name, source, placing):
        return None
    found = _table(name, source)
    if name in _FAILED_SHEETS and not found.outcomes:
        placing.withdraw(name)
    elif name.endswith(".xlsx"):
        return _write_workbook(name, found, source, placing)
    else:
        write = _WRITERS.get(name) or partial(write_csv, delimiter=source.delimiter)
        placing.put(name, lambda path: write(path, found))
    return None


def _is_columnar(name: str, source: SheetSource, placing: Placing) -> bool:
    """Whether to write it; one that cannot be brought up to date any more is taken away."""
    is_there = (source.folder / name).exists()
    if not (is_there or source.columnar):
        return False
    if find_spec("pyarrow") is None:
        placing.withdraw(name)
        return False
    return True


def _write_workbook(
    name: str, found: ResultTable, source: SheetSource, placing: Placing
) -> str | None:
    if not fits_workbook(found):
        placing.withdraw(name)
        return f"{name} was not written: the table is too large for a workbook"
    about = None if name in _FAILED_SHEETS else _about(source)
    placing.put(name, lambda path: write_xlsx(path, found, about, posters=source.folder))
    return None


def _table(name: str, source: SheetSource) -> ResultTable:
    outcomes = source.outcomes
    if name in _FAILED_SHEETS:
        outcomes = [outcome for outcome in outcomes if outcome.status in NEEDS_A_PERSON]
    return table(source.columns, outcomes, source.given_inputs, source.store)


def _about(source: SheetSource) -> About:
    prices = redact(source.prices_note)
    return About(source.manifest_name, source.folder, prices, tally(source.outcomes))


# ── Results as CSV: UTF-8 with BOM and CRLF, as Excel wants it, no cell that could be a formula ───


def write_csv(path: Path, table: ResultTable, *, delimiter: str = ",") -> None:
    """Fill ``path``; what UTF-8 cannot hold (half a surrogate pair) is shown escaped."""
    with path.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        sheet = csv.writer(file, delimiter=delimiter)
        sheet.writerow([guarded(heading) for heading in table.header])
        for line in table.lines():
            sheet.writerow([guarded(text(value)) for value in (*line.person, *line.ours)])


# ── Results as JSON Lines: nothing guarded or cut; numbers are numbers, money is text ─────────────


_OTHER_LINE_ENDS: Final = ("\x85", "\u2028", "\u2029")
"""JSON may hold them raw, but many a program splits lines there."""


def write_jsonl(path: Path, table: ResultTable) -> None:
    """Fill ``path`` with one object per line, keys in the order of the columns."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_line(table.header, line) for line in table.lines())


def _line(header: tuple[str, ...], line: Line) -> str:
    values = (*line.person, *(_plain(value) for value in line.ours))
    record = dict(zip(header, values, strict=True))
    text = json_line(record)
    for sign in _OTHER_LINE_ENDS:
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text + "\n"


def _plain(value: SheetValue) -> SheetValue:
    return text(value) if isinstance(value, Decimal) else value


# ── Results as Parquet, by columns with types ─────────────────────────────────────────────────────


_AT_ONCE: Final = 2_000
"""Lines that are in memory in both forms."""


def write_columns(path: Path, table: ResultTable) -> None:
    """Fill ``path``: ours as numbers, money and times, the person's columns as their texts."""
    import pyarrow as arrow
    from pyarrow import parquet

    kinds = {
        **dict.fromkeys(("row", "attempts", "duration", "bytes"), arrow.int64()),
        **dict.fromkeys(("est_cost_usd", "row_cost_usd"), arrow.decimal128(18, 6)),
        **dict.fromkeys(_TIMES, arrow.timestamp("s", "UTC")),
        "got_duration": arrow.float64(),
    }
    names = (*("" for _ in table.columns), *(name for name, _ in table.block))
    of = [kinds.get(name, arrow.string()) for name in names]
    schema = arrow.schema(zip(table.header, of, strict=True))
    lines = table.lines()
    with parquet.ParquetWriter(path, schema, compression="zstd") as out:
        while some := list(islice(lines, _AT_ONCE)):
            values = zip(*((*line.person, *line.ours) for line in some), strict=True)
            columns = [
                arrow.array([_typed(value, name) for value in column], kind)
                for column, name, kind in zip(values, names, of, strict=True)
            ]
            out.write_table(arrow.Table.from_arrays(columns, schema=schema))


_TIMES: Final = ("url_expires_at", "submitted_at", "finished_at")


def _typed(value: SheetValue, name: str) -> object:
    if isinstance(value, Decimal):
        return round(value, 6)
    if not isinstance(value, str):
        return value
    if name in _TIMES:
        return datetime.fromisoformat(value)
    return value.encode("utf-8", "backslashreplace").decode()


_WRITERS: Final = {"results.jsonl": write_jsonl, "results.parquet": write_columns}


# ── summary.json: how a run folder stands, for programs ──────────────────────────────────────────


SUMMARY_VERSION: Final = 2


def _write_summary(path: Path, source: SheetSource, placing: Placing) -> None:
    """Fill ``path`` with one JSON object."""
    code = exit_code(source.outcomes) if source.exit_code is None else source.exit_code
    sheets = {name: placing.files.get(name, source.folder / name) for name in SHEETS[:-1]}
    record = {
        "event": "summary",
        "version": SUMMARY_VERSION,
        "manifest": source.manifest_name,
        "folder": str(source.folder),
        "journal": source.journal_mark,
        "exit_code": int(code),
        **tally_object(tally(source.outcomes)),
        "prices": redact(source.prices_note),
        "files": {name: sheet.name for name, sheet in sheets.items() if sheet.exists()},
    }
    path.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


# ── How a sheet takes its place: whole or not at all, and never over what a person changed ────────


_SCRATCH: Final = ".sheet."


@dataclass(slots=True)
class Placing:
    """Puts sheets into one folder, and notes what became of each."""

    folder: Path
    written: Mapping[str, str]
    """File name → sha256 of what we wrote there last; several are separated by spaces."""
    announce: Callable[[Mapping[str, str]], None] | None = None
    """Told the new entry of ``written`` before a file takes its name, so that a death in between
    does not make a sheet of ours look like one that a person changed."""
    files: dict[str, Path] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)
    siblings: list[Path] = field(default_factory=list)

    def sweep(self, names: Iterable[str]) -> None:
        """Remove what a death in the middle of writing these sheets left behind."""
        for prefix in (_SCRATCH, *(f".{name}." for name in names)):
            for path in self.folder.glob(f"{prefix}*"):
                with contextlib.suppress(PermissionError):  # Windows: somebody reads it
                    path.unlink(missing_ok=True)

    def put(self, name: str, fill: Callable[[Path], None]) -> None:
        """Write the sheet ``name``, or a numbered sibling where a program holds that file.

        ``fill`` writes the sheet to the path it is given. Raises ``OSError`` as the file system
        gives it; every sheet is then what it was.
        """
        with _scratch(self.folder / name) as fresh:
            fill(fresh)
            for path in self._places(name):
                with contextlib.suppress(PermissionError):  # Excel locks what it has open
                    return self._place(name, fresh, path)
        raise PermissionError(f"{self.folder / name} is open in another program")

    def withdraw(self, name: str) -> None:
        """Take away a sheet that has nothing to say any more; an edited one is kept."""
        path = self.folder / name
        with contextlib.suppress(FileNotFoundError, PermissionError):
            self._keep_if_edited(path)
            path.unlink()
        self._clear_siblings(name)

    def _places(self, name: str) -> Iterator[Path]:
        """Its name, then every sibling that is free or ours."""
        yield self.folder / name
        for path in _numbered(self.folder / name, " ({})", first=2):
            if not path.exists() or self._is_ours(path):
                yield path

    def _place(self, name: str, fresh: Path, path: Path) -> None:
        digest = sha256_of(fresh)
        if not path.exists() or sha256_of(path) != digest:
            self._replace(path, fresh, digest)
        self.files[name] = path
        self.hashes[path.name] = digest
        if path.name == name:
            self._clear_siblings(name)
        else:
            self.siblings.append(path)

    def _replace(self, path: Path, fresh: Path, digest: str) -> None:
        if path.exists():
            self._keep_if_edited(path)
        if self.announce is not None:
            self.announce({path.name: f"{self.written.get(path.name, '')} {digest}".strip()})
        with replacing(path) as temporary:
            shutil.copyfile(fresh, temporary)

    def _keep_if_edited(self, path: Path) -> None:
        if not self._is_ours(path) and (copy := keep(path)):
            self.kept.append(copy)

    def _is_ours(self, path: Path) -> bool:
        return sha256_of(path) in self.written.get(path.name, "").split()

    def _clear_siblings(self, name: str) -> None:
        """Remove siblings that we wrote while the file was held, but for edited ones."""
        stem, ending = map(re.escape, os.path.splitext(name))  # noqa: PTH122
        for other in self.written:
            if re.fullmatch(rf"{stem} \(\d+\){ending}", other):
                path = self.folder / other
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    if self._is_ours(path):
                        path.unlink()


def keep(path: Path) -> Path | None:
    """Copy a person's sheet to ``<name> (yours N)``; None where such a copy is there already."""
    digest = sha256_of(path)
    for copy in _numbered(path, " (yours {})"):
        if not copy.exists():
            with _scratch(path) as temporary:
                shutil.copyfile(path, temporary)
                publish(temporary, copy)
            return copy
        if sha256_of(copy) == digest:
            return None
    raise FileExistsError(f"{path} already has a thousand kept copies")


def _numbered(path: Path, mark: str, first: int = 1) -> Iterator[Path]:
    return (path.with_stem(path.stem + mark.format(number)) for number in range(first, 1_000))


def _scratch(path: Path) -> contextlib.AbstractContextManager[Path]:
    """A temporary file beside ``path``, gone afterwards."""
    return scratch_file(path.parent, prefix=_SCRATCH, suffix=path.suffix)
