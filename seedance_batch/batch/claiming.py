"""Whose a run folder is: one API's and one manifest's; anybody else is refused."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path, PureWindowsPath
from typing import Any

from seedance_batch import journal as journals
from seedance_batch.errors import FolderMismatch
from seedance_batch.folder import RunFolder, default_folder
from seedance_batch.journal import Journal
from seedance_batch.manifest import Manifest
from seedance_batch.plan import draft_job
from seedance_batch.reader.source import STDIN


def claim(journal: Journal, folder: RunFolder, manifest: Manifest, origin: str) -> None:
    """Make the folder this API's and this manifest's, unless it is another's."""
    check_claim(journal, folder, manifest, origin)
    if journal.meta("origin") != origin:
        facts = {"origin": origin, "manifest": manifest.path, "manifest_name": manifest.name}
        journal.write(journals.set_meta(facts))


def check_claim(journal: Journal, folder: RunFolder, manifest: Manifest, origin: str) -> None:
    """A run folder belongs to one API and one manifest; to no API before its first attempt.

    Its manifest may lie elsewhere today, or be saved in another format: to send such a batch into
    a new folder would buy every row again.
    """
    known: dict[str, Any] = {name: journal.meta(name) for name in ("origin", "manifest")}
    if known["origin"] is None:
        return
    if known["origin"] != origin and journal.attempts():
        raise FolderMismatch(
            f"The run folder {folder.path} belongs to {known['origin']}, not to {origin}; a row "
            "paid for there is not known here. Nothing was sent.",
            free=_beside(folder),
            manifest=manifest.path,
        )
    if known["manifest"] == manifest.path or continues(manifest, folder):
        return
    if not _is_the_same(journal, folder, known["manifest"], manifest):
        raise FolderMismatch(
            f"The run folder {folder.path} belongs to the manifest {known['manifest']}, which asks "
            "for other clips. Nothing was sent.",
            free=_beside(folder),
            manifest=manifest.path,
        )


def _is_the_same(journal: Journal, folder: RunFolder, former: str, manifest: Manifest) -> bool:
    """Whether some row is the same order, as a draft or a final, or a row that was edited.

    Its id says the latter, but ids like 1, 2, 3 are everybody's: they tell only where nothing else
    speaks for another manifest. Flags of the command make other orders of the same rows, too.
    """
    rows = journal.rows()
    orders = {row.content for row in rows} | {a.intent.content for a in journal.attempts()}
    if any({job.content, draft_job(job).content} & orders for job in manifest.jobs):
        return True
    gone = former == STDIN or not os.path.exists(former)  # noqa: PTH110 - never raises
    at_home = any(
        default_folder(Path(manifest.path), sandbox=sandbox) == folder for sandbox in (False, True)
    )
    named = {row.key for row in rows} & {job.key for job in manifest.jobs}
    return bool(named) and (gone or at_home)


def manifest_of(folder: RunFolder, recorded: str) -> str:
    """Where a run folder's manifest is today: beside ``runs/``, also after both were moved."""
    name = PureWindowsPath(recorded).name if "\\" in recorded else Path(recorded).name
    beside = folder.path.parent.parent / name
    return str(beside) if folder.path.parent.name == "runs" and beside.is_file() else recorded


def check_table(journal: Journal, folder: RunFolder, manifest: Manifest) -> None:
    """Tables without a file share one folder where none is named: another table is refused.

    A table is another one when it lacks every row of the folder's.
    """
    if manifest.path != STDIN:
        return
    known = {row.key for row in journal.rows()}
    if known and known.isdisjoint(job.key for job in manifest.jobs):
        raise FolderMismatch(
            f"The run folder {folder.path} holds another table: it has none of these rows. Name a "
            "folder for this one. Nothing was sent.",
            free=_beside(folder),
        )


def _beside(folder: RunFolder) -> str:
    """A folder that nothing was run in."""
    numbers = (folder.path.with_name(f"{folder.path.name}-{number}") for number in count(2))
    return str(next(path for path in numbers if not path.exists()))


def continues(manifest: Manifest, folder: RunFolder) -> bool:
    """A results sheet of ours, fed back from its own folder."""
    return Path(manifest.path).resolve().parent == folder.path
