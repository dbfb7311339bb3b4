"""What lies near a name that leads nowhere: the manifest that may have been meant."""

from __future__ import annotations

import difflib
import os
import shlex
from pathlib import Path
from typing import Final

_MANIFESTS: Final = frozenset(
    ".csv .tsv .yaml .yml .jsonl .ndjson .json .xlsx .xls .ods .parquet".split()
)
"""Endings; a manifest may have another one, which is then not looked for."""
_STARTERS: Final = frozenset({".csv", ".yaml", ".yml", ".xlsx"})
"""Endings that ``init`` writes."""
_NAMED: Final = 5
"""File names that a message holds, at most."""


def manifests_in(folder: Path) -> list[str]:
    """Names of files that may be manifests, sorted; empty where the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if os.path.splitext(entry.name)[1].casefold() in _MANIFESTS  # noqa: PTH122
                and not entry.name.startswith(".")
                and entry.is_file()
            )
    except OSError:
        return []


def absent(given: Path) -> tuple[str, str | None]:
    """What to say where there is no file ``given``: a sentence, and a command that leads on."""
    folder = given.parent
    if not folder.is_dir():
        return f"There is no {given}: the folder {folder} does not exist.", None
    there = manifests_in(folder)
    close = difflib.get_close_matches(given.name, there, n=1)
    sentence = f"There is no {given.name} in {folder.resolve()}"
    if close:
        return f"{sentence}; did you mean {close[0]}?", _check(folder / close[0])
    if there:
        more = f" and {len(there) - _NAMED:,} more" if len(there) > _NAMED else ""
        return f"{sentence}, but {', '.join(there[:_NAMED])}{more}.", _check(folder / there[0])
    return f"{sentence}.", f"seedance-batch init {shlex.quote(str(_starter(given)))}"


def _check(path: Path) -> str:
    return f"seedance-batch check {shlex.quote(str(path))}"


def _starter(given: Path) -> Path:
    return given if given.suffix.casefold() in _STARTERS else given.with_name("shots.csv")
