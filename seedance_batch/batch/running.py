"""Runs a batch: orders from the plan, the runner, callbacks, sheets while it works and after."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import shlex
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anyio
import anyio.from_thread
import anyio.to_thread

from seedance_batch.api import callbacks
from seedance_batch.api.addresses import file_client, unpinned_note
from seedance_batch.api.callbacks import Hear, Receiver
from seedance_batch.api.client import Client
from seedance_batch.batch import ownership
from seedance_batch.batch.access import Site, shared_account
from seedance_batch.batch.batch import Batch
from seedance_batch.batch.orders import ClipNames, IntentMaker, orders_for, settled_intents
from seedance_batch.batch.sheets import put_away, put_up, rebuild, standing, write_closing
from seedance_batch.batch.summary import Report
from seedance_batch.batch.takeover import LeaseHolder
from seedance_batch.batch.takes import gone_from_disk, note_of_missing, set_aside
from seedance_batch.clips.download import fetching
from seedance_batch.clips.partial import sweep
from seedance_batch.clips.stills import PosterMaker
from seedance_batch.clips.transfer import Fetches
from seedance_batch.core.attempt import COMING_PHASES, UNDER_WAY_PHASES, Attempt, Clip, Phase
from seedance_batch.core.lifecycle import Doubted, Refetch, step
from seedance_batch.core.outcome import FAILED, Outcome, unfinished
from seedance_batch.core.overview import clip_bytes
from seedance_batch.core.steps import Action, Plan, Step, exit_of, fitting, left_over
from seedance_batch.core.text import span
from seedance_batch.errors import Exit, FolderUnusable, StorageFailed, StoreAway
from seedance_batch.events import (
    AttemptChanged,
    BytesArrived,
    Observer,
    Remark,
    RowSkipped,
    RunEvent,
    Stop,
)
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.records import Facts
from seedance_batch.run_folder import sweep_leftovers
from seedance_batch.runner.attempts import Attempts, Terms
from seedance_batch.runner.gate import Reins, Stopper, Tools, tools_for
from seedance_batch.runner.runner import RunEnding, Runner
from seedance_batch.runner.sharing import Account
from seedance_batch.settings import Access, RunSettings, check_callbacks

_SHEETS_EVERY = 8.0
"""Seconds between sheets while rows end; the promise is ten."""
_SHEETS_AFTER = 1.0
"""Seconds that a change waits for those that come with it: the first rows are sent meanwhile, and a
short run writes its sheets once."""
_WORKBOOKS_UP_TO = 1_000
"""Rows up to which the workbooks are written while a run goes on; 20,000 take ten seconds."""
_LIGHT_SHEETS = frozenset({"results.csv", "results.jsonl", "failed.csv", "summary.json"})
_ROOM = 256 * 1024 * 1024
"""Bytes of disk to keep free beside what tasks in flight will bring."""


async def run_batch(
    batch: Batch, plan: Plan, observer: Observer, *, signals: bool, reins: Reins | None = None
) -> Report:
    """Carry out a plan. ``signals``: the first Ctrl-C or SIGTERM ends it gently, the second now.

    ``reins`` is handed the switch with which others end it gently.
    Raises `StorageFailed` where the disk refuses; everything sent until then is recorded.
    """
    batch.remember(plan)
    if plan.new:
        journal = batch.journal
        if batch.settings.again and journal.lost_since is not None:
            journal.write(records.set_facts(Facts(log_lost_since=0.0)))
        if not batch.access.sandbox:
            ownership.note(batch.folder, batch.access.origin)
    _sweep(batch)
    run = _Run(batch, observer, reins, plan)
    attempts = settled_intents(batch.journal, plan, run.maker.key_fingerprint)
    await run.maker.mend_media(attempts, plan.jobs)
    done = [s.attempt for s in plan.steps if s.attempt and s.attempt.state.phase is Phase.DONE]
    gone = await anyio.to_thread.run_sync(gone_from_disk, batch.kept, done, time.time())
    attempts = _refetched(batch, attempts, gone, run.stopper.observer)
    under_way = {a.id for a in attempts if a.state.phase in UNDER_WAY_PHASES}
    if plan.new or under_way - plan.left_alone:
        with _open_in(batch.journal, len(plan.new) + len(under_way - plan.left_alone)):
            await batch.copy_to_store()  # before anything is sent
            ending = await run.carry_out(attempts, plan.new, signals=signals)
        now = batch.afterwards(plan)
    else:
        await batch.copy_to_store()
        ending, now = RunEnding(None, "", unsent=0), plan.steps
    return await _reported(run, ending, partial(_code_of_plan, plan), now)


@contextlib.contextmanager
def _open_in(journal: Journal, rows: int) -> Iterator[None]:
    """Note that a run is at work, in the journal's own file: it tells a copy without its log."""
    journal.settle()
    journal.write(records.set_facts(Facts(run_open=time.time(), run_rows=rows)))
    try:
        yield
    finally:
        with contextlib.suppress(StorageFailed):
            journal.write(records.set_facts(Facts(run_open=0.0)))


