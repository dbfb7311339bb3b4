"""Paid rows that are in flight while their manifest has problems: they are seen to their end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from seedance_batch.batch.batch import Site
from seedance_batch.batch.folders import open_folder
from seedance_batch.batch.opening import Source, at_home, folder_for, read_source
from seedance_batch.errors import SeedanceBatchError
from seedance_batch.journal import look_into
from seedance_batch.reader import ReadOptions
from seedance_batch.settings import RunSettings
from seedance_batch.state import COMING_PHASES


@contextlib.contextmanager
def open_unfinished(
    source: Source, options: ReadOptions, settings: RunSettings, environ: Mapping[str, str]
) -> Iterator[tuple[Site, int] | None]:
    """The run folder of a manifest that cannot be run, and how many paid rows are in flight there.

    None where there are none. Nothing is submitted by whoever opens it: no row of the manifest is
    read from here.
    """
    with contextlib.ExitStack() as stack:
        try:
            yield _entered(stack, source, options, settings, environ)
        finally:
            stack.close()


def _entered(
    stack: contextlib.ExitStack,
    source: Source,
    options: ReadOptions,
    settings: RunSettings,
    environ: Mapping[str, str],
) -> tuple[Site, int] | None:
    try:
        source, settings = at_home(source, settings)
        folder = folder_for(read_source(source, options), settings)
        if not folder.exists():
            return None
        with look_into(folder.journal) as journal:
            coming = sum(a.state.phase in COMING_PHASES for a in journal.attempts())
        if not coming:
            return None
        opened = stack.enter_context(open_folder(folder.path, settings))
        return stack.enter_context(opened.site(environ)), coming
    except SeedanceBatchError:
        return None  # the manifest's problems are what is told
