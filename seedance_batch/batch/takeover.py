"""A batch that outlives its machine: its identity and a copy of its journal lie in the store.

Whoever opens the batch holds its lease, takes the newest copy where this folder has none that is as
new, and uploads its own while it works. What a copy does not know is sent again with the same key
and bytes: both come from the identity, see DESIGN.md.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import platform
import secrets
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from seedance_batch.core.account import (
    LEASE_TIMES,
    Lease,
    LeaseTimes,
    Tenure,
    given_back,
    lease_from,
    may_send,
    may_take,
    read_back,
    renewal_at,
    renewed,
    renewing,
    sighted,
    successor,
)
from seedance_batch.core.text import clock_words, shown, span
from seedance_batch.errors import FolderInUse, FolderMismatch, StorageFailed, StoreAway
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import copy_journal, damaged, look_into, open_journal
from seedance_batch.journal.records import Facts
from seedance_batch.objects import Store, check_mounted, open_store, try_out
from seedance_batch.publish import TEMPORARY, fsync_file, fsync_folder, scratch_file
from seedance_batch.run_folder import COPY_PARTS, HOME_MARK, JOURNAL, RunFolder, wal_is_safe

Tell = Callable[[str], None]


def silent(words: str) -> None:
    """Tells nobody."""


# ── The lease of a batch, renewed by a thread of its own ──────────────────────────────────────────
# What may be done under it is `core.account`'s; this asks the store and the clock.


LEASE_NAME: Final = "lease.json"


def _steady_clock() -> float:
    """Seconds by a clock that goes on while the machine sleeps, where the system has one."""
    which = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if which is None else time.clock_gettime(which)


class LeaseHolder:
    """The lease of one batch, from `take` to `close`. Any thread may ask it.

    ``home`` names this machine and run folder, and nothing else: see `Lease.home`.
    """

    def __init__(self, store: Store, *, home: str, times: LeaseTimes | None = None) -> None:
        self.owner = secrets.token_hex(16)
        self.former: Lease | None = None
        """Whose it was before it was taken."""
        self.lost_to: str | None = None
        """Who has it now, in words, once it is not ours any more."""
        self.event = 0
        """The last event of the journal that a copy in the store knows."""
        self._store = store
        self.url = store.url
        self._home = home
        self._times = times or LEASE_TIMES
        self._tenure: Tenure | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def epoch(self) -> int:
        """How often the lease has changed hands; 0 before it is taken."""
        return self._tenure.lease.epoch if self._tenure else 0

    @property
    def silent_for(self) -> float:
        """Seconds since the start of the last renewal that reached the store."""
        return _steady_clock() - self._tenure.renewed_at if self._tenure else float("inf")

    @property
    def lapse(self) -> float:
        """Seconds after which that is too long for anything to be sent."""
        return self._times.lapse

    def may_send(self) -> bool:
        """Whether a POST may begin now."""
        tenure = self._tenure
        if tenure is None or self.lost_to is not None:
            return False
        return may_send(tenure, _steady_clock(), self._times)

    def take(self, tell: Tell) -> None:
        """Wait until the lease is this process's, and keep it so until `close`.

        Raises `FolderInUse` once its owner is seen to live, and `StoreAway`.
        """
        seen, mine, asked_at, told = None, None, 0.0, False
        while True:
            found, state = self._look()
            now = _steady_clock()
            if mine is not None and found == mine:  # the answer to our own was lost
                break
            if found is not None:
                seen = sighted(seen, found, now)
                if not may_take(seen, self._home, now, self._times):
                    if seen.changed:
                        raise _in_use(found, self.url)
                    if not told:
                        tell(_waiting(found, self.url, self._times.silence))
                    told = True
                    time.sleep(self._times.renew / 5)
                    continue
            self.former = found
            name = f"process {os.getpid()} on {platform.node()}"
            mine = successor(found, self.owner, name, self._home, time.time())
            asked_at = _steady_clock()
            state = self._store.put_if(LEASE_NAME, mine.to_bytes(), state)
            if state is not None:
                break
        self._tenure = Tenure(mine, state or "", asked_at)
        self.event = mine.event
        self._thread.start()

    def close(self) -> None:
        """Give it back, so that nobody has to wait; where the store is away they wait."""
        self._ended.set()
        if not self._thread.is_alive() or self._tenure is None:
            return
        self._thread.join()
        if self.lost_to is None:
            back = given_back(self._tenure, time.time(), self.event)
            with contextlib.suppress(StoreAway):
                self._store.put_if(LEASE_NAME, back.to_bytes(), self._tenure.state)

    def _look(self) -> tuple[Lease | None, str | None]:
        found = self._store.get(LEASE_NAME)
        if found is None:
            return None, None
        try:
            return lease_from(found[0]), found[1].etag
        except ValueError as error:
            raise FolderInUse(
                f"{self._store.address(LEASE_NAME)} cannot be read ({error}), so that nobody knows "
                "which machine works on this batch. Nothing was sent.",
                hint="pip install --upgrade seedance-batch; or delete it once no run is at work",
            ) from error

    # ── the thread ──────────────────────────────────────────────────────────────────────────

    def _keep(self) -> None:
        while (tenure := self._tenure) is not None and self.lost_to is None:
            due = renewal_at(tenure, self._times) - _steady_clock()
            if self._ended.wait(max(due, self._times.renew / 10)):
                return
            with contextlib.suppress(StoreAway):
                self._renew(tenure)

    def _renew(self, tenure: Tenure) -> None:
        self._tenure = tenure = renewing(tenure, _steady_clock(), time.time(), self.event)
        content = (tenure.tried or tenure.lease).to_bytes()
        state = self._store.put_if(LEASE_NAME, content, tenure.state)
        if state is not None:
            self._tenure = renewed(tenure, state)
            return
        try:
            found, now = self._look()
        except FolderInUse as error:
            self.lost_to = error.message
            return
        kept = read_back(tenure, found, now or "")
        if kept is None:
            self.lost_to = _taken_by(found, self.url)
        else:
            self._tenure = kept


def _taken_by(lease: Lease | None, url: str) -> str:
    if lease is None:
        return f"{url}/{LEASE_NAME} was deleted: another machine may be at work on this batch"
    return f"{shown(lease.name)} has taken over this batch in {url} at {clock_words(lease.at)}"


def _in_use(lease: Lease, url: str) -> FolderInUse:
    return FolderInUse(
        f"{shown(lease.name)} is working on this batch in {url}; nothing was sent.",
        hint="the same command, once that one has ended; it goes on from there",
    )


def _waiting(lease: Lease, url: str, silence: float) -> str:
    return (
        f"{shown(lease.name)} was at work on this batch in {url}, last at {clock_words(lease.at)} "
        f"by its clock. If it stays silent for {span(silence)}, this machine takes over."
    )


# ── Opening a batch that has a store ──────────────────────────────────────────────────────────────


FOLDER_NAME: Final = "folder.json"
COPIES: Final = "journal"
"""The folder of journal copies: one object for each epoch, so that an owner that was superseded
and does not know it yet overwrites nobody's."""
_EVERY: Final = 5.0
"""Seconds between two copies while the journal changes, at least."""
_SHARE: Final = 10
"""Times as long as a copy took, after which the next one begins at the earliest: 27 MB of 20,000
rows take a second."""
_KEPT: Final = 2
"""Copies of former epochs that stay."""
STORE_PATIENCE: Final = 15.0
"""Seconds for which one request is repeated; after that a clip waits for its turn."""
_QUICK: Final = 0.6
"""Share of the time between two renewals that one of them may take."""


