"""The reader: a file of any spreadsheet format in, a `Manifest` of jobs and findings out.

Nothing here sends anything. What a format needs is imported when a file of that format comes."""

from __future__ import annotations

import gc
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seedance_batch.core.chains import KnownRow, linked
from seedance_batch.core.columns import folded, is_part
from seedance_batch.core.manifest import (
    Code,
    Finding,
    Job,
    Manifest,
    Place,
    ReadAs,
    content_hash,
    loosened,
    row_keys,
)
from seedance_batch.core.model import MEDIA_FIELDS
from seedance_batch.core.text import some
from seedance_batch.reader.advice import (
    DEFAULTS,
    id_offer,
    warn_of_comments,
    warn_of_hidden,
    warn_of_unsent,
)
from seedance_batch.reader.cells import Table, quoted
from seedance_batch.reader.expansion import keep_wanted
from seedance_batch.reader.headings import (
    FIELDS,
    Layout,
    ManifestColumn,
    field_of,
    layout_of,
    slip_of,
)
from seedance_batch.reader.media_files import Found, MediaFiles
from seedance_batch.reader.rows import Judge, Overrides, RowReader, RowReading, addressed, read_cell
from seedance_batch.reader.source import (
    DELIMITERS,
    STDIN,
    Format,
    Loading,
    Noted,
    ReadOptions,
    Source,
    format_of,
    opened,
)

if TYPE_CHECKING:
    import pandas

_PLAIN = ReadOptions()


def read_manifest(path: str | Path, options: ReadOptions = _PLAIN) -> Manifest:
    """The manifest at ``path``, or on standard input where that is ``-``.

    Whatever is wrong with its content is in the manifest's findings, all at once. Raises
    `UsageError` only where the file itself cannot be opened.
    """
    source = opened(path)
    if str(path) == STDIN:
        return manifest_of_source(source, STDIN, source.file, options, {})
    absolute = str(source.folder / source.file)
    return manifest_of_source(source, absolute, Path(source.file).stem, options, {})


def manifest_of_source(
    source: Source, path: str, name: str, options: ReadOptions, about: Mapping[str, str]
) -> Manifest:
    """The manifest in bytes that were read already; ``about`` tells people where from."""
    loading = Loading(options, Noted(), dict(about))
    with _without_collections():
        return _assembled(tables_of(source, loading), path, name, source.folder, loading)


def read_frame(
    frame: pandas.DataFrame, name: str = "frame", options: ReadOptions = _PLAIN
) -> Manifest:
    """The manifest in a DataFrame; relative paths begin in the working directory.

    ``name`` stands where a file's name would: in places, and for the run folder.
    """
    from seedance_batch.reader.typed_file import table_of_frame

    loading = Loading(options, Noted(), {"format": "DataFrame"})
    with _without_collections():
        tables = table_of_frame(frame, name)
        return _assembled(tables, STDIN, name, Path.cwd(), loading)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Keeps Python from searching for cycles among objects that all live on: a quarter faster."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def tables_of(source: Source, loading: Loading) -> list[Table]:
    """A file's tables, whatever its format; none, with a problem noted, where it has none."""
    if not source.data.strip():
        loading.noted.problem(source.place, "is empty")
        return []
    file_format = format_of(source.data, source.file)
    if file_format is None:
        loading.noted.problem(
            source.place,
            "is not a manifest: CSV, XLSX, XLS, ODS, YAML, JSON, JSONL and Parquet are read",
        )
        return []
    loading.about["format"] = file_format.value
    return _loader(file_format)(source, loading)


def _loader(file_format: Format) -> _Load:
    """What reads that format; its libraries are imported only now."""
    module, function = _LOADERS[file_format]
    load: _Load = getattr(import_module(f"seedance_batch.reader.{module}"), function)
    return load


_Load = Callable[[Source, Loading], list[Table]]
_LOADERS: Final = {
    Format.CSV: ("text_file", "csv_tables"),
    Format.YAML: ("yaml_file", "yaml_tables"),
    Format.JSONL: ("typed_file", "json_tables"),
    Format.JSON: ("typed_file", "json_tables"),
    Format.PARQUET: ("typed_file", "parquet_tables"),
    Format.XLSX: ("workbook", "workbook_tables"),
    Format.XLS: ("workbook", "workbook_tables"),
    Format.ODS: ("workbook", "workbook_tables"),
}
"""Which file reads a format, and by which function; its libraries are imported then."""


