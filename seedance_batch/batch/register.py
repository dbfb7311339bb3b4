"""Remembers, for this user, which run folders have sent rows, and which saved plans were used.

A table from a pipe has no place of its own: the same one, piped in another working directory, has
another run folder. It holds paths and hashes, no prompts and no keys; without it nothing is lost
but a warning, so that whatever the disk refuses is let go.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from seedance_batch.folder import RunFolder

_LONGEST: Final = 256 * 1024
"""Bytes after which the oldest half is dropped."""
_MOST: Final = 100
"""Folders that are looked into, the latest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run folder that was about to send rows to an API, perhaps by a saved plan."""

    folder: str
    origin: str
    plan: str = ""


def note(folder: RunFolder, origin: str, plan: str = "") -> None:
    """Remember a run folder, before it sends anything."""
    entry = Entry(str(folder.path), origin, plan)
    with contextlib.suppress(OSError, ValueError):
        if entry in list(_entries()):
            return
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        _shorten(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{json.dumps(asdict(entry))}\n".encode())
        finally:
            os.close(descriptor)


def folders(origin: str) -> list[Path]:
    """Run folders that have sent rows to that API and are still there, the latest first."""
    found = dict.fromkeys(e.folder for e in reversed(list(_entries())) if e.origin == origin)
    return [Path(f) for f in found if RunFolder(Path(f)).exists()][:_MOST]


def used_in(plan: str) -> list[Path]:
    """The run folders that a saved plan was carried out in, as far as they are still there."""
    found = dict.fromkeys(e.folder for e in _entries() if plan and e.plan == plan)
    return [Path(f) for f in found if RunFolder(Path(f)).exists()]


def _entries() -> Iterator[Entry]:
    try:
        lines = _path().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            yield Entry(**json.loads(line))


def _shorten(path: Path) -> None:
    if path.exists() and path.stat().st_size > _LONGEST:
        from seedance_batch.publish import replacing

        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        with replacing(path) as temporary:
            temporary.write_text("".join(lines[len(lines) // 2 :]), encoding="utf-8")


def _path() -> Path:
    from platformdirs import user_state_path

    return user_state_path("seedance-batch", appauthor=False) / "run-folders.jsonl"
