"""Run folders beside this one, and what was bought in them. Looks only, and minds no damage."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from seedance_batch.folder import RunFolder
from seedance_batch.state import Phase


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A run folder that holds clips of some of the same orders."""

    path: Path
    clips: int


def ids_in_neighbours(folder: RunFolder) -> set[str]:
    """Task ids that journals beside this one hold: they are other rows' clips."""
    query = "SELECT task_id FROM attempts WHERE task_id IS NOT NULL"
    return {str(row[0]) for _, rows in _asked(folder, query) for row in rows}


def bought_beside(folder: RunFolder, origin: str, contents: Collection[str]) -> Neighbour | None:
    """The neighbour of the same API with clips of most of these orders; None where none has any.

    A manifest that was renamed has another run folder, where each of its rows is new.
    """
    query = (
        "SELECT DISTINCT content FROM attempts WHERE phase = ? "
        "AND (SELECT value FROM meta WHERE name = 'origin') = ?"
    )
    found = [
        Neighbour(path, sum(row[0] in contents for row in rows))
        for path, rows in _asked(folder, query, Phase.DONE, origin)
    ]
    best = max(found, key=lambda each: each.clips, default=None)
    return best if best is not None and best.clips else None


def _asked(
    folder: RunFolder, query: str, *values: str
) -> Iterator[tuple[Path, list[tuple[object, ...]]]]:
    for path in sorted(folder.path.parent.glob("*/journal.db")):
        if path.parent == folder.path:
            continue
        with contextlib.suppress(sqlite3.Error):
            uri = f"{path.resolve().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as other:
                yield path.parent, other.execute(query, values).fetchall()