async def fetch_clips(
    site: Site,
    observer: Observer,
    lacking: Collection[int],
    *,
    signals: bool,
    reins: Reins | None = None,
) -> Report:
    """Bring the clips that attempts lack (`takes.lacking`); submits nothing, not even a resend.

    A file that stands where a lacking clip belongs is moved aside, never overwritten; a damaged
    download makes room for a better one.
    """
    refetched = _refetched(site, site.journal.attempts(), lacking, observer)
    _sweep(site)
    run = _Run(site, observer, reins)
    ending = await run.carry_out(refetched, (), signals=signals, settle=False)
    return await _reported(run, ending, _code_of_fetch)


def _refetched(
    site: Site, attempts: Sequence[Attempt], lacking: Collection[int], observer: Observer
) -> list[Attempt]:
    """All attempts, those that lack their clip on their way to it."""
    found = []
    for attempt in attempts:
        if attempt.id in lacking:
            if (note := set_aside(site.kept, attempt)) is not None:
                observer(Remark(note))
            state = step(attempt.state, Refetch())
            attempt = Attempt(attempt.id, attempt.intent, state)
            site.journal.write(records.save(attempt, at=time.time(), event="Refetch"))
        found.append(attempt)
    return found


def _sweep(site: Site) -> None:
    """Remove what a process that died left half written."""
    sweep(site.folder.path)
    sweep_leftovers(site.folder)


async def _reported(
    run: _Run,
    ending: RunEnding,
    code_of: Callable[[_Run, RunEnding, list[Outcome], Sequence[Step]], Exit],
    now: Sequence[Step] = (),
) -> Report:
    site = run.site
    found = standing(site.journal)
    code = _code_of_an_end(run, ending, found)
    if code is None:
        asked = await anyio.to_thread.run_sync(code_of, run, ending, found, now)
        code = max(asked, _STOPPED.get(ending.stop, Exit.OK))
    if (note := await anyio.to_thread.run_sync(note_of_missing, site.kept, found)) is not None:
        run.stopper.observer(Remark(note))
    try:
        written, page = await anyio.to_thread.run_sync(
            write_closing, site, int(code), run.stopper.observer
        )
    except OSError as error:
        raise StorageFailed(
            f"The sheets could not be written: {error}. Everything sent and fetched is recorded.",
            hint="free some space, then: seedance-batch results "
            f"{shlex.quote(str(site.folder.path))}",
        ) from error
    store = site.kept.store
    if store is not None and site.is_owned:
        why = await anyio.to_thread.run_sync(put_away, site, written, page)
        if why is not None:
            run.stopper.observer(Remark(f"{why}; the same command again goes on"))
            code = max(code, Exit.UNFINISHED)
    url = None if store is None else store.url
    return Report(code, ending, found, written, page, tuple(run.skipped), left_over(now), url)


