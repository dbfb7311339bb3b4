"""Results as CSV: UTF-8 with BOM and CRLF, as Excel wants it, no cell that could be a formula."""

from __future__ import annotations

import csv
from pathlib import Path

from seedance_batch.guard import guarded
from seedance_batch.writer.table import Table, text


def write_csv(path: Path, table: Table) -> None:
    """Fill ``path``; what UTF-8 cannot hold (half a surrogate pair) is shown escaped."""
    with path.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        sheet = csv.writer(file)
        sheet.writerow([guarded(heading) for heading in table.header])
        for line in table.lines():
            sheet.writerow([guarded(text(value)) for value in (*line.person, *line.ours)])
