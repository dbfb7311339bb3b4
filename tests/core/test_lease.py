"""One machine at a time may send, whoever is stopped, slow, cut off or mistaken about the time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedance_batch.core.account import (
    LEASE_TIMES,
    Lease,
    Sighting,
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

POST = LEASE_TIMES.silence - LEASE_TIMES.lapse
"""Seconds that a POST may last."""


@dataclass
class Bucket:
    """An object that is replaced only in the state that one knows."""

    content: bytes | None = None
    state: int = 0

    def put_if(self, content: bytes, state: int | None) -> int | None:
        if (self.state if self.content is not None else None) != state:
            return None
        self.content, self.state = content, self.state + 1
        return self.state


@dataclass
class Machine:
    """An owner or a waiting one. Its requests take their time, or get no answer; between any two
    of its steps it may be stopped for minutes."""

    name: str
    bucket: Bucket
    chance: random.Random
    offset: float
    """Of its clock, which starts anywhere."""
    tenure: Tenure | None = None
    seen: Sighting | None = None
    doing: list[tuple[float, str, object]] = field(default_factory=list)
    """What is under way: when it goes on, and with what."""
    wakes: float = 0.0
    life: int = 0
    took: tuple[Lease, float] | None = None

    def clock(self, now: float) -> float:
        return now + self.offset

    def sends(self, now: float) -> bool:
        return self.tenure is not None and may_send(self.tenure, self.clock(now), LEASE_TIMES)

    def step(self, now: float) -> None:
        """One step of its own thread; a slow request is a step later."""
        if now < self.wakes:
            return
        at = self.chance.random()
        if at < 0.03:
            self.wakes = now + self.chance.choice([5.0, 40.0, 120.0, 400.0])  # SIGSTOP
        elif at < 0.035:
            self.die()
        elif self.doing:
            self._go_on(now)
        elif self.tenure is not None:
            self._keep(now)
        else:
            self._ask(now)

    def die(self) -> None:
        """What it has sent to the bucket may still arrive."""
        self.tenure = self.seen = self.took = None
        self.doing = [each for each in self.doing if each[1] == "put"]
        self.life += 1

    def _slowly(self, now: float, what: str, with_what: object) -> None:
        slow = self.chance.choice([0.0, 0.0, 0.5, 3.0, 25.0])
        self.doing.append((now + slow, what, with_what))

    def _go_on(self, now: float) -> None:
        at, what, with_what = self.doing[0]
        if now < at:
            return
        self.doing.pop(0)
        if what == "put":
            lease, state = with_what  # type: ignore[misc]
            new = self.bucket.put_if(lease.to_bytes(), state)
            answered = self.chance.random() < 0.8
            self._slowly(now, "answer" if answered else "lost", (self.life, lease, new))
        elif what == "answer":
            self._answered(now, *with_what)  # type: ignore[misc]
        self.wakes = now if self.doing else now + 0.5

    def _answered(self, now: float, life: int, lease: Lease, new: int | None) -> None:
        if life != self.life:
            return
        if self.took is not None and lease == self.took[0]:
            if new is not None:
                self.tenure = Tenure(lease, str(new), self.took[1])
            self.took = None
        elif self.tenure is not None and new is not None:
            self.tenure = renewed(self.tenure, str(new))
        elif self.tenure is not None:
            self._read_back()

    def _read_back(self) -> None:
        assert self.tenure is not None
        found = lease_from(self.bucket.content) if self.bucket.content else None
        self.tenure = read_back(self.tenure, found, str(self.bucket.state))

    def _keep(self, now: float) -> None:
        assert self.tenure is not None
        clock = self.clock(now)
        if self.chance.random() < 0.002:
            back = given_back(self.tenure, now, 0)
            self.bucket.put_if(back.to_bytes(), int(self.tenure.state))
            self.die()
        elif clock >= renewal_at(self.tenure, LEASE_TIMES) or self.tenure.tried is not None:
            self.tenure = renewing(self.tenure, clock, now, 0)
            self._slowly(now, "put", (self.tenure.tried, int(self.tenure.state)))

    def _ask(self, now: float) -> None:
        self.wakes = now + 1.0
        if self.bucket.content is None:
            lease, state = None, None
        else:
            lease, state = lease_from(self.bucket.content), self.bucket.state
            if self.took is not None and lease == self.took[0]:  # its answer was lost
                self.tenure, self.took = Tenure(lease, str(state), self.took[1]), None
                return
            self.seen = sighted(self.seen, lease, self.clock(now))
            if not may_take(self.seen, f"{self.name}{self.life}", self.clock(now), LEASE_TIMES):
                return
        mine = successor(
            lease, f"{self.name}{self.life}{now}", self.name, f"{self.name}{self.life}", now
        )
        self.took = mine, self.clock(now)
        self._slowly(now, "put", (mine, state))


@settings(max_examples=15)
@given(seed=st.integers(0, 1 << 32), machines=st.integers(2, 3))
def test_no_two_may_send_and_a_post_of_the_former_owner_is_over_before(
    seed: int, machines: int
) -> None:
    chance, bucket = random.Random(seed), Bucket()
    found = [Machine(f"m{n}", bucket, chance, chance.uniform(-1e6, 1e6)) for n in range(machines)]
    last: dict[str, float] = {}
    now = 0.0
    while now < 900.0:
        for each in chance.sample(found, len(found)):
            each.step(now)
        senders = [each.name for each in found if each.sends(now)]
        assert len(senders) <= 1, now
        for name in senders:
            others = [at for other, at in last.items() if other != name]
            assert all(now - at >= POST for at in others if not _was_given_back(bucket)), now
            last[name] = now
        if _was_given_back(bucket):
            last.clear()
        now += chance.choice([0.25, 0.5, 1.0])


def _was_given_back(bucket: Bucket) -> bool:
    return bucket.content is not None and lease_from(bucket.content).free


LEASE = Lease(3, "owner", "process 7 on here", "here:/runs/a", 1000.0)


def test_a_stranger_waits_until_it_has_seen_no_change_for_ninety_seconds() -> None:
    seen = sighted(None, LEASE, 10.0)
    assert not may_take(seen, "there", 99.9, LEASE_TIMES)
    assert may_take(seen, "there", 100.0, LEASE_TIMES)
    again = sighted(seen, replace(LEASE, beat=1), 60.0)
    assert again.changed
    assert not may_take(again, "there", 149.9, LEASE_TIMES)


def test_whoever_holds_the_dead_owners_own_folder_need_not_wait() -> None:
    assert may_take(sighted(None, LEASE, 0.0), LEASE.home, 0.0, LEASE_TIMES)
    assert not may_take(sighted(None, LEASE, 0.0), "there", 0.0, LEASE_TIMES)


def test_what_was_given_back_is_anybodys_at_once_under_the_next_epoch() -> None:
    back = given_back(Tenure(LEASE, "1", 0.0), 1001.0, 12)
    assert may_take(sighted(None, back, 0.0), "there", 0.0, LEASE_TIMES)
    after = successor(back, "other", "process 8 on there", "there", 1002.0)
    assert (after.epoch, after.free, after.event) == (4, False, 12)


def test_an_owner_that_could_not_renew_for_thirty_seconds_sends_nothing_until_it_could() -> None:
    tenure = renewing(Tenure(LEASE, "1", 0.0), 10.0, 1010.0, 5)
    assert may_send(tenure, 29.9, LEASE_TIMES)
    assert not may_send(tenure, 30.0, LEASE_TIMES)
    assert not may_send(
        renewed(tenure, "2"), 40.0, LEASE_TIMES
    )  # it began 30 s ago, if it arrived then
    again = renewing(renewed(tenure, "2"), 40.0, 1040.0, 5)
    assert may_send(renewed(again, "3"), 41.0, LEASE_TIMES)


def test_an_owner_finds_its_own_renewal_whose_answer_was_lost_and_yields_to_anybody_elses() -> None:
    tenure = renewing(Tenure(LEASE, "1", 0.0), 10.0, 1010.0, 5)
    own = read_back(tenure, tenure.tried, "2")
    assert own is not None
    assert (own.renewed_at, own.state, own.lease.beat) == (10.0, "2", 1)
    assert read_back(tenure, successor(LEASE, "other", "it", "there", 0.0), "9") is None
    assert read_back(tenure, None, "") is None


def test_a_lease_is_read_as_it_was_written_and_nothing_else_is() -> None:
    assert lease_from(LEASE.to_bytes()) == LEASE
    for other in (b"", b"[]", b"{}", b'{"version": 2}', LEASE.to_bytes().replace(b"epoch", b"x")):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever is wrong with it
            lease_from(other)
