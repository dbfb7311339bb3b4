"""Few rows into many: defaults filled in, a matrix crossed, a template worded, takes repeated.

Works on tables in place; every cell that is set remembers where it was written.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from seedance_batch.core.manifest import Place
from seedance_batch.reader.cells import quoted
from seedance_batch.reader.headings import field_of, plain
from seedance_batch.reader.source import Noted
from seedance_batch.reader.table import Origin, Table, Value, is_blank, text_of

MOST_ROWS: Final = 100_000
"""A manifest's rows after expansion."""


@dataclass(frozen=True, slots=True)
class Axes:
    """A matrix: columns with their values, and the combinations that are left out."""

    place: Place
    columns: dict[str, list[tuple[Value, Place]]]
    excluded: list[tuple[dict[str, Value], Place]]


def fill(table: Table, heading: str, value: Value, place: Place) -> None:
    """Set a column's value in every row that says nothing there."""
    position = _column(table, heading)
    for index in range(len(table.rows)):
        if is_blank(table.rows[index][position]):
            _set(table, index, position, value, place)


def cross(table: Table, axes: Axes, noted: Noted) -> bool:
    """Each row once for each combination of the axes' values, but for the excluded ones.

    False, with a problem noted, where that would be too many rows.
    """
    count = len(table.rows) * prod(len(values) for values in axes.columns.values())
    if count > MOST_ROWS:
        noted.problem(axes.place, f"makes {count:,} rows, where {MOST_ROWS:,} are the most")
        return False
    positions = [_column(table, heading) for heading in axes.columns]
    for index in range(len(table.rows)):
        for position, heading in zip(positions, axes.columns, strict=True):
            if not is_blank(table.rows[index][position]):
                noted.problem(
                    table.place(index, position),
                    f"the matrix sets {heading} as well; leave out one",
                )
    _refuse_odd_exclusions(table, axes, noted)
    used = [False] * len(axes.excluded)
    combinations = list(itertools.product(*axes.columns.values()))
    _multiply(
        table,
        lambda index: _combined(table, index, positions, combinations, axes, used),
    )
    for was_used, (_, place) in zip(used, axes.excluded, strict=True):
        if not was_used:
            noted.warning(place, "excludes nothing")
    return True


def template(table: Table, wording: str, place: Place, noted: Noted) -> None:
    """Word the prompts of rows that have none; of all rows where the template holds {prompt}."""
    position = _column(table, "prompt")
    wraps = any(field_of(match[1]) == "prompt" for match in _NAMES.finditer(wording))
    names = {plain(heading): index for index, heading in enumerate(table.headings)}
    names |= {field: i for i, h in enumerate(table.headings) if (field := field_of(h))}
    unknown = {m[1] for m in _NAMES.finditer(wording) if plain(m[1]) not in names}
    for name in sorted(unknown):
        noted.problem(place, f"names {{{name}}}, and there is no such column")
    for index in range(len(table.rows)):
        if unknown:
            _set(table, index, position, wording, place)
        elif wraps or is_blank(table.rows[index][position]):
            _word(table, index, position, wording, names, place, noted)


_NAMES: Final = re.compile(r"\{([^\W\d][\w .\-]{0,80})\}")


def repeat(table: Table, times: int, noted: Noted) -> bool:
    """Each row so many times: ids numbered from the second on, seeds counted up where given.

    False, with a problem noted, where that would be too many rows.
    """
    if len(table.rows) * times > MOST_ROWS:
        noted.problem(
            table.heading_place(),
            f"variants make {len(table.rows) * times:,} rows, where {MOST_ROWS:,} are the most",
        )
        return False
    _multiply(table, lambda index: _takes(table, index, times))
    table.is_repeated = True
    return True


# ── one row ─────────────────────────────────────────────────────────────────────────────────────

_Made = tuple[list[Value], list[Origin]]


def _multiply(table: Table, made_of: Callable[[int], Iterator[_Made]]) -> None:
    rows: list[Sequence[Value]] = []
    origins: list[Sequence[Origin]] = []
    lines: list[int] = []
    flawed: dict[int, dict[int, str]] = defaultdict(dict)
    for (index, position), words in table.flaws.items():
        flawed[index][position] = words
    flaws = {}
    for index in range(len(table.rows)):
        for values, wheres in made_of(index):
            flaws.update({(len(rows), p): words for p, words in flawed.get(index, {}).items()})
            rows.append(values)
            origins.append(wheres)
            lines.append(table.lines[index])
    table.rows, table.origins, table.lines, table.flaws = rows, origins, lines, flaws


