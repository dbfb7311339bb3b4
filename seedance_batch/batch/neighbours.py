"""Run folders beside this one, and what was bought in them. Looks only, and minds no damage."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from seedance_batch.folder import RunFolder
from seedance_batch.journal import connect_to_look
from seedance_batch.state import Phase


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A run folder in which some of the same orders were sent."""

    path: Path
    orders: int


def ids_in_neighbours(folder: RunFolder) -> set[str]:
    """Task ids that journals beside this one hold: they are other rows' clips."""
    query = "SELECT task_id FROM attempts WHERE task_id IS NOT NULL"
    return {str(row[0]) for _, rows in _asked(folder, query) for row in rows}


def bought_beside(folder: RunFolder, origin: str, contents: Collection[str]) -> Neighbour | None:
    """The neighbour of the same API that has sent most of these orders; None where none has any.

    A manifest that was renamed has another run folder, where each of its rows is new. An order
    that failed, or never was sent, is not worth going there.
    """
    query = (
        "SELECT DISTINCT content FROM attempts WHERE phase NOT IN (?, ?) "
        "AND (SELECT value FROM meta WHERE name = 'origin') = ?"
    )
    found = [
        Neighbour(path, sum(row[0] in contents for row in rows))
        for path, rows in _asked(folder, query, Phase.PLANNED, Phase.FAILED, origin)
    ]
    best = max(found, key=lambda each: each.orders, default=None)
    return best if best is not None and best.orders else None


def _asked(
    folder: RunFolder, query: str, *values: str
) -> Iterator[tuple[Path, list[tuple[object, ...]]]]:
    own = folder.path.resolve()
    for path in sorted(folder.path.parent.glob("*/journal.db")):
        if path.parent.is_symlink() or path.parent.resolve() == own:
            continue
        with contextlib.suppress(sqlite3.Error, OSError):
            with contextlib.closing(connect_to_look(path)) as other:
                yield path.parent, other.execute(query, values).fetchall()
