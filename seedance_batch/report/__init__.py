"""The review page: one ``report.html`` beside the clips, to look at all of them and choose.

Writes the page and the posters it lacks. Reads nothing but the clips: what it says comes from the
outcomes, what a person chooses stays in their browser until they export it (see `picks`).
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Final

from seedance_batch.outcome import Outcome
from seedance_batch.posters import poster, poster_name
from seedance_batch.publish import replacing
from seedance_batch.redact import redact
from seedance_batch.report.html import page_html
from seedance_batch.report.values import films, labels, page_rows, sums
from seedance_batch.state import Clip
from seedance_batch.tally import tally

__all__ = ["PAGE", "write_report"]

PAGE: Final = "report.html"


def write_report(
    folder: Path,
    columns: tuple[str, ...],
    outcomes: Sequence[Outcome],
    *,
    title: str,
    prices_note: str,
    refresh: float | None = None,
    folder_id: str = "",
) -> Path:
    """Write the review page of a run folder, whole or not at all, and say where it is.

    With ``refresh`` the page loads itself anew every so many seconds, for as long as a run goes
    on. ``folder_id`` keeps a person's marks with a run folder that is moved or renamed; without
    it they go by its path. Raises ``OSError`` where the disk refuses.
    """
    stills = _stills(folder, {clip.file: clip for clip in films(outcomes)})
    data = {
        "store": _store(folder, folder_id),
        "columns": columns,
        "rows": [asdict(row) for row in page_rows(columns, outcomes, stills)],
        "labels": labels(columns, outcomes),
        "folder": shlex.quote(_typed(folder)),
        "refresh": refresh,
    }
    words = {
        "title": redact(title),
        "sums": sums(tally(outcomes)),
        "prices": redact(prices_note),
    }
    page = page_html(data, words)
    path = folder / PAGE
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def _typed(folder: Path) -> str:
    """The folder as one types it where the command ran, for a page that is not opened as a file.

    Never more of the machine's paths than that: the page is sent around.
    """
    try:
        path = os.path.relpath(folder)
    except (ValueError, OSError):  # another drive; a working directory that is gone
        return folder.name
    return folder.name if path.startswith("..") else path


def _stills(folder: Path, clips: Mapping[str, Clip]) -> dict[str, str | None]:
    """Clip file → its poster, for the clips that are on disk."""
    present = {file: clip for file, clip in clips.items() if (folder / file).is_file()}
    # Decoding leaves the interpreter free, so that a few at once are faster.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        made = pool.map(lambda clip: poster(folder, clip), present.values())
        names = (poster_name(clip) for clip in present.values())
        return {
            file: name if path else None
            for file, name, path in zip(present, names, made, strict=True)
        }


def _store(folder: Path, folder_id: str) -> str:
    """Under which name a browser keeps the marks; tells nothing about the folder."""
    identity = folder_id or str(folder.resolve())
    digest = hashlib.sha256(f"review page\n{identity}".encode(errors="replace")).hexdigest()
    return f"seedance-batch/1/{digest[:16]}"  # 1: the form of what is kept there