# ── From a file's tables to a `Manifest`: layouts, overrides, rows, keys ──────────────────────────


MOST_COLUMNS: Final = 16_384
"""As in a workbook."""
_SET: Final = "--set"
_MAP: Final = "--map"


def _assembled(
    tables: Sequence[Table], path: str, name: str, folder: Path, loading: Loading
) -> Manifest:
    options, noted = loading.options, loading.noted
    tables = [table for table in tables if _is_narrow(table, noted)]
    pairs = [(table, layout_of(table, options.column_map, noted)) for table in tables]
    is_ours = any(layout.is_ours for _, layout in pairs)
    _check_map(options.column_map, tables, noted)
    if is_ours and path != STDIN and folder.parent.name == "runs":
        folder = folder.parent.parent  # a sheet in ``runs/<name>/``: its manifest's own
    files = MediaFiles(
        options.folder or folder, max_body=options.max_body, allow_outside=options.allow_outside
    )
    overrides = _overrides(options, files, noted)
    reader = RowReader(noted, files, Judge(noted, options, overrides))
    whole = [pair for pair in pairs if _has_rows(*pair, overrides, noted)]
    _leave_out(whole, loading)
    rows = [row for table, layout in whole for row in reader.read(table, layout)]
    own = [column for _, layout in pairs for column in layout.own]
    if not is_ours:
        warn_of_comments([(row.id, row.place("id")) for row in rows if row.id], noted)
    _tell_columns(own, loading)
    if is_ours:
        loading.about["own sheet"] = "results columns of this program are not read"
    _tell_defaults(pairs, overrides, loading)
    set_anyway = (*overrides.fields, *(["model"] if overrides.model else []))
    warn_of_hidden(pairs, noted)
    warn_of_unsent(pairs, [row.row.cells for row in rows], set_anyway, noted)
    if offer := id_offer(pairs, [row.row.cells for row in rows]):
        loading.about[ReadAs.IDS] = (
            f"none; --map id={shlex.quote(offer)} names the rows by that column"
        )
    keys = row_keys((row.id, row.base) for row in rows)
    jobs = tuple(_jobs(rows, keys, noted))
    if not (is_ours and is_part(name)):  # what that lacks, its run folder has
        jobs = _linked(jobs, keys, rows, loading)
    return Manifest(
        path=path,
        name=name,
        columns=tuple(dict.fromkeys(column.heading for column in own)),
        jobs=jobs,
        findings=tuple(_numbered(dict.fromkeys(noted), rows)),
        source=loading.about,
        given_inputs=tuple(dict.fromkeys(column.field for column in own if column.field)),
        told={key: row.told for key, row in zip(keys, rows, strict=True) if row.told and is_ours},
    )


def _is_narrow(table: Table, noted: Noted) -> bool:
    if len(table.headings) <= MOST_COLUMNS:
        return True
    noted.problem(
        table.heading_place(),
        f"has {len(table.headings):,} columns; the limit is {MOST_COLUMNS:,}",
    )
    return False


def _has_rows(table: Table, layout: Layout, overrides: Overrides, noted: Noted) -> bool:
    if not table.rows:
        noted.problem(table.heading_place(), "has headings but no rows")
        return False
    fields = {column.field for column in layout.inputs} | overrides.fields.keys()
    if "prompt" in fields:
        return True
    if any(slip_of(heading) == "prompt" for heading in table.headings):
        return False  # that was said already
    headings = ", ".join(quoted(heading, 30) for heading in table.headings[:12])
    together = (
        name
        for sign, name in DELIMITERS.items()
        for heading in table.headings
        if any(field_of(cell) == "prompt" for cell in heading.split(sign)[1:])
    )
    way = "name one: --map prompt=…"
    if sign := next(together, None):
        quotes = "" if sign == "bar" else ", or take away the quotes around whole lines"
        way = f"split them: --delimiter {sign}{quotes}"
    words = f"no column is the prompt; the headings are {headings}; {way}"
    noted.problem(table.heading_place(), words)
    return False