def _combined(
    table: Table,
    index: int,
    positions: Sequence[int],
    combinations: Sequence[tuple[tuple[Value, Place], ...]],
    axes: Axes,
    used: list[bool],
) -> Iterator[_Made]:
    id_position = _position(table, "id")
    for combination in combinations:
        values, origins = _copy(table, index)
        for position, (value, place) in zip(positions, combination, strict=True):
            values[position], origins[position] = value, place
        if _is_excluded(table, values, axes, used):
            continue
        if id_position is not None and id_position not in positions:
            names = [_short_name(value) for value, _ in combination]
            values[id_position] = _extended(values[id_position], names)
        yield values, origins


def _short_name(value: Value) -> str:
    """What a matrix value adds to an id: itself where it is short, else its fingerprint."""
    text = text_of(value)
    name = re.sub(r"[^\w.]+", "x" if re.fullmatch(r"\d+:\d+", text) else "-", text).strip("-")
    if 0 < len(name) <= 24:
        return name
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]


def _extended(row_id: Value, names: Sequence[str]) -> Value:
    return None if is_blank(row_id) else "-".join([text_of(row_id).strip(), *names])


def _is_excluded(table: Table, values: Sequence[Value], axes: Axes, used: list[bool]) -> bool:
    for number, (pairs, _) in enumerate(axes.excluded):
        if all(_says(table, values, heading, value) for heading, value in pairs.items()):
            used[number] = True
            return True
    return False


def _says(table: Table, values: Sequence[Value], heading: str, value: Value) -> bool:
    position = _position(table, heading)
    return position is not None and text_of(values[position]).strip() == text_of(value).strip()


def _refuse_odd_exclusions(table: Table, axes: Axes, noted: Noted) -> None:
    for pairs, place in axes.excluded:
        for heading in pairs:
            if _position(table, heading) is None:
                noted.problem(place, f"excludes by {quoted(heading)}, which is no column")


def _word(
    table: Table,
    index: int,
    position: int,
    wording: str,
    names: dict[str, int],
    place: Place,
    noted: Noted,
) -> None:
    row = table.rows[index]
    blank = sorted({m[1] for m in _NAMES.finditer(wording) if is_blank(row[names[plain(m[1])]])})
    if blank:
        noted.problem(table.place(index), f"prompt_template needs {', '.join(blank)}, blank here")
    prompt = _NAMES.sub(lambda match: text_of(row[names[plain(match[1])]]), wording)
    _set(table, index, position, prompt, place)


def _takes(table: Table, index: int, times: int) -> Iterator[_Made]:
    id_position, seed_position = _position(table, "id"), _position(table, "seed")
    for take in range(times):
        values, origins = _copy(table, index)
        if take and id_position is not None:
            values[id_position] = _extended(values[id_position], [str(take + 1)])
        if take and seed_position is not None:
            values[seed_position] = _next_seed(values[seed_position], take)
        yield values, origins


def _next_seed(seed: Value, take: int) -> Value:
    text = text_of(seed).strip()
    # A seed that is no number is a problem of its own, and stays to be named.
    return str(int(text) + take) if text.isascii() and text.isdigit() and len(text) < 12 else seed


# ── columns ─────────────────────────────────────────────────────────────────────────────────────


def _position(table: Table, heading: str) -> int | None:
    """The column of that heading, or the one that feeds the same input field."""
    if heading in table.headings:
        return table.headings.index(heading)
    field = field_of(heading)
    if field is None:
        return None
    return next((i for i, other in enumerate(table.headings) if field_of(other) == field), None)


def _column(table: Table, heading: str) -> int:
    """The same; added at the end where there is none. Makes every row reach it."""
    position = _position(table, heading)
    if position is None:
        position = len(table.headings)
        table.headings.append(heading)
    width = len(table.headings)
    origins = table.origins or [[None] * width for _ in table.rows]
    table.origins = [[*line, *[None] * (width - len(line))] for line in origins]
    table.rows = [[*row, *[None] * (width - len(row))] for row in table.rows]
    return position


def _copy(table: Table, index: int) -> _Made:
    origins = table.origins[index] if table.origins else [None] * len(table.headings)
    return list(table.rows[index]), list(origins)


def _set(table: Table, index: int, position: int, value: Value, place: Place) -> None:
    values, origins = _copy(table, index)
    values[position], origins[position] = value, place
    table.rows[index] = values
    if table.origins is not None:
        table.origins[index] = origins