@dataclass(frozen=True, slots=True)
class FolderIdentity:
    """What keys and callback tokens of a batch are derived from; see `core.manifest`."""

    folder_id: str
    salt: str
    made_at: float
    manifest: str
    """Its name, for people."""


@contextlib.contextmanager
def open_owned(
    folder: RunFolder, given: str | None, tell: Tell
) -> Iterator[tuple[Journal, Owner | None]]:
    """`open_journal`, and where a store was ``given`` or is the folder's, as the batch's owner.

    The caller holds the run folder's lock. Raises also `FolderInUse` where another machine is the
    owner, `FolderMismatch` where the store is another batch's, `StoreAway` and `StoreUnusable`.
    """
    here = _facts(folder)
    url = given or (here.store if here else None)
    if url is None:
        with _opened(folder) as journal:
            yield journal, None
        return
    if here is not None and here.store is not None:
        check_mounted(here.store)
    try:
        with _owned(folder, url, tell) as owned:
            yield owned
    except FolderMismatch:
        if here is None:  # what was brought is another batch's: this folder is still nobody's
            _remove_journal(folder)
        raise


@contextlib.contextmanager
def _owned(folder: RunFolder, url: str, tell: Tell) -> Iterator[tuple[Journal, Owner | None]]:
    with contextlib.ExitStack() as stack:
        store = open_store(url, patience=STORE_PATIENCE)
        try_out(store)
        soon = max(2.0, LEASE_TIMES.renew * _QUICK)
        quick = open_store(url, patience=soon, longest=soon)
        lease = LeaseHolder(quick, home=_home(folder))
        stack.callback(lease.close)
        lease.take(tell)
        for left in folder.path.glob(f"{COPY_PARTS}*"):
            left.unlink(missing_ok=True)
        identity = _identity(store)
        if identity is not None:
            _bring(store, folder, lease, identity, tell)
        journal = stack.enter_context(_opened(folder))
        journal.write(records.set_facts(Facts(lease_epoch=lease.epoch)))
        owner = Owner(folder, journal, store, lease, is_named=identity is not None)
        stack.callback(owner.close)
        yield journal, owner


