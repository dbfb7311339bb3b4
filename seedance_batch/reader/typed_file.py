"""Formats that type their values: Parquet, DataFrames and JSON; cells become Python's values."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeGuard, cast

from seedance_batch.core.manifest import Place
from seedance_batch.reader.cells import Scalar, Table, Value, quoted
from seedance_batch.reader.source import MOST_NESTING, TOO_DEEP, Loading, Source
from seedance_batch.reader.text_file import decoded

if TYPE_CHECKING:
    import pandas

# ── Parquet files and DataFrames: typed columns in ────────────────────────────────────────────────


_MOST_CELLS: Final = 20_000_000


def parquet_tables(source: Source, loading: Loading) -> list[Table]:
    """The table in a Parquet file; none, with a problem noted, where it cannot be read."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        loading.noted.problem(
            source.place, "needs another package: pip install 'seedance-batch[parquet]'"
        )
        return []
    try:
        file = parquet.ParquetFile(io.BytesIO(source.data))
        if file.metadata.num_rows * max(1, file.metadata.num_columns) > _MOST_CELLS:
            loading.noted.problem(source.place, f"has more than {_MOST_CELLS:,} cells")
            return []
        content = file.read()
        columns = [column.to_pylist() for column in content.columns]
    except (arrow.ArrowException, OSError, ValueError, OverflowError):
        loading.noted.problem(source.place, "is a damaged Parquet file; write it again")
        return []
    return [_table(source.file, content.column_names, columns)]


def table_of_frame(frame: pandas.DataFrame, name: str) -> list[Table]:
    """The one table in a DataFrame; of its index what has a name."""
    frame = _with_index(frame)
    columns = [_known(frame.iloc[:, position]) for position in range(frame.shape[1])]
    return [_table(name, [str(heading) for heading in frame.columns], columns)]


def _known(column: pandas.Series[Any]) -> list[Any]:
    """A column's values, None where one is missing."""
    pairs = zip(column.tolist(), column.isna().tolist(), strict=True)
    return [None if is_missing is True else value for value, is_missing in pairs]


def _with_index(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The frame, with the named levels of its index as its first columns."""
    others = {str(heading) for heading in frame.columns}
    named = [str(name) for name in frame.index.names if name is not None]
    if not named or others & set(named) or len(set(named)) < len(frame.index.names):
        return frame
    return frame.reset_index()


def types_of(source: object) -> dict[str, Any]:
    """The types of a DataFrame's columns by heading; of other sources none."""
    if not hasattr(source, "itertuples"):
        return {}
    frame = _with_index(cast("pandas.DataFrame", source))
    return {str(heading): kind for heading, kind in frame.dtypes.items()}


def as_given(sheet: pandas.DataFrame, types: Mapping[str, Any]) -> pandas.DataFrame:
    """A results sheet whose texts in these columns are numbers, booleans and times once more."""
    for heading, kind in types.items():
        if heading in sheet.columns[: len(types)]:
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                sheet[heading] = _typed(list(sheet[heading]), kind)
    return sheet


def _typed(texts: list[str], kind: Any) -> Any:
    import pandas as pd
    from pandas.api import types

    lacks = any(text == "" for text in texts)
    if types.is_bool_dtype(kind):
        truth = [_TRUTH[text] for text in texts]
        return pd.array(truth, dtype="boolean" if lacks else kind)
    if types.is_integer_dtype(kind):
        whole = [int(text) if text else None for text in texts]
        return pd.array(whole, dtype="Int64" if lacks else kind)
    if types.is_float_dtype(kind):
        return pd.array([float(text or "nan") for text in texts], dtype=kind)
    if types.is_datetime64_any_dtype(kind):
        return pd.Series(pd.to_datetime(texts)).astype(kind)
    return texts


_TRUTH: Final = {"true": True, "false": False, "": None}


def _table(file: str, headings: Sequence[str], columns: Iterable[Sequence[Any]]) -> Table:
    cells = [[_value(value) for value in column] for column in columns]
    rows: list[Sequence[Value]] = list(zip(*cells, strict=True))
    # Numbered as the same table would be in a workbook, where the headings are line 1.
    return Table(file, list(headings), rows, range(2, 2 + len(rows)))


def _value(value: Any) -> Value:
    if value is None or isinstance(value, str | bool | int | date | time | timedelta):
        return value
    if isinstance(value, float):
        return None if value != value else value  # NaN stands for nothing
    if isinstance(value, list | tuple):
        return tuple(item if isinstance(item, str) else str(item) for item in value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return _value(value.tolist())
    return str(value)


# ── JSON Lines, or one JSON array: an object a row, its keys as headings, values typed as there ───


_BETWEEN: Final = re.compile(r"[\s,]*")


class _Refused(ValueError):
    """Why a piece of text is no row: it is no JSON, or JSON that says nothing clear."""


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


_Piece = tuple[int, Any]
"""Line and what stands there, `_Refused` where that is no row."""


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
        item, position = _decoded(text, position)
        yield line, item
        if isinstance(item, _Refused):
            return


def _parsed(line: str) -> Any:
    start = len(line) - len(line.lstrip(_BLANKS))
    item, end = _decoded(line, start)
    rest = line[end:].lstrip(_BLANKS)
    if isinstance(item, _Refused) or not rest:
        return item
    return _Refused(f"is not JSON from character {len(line) - len(rest) + 1} on")


_BLANKS: Final = " \t\r\n"
"""What JSON leaves out."""


def _decoded(text: str, start: int) -> tuple[Any, int]:
    """What begins there, `_Refused` where that is no row, and where it ends."""
    try:
        item, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        item, end = _Refused(f"is not JSON from character {error.colno} on"), error.pos
    except RecursionError:
        return _Refused(TOO_DEEP), start
    except ValueError as error:  # Python reads no number of more than 4,300 digits
        own = isinstance(error, _Refused)
        item, end = error if own else _Refused("holds too long a number"), start
    return (_Refused(TOO_DEEP) if _is_deep(text, start, end) else item), end


def _is_deep(text: str, start: int, end: int) -> bool:
    """How deep a library goes differs by its release, so that a limit of our own is kept."""
    if text.count("[", start, end) + text.count("{", start, end) <= MOST_NESTING:
        return False
    depth = 0
    for found in _BRACKET.finditer(text, start, end):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MOST_NESTING:
            return True
    return False


_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{}\]]')
"""A bracket, or a text that may hold some."""


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
        self._headings: dict[str, None] = {}
        self._values: list[dict[str, Value]] = []
        self.lines: list[int] = []
        self.has_faults = False

    def take(self, pieces: Iterable[_Piece]) -> None:
        """Add every object; note every piece that is none."""
        for line, item in pieces:
            if isinstance(item, dict):
                self._headings |= dict.fromkeys(item)
                self._values.append({k: self._value(line, k, v) for k, v in item.items()})
                self.lines.append(line)
            else:
                self.refuse(line, str(item) if isinstance(item, _Refused) else "is not an object")

    def _value(self, line: int, key: str, value: Any) -> Value:
        if _is_plain(value):
            return value
        if isinstance(value, list) and all(map(_is_plain, value)):
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


def _is_plain(value: Any) -> TypeGuard[Scalar]:
    return value is None or isinstance(value, str | int | float)
