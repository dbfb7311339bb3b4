"""Which machine may send for a batch that several can reach: one at a time, by a lease.

The lease is one small object in the store, and every change of it names the state that it
replaces, so that of two changes one fails. It has an epoch, which each new owner raises. Nobody
compares the clocks of two machines: an owner counts from the start of its own last renewal, and
who waits counts from when it saw the lease change last, each by a clock that never stops::

    owner    renews each 10 s · sends nothing once its last renewal began 30 s ago
    others   take over what they have seen unchanged for 90 s · or what was given back

A renewal reaches the store after it began, and is seen after that, so that the 90 s of others end
at least 60 s after the owner's 30: that is as long as a POST may last. A process that is stopped
between the check and its POST may still send it late. That POST has the key and the bytes that
the next owner's has for the row, so that the service makes one task of both; and no connection
that it could leave on outlives the 23 h in which that holds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds."""

    renew: float = 10.0
    """Between the starts of two renewals."""
    lapse: float = 30.0
    """After the start of the last renewal, from which on nothing is sent."""
    silence: float = 90.0
    """Without a change, after which others take over: `lapse` and the time of a POST."""


TIMES: Final = LeaseTimes()


@dataclass(frozen=True, slots=True)
class Lease:
    """What lies in the store."""

    epoch: int
    owner: str
    """Random; one process's, for one time that it holds the lease."""
    name: str
    """Who that is, for people."""
    home: str
    """The machine and the run folder, whose own lock tells whether a former owner there is dead."""
    at: float
    """The owner's wall clock at its last renewal, for people only."""
    beat: int = 0
    """Counts renewals, so that each has other bytes."""
    event: int = 0
    """The last event of the journal that a copy in the store knows."""
    free: bool = False
    """Whether the owner has given it back."""

    def to_bytes(self) -> bytes:
        """As it lies in the store."""
        return json.dumps({"version": 1, **asdict(self)}, indent=1).encode()


def lease_from(content: bytes) -> Lease:
    """What `Lease.to_bytes` has written. Raises ``ValueError`` for anything else."""
    try:
        found = json.loads(content)
        if found.pop("version") != 1:
            raise ValueError("it is of another version")
        return Lease(**found)
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no lease: {error}") from error


# ── The owner ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Tenure:
    """A lease that this process holds, as far as it knows."""

    lease: Lease
    state: str
    """Of the object in the store, for `Store.put_if`."""
    renewed_at: float
    """When the renewal began that is known to have reached the store, by this process's clock."""
    tried: Lease | None = None
    """A renewal that may have reached it, and when it began first."""
    tried_at: float = 0.0


def may_send(tenure: Tenure, now: float, times: LeaseTimes) -> bool:
    """Whether a POST may begin."""
    return 0 <= now - tenure.renewed_at < times.lapse


def renewal_at(tenure: Tenure, times: LeaseTimes) -> float:
    """When the next renewal is due."""
    return tenure.renewed_at + times.renew


def renewing(tenure: Tenure, now: float, wall: float, event: int) -> Tenure:
    """With the renewal to try. One whose answer was lost is tried again as it was: should it have
    arrived the first time, it counts from then."""
    if tenure.tried is not None:
        return tenure
    lease = replace(tenure.lease, beat=tenure.lease.beat + 1, at=wall, event=event)
    return replace(tenure, tried=lease, tried_at=now)


def renewed(tenure: Tenure, state: str) -> Tenure:
    """After what was tried has arrived."""
    return Tenure(tenure.tried or tenure.lease, state, tenure.tried_at)


def read_back(tenure: Tenure, found: Lease | None, state: str) -> Tenure | None:
    """After a renewal met another state than it knew, by what lies there; None where it is lost."""
    if found is None or (found.owner, found.epoch) != (tenure.lease.owner, tenure.lease.epoch):
        return None
    if found == tenure.tried:
        return renewed(tenure, state)
    return replace(tenure, lease=found, state=state, tried=None)


# ── Others ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Sighting:
    """A lease of somebody else's, and since when it has been seen as it is."""

    lease: Lease
    since: float
    changed: bool = False
    """Whether it changed while it was looked at: its owner is alive."""


def sighted(before: Sighting | None, lease: Lease, now: float) -> Sighting:
    """After another look; ``now`` is a time after its answer came."""
    if before is None:
        return Sighting(lease, now)
    return before if before.lease == lease else Sighting(lease, now, changed=True)


def may_take(seen: Sighting, home: str, now: float, times: LeaseTimes) -> bool:
    """Whether the lease may be taken over.

    At once where it was given back, and where its owner was at the same ``home``: who asks holds
    that folder's lock, so that the other is dead.
    """
    lease = seen.lease
    return lease.free or lease.home == home or now - seen.since >= times.silence


def successor(lease: Lease | None, owner: str, name: str, home: str, wall: float) -> Lease:
    """What the next owner puts in the place of a lease, or where there is none."""
    if lease is None:
        return Lease(1, owner, name, home, wall)
    return Lease(lease.epoch + 1, owner, name, home, wall, event=lease.event)


def given_back(tenure: Tenure, wall: float, event: int) -> Lease:
    """What an owner leaves that has ended in order."""
    lease = tenure.tried or tenure.lease
    return replace(lease, beat=lease.beat + 1, at=wall, event=event, free=True)
