"""Few rows into many: defaults filled in, a matrix crossed, a template worded, takes repeated.

Also which rows are left out again: those to skip, and those that a filter hides.

Works on tables in place; every cell that is set remembers where it was written.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, NamedTuple

from seedance_batch.core.manifest import Place
from seedance_batch.reader.cells import FALSE_WORDS, TRUE_WORDS, quoted
from seedance_batch.reader.headings import Layout, ManifestColumn, field_of, plain
from seedance_batch.reader.source import MOST_VARIANTS, Loading, Noted
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
    id_position, seed_position = _position(table, "id"), _position(table, "seed")
    repeat_each(table, [times] * len(table.rows), id_position, seed_position)
    return True


def repeat_each(
    table: Table, times: Sequence[int], id_position: int | None, seed_position: int | None
) -> None:
    """Each row as often as ``times`` says, which may be not at all."""
    _multiply(table, lambda index: _takes(table, index, times[index], id_position, seed_position))
    table.is_repeated = True


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


def _takes(
    table: Table, index: int, times: int, id_position: int | None, seed_position: int | None
) -> Iterator[_Made]:
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
    row, width = table.rows[index], len(table.headings)
    origins = table.origins[index] if table.origins else [None] * width
    return [*row, *[None] * (width - len(row))], list(origins)


def _set(table: Table, index: int, position: int, value: Value, place: Place) -> None:
    values, origins = _copy(table, index)
    values[position], origins[position] = value, place
    table.rows[index] = values
    if table.origins is not None:
        table.origins[index] = origins


# ── A table's columns `skip` and `variants`, and what a filter hides: how often a row is wanted ───


_SKIP: Final = TRUE_WORDS | frozenset("x × skip skipped hold omit ☑ ✅ ☒".split())
_SEND: Final = FALSE_WORDS | frozenset("- – — ☐".split())


class Wish(NamedTuple):
    """How often a row is wanted, and why where that is not at all."""

    times: int
    why_not: str = ""


def keep_wanted(table: Table, layout: Layout, loading: Loading) -> Counter[str]:
    """Leave out the rows that are not wanted, and repeat those that are wanted several times.

    Returns how many rows were left out, by reason. What cannot be understood is noted, and taken
    for a row that is wanted once: nothing is sent then.
    """
    wishes = list(_wishes(table, layout, loading))
    left_out = Counter(wish.why_not for wish in wishes if not wish.times)
    count = sum(wish.times for wish in wishes)
    if count > MOST_ROWS:
        words = f"variants make {count:,} rows, where {MOST_ROWS:,} are the most"
        loading.noted.problem(table.heading_place(), words)
    elif any(wish.times != 1 for wish in wishes):
        id_, seed = layout.column_of("id"), layout.column_of("seed")
        repeat_each(
            table,
            [wish.times for wish in wishes],
            None if id_ is None else id_.position,
            None if seed is None else seed.position,
        )
    return left_out


def _wishes(table: Table, layout: Layout, loading: Loading) -> Iterator[Wish]:
    skip = _named(layout, "skip")
    # The rows of a sheet of ours are takes already.
    variants = None if layout.is_ours else _named(layout, "variants")
    if variants is not None and not _has_a_number(table, variants):
        variants = None
    for index in range(len(table.rows)):
        if loading.options.visible and index in table.hidden:
            yield Wish(0, "hidden in the workbook")
        elif skip is not None and _is_skipped(table, index, skip, loading):
            yield Wish(0, f"by the column {quoted(skip.heading)}")
        else:
            yield Wish(1 if variants is None else _times(table, index, variants, loading))


def _named(layout: Layout, name: str) -> ManifestColumn | None:
    own = (column for column in layout.own if column.field is None)
    return next((column for column in own if plain(column.heading).rstrip("?") == name), None)


def _text(table: Table, index: int, column: ManifestColumn) -> str:
    row = table.rows[index]
    return text_of(row[column.position]).strip() if column.position < len(row) else ""


def _is_skipped(table: Table, index: int, column: ManifestColumn, loading: Loading) -> bool:
    word = _text(table, index, column).casefold()
    if word and word not in _SKIP | _SEND and not _is_empty(table, index, column):
        loading.noted.problem(
            table.place(index, column.position, column.heading),
            f"{quoted(word)} does not say whether to skip the row: write yes or no "
            "(or rename the column, where it means something else)",
        )
    return word in _SKIP


def _is_empty(table: Table, index: int, but: ManifestColumn) -> bool:
    """Whether a row says nothing beside that column: it is a note, and no row."""
    return all(is_blank(v) for p, v in enumerate(table.rows[index]) if p != but.position)


def _has_a_number(table: Table, column: ManifestColumn) -> bool:
    """Whether a column called variants counts them; names of variants are the person's own."""
    return any(_number(_text(table, index, column)) for index in range(len(table.rows)))


def _times(table: Table, index: int, column: ManifestColumn, loading: Loading) -> int:
    text = _text(table, index, column)
    times = _number(text) if text else 1
    if times is None:
        loading.noted.problem(
            table.place(index, column.position, column.heading),
            f"{quoted(text)} is no number of takes, 1 to {MOST_VARIANTS:,} "
            "(or rename the column, where it means something else)",
        )
    return times or 1


def _number(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    return number if 1 <= number <= MOST_VARIANTS else None
