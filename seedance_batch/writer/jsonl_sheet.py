"""Results as JSON Lines: nothing guarded or cut; numbers are numbers, money is text."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Final

from seedance_batch.writer.table import Line, Table, Value, text

_OTHER_LINE_ENDS: Final = ("\x85", "\u2028", "\u2029")
"""JSON may hold them raw, but many a program splits lines there."""


def write_jsonl(path: Path, table: Table) -> None:
    """Fill ``path`` with one object per line, keys in the order of the columns."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_line(table.header, line) for line in table.lines())


def _line(header: tuple[str, ...], line: Line) -> str:
    values = (*line.person, *(_plain(value) for value in line.ours))
    record = dict(zip(header, values, strict=True))
    return _encodable(json.dumps(record, ensure_ascii=False), record) + "\n"


def _plain(value: Value) -> Value:
    return text(value) if isinstance(value, Decimal) else value


def _encodable(line: str, record: dict[str, Value]) -> str:
    for sign in _OTHER_LINE_ENDS:
        line = line.replace(sign, f"\\u{ord(sign):04x}")
    try:
        line.encode()
    except UnicodeEncodeError:  # half a surrogate pair: JSON can escape it, UTF-8 cannot hold it
        return json.dumps(record)
    return line
