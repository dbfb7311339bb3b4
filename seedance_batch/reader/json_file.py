"""JSON Lines, or one JSON array: an object a row, its keys as headings, values typed as there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from seedance_batch.core.manifest import Place
from seedance_batch.reader.cells import Table, Value, quoted
from seedance_batch.reader.decoding import decoded
from seedance_batch.reader.source import Loading, Source

_BETWEEN: Final = re.compile(r"[\s,]*")


class _Refused(ValueError):
    """JSON that is well formed, and still no row."""


def json_tables(source: Source, loading: Loading) -> list[Table]:
    """The file's one table; none, with a problem noted, where there is no row."""
    text = decoded(source, loading)
    if text is None:
        return []
    is_array = text.lstrip()[:1] == "["
    rows = _Rows(source, loading)
    rows.take(_array(text) if is_array else _lines(text))
    if not rows.lines and not rows.has_faults:
        rows.refuse(1, "contains no rows")
    return [rows.table()] if rows.lines else []


@dataclass(frozen=True, slots=True)
class _Fault:
    """Stands for what should have been an object."""

    words: str


_Piece = tuple[int, Any]
"""Line and what stands there, a `_Fault` where that is no JSON."""


def _lines(text: str) -> Iterator[_Piece]:
    # Not splitlines: a text in JSON may hold U+2028 as it is.
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.isspace():
            yield number, _parsed(line)


def _array(text: str) -> Iterator[_Piece]:
    """The items of one array, each with the line where it begins."""
    position = text.index("[") + 1
    counted, line = 0, 1
    while True:
        position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
        line += text.count("\n", counted, position)
        counted = position
        if text[position : position + 1] == "]" and not text[position + 1 :].strip():
            return
        try:
            item, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield line, _fault(error)
            return
        yield line, item


def _parsed(line: str) -> Any:
    try:
        return _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        return _fault(error)


def _fault(error: Exception) -> _Fault:
    if isinstance(error, json.JSONDecodeError):
        return _Fault(f"is not JSON from character {error.colno} on")
    if isinstance(error, _Refused):
        return _Fault(str(error))
    return _Fault("is JSON nested too deep, or with too long a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise _Refused(f"gives {quoted(twin)} twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise _Refused(f"{text} is not a number in JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)


class _Rows:
    """Objects becoming rows of one table."""

    def __init__(self, source: Source, loading: Loading) -> None:
        self._source = source
        self._loading = loading
        self._headings: dict[str, int] = {}
        self._values: list[dict[str, Value]] = []
        self.lines: list[int] = []
        self.has_faults = False

    def take(self, pieces: Iterable[_Piece]) -> None:
        """Add every object; note every piece that is none."""
        for line, item in pieces:
            if isinstance(item, dict):
                self._add(line, item)
            else:
                self.refuse(line, item.words if isinstance(item, _Fault) else "is not an object")

    def _add(self, line: int, item: dict[str, Any]) -> None:
        for key in item:
            self._headings.setdefault(key, len(self._headings))
        self._values.append({key: self._value(line, key, value) for key, value in item.items()})
        self.lines.append(line)

    def _value(self, line: int, key: str, value: Any) -> Value:
        if value is None or isinstance(value, str | int | float):
            return value
        if isinstance(value, list) and all(_is_plain(item) for item in value):
            return tuple(value)
        self.refuse(line, "contains an object; a text, a number or a list is needed", key)
        return None

    def refuse(self, line: int, words: str, column: str | None = None) -> None:
        """Note a problem of that line."""
        self.has_faults = True
        self._loading.noted.problem(Place(self._source.file, line=line, column=column), words)

    def table(self) -> Table:
        """All rows, with a column for every key that any of them has."""
        headings = list(self._headings)
        rows = [[values.get(key) for key in headings] for values in self._values]
        return Table(self._source.file, headings, list(rows), self.lines)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)
