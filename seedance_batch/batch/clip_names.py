"""The file name that a new clip takes: free on disk, in the journal and of those given before."""

from __future__ import annotations

from collections.abc import Iterable

from seedance_batch import names
from seedance_batch.batch.batch import Site
from seedance_batch.download import files_on_disk
from seedance_batch.state import Attempt


class ClipNames:
    """Gives clips names that are free on disk and in the journal."""

    def __init__(self, site: Site, attempts: Iterable[Attempt]) -> None:
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
            intent.key, pattern=pattern, columns=columns, kind=intent.kind, taken=self._taken
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
