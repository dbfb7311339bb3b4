"""What is done to a run folder without its manifest: look, fetch, settle, rebuild, check."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from seedance_batch.batch.batch import Site
from seedance_batch.batch.rehearsal import sandbox
from seedance_batch.errors import FolderMismatch, FolderMissing
from seedance_batch.folder import RunFolder, folder_of, held, wal_is_safe
from seedance_batch.journal import Journal, open_journal
from seedance_batch.settings import SANDBOX_ORIGIN, Access, RunSettings, access_from


@dataclass(frozen=True, slots=True)
class Opened:
    """A run folder that this process holds."""

    folder: RunFolder
    journal: Journal
    settings: RunSettings

    @contextlib.contextmanager
    def site(self, environ: Mapping[str, str]) -> Iterator[Site]:
        """With the API that it belongs to.

        Raises `FolderMismatch` where another one is named, `FolderMissing` where it is nobody's.
        """
        origin = self.journal.meta("origin")
        if origin is None:
            raise FolderMissing(f"Nothing was run in the run folder {self.folder.path} yet.")
        with _access(origin, self, environ) as access:
            settings = replace(self.settings, sandbox=access.sandbox)
            yield Site(self.folder, self.journal, access, settings)


@contextlib.contextmanager
def open_folder(given: Path, settings: RunSettings) -> Iterator[Opened]:
    """Hold the run folder that ``M`` or ``D`` names. Raises `FolderMissing`, `FolderInUse`."""
    folder = folder_of(given, out=settings.out, sandbox=settings.sandbox)
    with held(folder), open_journal(folder.journal, wal=wal_is_safe(folder.path)) as journal:
        yield Opened(folder, journal, settings)


@contextlib.contextmanager
def _access(origin: str, opened: Opened, environ: Mapping[str, str]) -> Iterator[Access]:
    if origin == SANDBOX_ORIGIN:
        state = opened.folder.sandbox_state
        with sandbox(opened.settings.sandbox_config, state) as access:
            yield access
        return
    access = access_from(environ, opened.settings.api_url)
    if access.origin != origin:
        raise FolderMismatch(
            f"The run folder {opened.folder.path} belongs to {origin}, not to {access.origin}. "
            "Nothing was sent."
        )
    yield access
