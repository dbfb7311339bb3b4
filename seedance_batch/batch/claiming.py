"""Whose a run folder is: one API's and one manifest's; anybody else is refused."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from seedance_batch import journal as journals
from seedance_batch.errors import FolderMismatch
from seedance_batch.folder import RunFolder
from seedance_batch.journal import Journal
from seedance_batch.manifest import Manifest
from seedance_batch.reader.source import STDIN


def claim(journal: Journal, folder: RunFolder, manifest: Manifest, origin: str) -> None:
    """Make the folder this API's and this manifest's, unless it is another's."""
    check_claim(journal, folder, manifest, origin)
    if journal.meta("origin") != origin:
        facts = {"origin": origin, "manifest": manifest.path, "manifest_name": manifest.name}
        journal.write(journals.set_meta(facts))


def check_claim(journal: Journal, folder: RunFolder, manifest: Manifest, origin: str) -> None:
    """A run folder belongs to one API and one manifest; to no API before its first attempt."""
    known: dict[str, Any] = {name: journal.meta(name) for name in ("origin", "manifest")}
    if known["origin"] is None:
        return
    if known["origin"] != origin and journal.attempts():
        raise FolderMismatch(
            f"The run folder {folder.path} belongs to {known['origin']}, not to {origin}; a row "
            "paid for there is not known here. Nothing was sent.",
            hint=_elsewhere(manifest, folder),
        )
    if known["manifest"] != manifest.path and not continues(manifest, folder):
        raise FolderMismatch(
            f"The run folder {folder.path} belongs to the manifest {known['manifest']}. "
            "Nothing was sent.",
            hint=_elsewhere(manifest, folder),
        )


def check_table(journal: Journal, folder: RunFolder, manifest: Manifest) -> None:
    """Tables without a file share one folder where none is named: another table is refused.

    A table is another one when it lacks every row of the folder's.
    """
    if manifest.path != STDIN:
        return
    known = {row.key for row in journal.rows()}
    if known and known.isdisjoint(job.key for job in manifest.jobs):
        in_python = manifest.source.get("format") == "DataFrame"
        raise FolderMismatch(
            f"The run folder {folder.path} holds another table: it has none of these rows. Name a "
            "folder for this one. Nothing was sent.",
            hint='pass out="runs/NAME"'
            if in_python
            else f"seedance-batch run {STDIN} --out runs/NAME",
        )


def _elsewhere(manifest: Manifest, folder: RunFolder) -> str:
    return shlex.join(["seedance-batch", "run", manifest.path, "--out", f"{folder.path}-2"])


def continues(manifest: Manifest, folder: RunFolder) -> bool:
    """A results sheet of ours, fed back from its own folder."""
    return Path(manifest.path).resolve().parent == folder.path
