"""Sheets and page from the journal: whole, current, never further behind than a few seconds."""

from __future__ import annotations

import contextlib
import errno
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

import anyio.from_thread

from seedance_batch.batch.access import Site, kept_clips, kept_prices
from seedance_batch.clips.kept import Hands, KeptClips
from seedance_batch.core.attempt import Attempt, Kind, Phase
from seedance_batch.core.manifest import SANDBOX_ORIGIN, folder_mark
from seedance_batch.core.model import Allow, TaskInput
from seedance_batch.core.outcome import Outcome, outcomes
from seedance_batch.core.pricing import Estimator, PriceTable, parse_pricing
from seedance_batch.core.text import redact
from seedance_batch.errors import FolderInUse, FolderUnusable, StorageFailed, StoreAway
from seedance_batch.events import Observer, PosterMade
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import look_into, open_journal
from seedance_batch.journal.records import Facts, KindFacts
from seedance_batch.page.page import PAGE, Offer, write_report
from seedance_batch.publish import sha256_of
from seedance_batch.run_folder import RunFolder, held, wal_is_safe
from seedance_batch.settings import DEFAULT_BASE_URL
from seedance_batch.writer.files import SHEETS, SheetSource, Written, write_sheets


def standing(journal: Journal) -> list[Outcome]:
    """How every row of a run folder stands, from its journal alone."""
    return outcomes(journal.rows(), journal.attempts())


def rebuild(
    folder: RunFolder,
    journal: Journal,
    *,
    exit_code: int | None = None,
    only: Collection[str] | None = None,
    columnar: bool = False,
) -> Written:
    """Write the sheets as the journal has it; see `SheetSource.columnar`."""
    facts, stamp = journal.facts(), _stamp(journal, exit_code)
    source = SheetSource(
        folder=folder.path,
        columns=facts.columns or (),
        outcomes=standing(journal),
        prices_note=facts.prices_note or "",
        written_hashes=journal.sheet_hashes(),
        manifest_name=facts.manifest_name or "",
        given_inputs=facts.given_inputs or (),
        delimiter=facts.delimiter or ",",
        columnar=columnar,
        exit_code=exit_code,
        store=facts.store,
        journal_mark=folder_mark(facts.folder_id or ""),
        announce=lambda hashes: journal.write(records.set_sheet_hashes(hashes)),
    )
    written = write_sheets(source, only=only)
    journal.write(records.set_sheet_hashes(written.hashes))
    if only is None:
        journal.write(records.set_facts(Facts(sheets_written_from=stamp)))
    return written


def current(folder: RunFolder, journal: Journal, exit_code: int) -> Written | None:
    """The sheets that lie there, where they and the page still say what the journal says."""
    if journal.facts().sheets_written_from != _stamp(journal, exit_code):
        return None
    if not all((folder.path / name).exists() for name in (*_ALWAYS, PAGE)):
        return None
    there = {name: folder.path / name for name in SHEETS if (folder.path / name).exists()}
    return Written(there, journal.sheet_hashes())


def _stamp(journal: Journal, exit_code: int | None) -> str:
    """What the sheets are made from, in short; equal stamps make equal sheets."""
    facts = journal.facts()
    given = None if facts.given_inputs is None else " ".join(facts.given_inputs)
    said = [facts.rows_digest, facts.prices_note, given, facts.manifest_name, facts.delimiter]
    said += [] if facts.store is None else [facts.store]
    return json.dumps([journal.last_event(), exit_code, *said])


def write_page(
    folder: RunFolder,
    journal: Journal,
    kept: KeptClips | None = None,
    *,
    refresh: float | None = None,
    made: Callable[[int, int], None] = lambda count, of: None,
    hands: Hands | None = None,
) -> Path:
    """Write the review page as the journal has it, also while another process holds the folder.

    ``kept`` are the folder's clips where they are open already. See `page.page.write_report`.
    """
    facts, found = journal.facts(), standing(journal)
    write = partial(
        write_report,
        kept or kept_clips(folder, journal),
        facts.columns or (),
        found,
        flags=folder_flags(facts),
        offers=offers_of(journal, found),
        title=facts.manifest_name or folder.path.name,
        prices_note=facts.prices_note or "",
        refresh=refresh,
        folder_id=facts.folder_id or "",
        made=made,
        hands=hands,
    )
    try:
        return write()
    except FileNotFoundError:  # a run that began just now swept it half written
        return write()