def _remove_journal(folder: RunFolder) -> None:
    for path in folder.path.glob(f"{JOURNAL}*"):
        path.unlink()


def _opened(folder: RunFolder) -> Journal:
    return open_journal(folder.journal, wal=wal_is_safe(folder.path))


def _facts(folder: RunFolder) -> Facts | None:
    if not folder.exists():
        return None
    with look_into(folder.journal) as journal:
        return journal.facts()


def _home(folder: RunFolder) -> str:
    """This machine and this run folder, but no other one that had or will have its place."""
    path = folder.path / HOME_MARK
    mark = path.read_text(encoding="utf-8") if path.exists() else ""
    if not mark:
        mark = secrets.token_hex(16)
        path.write_text(mark, encoding="utf-8")
    return f"{platform.node()}:{folder.path}:{mark}"


def _bring(
    store: Store, folder: RunFolder, lease: LeaseHolder, identity: FolderIdentity, tell: Tell
) -> None:
    """Have the newest journal in the run folder, or one of the batch's identity."""
    newest, hashes = max(_copies(store), default=0), dict[str, str]()
    used = None
    if folder.exists():
        with look_into(folder.journal) as journal:
            facts, event, hashes = journal.facts(), journal.last_event(), journal.sheet_hashes()
            used = facts if facts.rows_digest is not None or journal.attempts() else None
        if used and used.folder_id != identity.folder_id:
            raise FolderMismatch(
                f"The store {store.url} belongs to another batch ({shown(identity.manifest)}) "
                f"than the run folder {folder.path}. Nothing was sent.",
            )
        if used and not _is_older(used, event, newest, lease):
            return
    with _fetched(store, folder, newest, identity) as copy:
        if used:
            aside = _set_aside(folder, used.lease_epoch or 0)
            tell(
                f"The journal in {folder.path} is older than the store's copy, which is used in "
                f"its place; it is kept as {aside.name}."
            )
        _remove_journal(folder)
        copy.replace(folder.journal)
        fsync_folder(folder.path)
    with _opened(folder) as journal:  # sheets that lie here are ours, and older; so may others be
        journal.write(records.set_sheet_hashes(hashes))
        journal.write(records.set_facts(Facts(sheets_written_from="[0]", store_has={})))
        if not used and (by := journal.facts().copied_by):
            tell(f"This batch's journal was taken over from {store.url}: the copy by {shown(by)}.")