def _leave_out(pairs: Sequence[tuple[Table, Layout]], loading: Loading) -> None:
    """Only the rows that are wanted stay, as often as they are; the others are counted."""
    counts: Counter[str] = Counter()
    if loading.options.visible and not any(table.sheet for table, _ in pairs):
        for table, _ in pairs[:1]:
            words = "has no rows marked as hidden: --visible leaves none out"
            loading.noted.warning(Place(table.file), words)
    for table, layout in pairs:
        counts += keep_wanted(table, layout, loading)
    if counts:
        listed = (f"{some(count, 'row')} {why}" for why, count in counts.items())
        loading.about[ReadAs.LEFT_OUT] = ", ".join(listed)


def _check_map(column_map: Mapping[str, str], tables: Sequence[Table], noted: Noted) -> None:
    headings = {folded(heading): heading for table in tables for heading in table.headings}
    for field, heading in column_map.items():
        if field not in FIELDS:
            noted.problem(Place(_MAP, column=field), _no_such_field(field))
        elif tables and folded(heading) not in headings:
            listed = _listed([quoted(one, 30) for one in headings.values() if one.strip()], 12)
            words = f"no column is called {quoted(heading)}; the headings are {listed}"
            noted.problem(Place(_MAP, column=field), words)


def _no_such_field(name: str) -> str:
    meant = field_of(name) or slip_of(name)
    if meant:
        return f"is not an input field; did you mean {meant}?"
    return f"is not an input field; those are {', '.join(FIELDS)}"


def _tell_columns(own: Sequence[ManifestColumn], loading: Loading) -> None:
    renamed = {c.heading: c.field for c in own if c.field and c.heading != c.field}
    kept = list(dict.fromkeys(c.heading for c in own if not c.field))
    if renamed:
        loading.about["columns"] = _listed([f"{h} → {f}" for h, f in renamed.items()])
    if kept:
        loading.about["not sent"] = _listed(kept)


_COSTLY: Final = {field: DEFAULTS[field] for field in ("duration", "resolution")}
"""The inputs that set the price, with what applies where a manifest says nothing."""


def _tell_defaults(
    pairs: Sequence[tuple[Table, Layout]], overrides: Overrides, loading: Loading
) -> None:
    """Where columns are not sent and none says how long or how large, that may be a mistake."""
    given = {column.field for _, layout in pairs for column in layout.inputs}
    missing = {f: d for f, d in _COSTLY.items() if f not in given and f not in overrides.fields}
    if missing and "not sent" in loading.about:
        loading.about["no column for"] = _listed([f"{f} ({d})" for f, d in missing.items()])


def _listed(texts: Sequence[str], most: int = 20) -> str:
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


# ── what flags set in every row ─────────────────────────────────────────────────────────────────


def _overrides(options: ReadOptions, files: MediaFiles, noted: Noted) -> Overrides:
    fields: dict[str, Any] = {}
    found: dict[str, list[Found]] = {}
    model = read_cell("model", options.model).value if options.model else None
    for name, text in options.overrides.items():
        place = Place(_SET, column=name)
        if name not in FIELDS or name == "id":
            noted.problem(place, "is each row's own" if name == "id" else _no_such_field(name))
            continue
        cell = read_cell(name, text)
        if cell.problem:
            noted.problem(place, cell.problem)
        elif name == "model":
            model = model or cell.value
        elif name in MEDIA_FIELDS and cell.value:
            found[name] = [files.find(one, MEDIA_FIELDS[name]) for one in cell.value]
            fields[name] = addressed(name, found[name])
        else:
            fields[name] = cell.value
    return Overrides(fields, found, model)


def _numbered(findings: Iterable[Finding], rows: Sequence[RowReading]) -> Iterator[Finding]:
    """The findings with the numbers of the rows that they concern."""
    found = list(findings)
    wanted = {_line_of(finding.place) for finding in found}
    numbers: dict[_Line, list[int]] = defaultdict(list)
    for row in rows if found else ():
        for line in _lines_of(row) & wanted:
            numbers[line].append(row.row.number)
    for finding in found:
        of_line = numbers.get(_line_of(finding.place), ())
        yield replace(finding, rows=tuple(of_line)) if len(of_line) < max(len(rows), 2) else finding