def put_up(
    kept: KeptClips,
    journal: Journal,
    written: Written | None,
    page: Path | None,
    *,
    record: bool = True,
) -> str | None:
    """Bring sheets and page to the folder's store; what to say where it does not take them.

    What was brought there before, and is as it was, is not sent again; ``record`` keeps that in
    the journal, where it may be written.
    """
    if kept.store is None:
        return None
    files = {} if written is None else {n: p for n, p in written.files.items() if p.name == n}
    files |= {} if page is None else {PAGE: page}
    there = dict(journal.facts().store_has or {})
    try:
        for name, path in files.items():
            digest = sha256_of(path)
            if there.get(name) != digest:
                kept.store.put(name, path)
                there[name] = digest
        if written is not None:  # a failed sheet is there only while a row needs a person
            for name in there.keys() - files.keys() - {PAGE} & set(SHEETS):
                if not (kept.folder / name).exists():
                    with contextlib.suppress(StoreAway):  # some may create, and not delete
                        kept.store.delete(name)
                    del there[name]
    except StoreAway as error:
        return f"sheets and page are not in the store yet: {error.message}"
    finally:
        if record and there != journal.facts().store_has:
            journal.write(records.set_facts(Facts(store_has=there)))
    return None


def write_closing(site: Site, code: int, observer: Observer) -> tuple[Written, Path]:
    """The sheets and the page; written anew only where there is anything new to say.

    In a worker thread; the observer is told on the loop, as by everything else.
    """

    def made(count: int, of: int) -> None:
        anyio.from_thread.run_sync(observer, PosterMade(count, of))

    there = current(site.folder, site.journal, code)
    if there is not None:
        return there, site.folder.path / PAGE
    written = rebuild(site.folder, site.journal, exit_code=code)
    return written, write_page(site.folder, site.journal, site.kept, made=made)


def put_away(site: Site, written: Written, page: Path) -> str | None:
    """Bring to the store what is not there yet, and remove clips from here that are; what to say
    where it does not answer."""
    clips = [a.state.clip for a in site.journal.attempts() if a.state.phase is Phase.DONE]
    try:
        for clip in filter(None, clips):
            if site.kept.has_copy(clip):
                site.kept.put_poster(clip)
                site.kept.let_go(clip)
    except StoreAway as error:
        return error.message
    return put_up(site.kept, site.journal, written, page)


def review_page(folder: RunFolder, journal: Journal, hands: Hands | None = None) -> Path:
    """The review page, written anew where the folder may be written; else the one that lies there.

    Raises ``OSError`` where there is none either.
    """
    try:
        return write_page(folder, journal, hands=hands)
    except OSError as error:
        page = folder.path / PAGE
        if error.errno not in _READ_ONLY or not page.is_file():
            raise
        return page


def watched_page(folder: RunFolder) -> Iterator[Path]:
    """Write the page again and again while another process runs the folder; yields it first once.

    The page reloads itself meanwhile. The last one, written when the run is over, does not.
    """
    shown = False
    while is_at_work(folder):
        with look_into(folder.journal) as journal:
            page = write_page(folder, journal, refresh=_EVERY)
        if not shown:
            yield page
        shown = True
        time.sleep(_EVERY)
    with look_into(folder.journal) as journal:
        page = write_page(folder, journal)
    if not shown:
        yield page


def is_at_work(folder: RunFolder) -> bool:
    """Whether another process holds the folder; in one that cannot be written, none does."""
    try:
        with held(folder, patient=False):
            return False
    except FolderInUse:
        return True
    except FolderUnusable:
        return False


