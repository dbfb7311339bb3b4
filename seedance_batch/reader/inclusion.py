"""Other files that a YAML manifest takes its rows from: inside its folder, not deep, no rings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from seedance_batch.columns import folded
from seedance_batch.errors import UsageError
from seedance_batch.manifest import Place
from seedance_batch.model import LIST_FIELDS, MEDIA_FIELDS
from seedance_batch.reader.cells import SEVERAL, quoted
from seedance_batch.reader.headings import field_of
from seedance_batch.reader.media_files import is_address
from seedance_batch.reader.source import Loading, Source, opened
from seedance_batch.reader.table import Scalar, Table, Value

MOST_DEPTH: Final = 4


def included(name: str, place: Place, source: Source, loading: Loading) -> list[Table]:
    """The tables of the file called ``name`` in a manifest; none, with a problem, where refused."""
    from seedance_batch.reader.assembly import tables_of  # which leads here for YAML

    chain = loading.including or (_real(source.folder / source.file),)
    try:
        target = _real(source.folder / name)
        if why := _refusal(name, target, chain, loading):
            loading.noted.problem(place, why)
            return []
        found = opened(source.folder / name, included=True)
    except (UsageError, OSError, ValueError) as error:
        why = str(error).rpartition(": ")[2] if isinstance(error, UsageError) else "no such name"
        loading.noted.problem(place, f"{quoted(name)} cannot be opened: {why}")
        return []
    file = str(PurePosixPath(source.file).parent / name.replace("\\", "/"))
    inner = replace(loading, about={}, including=(*chain, target))
    tables = tables_of(replace(found, file=file), inner)
    below = PurePosixPath(os.path.relpath(target.parent, _real(source.folder)))
    if str(below) != ".":
        mapped = {folded(h): field for field, h in loading.options.column_map.items()}
        for table in tables:
            _move(table, below, mapped)
    return tables


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _refusal(name: str, target: Path, chain: tuple[Path, ...], loading: Loading) -> str | None:
    if target in chain:
        return f"{quoted(name)} includes itself"
    if len(chain) > MOST_DEPTH:
        return f"{quoted(name)} is included more than {MOST_DEPTH} deep"
    if not loading.options.allow_outside and not target.is_relative_to(chain[0].parent):
        return f"{quoted(name)} lies outside the manifest's folder (--allow-outside reads it)"
    if target.exists() and not target.is_file():
        return f"{quoted(name)} is no file"
    return None


def _move(table: Table, below: PurePosixPath, mapped: Mapping[str, str]) -> None:
    """Make relative paths begin in the including manifest's folder, so that rows stay whole."""
    for position, heading in enumerate(table.headings):
        field = mapped.get(folded(heading)) or field_of(heading)
        if field not in MEDIA_FIELDS:
            continue
        for index, row in enumerate(table.rows):
            if position < len(row):
                moved = list(row)
                moved[position] = _moved(row[position], below, field in LIST_FIELDS)
                table.rows[index] = moved


def _moved(value: Value, below: PurePosixPath, is_list: bool) -> Value:
    if isinstance(value, tuple):
        return tuple(_moved_one(item, below) for item in value)
    if isinstance(value, str) and is_list:
        return tuple(
            _moved_one(item.strip(), below) for item in SEVERAL.split(value) if item.strip()
        )
    return _moved_one(value, below)


def _moved_one(value: Scalar, below: PurePosixPath) -> Scalar:
    if not isinstance(value, str) or not value.strip() or is_address(value):
        return value
    return str(below / value)
