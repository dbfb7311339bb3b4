"""Which of a table's columns are inputs, which are the person's, and which we wrote ourselves."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from seedance_batch.columns import INPUT_COLUMNS, folded, our_columns
from seedance_batch.guard import unguarded, was_altered
from seedance_batch.model import MEDIA_FIELDS
from seedance_batch.reader.cells import quoted
from seedance_batch.reader.headings import FIELDS, FORBIDDEN, field_of, is_exact, plain, slip_of
from seedance_batch.reader.noted import Noted
from seedance_batch.reader.table import Table, column_letter, is_blank


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: where it stands, its heading made unique, the field that it feeds."""

    position: int
    heading: str
    field: str | None
    is_own: bool
    """The person's, so it comes back in the results."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A table's columns by use; a column may be both an input and the person's own."""

    inputs: tuple[Column, ...]
    """The columns that feed an input field."""
    own: tuple[Column, ...]
    """The person's columns, in their order."""
    is_ours: bool = False
    """Whether this is a results sheet of ours."""
    status: int | None = None
    """In a sheet of ours, where a row's status stands."""
    told: tuple[tuple[str, int], ...] = ()
    """In a sheet of ours: names and positions of columns that tell of a row's last attempt."""

    @property
    def has_media(self) -> bool:
        """Whether some column names media."""
        return any(column.field in MEDIA_FIELDS for column in self.inputs)

    def column_of(self, field: str) -> Column | None:
        """The column that feeds a field."""
        return next((column for column in self.inputs if column.field == field), None)


def layout_of(table: Table, column_map: Mapping[str, str], noted: Noted) -> Layout:
    """Understand a table's headings. In our own CSV sheets, takes the formula guard off."""
    ours = our_columns(table.headings)
    if ours and table.is_csv:
        _take_off_guards(table)
    elif ours:
        _mark_altered(table)
    headings = _unique_headings(table, ours, noted)
    fields = _fields(table, headings, ours, column_map, noted)
    columns = [
        Column(position, heading, fields.get(position), position not in ours)
        for position, heading in headings.items()
    ]
    return Layout(
        inputs=tuple(column for column in columns if column.field),
        own=tuple(column for column in columns if column.is_own),
        is_ours=bool(ours),
        status=next((position for position, name in ours.items() if name == "status"), None),
        told=tuple((name, position) for position, name in ours.items() if name in _TELLING),
    )


_TELLING: Final = frozenset({"status", "kind", "task_id", "submitted_at"})


def _take_off_guards(table: Table) -> None:
    table.headings = [unguarded(heading) for heading in table.headings]
    table.rows = [
        [unguarded(cell) if isinstance(cell, str) else cell for cell in row] for row in table.rows
    ]


def _mark_altered(table: Table) -> None:
    words = "is not whole: a workbook's cell could not hold it; use results.csv"
    altered = {
        (index, position): words
        for index, row in enumerate(table.rows)
        for position, cell in enumerate(row)
        if isinstance(cell, str) and was_altered(cell)
    }
    table.flaws = {**table.flaws, **altered}


def _unique_headings(table: Table, ours: Iterable[int], noted: Noted) -> dict[int, str]:
    """Position → heading; blank columns are left out, twins and nameless ones get a name."""
    ours = set(ours)
    found: dict[int, str] = {}
    taken: set[str] = set()
    for position, written in enumerate(table.headings):
        heading = written if not is_blank(written) else _nameless(table, position, noted)
        if heading is None:
            continue
        if heading in taken and position not in ours:
            heading = _numbered(heading, taken)
            noted.receipt(
                table.heading_place(position),
                f"a second column of that name comes back as {quoted(heading)}",
            )
        found[position] = heading
        taken.add(heading)
    return found


def _nameless(table: Table, position: int, noted: Noted) -> str | None:
    if all(position >= len(row) or is_blank(row[position]) for row in table.rows):
        return None
    heading = f"column {column_letter(table.first_letter + position)}"
    noted.receipt(
        table.heading_place(position, heading),
        f"a column without a heading comes back as {quoted(heading)}",
    )
    return heading


def _numbered(heading: str, taken: set[str]) -> str:
    number = 2
    while f"{heading} ({number})" in taken:
        number += 1
    return f"{heading} ({number})"


# ── fields ──────────────────────────────────────────────────────────────────────────────────────


def _fields(
    table: Table,
    headings: Mapping[int, str],
    ours: Mapping[int, str],
    column_map: Mapping[str, str],
    noted: Noted,
) -> dict[int, str]:
    """Position → field: ``--map`` first, then HiAPI's names, then aliases; ours fill the rest."""
    fields = _mapped(headings, ours, column_map)
    written = {p: table.headings[p] for p in headings if p not in ours and p not in fields}
    for exact in (True, False):
        _claim(table, written, fields, exact, noted)
    _refuse_what_is_no_input(table, written, fields, noted)
    claimed = set(fields.values())
    ours_left = {p: n for p, n in ours.items() if n in INPUT_COLUMNS and n not in claimed}
    return fields | ours_left


def _mapped(
    headings: Mapping[int, str], ours: Mapping[int, str], column_map: Mapping[str, str]
) -> dict[int, str]:
    fields: dict[int, str] = {}
    for field, wanted in column_map.items():
        own = [p for p in headings if p not in ours]
        exact = [p for p in own if headings[p] == wanted]
        loose = [p for p in own if folded(headings[p]) == folded(wanted)]
        if field in FIELDS and (exact or loose):
            fields[(exact or loose)[0]] = field
    return fields


def _claim(
    table: Table, written: Mapping[int, str], fields: dict[int, str], exact: bool, noted: Noted
) -> None:
    """Give each field to the one column that names it; two of one rank are a problem."""
    claims: dict[str, list[int]] = defaultdict(list)
    taken = set(fields.values())
    for position, heading in written.items():
        field = field_of(heading)
        if field and position not in fields and is_exact(heading) is exact:
            claims[field].append(position)
    for field, positions in claims.items():
        if field in taken:
            _tell_unused(table, field, positions, noted)
            continue
        fields[positions[0]] = field
        for other in positions[1:]:
            noted.problem(
                table.heading_place(other),
                f"names {field}, as {quoted(table.headings[positions[0]])} does; rename one, "
                f"or say --map {field}=…",
            )


def _tell_unused(table: Table, field: str, positions: Iterable[int], noted: Noted) -> None:
    for position in positions:
        noted.warning(
            table.heading_place(position), f"is not sent: {field} comes from another column"
        )


def _refuse_what_is_no_input(
    table: Table, written: Mapping[int, str], fields: Mapping[int, str], noted: Noted
) -> None:
    counts = Counter(fields.values())
    for position, heading in written.items():
        if position in fields:
            continue
        if why := FORBIDDEN.get(plain(heading)):
            noted.problem(table.heading_place(position), why)
        elif (meant := slip_of(heading)) and not counts[meant]:
            noted.problem(
                table.heading_place(position),
                f"is no input field; did you mean {meant}? "
                f"(rename it, or say --map {meant}={shlex.quote(heading)})",
            )
