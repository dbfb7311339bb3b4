"""Parquet files and DataFrames: typed columns in, cells as plain Python values out."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from seedance_batch.reader.cells import Table, Value
from seedance_batch.reader.source import Loading, Source

if TYPE_CHECKING:
    import pandas

_MOST_CELLS: Final = 20_000_000
_HEADING_LINES: Final = 1


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


def table_of_frame(frame: pandas.DataFrame, name: str, loading: Loading) -> list[Table]:
    """The one table in a DataFrame; of its index what has a name."""
    frame = _with_index(frame)
    columns = [frame.iloc[:, position].tolist() for position in range(frame.shape[1])]
    missing = [frame.iloc[:, position].isna().tolist() for position in range(frame.shape[1])]
    known = [
        [None if is_missing is True else value for value, is_missing in zip(*pair, strict=True)]
        for pair in zip(columns, missing, strict=True)
    ]
    return [_table(name, [str(heading) for heading in frame.columns], known)]


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
    lines = range(_HEADING_LINES + 1, _HEADING_LINES + 1 + len(rows))
    return Table(file, list(headings), rows, lines)


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
