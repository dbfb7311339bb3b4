"""The file name that a new clip takes: free on disk, in the journal and of those given before."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from seedance_batch import names
from seedance_batch.errors import UsageError
from seedance_batch.manifest import Job
from seedance_batch.state import Attempt, Kind

if TYPE_CHECKING:
    from seedance_batch.batch.batch import Site


def first_name(job: Job, pattern: str, kind: Kind) -> str:
    """The name of a row's first clip where nothing else has it."""
    inputs = {
        "model": job.model,
        "resolution": job.input.resolution.value,
        "duration": str(job.input.duration),
        "aspect_ratio": job.input.aspect_ratio.value,
    }
    columns = {**inputs, **job.row.cells}
    return names.clip_name(
        job.key, pattern=pattern, columns=columns, kind=kind, taken=lambda _: False
    )


def check_names(jobs: Iterable[Job], pattern: str, kind: Kind) -> None:
    """Raise `UsageError` where this system's locale cannot hold the name of a clip to come."""
    encoding = sys.getfilesystemencoding()
    if encoding.casefold().replace("-", "") == "utf8":  # it holds every name
        return
    for job in jobs:
        name = first_name(job, pattern, kind)
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            raise UsageError(
                f"The clip of row {job.key} would be {name}, and this system's locale ({encoding}) "
                "cannot hold that name. Nothing was sent.",
                hint="export PYTHONUTF8=1, then run the same command again",
            ) from None


class ClipNames:
    """Gives clips names that are free on disk and in the journal."""

    def __init__(self, site: Site, attempts: Iterable[Attempt]) -> None:
        from seedance_batch.download import files_on_disk

        self._pattern = site.settings.name
        self._columns = {row.key: row.cells for row in site.journal.rows()}
        self._taken = names.Taken(files_on_disk(site.folder.path))
        for attempt in attempts:
            if attempt.state.file:
                self._taken.add(attempt.state.file)

    def __call__(self, attempt: Attempt) -> str:
        intent = attempt.intent
        cells = self._columns.get(intent.key, {})
        columns = {**_input_columns(attempt), **cells}
        pattern = self._pattern if intent.key in self._columns else "{id}"
        name = names.clip_name(
            intent.key,
            pattern=pattern,
            columns=columns,
            kind=intent.kind,
            taken=self._taken,
            like_a_take=names.is_like_a_take(intent.key, self._columns),
        )
        self._taken.add(name)
        return name


def _input_columns(attempt: Attempt) -> dict[str, str]:
    intent = attempt.intent
    return {
        "model": intent.model,
        "resolution": intent.resolution,
        "duration": str(intent.duration),
        "aspect_ratio": intent.aspect_ratio,
    }
