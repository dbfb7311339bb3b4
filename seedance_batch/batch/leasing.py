"""Holds a batch's lease in a store for this process, renewed by a thread of its own.

What may be done under it is `core.lease`'s; this asks the store and the clock.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from seedance_batch.core import lease as leases
from seedance_batch.core.lease import Lease, LeaseTimes, Tenure
from seedance_batch.core.text import clock_words, shown, span
from seedance_batch.errors import FolderInUse, StoreAway
from seedance_batch.objects import Store

LEASE_NAME: Final = "lease.json"
Tell = Callable[[str], None]


def steady_clock() -> float:
    """Seconds by a clock that goes on while the machine sleeps, where the system has one."""
    which = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if which is None else time.clock_gettime(which)


class LeaseHolder:
    """The lease of one batch, from `take` to `close`. Any thread may ask it.

    ``home`` names this machine and run folder, and nothing else: see `Lease.home`.
    """

    def __init__(
        self,
        store: Store,
        *,
        home: str,
        times: LeaseTimes | None = None,
        clock: Callable[[], float] = steady_clock,
        wall: Callable[[], float] = time.time,
    ) -> None:
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
        self._times = times or leases.TIMES
        self._clock = clock
        self._wall = wall
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
        return self._clock() - self._tenure.renewed_at if self._tenure else float("inf")

    @property
    def lapse(self) -> float:
        """Seconds after which that is too long for anything to be sent."""
        return self._times.lapse

    def may_send(self) -> bool:
        """Whether a POST may begin now."""
        tenure = self._tenure
        if tenure is None or self.lost_to is not None:
            return False
        return leases.may_send(tenure, self._clock(), self._times)

    def take(self, tell: Tell) -> None:
        """Wait until the lease is this process's, and keep it so until `close`.

        Raises `FolderInUse` once its owner is seen to live, and `StoreAway`.
        """
        seen, mine, asked_at, told = None, None, 0.0, False
        while True:
            found, state = self._look()
            now = self._clock()
            if mine is not None and found == mine:  # the answer to our own was lost
                break
            if found is not None:
                seen = leases.sighted(seen, found, now)
                if not leases.may_take(seen, self._home, now, self._times):
                    if seen.changed:
                        raise _in_use(found, self.url)
                    if not told:
                        tell(_waiting(found, self.url, self._times.silence))
                    told = True
                    time.sleep(self._times.renew / 5)
                    continue
            self.former = found
            name = f"process {os.getpid()} on {platform.node()}"
            mine = leases.successor(found, self.owner, name, self._home, self._wall())
            asked_at = self._clock()
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
            back = leases.given_back(self._tenure, self._wall(), self.event)
            with contextlib.suppress(StoreAway):
                self._store.put_if(LEASE_NAME, back.to_bytes(), self._tenure.state)

    def _look(self) -> tuple[Lease | None, str | None]:
        found = self._store.get(LEASE_NAME)
        if found is None:
            return None, None
        try:
            return leases.lease_from(found[0]), found[1].etag
        except ValueError as error:
            raise FolderInUse(
                f"{self._store.address(LEASE_NAME)} cannot be read ({error}), so that nobody knows "
                "which machine works on this batch. Nothing was sent.",
                hint="pip install --upgrade seedance-batch; or delete it once no run is at work",
            ) from error

    # ── the thread ──────────────────────────────────────────────────────────────────────────

    def _keep(self) -> None:
        while (tenure := self._tenure) is not None and self.lost_to is None:
            due = leases.renewal_at(tenure, self._times) - self._clock()
            if self._ended.wait(max(due, self._times.renew / 10)):
                return
            with contextlib.suppress(StoreAway):
                self._renew(tenure)

    def _renew(self, tenure: Tenure) -> None:
        self._tenure = tenure = leases.renewing(tenure, self._clock(), self._wall(), self.event)
        content = (tenure.tried or tenure.lease).to_bytes()
        state = self._store.put_if(LEASE_NAME, content, tenure.state)
        if state is not None:
            self._tenure = leases.renewed(tenure, state)
            return
        try:
            found, now = self._look()
        except FolderInUse as error:
            self.lost_to = error.message
            return
        kept = leases.read_back(tenure, found, now or "")
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