_Line = tuple[str, str | None, int | None]


def _line_of(place: Place) -> _Line:
    return place.file, place.sheet, place.line


def _lines_of(row: RowReading) -> set[_Line]:
    """The lines on which a row stands; a value for all rows stands elsewhere."""
    place = row.row.place
    origins = row.table.origins[row.index] if row.table.origins else ()
    lines = {place.line, *(origin for origin in origins if isinstance(origin, int))}
    return {(place.file, place.sheet, line) for line in lines}


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def _jobs(rows: Sequence[RowReading], keys: Sequence[str], noted: Noted) -> Iterator[Job]:
    # A key is made of what is written, so that no flag changes it; a twin is what is sent twice.
    first: dict[str, Place] = {}
    for row, key in zip(rows, keys, strict=True):
        job = row.job(key)
        if job is None:
            continue
        here = job.row.place
        earlier = first.setdefault(_order(job), here)
        # Takes of one line are meant to be equal; two lines that are equal never are for sure.
        if earlier is not here and not (row.table.is_repeated and earlier == here):
            where = earlier.seen_from(here)
            noted.warning(here, f"duplicates {where}: you pay twice", Code.DUPLICATE_ORDER)
        yield job


def _linked(
    jobs: Sequence[Job], keys: Sequence[str], rows: Sequence[RowReading], loading: Loading
) -> tuple[Job, ...]:
    """The jobs with the rows that feed them; what cannot be followed is a problem of its cell."""
    known = [KnownRow(key, row.row.line) for key, row in zip(keys, rows, strict=True)]
    found, troubles = linked(jobs, known, loading.options.max_body, loading.left_out)
    readings = dict(zip(keys, rows, strict=True)) if troubles else {}
    for trouble in troubles:
        place = readings[trouble.job.key].place(trouble.field)
        loading.noted.problem(place, trouble.words, Code.LINK)
    return found


def _order(job: Job) -> str:
    """What tells one order from another: blanks at the ends of lines do not."""
    prompt = loosened(job.input.prompt)
    if prompt == job.input.prompt:
        return job.content
    return content_hash(job.model, job.input.model_copy(update={"prompt": prompt}))


# ── Findings as people and programs read them: one line per cause ─────────────────────────────


MOST_PLACES: Final = 12
"""Places that one line names; the rest is counted."""


def grouped(findings: Iterable[Finding], *, numbered: bool = False) -> list[str]:
    """One line per cause: ``shots.xlsx!Sheet1!D17, D18: …``, in order of first sight.

    ``numbered`` adds the rows as ``--rows`` takes them: ``D17, D18 (rows 12-13): …``.
    """
    groups: dict[tuple[str, str, str | None, str | None, str], list[Finding]] = {}
    for found in findings:
        place = found.place
        cause = (found.severity.value, place.file, place.sheet, place.column, found.message)
        groups.setdefault(cause, []).append(found)
    return [
        f"{_places([each.place for each in several])}"
        f"{_rows_of(several) if numbered else ''}: {cause[-1]}"
        for cause, several in groups.items()
    ]


def _rows_of(findings: Iterable[Finding]) -> str:
    """Their rows' numbers, in brackets; nothing where they are no rows' own, or too many parts."""
    numbers = sorted({number for found in findings for number in found.rows})
    by_range = groupby(enumerate(numbers), lambda counted: counted[1] - counted[0])
    ranges = [[number for _, number in part] for _, part in by_range]
    if not ranges or len(ranges) > MOST_PLACES:
        return ""
    listed = ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in ranges)
    return f" (row{'s'[: len(numbers) > 1]} {listed})"


def _places(places: list[Place]) -> str:
    """The first in full, then where else it is: cells of a sheet, lines of a text."""
    first, *others = dict.fromkeys(places)
    if not others:
        return str(first)
    shown = others[: MOST_PLACES - 1]
    if first.sheet is None:
        listed = f" and line{'s'[: len(others) > 1]} {', '.join(str(p.line or p) for p in shown)}"
    else:
        listed = "".join(f", {place.letter or ''}{place.line}" for place in shown)
    left = len(others) - len(shown)
    return f"{first}{listed}{f' and {left:,} more' if left else ''}"