def catch_up(folder: RunFolder) -> None:
    """Write the sheets if a run died before it did, unless another one is at work.

    A run that starts meanwhile waits for the end of it. Where nothing can be written they stay.
    """
    holding = held(folder, briefly=True, patient=False)
    with contextlib.suppress(FolderInUse, FolderUnusable, StorageFailed, OSError), holding:
        with open_journal(folder.journal, wal=wal_is_safe(folder.path)) as journal:
            written_at = json.loads(journal.facts().sheets_written_from or "[0]")[0]
            if written_at != journal.last_event():
                rebuild(folder, journal)


_EVERY: Final = 5.0
"""Seconds between two pages while somebody watches a run."""
_READ_ONLY: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ALWAYS: Final = ("results.csv", "results.jsonl", "summary.json")


# ── What a page's commands would make of each take, with which flags and at which price ───────────
# Prices are those of the kept price list: a page asks nobody. The plan has the last word.


_SENT = Allow(resolution_4k=True, mixed_references=True, blobs=True)
"""What was sent once was let through."""
_SET = "set "


def offers_of(journal: Journal, found: Iterable[Outcome]) -> dict[int, Offer]:
    """By attempt: what another take like it, and a final, would cost; and its flags."""
    estimator = Estimator(_prices(journal.facts().origin or DEFAULT_BASE_URL))
    facts = {kind: journal.facts_of(kind) for kind in Kind}
    return {
        attempt.id: _offer(outcome, attempt, estimator, facts[attempt.intent.kind])
        for outcome in found
        for attempt in outcome.attempts
    }


def folder_flags(facts: Facts) -> list[str]:
    """The flags without which a command on the run folder asks another API, or reads another
    table."""
    origin = facts.origin or DEFAULT_BASE_URL
    if origin == SANDBOX_ORIGIN:
        api = ["--sandbox"]
    else:
        api = [] if origin == DEFAULT_BASE_URL else ["--api-url", redact(origin)]
    return [*api, *map(redact, facts.reading or ())]


def _prices(origin: str) -> PriceTable | None:
    if origin != SANDBOX_ORIGIN:
        return kept_prices(origin)
    from seedance_batch.sandbox.engine import invented_prices

    return parse_pricing(invented_prices(), source="sandbox", dated=time.time(), sandbox=True)


def _words(flags: Mapping[str, str]) -> list[str]:
    """The flags that change what is sent, as one types them."""
    words: list[str] = []
    for name, value in sorted(flags.items()):
        if name.startswith(_SET):
            words += ["--set", redact(f"{name.removeprefix(_SET)}={value}")]
        else:
            words += [f"--{name.replace('_', '-')}", redact(value)]
    return words


def _offer(outcome: Outcome, take: Attempt, estimator: Estimator, facts: KindFacts) -> Offer:
    row = outcome.row
    size = {} if row is None else {"resolution": row.resolution, "duration": row.duration}
    final = _cost(estimator, take, row.model if row else take.intent.model, size)
    is_draft = take.intent.kind is Kind.DRAFT
    again = _cost(estimator, take, take.intent.model, {}) if is_draft else final
    return Offer(_words(facts.flags_of(take.intent)), _number(again), _number(final))


def _cost(
    estimator: Estimator, made: Attempt, model: str, changed: Mapping[str, object]
) -> Decimal | None:
    """The price of what was sent, with some of it changed; a draft's final may have sound."""
    try:
        sent = json.loads(made.intent.template)["input"] | changed
        sound = {"generate_audio": True} if changed else {}
        inputs = [TaskInput.model_validate(sent | more, context=_SENT) for more in ({}, sound)]
    except (ValueError, KeyError, TypeError):
        return made.intent.est_cost if not changed else None
    costs = [estimator.estimate(model, each).cost for each in inputs]
    known = [cost for cost in costs if cost is not None]
    return max(known) if len(known) == len(costs) else None


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
