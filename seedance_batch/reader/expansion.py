"""Few rows into many: defaults filled in, a matrix crossed, a template worded, takes repeated.

Also which rows are left out again: those to skip, those that a filter hides, and lines that are no
rows.

Works on tables in place; every cell that is set remembers where it was written.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from typing import Final, NamedTuple

from seedance_batch.core.manifest import Code, Place
from seedance_batch.reader.cells import (
    FALSE_WORDS,
    TRUE_WORDS,
    Origin,
    Table,
    Value,
    is_blank,
    quoted,
    text_of,
    whole_number,
)
from seedance_batch.reader.headings import Layout, ManifestColumn, field_of, plain
from seedance_batch.reader.source import MOST_VARIANTS, Loading, Noted

MOST_ROWS: Final = 100_000
"""A manifest's rows after expansion; one that has more without it is read as it is."""


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
        noted.problem(axes.place, f"makes {count:,} rows; the limit is {MOST_ROWS:,}")
        return False
    positions = [_column(table, heading) for heading in axes.columns]
    for index in range(len(table.rows)):
        for position, heading in zip(positions, axes.columns, strict=True):
            if not is_blank(table.rows[index][position]):
                noted.problem(
                    table.place(index, position),
                    f"the matrix also sets {heading}; leave one out",
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
        noted.problem(place, f"names {{{name}}}, but there is no such column")
    for index in range(len(table.rows)):
        if unknown:
            _set(table, index, position, wording, place)
        elif wraps or is_blank(table.rows[index][position]):
            prompt, blank = _worded(table.rows[index], wording, names)
            if blank:
                words = f"prompt_template needs {', '.join(blank)}, which is blank here"
                noted.problem(table.place(index), words)
            _set(table, index, position, prompt, place)


_NAMES: Final = re.compile(r"\{([^\W\d][\w .\-]{0,80})\}")


def repeat(table: Table, times: int, noted: Noted) -> bool:
    """Each row so many times: ids numbered from the second on, seeds counted up where given.

    False, with a problem noted, where that would be too many rows.
    """
    id_and_seed = _position(table, "id"), _position(table, "seed")
    return _repeat_each(table, [times] * len(table.rows), id_and_seed, noted)


def _repeat_each(
    table: Table, times: Sequence[int], id_and_seed: tuple[int | None, int | None], noted: Noted
) -> bool:
    """As `repeat`, each row as often as ``times`` says, which may be not at all."""
    count = sum(times)
    if count > max(MOST_ROWS, len(table.rows)):
        words = f"variants make {count:,} rows; the limit is {MOST_ROWS:,}"
        noted.problem(table.heading_place(), words)
        return False
    _multiply(table, lambda index: _takes(table, index, times[index], *id_and_seed))
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
                noted.problem(place, f"excludes by {quoted(heading)}, which is not a column")


def _worded(row: Sequence[Value], wording: str, names: dict[str, int]) -> tuple[str, list[str]]:
    """A template in the words of a row, and which of its names are blank there."""
    values = {match[1]: row[names[plain(match[1])]] for match in _NAMES.finditer(wording)}
    blank = sorted(name for name, value in values.items() if is_blank(value))
    return _NAMES.sub(lambda match: text_of(values[match[1]]), wording), blank


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
    number = whole_number(seed).value
    # A seed that is no number is a problem of its own, and stays to be named.
    return seed if number is None else str(number + take)


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
    id_and_seed = layout.position_of("id"), layout.position_of("seed")
    if left_out and (at := id_and_seed[0]) is not None:
        unwanted = (i for i, wish in enumerate(wishes) if not wish.times)
        loading.left_out.update(text_of(table.rows[i][at]).strip() for i in unwanted)
    if any(wish.times != 1 for wish in wishes):
        _repeat_each(table, [wish.times for wish in wishes], id_and_seed, loading.noted)
    return left_out


def _wishes(table: Table, layout: Layout, loading: Loading) -> Iterator[Wish]:
    skip = _named(layout, "skip")
    # The rows of a sheet of ours are takes already.
    variants = None if layout.is_ours else _named(layout, "variants")
    if variants is not None and not _has_a_number(table, variants):
        variants = None
    no_rows = bands(table, layout, loading.noted)
    for index in range(len(table.rows)):
        if loading.options.visible and index in table.hidden:
            yield Wish(0, "hidden in the workbook")
        elif index in no_rows:
            yield Wish(0, no_rows[index])
        elif skip is not None and _is_skipped(table, index, skip, loading):
            yield Wish(0, f"by the column {quoted(skip.heading)}")
        else:
            yield Wish(1 if variants is None else _times(table, index, variants, loading))


def _named(layout: Layout, name: str) -> ManifestColumn | None:
    own = (column for column in layout.own if column.field is None)
    return next((column for column in own if plain(column.heading).rstrip("?") == name), None)


def _is_skipped(table: Table, index: int, column: ManifestColumn, loading: Loading) -> bool:
    word = _text(table.rows[index], column.position).casefold()
    # One that says nothing beside that is a note, and no row.
    if word and word not in _SKIP | _SEND and _filled(table.rows[index], column.position):
        loading.noted.problem(
            table.place(index, column.position, column.heading),
            f"{quoted(word)} does not say whether to skip the row: write yes or no "
            "(or rename the column if it means something else)",
        )
    return word in _SKIP


def _has_a_number(table: Table, column: ManifestColumn) -> bool:
    """Whether a column called variants counts them; names of variants are the person's own."""
    return any(_COUNT.fullmatch(_text(row, column.position)) for row in table.rows)


_COUNT: Final = re.compile(
    r"[x×]?\s?-?[0-9]{1,9}(?:[.,]0+)?\s?(?:[x×]|takes?|times|variants?)?", re.IGNORECASE
)
"""What is meant for a number of takes, also where it is none that can be read: ``x2``, ``0``."""


def _times(table: Table, index: int, column: ManifestColumn, loading: Loading) -> int:
    text = _text(table.rows[index], column.position)
    times = _number(text) if text else 1
    if times is None:
        loading.noted.problem(
            table.place(index, column.position, column.heading),
            f"{quoted(text)} is not a number of takes from 1 to {MOST_VARIANTS:,} "
            "(or rename the column if it means something else)",
        )
    return times or 1


def _number(text: str) -> int | None:
    number = whole_number(text).value
    return number if number is not None and 1 <= number <= MOST_VARIANTS else None


# ── Lines of a table that are no rows: names of scenes, totals, notes, the headings once more ─────


WITHOUT_PROMPT: Final = "without a prompt (scenes, totals, notes)"
IN_PROMPT: Final = "named like a scene or a total"
REPEATED: Final = "with the headings once more"


def bands(table: Table, layout: Layout, noted: Noted) -> Mapping[int, str]:
    """The lines that are no rows, with the kind of each; every one is noted.

    Of a table that a person keeps only: a program's file, and a sheet of ours, have none. A line
    that looks like the rows around it and lacks its prompt is a row, and a problem.
    """
    prompt = layout.position_of("prompt")
    if layout.is_ours or prompt is None or not (table.is_csv or table.sheet):
        return {}
    return _Lines(table, layout, prompt, noted).found()


class _Lines:
    """A table's lines, looked at beside each other."""

    def __init__(self, table: Table, layout: Layout, prompt: int, noted: Noted) -> None:
        self._table = table
        self._prompt = prompt
        self._noted = noted
        self._values = {c.position for c in layout.inputs if c.field not in {"id", "prompt"}}
        self._flawed = {row for row, _ in table.flaws}
        self._rows_have_words = cache(self._have_words)

    def found(self) -> dict[int, str]:
        kinds = {}
        for index, row in enumerate(self._table.rows):
            text = _text(row, self._prompt)
            if index in self._flawed or len(text) > _LONGEST:
                continue
            kind = self._of_prompt(index, row, text) if text else self._of_others(index, row)
            if kind:
                kinds[index] = kind
        if kinds and len(kinds) == len(self._table.rows):
            self._noted.problem(self._table.heading_place(), "has no row with a prompt")
        self._refuse_names_of_fields()
        return kinds

    def _refuse_names_of_fields(self) -> None:
        """Of a table that lies on its side, a row would be bought whose prompt is ``duration``."""
        rows = [row for row in self._table.rows if _filled(row, self._prompt)]
        texts = [text for row in rows if (text := _text(row, self._prompt))]
        names = [t for t in texts if len(t) < _LONGEST and field_of(t) not in {None, "prompt"}]
        if names and len(names) * 2 >= len(texts):
            listed = ", ".join(map(quoted, names[:3]))
            words = (
                f"has names of fields in place of prompts ({listed}): one row is one clip, "
                "with its fields side by side; transpose the table"
            )
            self._noted.problem(self._table.heading_place(self._prompt), words)

    # ── a line without a prompt ─────────────────────────────────────────────────────────────────

    def _of_others(self, index: int, row: Sequence[Value]) -> str | None:
        filled = _filled(row)
        names = [p for p in filled if p not in self._values]
        if not names or not self._is_band(row, filled, names):
            return None
        words = "has a scene name, a total or a note but no prompt; it is left out"
        self._noted.receipt(self._table.place(index), words, Code.LEFT_OUT)
        return WITHOUT_PROMPT

    def _is_band(self, row: Sequence[Value], filled: list[int], names: list[int]) -> bool:
        if any(_is_sum(_text(row, position)) for position in names):
            return True
        text = _text(row, names[0])
        if len(names) < len(filled) or not _is_wordy(text) or _LABEL.match(text):
            return False
        is_note = len(filled) == 1 and len(text.split()) >= _WORDS_OF_A_NOTE
        return is_note or not self._rows_have_words(names[0])

    def _have_words(self, position: int) -> bool:
        """Whether rows with a prompt have words in that column, so that words tell no band."""
        rows = (row for row in self._table.rows if _text(row, self._prompt))
        return any(_is_wordy(_text(row, position)) for row in rows)

    # ── a line with something where the prompts are ─────────────────────────────────────────────

    def _of_prompt(self, index: int, row: Sequence[Value], text: str) -> str | None:
        place = self._table.place(index)
        if text.count(" ") < _WORDS_OF_A_NOTE and self._is_heading(text):
            return self._of_headings(index, row)
        if _is_sum(text) and not any(_is_wordy(_text(row, p)) for p in _filled(row, self._prompt)):
            words = f"{quoted(text)} is a total, not a prompt; it is left out"
            self._noted.receipt(place, words, Code.LEFT_OUT)
            return IN_PROMPT
        if _is_name(text):
            if not _filled(row, self._prompt) and not self._prompts_stand_alone:
                words = f"{quoted(text)} stands alone like a scene name; it is left out"
                self._noted.warning(place, words, Code.LEFT_OUT)
                return IN_PROMPT
            if _BAND.fullmatch(text):
                words = f"{quoted(text)} looks like a scene name, but is sent as a prompt"
                self._noted.warning(place, words)
        return None

    @cached_property
    def _prompts_stand_alone(self) -> bool:
        """Whether rows have nothing but their prompt, so that standing alone tells no band."""
        rows = [row for row in self._table.rows if _text(row, self._prompt)]
        alone = [_text(row, self._prompt) for row in rows if not _filled(row, self._prompt)]
        return len(alone) > len(rows) // 2 or not all(map(_is_name, alone))

    def _is_heading(self, text: str) -> bool:
        return plain(text) == plain(self._table.headings[self._prompt]) or bool(field_of(text))

    def _of_headings(self, index: int, row: Sequence[Value]) -> str | None:
        filled, headings = _filled(row), self._table.headings
        if all(plain(_text(row, p)) == plain(headings[p]) for p in filled if p < len(headings)):
            words = "repeats the headings; it is left out"
            self._noted.receipt(self._table.place(index), words, Code.LEFT_OUT)
            return REPEATED
        if len(filled) > 1 and all(field_of(_text(row, position)) for position in filled):
            words = "contains other headings: a second table begins here; put it in its own file"
            self._noted.problem(self._table.place(index), words)
            return REPEATED
        return None


def _filled(row: Sequence[Value], but: int | None = None) -> list[int]:
    return [p for p, value in enumerate(row) if p != but and not is_blank(value)]


def _text(row: Sequence[Value], position: int) -> str:
    return text_of(row[position]).strip() if position < len(row) else ""


# ── what a text looks like ──────────────────────────────────────────────────────────────────────

_LONGEST: Final = 80
"""Characters of a scene's name, at most."""
_WORDS_OF_A_NOTE: Final = 4
_SUM: Final = re.compile(
    r"(?:grand |sub|sub-|gesamt|zwischen|sous-)?"
    r"(?:total|totals|totale|totaux|totaal|totales|sum|summe|gesamt|somme|suma|soma|subtotaal)"
    r"(?: (?:cost|costs|price|length|duration|shots|clips|sec|seconds|[(\[].{0,12}[)\]]))?"
    r"|合计|合計|总计|總計|小计|小計",
    re.IGNORECASE,
)
_LABEL: Final = re.compile(
    r"(?:shot|clip|take|row|cut|einstellung|plan|plano|inquadratura|镜头|カット)\b", re.IGNORECASE
)
"""What a row is called that lacks its prompt."""
_BAND: Final = re.compile(
    r"(?:scene|szene|scène|escena|scena|cena|sequence|sequenz|séquence|secuencia|act|akt|acte"
    r"|acto|part|teil|partie|parte|chapter|kapitel|chapitre|episode|folge|section|block|day|tag"
    r"|シーン|场景|場景)\s?[-#.:]?\s?(?:[0-9]{1,3}[a-z]?|[ivx]{1,5}|one|two|three)\b"
    r"(?:\s?[-–—:.,/|(]\s?[^.!?\n]{0,50})?"
    r"|第.{1,4}[场場幕集](?:[\s:：·—-].{0,30})?",
    re.IGNORECASE,
)
_WORD: Final = r"[^\W\d_]{3}|[\u3040-\u9fff\uac00-\ud7af]"


def _is_name(text: str) -> bool:
    """Whether a text may be a scene's name; one in capitals may be a prompt as well."""
    in_capitals = text.isupper() and text.count(" ") < _WORDS_OF_A_NOTE
    return in_capitals or _BAND.fullmatch(text) is not None


def _is_sum(text: str) -> bool:
    return _SUM.fullmatch(text.strip(" :.\t=")) is not None


def _is_wordy(text: str) -> bool:
    return re.search(_WORD, text) is not None