@contextlib.contextmanager
def _fetched(
    store: Store, folder: RunFolder, epoch: int, identity: FolderIdentity
) -> Iterator[Path]:
    """The store's copy in a file that may be moved; where it has none, an empty journal of the
    batch's identity, which knows that any row may have been sent."""
    with _scratch(folder) as temporary:
        if epoch:
            _fetch_copy(store, epoch, temporary, identity)
        else:
            temporary.unlink()
            made = identity.made_at
            facts = Facts(
                identity.folder_id, identity.salt, made_at=made, log_lost_since=made, copied_by=""
            )
            with open_journal(temporary, wal=False) as journal:
                journal.write(records.set_facts(facts))
        fsync_file(temporary)
        yield temporary


def _is_older(facts: Facts, event: int, newest: int, lease: LeaseHolder) -> bool:
    """Whether another journal of this batch has gone on since this one was written last."""
    epoch, former = facts.lease_epoch or 0, lease.former
    if newest != epoch:
        return newest > epoch
    return former is not None and former.epoch == epoch and event < former.event


def _set_aside(folder: RunFolder, epoch: int) -> Path:
    with _opened(folder):
        pass  # its log moves into its file
    stem = f"journal of epoch {epoch}"
    names = (f"{stem}{f' ({n})' if n else ''}.db" for n in range(1000))
    aside = next(p for name in names if not (p := folder.path / name).exists())
    folder.journal.rename(aside)
    for rest in folder.path.glob(f"{JOURNAL}-*"):
        rest.unlink()
    return aside


def _fetch_copy(store: Store, epoch: int, path: Path, identity: FolderIdentity) -> None:
    name = _copy_name(epoch)
    packed = path.with_name(f"{path.name}.gz")
    try:
        if store.fetch(name, packed) is None:
            raise StoreAway(f"{store.address(name)} has just vanished; nothing was sent.")
        with gzip.open(packed) as source, path.open("wb") as to:
            shutil.copyfileobj(source, to)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(Path(store.address(name)), str(error)) from error
    finally:
        packed.unlink(missing_ok=True)
    with look_into(path) as journal:  # raises where it is damaged
        if journal.facts().folder_id != identity.folder_id:
            raise FolderMismatch(
                f"{store.address(name)} is the journal of another batch. Nothing was sent."
            )


def _identity(store: Store) -> FolderIdentity | None:
    found = store.get(FOLDER_NAME)
    if found is None:
        return None
    try:
        about = json.loads(found[0])
        if about.pop("version") != 1:
            raise ValueError("it is of another version")
        return FolderIdentity(**about)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FolderMismatch(
            f"{store.address(FOLDER_NAME)} is no identity of a batch that this version knows "
            f"({error}). Nothing was sent."
        ) from error


def _copy_name(epoch: int) -> str:
    return f"{COPIES}/{epoch:08}.db.gz"


def _copies(store: Store) -> list[int]:
    """The epochs of the copies in the store."""
    names = (each.name.rpartition("/")[2].partition(".")[0] for each in store.list(COPIES))
    return [int(name) for name in names if name.isdecimal()]


def _scratch(folder: RunFolder) -> contextlib.AbstractContextManager[Path]:
    """A file in the run folder for the length of a block; a death leaves it to the next owner."""
    return scratch_file(folder.path, prefix=COPY_PARTS, suffix=TEMPORARY)


# ── Looking only ──────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def look_owned(folder: RunFolder, url: str | None) -> Iterator[Journal]:
    """`look_into`, or the store's newest copy where a store was given and nothing is here yet."""
    with contextlib.ExitStack() as stack:
        path = folder.journal
        if url is not None and not folder.exists():
            store = open_store(url)
            identity, newest = _identity(store), max(_copies(store), default=0)
            if identity is not None:
                home = stack.enter_context(TemporaryDirectory(prefix="seedance-batch-"))
                fetched = _fetched(store, RunFolder(Path(home)), newest, identity)
                path = stack.enter_context(fetched)
        yield stack.enter_context(look_into(path))


