"""summary.json: how a run folder stands, for machines; versioned, money as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from seedance_batch.state import Sum
from seedance_batch.writer.summary_sheet import About
from seedance_batch.writer.table import text

VERSION: Final = 1


def write_summary(path: Path, record: Mapping[str, Any]) -> None:
    """Fill ``path`` with one JSON object."""
    path.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def summary(
    about: About, *, files: Mapping[str, Path], exit_code: int, journal_mark: str
) -> dict[str, Any]:
    """What `write_summary` writes. ``files`` maps a sheet's name to where it lies."""
    return {
        "version": VERSION,
        "manifest": about.manifest,
        "run_folder": str(about.folder),
        "journal": journal_mark,
        "exit_code": exit_code,
        "rows": about.tally.rows,
        "status": {status.value: count for status, count in about.tally.statuses.items()},
        "money": {
            "currency": "USD",
            "estimate": True,
            "prices": about.prices,
            **{surety.value: _sum(total) for surety, total in about.tally.money.items()},
        },
        "files": {name: path.name for name, path in files.items()},
    }


def _sum(total: Sum) -> dict[str, Any]:
    return {
        "amount": text(total.amount),
        "attempts": total.attempts,
        "unpriced_attempts": total.unpriced,
    }
