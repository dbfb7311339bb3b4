"""``report``: the review page, written as a file or served."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedance_batch.cli import flags
from seedance_batch.cli.hints import command_again
from seedance_batch.errors import Exit, UsageError

if TYPE_CHECKING:
    from seedance_batch.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Looking(flags.Choosing, flags.Rehearsed, flags.Spread):
    """What ``report`` takes; what chooses rows is for ``--share``."""

    watch: bool = flags.option("--watch", help="Keep refreshing while a run is going on.")
    serve: bool = flags.option("--serve", help="Serve the page until Ctrl-C: clips appear.")
    shown: bool = flags.option("--open", help="Open the page in your browser.")
    port: int = flags.option(
        "--port", type=click.IntRange(0, 65535), default=0, help="Port of --serve; 0: a free one."
    )
    share: Path | None = flags.option(
        "--share", metavar="DIR|FILE.zip", help="Copy the page with chosen clips, for a client."
    )
    no_prompts: bool = flags.option("--no-prompts", help="Share no prompts.")
    costs: bool = flags.option("--costs", help="Share what the clips cost.")
    bind: str = flags.option(
        "--bind", metavar="ADDRESS", default="127.0.0.1", show_default=True,
        help="Where --serve listens; 0.0.0.0 lets your network in.",
    )  # fmt: skip


@flags.command(Looking, epilog="Example: seedance-batch report runs/shots --serve --open")
def report(given: Looking) -> int:
    """Write the review page of run FOLDER: one file to watch and choose clips.

    With --serve the page is served instead: clips appear as they arrive, also of a run in another
    terminal, and marks, stars and notes are saved in the run folder, for --from marks. --share
    makes a copy for a client, of the rows that --from, --where, --ids or --rows choose.
    """
    from seedance_batch.batch.access import kept_clips
    from seedance_batch.batch.sheets import put_up, review_page, watched_page
    from seedance_batch.journal.opening import look_into
    from seedance_batch.run_folder import folder_of

    if given.serve and given.watch:
        raise UsageError(
            "--serve shows what arrives by itself.", hint=command_again(without={"watch"})
        )
    folder = folder_of(given.folder, out=given.out, sandbox=given.sandbox)
    if given.share is not None:
        _share(folder, given.share, given)
        return Exit.OK
    if given.serve:
        with page_served(folder, given.bind, given.port) as address:
            _tell_page(address, given)
            click.echo("Ctrl-C ends it.", err=True)
            wait_for_an_end()
        return Exit.OK
    if given.watch:
        for path in watched_page(folder):
            _tell_page(path, given)
        return Exit.OK
    with look_into(folder.journal) as journal:
        kept = kept_clips(folder, journal)
        with flags.hands(given, kept) as hands:
            page = review_page(folder, journal, hands)
        _tell_page(page, given)
        not_put = put_up(kept, journal, None, page, record=False)
        if kept.store is not None:
            there = kept.store.address(page.name)
            click.echo(not_put or f"With its clips it is {there}; --serve plays them.", err=True)
    return Exit.OK if not_put is None else Exit.UNFINISHED


def _tell_page(page: Path | str, given: Looking) -> None:
    click.echo(page)
    if given.shown and click.launch(str(page)):
        click.echo("No browser could be started; open the page by hand.", err=True)


def _share(folder: RunFolder, target: Path, given: Looking) -> None:
    from seedance_batch.batch.sheets import standing
    from seedance_batch.batch.showing import ShareWish, shared_copy
    from seedance_batch.core.text import some
    from seedance_batch.journal.opening import look_into
    from seedance_batch.page.marks import picks_of

    with look_into(folder.journal) as journal:
        picks = None
        if given.picks is not None:
            picks = picks_of(given.picks, folder.path, lambda: standing(journal))
        wish = ShareWish(
            selection=flags.chosen_rows(given, picks, marks={"keep"}, page=None),
            prompts=not given.no_prompts,
            costs=given.costs,
        )
        count = shared_copy(folder, journal, target, wish)
    click.echo(target)
    click.echo(f"{some(count, 'clip')}; nothing else of the run folder.", err=True)


@contextlib.contextmanager
def page_served(folder: RunFolder, bind: str, port: int) -> Iterator[str]:
    """Serve a run folder's page for the length of a block, and say where it is.

    Raises `UsageError` where it cannot be served there.
    """
    from seedance_batch.batch.showing import Showing
    from seedance_batch.page.serving import is_loopback_bind, listening, serving

    show = Showing(folder)
    where = listening(bind, port)
    if not is_loopback_bind(bind):
        click.echo(
            "warning: --bind lets others in your network look and mark: whoever has this address, "
            "which is sent unencrypted.",
            err=True,
        )
    with serving(show, where):
        yield where.address


def wait_for_an_end() -> None:
    """Until SIGINT or SIGTERM; for the main thread."""
    ended = threading.Event()
    handlers = {
        number: signal.signal(number, lambda *_: ended.set())
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        if (number := getattr(signal, name, None)) is not None
        and signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        while not ended.wait(0.2):  # on Windows a wait without an end hears no Ctrl-C
            pass
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