# ── The owner, who uploads copies ─────────────────────────────────────────────────────────────────


class Owner:
    """This process as the owner of a batch in a store, until `close`."""

    def __init__(
        self,
        folder: RunFolder,
        journal: Journal,
        store: Store,
        lease: LeaseHolder,
        *,
        is_named: bool,
    ) -> None:
        """``is_named``: the store has the batch's identity. Before it has, nothing is copied
        unasked: nobody may have agreed to anything yet."""
        self.lease = lease
        self.trouble: str | None = None
        """Why the last copy could not be made."""
        self.earlier_clock: Callable[[], float] = time.time
        """Unix seconds, by the earlier one of the clocks that are known."""
        self._folder = folder
        self._journal = journal
        self._store = store
        self._is_named = is_named
        self._tidied = False
        former = lease.former
        is_known = former is not None and former.event == journal.last_event()
        self._copied = journal.commits if is_known else -1
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._keep_copied, name="journal copies", daemon=True
        )
        self._thread.start()

    def copy(self) -> None:
        """Have a copy of the journal as it is now in the store, and the batch's identity.

        Before anything is sent: whoever takes over later knows that something may have been.
        Raises `StoreAway`, and `StorageFailed` where this disk has no room for the copy.
        """
        with self._one_at_a_time:
            self._copy()

    def close(self) -> None:
        """Upload what has changed since the last copy, unless another machine is the owner now."""
        self._ended.set()
        self._thread.join()
        is_away = self.lease.silent_for >= self.lease.lapse
        if self._is_named and self._journal.commits != self._copied and not is_away:
            with contextlib.suppress(StoreAway, StorageFailed):
                self.copy()

    def _keep_copied(self) -> None:
        pause = _EVERY
        while not self._ended.wait(pause):
            pause = min(1.0, _EVERY)
            if self._journal.commits == self._copied or not self._is_named:
                continue
            begun = time.monotonic()
            try:
                self.copy()
                self.trouble = None
            except (StoreAway, StorageFailed) as error:
                self.trouble = error.message
            pause = max(_EVERY, _SHARE * (time.monotonic() - begun))

    def _copy(self) -> None:
        if self.lease.lost_to is not None:
            return
        commits, at = self._journal.commits, self.earlier_clock()
        by = f"process {os.getpid()} on {platform.node()}"
        try:
            with _scratch(self._folder) as plain, _scratch(self._folder) as packed:
                event = copy_journal(self._folder.journal, plain, at=at, by=by)
                with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as to:
                    shutil.copyfileobj(source, to)
                self._store.put(_copy_name(self.lease.epoch), packed)
        except OSError as error:
            raise StorageFailed(
                f"The journal cannot be copied for the store: {error}.",
                hint="free some space, then run the same command again",
            ) from error
        if not self._is_named:
            self._name_the_batch()
        if not self._tidied:
            self._tidy()
        self._copied, self.lease.event = commits, event

    def _name_the_batch(self) -> None:
        """After the first copy: an identity without one means that copies were removed."""
        facts = self._journal.facts()
        identity = FolderIdentity(
            facts.folder_id or "", facts.salt or "", facts.made_at or 0.0, facts.manifest_name or ""
        )
        content = json.dumps({"version": 1, **asdict(identity)}, indent=1).encode()
        put = self._store.put_if(FOLDER_NAME, content, None)
        known = _identity(self._store) if put is None else identity
        if known is None or known.folder_id != identity.folder_id:
            raise FolderMismatch(
                f"The store {self._store.url} has become another batch's meanwhile. "
                "Nothing was sent."
            )
        self._is_named = True

    def _tidy(self) -> None:
        """Remove copies of former epochs but the last ones, once, where that is allowed."""
        self._tidied = True
        with contextlib.suppress(StoreAway):
            for epoch in sorted(_copies(self._store))[: -1 - _KEPT]:
                if epoch < self.lease.epoch:
                    self._store.delete(_copy_name(epoch))
