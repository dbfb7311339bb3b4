"""Reads a workbook's values in a process of its own: run as a script by `workbook_values`.

Damaged workbooks can make calamine panic, ask for hundreds of gigabytes, or run in a ring; here
that ends nothing but this process. Speaks JSON lines; imports nothing of the rest.

In: the file's size, the file, then a sheet's name a line. Out: what there is, then the sheets.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from datetime import date, datetime, time, timedelta
from typing import Any, Final

DAMAGED: Final = "is a damaged workbook; open it in a spreadsheet program and save it again"
MOST_MEMORY: Final = 3 << 30
"""Bytes that a workbook may take while it is read, where the system can hold it to that."""


def serve_values() -> None:
    """Answer until standard input ends."""
    _limit_memory()
    size = int(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read(size)
    try:
        _serve(data)
    except BaseException as error:  # pyo3's panics are no Exceptions
        _say({"fault": _words(error)})


def _serve(data: bytes) -> None:
    import python_calamine as calamine

    with calamine.load_workbook(io.BytesIO(data)) as book:
        visible = [
            sheet.name
            for sheet in book.sheets_metadata
            if sheet.visible is calamine.SheetVisibleEnum.Visible
            and sheet.typ is calamine.SheetTypeEnum.WorkSheet
        ]
        _say({"names": book.sheet_names, "visible": visible})
        for line in sys.stdin.buffer:
            sheet = book.get_sheet_by_name(json.loads(line))
            rows = sheet.to_python() if sheet.start else []
            _say({"start": sheet.start, "rows": rows, "merged": sheet.merged_cell_ranges or []})


def _words(error: BaseException) -> str:
    if type(error).__name__ == "PasswordError":
        return "is protected by a password; save it without a password"
    return DAMAGED  # the library's own words are for programmers


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, default=_told) + "\n")
    sys.stdout.flush()


def _told(value: object) -> dict[str, str | float]:
    """A value that JSON has no word for; `told` is its way back."""
    match value:
        case datetime():
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case time():
            return {"time": value.isoformat()}
        case timedelta():
            return {"seconds": value.total_seconds()}
        case _:
            raise TypeError(type(value).__name__)


def told(answer: dict[str, Any]) -> Any:
    """The way back, as an ``object_hook``."""
    match answer:
        case {"datetime": text}:
            return datetime.fromisoformat(text)
        case {"date": text}:
            return date.fromisoformat(text)
        case {"time": text}:
            return time.fromisoformat(text)
        case {"seconds": number}:
            return timedelta(seconds=number)
        case _:
            return answer


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        allowed = MOST_MEMORY if most == resource.RLIM_INFINITY else min(MOST_MEMORY, most)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, most))


if __name__ == "__main__":
    serve_values()
