"""Results as a workbook: the rows, their takes, and a summary, fit to hand to a client."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from seedance_batch.folder import WORKBOOK_PARTS
from seedance_batch.posters import Thumbnail, poster, thumbnail
from seedance_batch.state import Attempt
from seedance_batch.writer import layout
from seedance_batch.writer.sheet import Formats, Sheet
from seedance_batch.writer.summary_sheet import About, write_summary_sheet
from seedance_batch.writer.table import TAKE_COLUMNS, Line, Table, take_lines, utc

if TYPE_CHECKING:
    from xlsxwriter.workbook import Workbook

MOST_POSTERS: Final = 2_000
"""A table of more lines gets no pictures: they would make the workbook slow to open."""

_MOST_COLUMNS: Final = 16_384
_MOST_ROWS: Final = 1_048_576


def fits_workbook(table: Table) -> bool:
    """Whether a worksheet is wide and long enough for the table and its takes."""
    takes = sum(len(outcome.attempts) for outcome in table.outcomes)
    return len(table.header) <= _MOST_COLUMNS and max(len(table.outcomes), takes) < _MOST_ROWS


def write_xlsx(path: Path, table: Table, about: About | None, *, posters: Path | None) -> None:
    """Fill ``path`` with a workbook whose first sheet is a manifest that continues its folder.

    With ``about`` it has sheets of takes and summary too. ``posters`` is the run folder, where
    lines are to show their clip. The same arguments give the same bytes.
    """
    with _workbook(path, _newest(table)) as book:
        formats = Formats(book)
        _write_rows(book, formats, table, "results" if about else "failed", posters)
        if about:
            _write_takes(book, formats, table)
            write_summary_sheet(book, formats, about)


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


def _newest(table: Table) -> datetime:
    """The last thing that happened: a time of writing would make each workbook another."""
    states = [attempt.state for outcome in table.outcomes for attempt in outcome.attempts]
    last = max((state.finished_at or state.submitted_at or 0.0 for state in states), default=0.0)
    return datetime.fromisoformat(utc(last) or "1970-01-01T00:00:00Z").replace(tzinfo=None)


# ── the rows ────────────────────────────────────────────────────────────────────────────────────


def _write_rows(
    book: Workbook, formats: Formats, table: Table, name: str, posters: Path | None
) -> None:
    theirs = layout.person_columns(table.columns, table.theirs())
    ours = [layout.our_column(name) for name, _ in table.block]
    sheet = Sheet(book, name, formats, [*theirs, *ours])
    sheet.header(
        table.header, [layout.HEADER_THEIRS] * len(theirs) + [layout.HEADER_OURS] * len(ours)
    )
    folder = posters if len(table.outcomes) <= MOST_POSTERS else None
    numbers = layout.number_columns(table.theirs())
    for line in table.lines():
        _write_row(sheet, line, numbers, folder)
    sheet.finish()


def _write_row(sheet: Sheet, line: Line, numbers: Collection[int], folder: Path | None) -> None:
    picture = _picture(folder, line.outcome.shown)
    looks = {"status": layout.STATUS_COLOURS[line.outcome.status]}
    if picture:
        looks["video_file"] = layout.BELOW_PICTURE
    theirs = (layout.plain_number(t) if i in numbers else t for i, t in enumerate(line.person))
    sheet.line((*theirs, *line.ours), looks, layout.PICTURE_ROW if picture else 0.0)
    if picture:
        sheet.picture("video_file", picture, f"clip of {line.outcome.key}")


def _picture(folder: Path | None, shown: Attempt | None) -> Thumbnail | None:
    if folder is None or shown is None or shown.state.clip is None:
        return None
    # Twice the size it is shown at, for screens of high density.
    box = (2 * layout.PICTURE_BOX[0], 2 * layout.PICTURE_BOX[1])
    file = poster(folder, shown.state.clip)
    return thumbnail(file, box) if file else None


# ── the takes ───────────────────────────────────────────────────────────────────────────────────


def _write_takes(book: Workbook, formats: Formats, table: Table) -> None:
    sheet = Sheet(book, "takes", formats, [layout.our_column(name) for name in TAKE_COLUMNS])
    sheet.header(TAKE_COLUMNS, [layout.HEADER_OURS] * len(TAKE_COLUMNS))
    for attempt, values in take_lines(table.outcomes):
        sheet.line(values, {"status": layout.STATUS_COLOURS[attempt.state.phase]})
    sheet.finish()