class _Run:
    """One run in a run folder."""

    def __init__(
        self, site: Site, observer: Observer, reins: Reins | None, plan: Plan | None = None
    ) -> None:
        """Without a ``plan`` nothing new is sent, and nothing is left alone."""
        self.site = site
        self.signal: int | None = None
        self.skipped: list[RowSkipped] = []
        self._left_alone = plan.left_alone if plan else frozenset()
        self._only_settled = plan.taken_back - plan.left_alone if plan else frozenset()
        fit = fitting(plan, site.settings.max_cost) if plan else ()
        self._fitting = frozenset(step.key for step in fit)
        self.lost: set[str] = set()
        """Rows of which a paid clip was given up in this run."""
        self._moved = False  # whether anything was sent or fetched
        self._account: Account | None = None
        self._observer = observer
        self.stopper = Stopper(self._observe)
        if reins is not None:
            reins(self.stopper)
        self._hearing = Hearing(site.access)
        self.maker = IntentMaker(
            site.journal,
            api_key=site.access.api_key,
            storage=site.settings.storage,
            callback_url=lambda token: self._hearing.url_for_attempt(token),
            wall=time.time,
            offload=anyio.to_thread.run_sync,
            kept=site.kept,
            addresses_hold=not site.access.sandbox,
        )

    def _observe(self, event: RunEvent) -> None:
        if isinstance(event, RowSkipped):
            self.skipped.append(event)
        if self._account is not None:
            self._account.observe(event)
        if isinstance(event, AttemptChanged):
            self._moved |= event.attempt.state.phase is not Phase.PLANNED
            if event.attempt.state.phase in {Phase.EXPIRED, Phase.MEDIA_MISMATCH}:
                self.lost.add(event.attempt.intent.key)
            if event.attempt.state.phase is Phase.DONE and (clip := event.attempt.state.clip):
                self._posters.add(clip)
        self._observer(event)

    def _remark(self, words: str) -> None:
        self._observe(Remark(words))

    async def carry_out(
        self,
        attempts: Sequence[Attempt],
        steps: Sequence[Step],
        *,
        signals: bool,
        settle: bool = True,
    ) -> RunEnding:
        """Go on with these attempts, and buy these steps."""
        self._posters = PosterMaker(self.site.folder.path, self._put_clip_away)
        sharing = shared_account(
            self.site,
            rows=len(steps),
            key_fingerprint=self.maker.key_fingerprint,
            tell=self._remark,
        )
        with (
            hearing(self.site.settings, self.site.access) as self._hearing,
            contextlib.closing(self._posters),
            sharing as self._account,
        ):
            return await self._carry_out(attempts, steps, signals=signals, settle=settle)

    def _put_clip_away(self, clip: Clip) -> None:
        """What is in the store needs no room here. In the posters' thread."""
        if self.site.kept.store is not None:
            with contextlib.suppress(StoreAway):  # the end of the run sees to it
                self.site.kept.put_poster(clip)
                self.site.kept.let_go(clip)

    async def _carry_out(
        self, attempts: Sequence[Attempt], steps: Sequence[Step], *, signals: bool, settle: bool
    ) -> RunEnding:
        async with self._opened(attempts) as (tools, fetches), anyio.create_task_group() as group:
            await self._begin_beside(group, tools, signals=signals)
            runner = Runner(
                tools,
                fetches,
                self.site.settings,
                self._terms(tools.attempts),
                name_for=ClipNames(self.site, attempts),
                called_back=self._hearing.socket is not None,
            )
            async with self._hearing.listening(runner.hear):
                ending = await runner.run(
                    orders_for(steps, self.maker, tools.attempts, self._fitting), settle=settle
                )
            group.cancel_scope.cancel()
        return ending

    @contextlib.asynccontextmanager
    async def _opened(self, attempts: Sequence[Attempt]) -> AsyncIterator[tuple[Tools, Fetches]]:
        """What talks to the service, and what brings clips."""
        site, settings = self.site, self.site.settings
        allow_private = site.access.private_files
        if not allow_private and (note := unpinned_note()) is not None:
            self._remark(note)
        async with (
            Client(site.access.base_url, site.access.api_key) as client,
            file_client(allow_private=allow_private, lanes=settings.downloads) as files,
            fetching(
                site.kept,
                files,
                settings.dask,
                allow_private=allow_private,
                observe=lambda count: self._observe(BytesArrived(count)),
                tell=self._remark,
                secrets=(site.access.api_key, *site.access.webhook_keys),
            ) as fetches,
        ):
            tools = tools_for(
                client,
                site.journal,
                attempts,
                self.stopper,
                rpm=settings.requests_per_minute,
                wall=time.time,
                jitter=random.random,
                account=self._account,
            )
            yield tools, fetches

    def _terms(self, attempts: Attempts) -> Terms:
        return Terms(
            key_fingerprint=self.maker.key_fingerprint,
            body_of=self.maker.body_of,
            room=partial(self._has_room, attempts),
            left_alone=self._left_alone,
            only_settled=self._only_settled,
            may_send=self.site.may_send,
            lost_since=self.site.lost_since(),
        )

    def _has_room(self, attempts: Attempts) -> bool:
        """Whether the disk takes more clips; raises an error where waiting will not help."""
        try:
            free = shutil.disk_usage(self.site.folder.path).free
        except OSError:
            return True
        coming = attempts.in_phase(*UNDER_WAY_PHASES)
        if free <= _ROOM and not coming:
            sent = self._moved or attempts.in_phase(Phase.AMBIGUOUS)
            raise (StorageFailed if sent else FolderUnusable)(
                f"The disk of {self.site.folder.path} has {free >> 20} MB left, too little for "
                f"more clips. {'No more rows were' if sent else 'Nothing was'} sent.",
                hint="free some space, then run the same command again",
            )
        return free > _ROOM + sum(map(clip_bytes, coming))

    # ── beside the runner ───────────────────────────────────────────────────────────────────

    async def _begin_beside(
        self, group: anyio.abc.TaskGroup, tools: Tools, *, signals: bool
    ) -> None:
        if self.site.access.sandbox:  # it serves its files at another port each time
            for attempt in tools.attempts.in_phase(Phase.DOWNLOADING):
                doubted = Doubted("the sandbox was restarted")
                await tools.attempts.apply(attempt.id, doubted)
        if signals:
            await group.start(self._listen)
        if (owner := self.site.owner) is not None:
            owner.earlier_clock = tools.earlier_clock
            group.start_soon(_watch_lease, owner.lease, tools, lambda: owner.trouble)
        group.start_soon(self._keep_sheets_current, tools.attempts)

    async def _listen(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with ending_signals() as received:
            task_status.started()
            async for number in received:
                if self.signal is not None:
                    os._exit(128 + number)  # the journal is safe at any moment
                self.signal = number
                self.stopper.stop(
                    Stop.SIGNAL,
                    "interrupted; everything under way is recorded, a second signal quits at once",
                )

    async def _keep_sheets_current(self, attempts: Attempts) -> None:
        rows = len(self.site.journal.rows())
        only = None if rows <= _WORKBOOKS_UP_TO else _LIGHT_SHEETS
        write = partial(rebuild, self.site.folder, self.site.journal, only=only)
        while True:
            await attempts.changed()
            await anyio.sleep(_SHEETS_AFTER)
            started = time.monotonic()
            try:
                written = await anyio.to_thread.run_sync(write)
                for kept in written.kept:
                    self._remark(f"kept your edits in {kept}")
                if self.site.is_owned:
                    put = partial(put_up, self.site.kept, self.site.journal, written, None)
                    await anyio.to_thread.run_sync(put)
            except OSError as error:
                self._remark(f"the sheets could not be written: {error}")
            took = time.monotonic() - started
            await anyio.sleep(max(_SHEETS_EVERY - _SHEETS_AFTER - took, 2 * took))


def _code_of_an_end(run: _Run, ending: RunEnding, found: list[Outcome]) -> Exit | None:
    """The code of a run that a signal ended, or that met nobody of HiAPI's: 9, unless paid work
    waits for the right address."""
    if run.signal is not None:
        return code_of_signal(run.signal)
    if ending.stop is not Stop.ELSEWHERE:
        return None
    coming = any(a.state.phase in COMING_PHASES for o in found for a in o.attempts)
    return Exit.UNFINISHED if coming else Exit.UNREACHABLE


def _code_of_plan(
    plan: Plan, run: _Run, ending: RunEnding, found: list[Outcome], now: Sequence[Step]
) -> Exit:
    """0 only where every row of the plan is done as asked, and its clip is on disk."""
    chosen = {step.key for step in plan.steps}
    watched = {attempt.intent.key for attempt in plan.also_watched}
    held = {step.key for step in plan.steps if step.action is Action.BLOCKED}
    skipped = {event.key for event in run.skipped}
    left = left_over(now)
    codes = {
        unfinished(o for o in found if o.key in chosen | watched),
        exit_of(left, held=held | skipped, stopped=ending.stop is not None),
    }
    clips = [step.attempt for step in now if step.attempt is not None]
    lost = run.lost & chosen or held & {step.key for step in left}
    if lost or skipped or gone_from_disk(run.site.kept, clips):
        codes.add(Exit.SOME_FAILED)
    return max(codes)


def _code_of_fetch(run: _Run, ending: RunEnding, found: list[Outcome], now: Sequence[Step]) -> Exit:
    """0 where every paid clip is here; rows that were never sent are not its task."""
    lost = Exit.SOME_FAILED if run.lost else Exit.OK
    sent = [o for o in found if o.shown is not None]
    failed = Exit.SOME_FAILED if any(o.status in FAILED for o in sent) else Exit.OK
    return max(unfinished(sent), failed, lost)


_STOPPED: Final[Mapping[Stop | None, Exit]] = {
    Stop.ACCOUNT: Exit.ACCOUNT,
    Stop.OWNER: Exit.IN_USE,
    Stop.STORE: Exit.UNFINISHED,
    Stop.BUDGET: Exit.BUDGET,
    Stop.DAY_BUDGET: Exit.BUDGET,
    Stop.FAILURES: Exit.SOME_FAILED,
    Stop.WAIT: Exit.UNFINISHED,
    Stop.NOT_UNDERSTOOD: Exit.UNFINISHED,
}


# ── The lease of a run's batch, where it has a store ──────────────────────────────────────────────


_PATIENT: Final = 30
"""Times as long as a lease may go without renewal, after which a run ends that waits for its store:
a quarter of an hour."""
_LOOK: Final = 0.25
"""Seconds between two looks of a run at its lease; each POST asks for itself."""


async def _watch_lease(lease: LeaseHolder, tools: Tools, trouble: Callable[[], str | None]) -> None:
    """End a run once its batch is another machine's; say when nothing may be sent, and the first
    ``trouble`` with copies of the journal."""
    told, paused, waited = False, False, 0.0
    while lease.lost_to is None and waited < _PATIENT * lease.lapse:
        if not told and (why := trouble()) is not None:
            told = True
            tools.remark(f"another machine could not go on from here if this one were lost: {why}")
        if paused is not (lease.silent_for >= lease.lapse):
            paused = not paused
            words = "does not answer; nothing is sent until it does" if paused else "is back"
            tools.remark(f"the store {lease.url} {words}")
            tools.attempts.wake()
        await anyio.sleep(_LOOK)
        waited = waited + _LOOK if paused else 0.0  # while awake: a machine may have slept
    if lease.lost_to is not None:
        tools.stopper.stop(Stop.OWNER, lease.lost_to)
    else:
        words = f"the store {lease.url} has not answered for {span(lease.silent_for)}"
        tools.stopper.stop(Stop.STORE, words)


# ── The signals that end a run gently: Ctrl-C, a kill, a terminal or a session that closes ────────


_CODES: Final = {
    "SIGINT": Exit.INTERRUPTED,
    "SIGTERM": Exit.TERMINATED,
    "SIGHUP": Exit.HUNG_UP,
    "SIGBREAK": Exit.INTERRUPTED,  # Windows: Ctrl-Break, and a console that closes
}


def code_of_signal(number: int) -> Exit:
    """The exit code of a run that a signal has ended."""
    return _CODES[signal.Signals(number).name]


@contextlib.contextmanager
def ending_signals() -> Iterator[AsyncIterator[int]]:
    """Receive these signals in the main thread; afterwards each does what it did before.

    By ``signal.signal``, since asyncio has no handlers of its own on Windows.
    """
    loop = asyncio.get_running_loop()
    send, receive = anyio.create_memory_object_stream[int](math.inf)

    def tell(number: int, _frame: Any) -> None:
        loop.call_soon_threadsafe(send.send_nowait, number)

    with send, receive:
        former = {number: signal.signal(number, tell) for number in _wanted()}
        try:
            yield receive
        finally:
            for number, handler in former.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _wanted() -> list[signal.Signals]:
    """Those that this system has. Under nohup a closed terminal goes on to mean nothing."""
    found = [getattr(signal, name) for name in _CODES if hasattr(signal, name)]
    ignored = signal.SIG_IGN
    return [n for n in found if n.name != "SIGHUP" or signal.getsignal(n) is not ignored]


# ── The callback side of a run: where the service is told to call, and who listens there ──────────


@dataclass(frozen=True, slots=True)
class Hearing:
    """Addresses for creates, and a receiver where this run listens itself."""

    access: Access
    url: str | None = None
    socket: socket.socket | None = None

    def url_for_attempt(self, token: str) -> str | None:
        """The callback address of a new attempt; the person's own service gets no token."""
        if self.url is None or self.socket is None:
            return self.url
        return callbacks.attempt_url(self.url, token)

    @contextlib.asynccontextmanager
    async def listening(self, hear: Hear) -> AsyncIterator[None]:
        """Pass callbacks to ``hear`` for the length of a block."""
        if self.socket is None:
            yield
            return
        receiver = Receiver(
            hear,
            keys=self.access.webhook_keys,
            wall=time.time,
            allow_private=self.access.private_files,
        )
        async with callbacks.served(receiver, self.socket):
            yield


@contextlib.contextmanager
def hearing(settings: RunSettings, access: Access) -> Iterator[Hearing]:
    """The callback side that the flags ask for; its socket listens for the length of the block."""
    check_callbacks(settings, access)
    if settings.callback_bind is None:
        yield Hearing(access, settings.callback_url)
        return
    with callbacks.listen(settings.callback_bind) as sock:
        yield Hearing(access, settings.callback_url or callbacks.local_url(sock), sock)
