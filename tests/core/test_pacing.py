"""Pacing: one budget, slots found out from refusals, retries that calm down, looks that pay."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.pace import (
    BURST,
    SLOW_START,
    WINDOW,
    Breaker,
    RequestBudget,
    RetryBudget,
    Slots,
    backoff,
    is_rate_refusal,
)
from seedance_batch.core.polling import Demand, Flight, Looks, Places, Spans

SIZE = ("480p", 4)


# ── the budget ──────────────────────────────────────────────────────────────────────────────────


def sent_at(budget: RequestBudget, wishes: list[float]) -> list[float]:
    """When requests start that would each like to start so long after the one before."""
    now, started = 0.0, []
    for wish in wishes:
        now += wish
        now = budget.next_at(now)
        budget.spend(now)
        started.append(now)
    return started


@given(
    rpm=st.floats(1, 300),
    wishes=st.lists(st.one_of(st.just(0.0), st.floats(0, 90)), min_size=1, max_size=400),
)
def test_whatever_is_wanted_never_more_than_r_requests_start_in_any_60_s(
    rpm: float, wishes: list[float]
) -> None:
    started = sent_at(RequestBudget(rpm), wishes)
    limit = max(1, int(rpm))
    assert all(b - a > WINDOW for a, b in zip(started, started[limit:], strict=False))


@given(
    rpm=st.floats(1, 300),
    wishes=st.lists(st.one_of(st.just(0.0), st.floats(0, 90)), min_size=1, max_size=200),
)
def test_requests_are_60_over_r_apart_with_a_burst_of_at_most_four(
    rpm: float, wishes: list[float]
) -> None:
    started = sent_at(RequestBudget(rpm), wishes)
    for apart in range(1, len(started)):
        even = (apart + 1 - BURST) * 60 / rpm
        assert all(b - a >= even - 1e-6 for a, b in zip(started, started[apart:], strict=False))


def test_after_a_pause_four_requests_go_at_once_and_then_one_a_second() -> None:
    budget = RequestBudget(60)
    assert sent_at(budget, [100.0, 0, 0, 0, 0, 0]) == [100.0, 100.0, 100.0, 100.0, 101.0, 102.0]


def test_nothing_starts_before_the_time_that_the_server_asked_for() -> None:
    budget = RequestBudget(60)
    budget.hold(17.0)
    budget.hold(5.0)
    assert budget.next_at(3.0) == 17.0
    assert budget.next_at(20.0) == 20.0


def test_a_lower_limit_of_the_server_becomes_ours_and_a_higher_one_does_not() -> None:
    budget = RequestBudget(60)
    for limit in (None, 0, 600, 30, 45):
        budget.told(limit, None, None, now=0.0)
    assert budget.limit == 30


@pytest.mark.parametrize(
    ("sent", "remaining", "reset_in", "next_at"),
    [
        (10, 0, 12.0, 12.0),  # somebody else used the rest
        (60, 0, 12.0, 60.25),  # we did, and know better when there is room again
        (10, 0, None, 6.0),
        (10, 5, 12.0, 6.0),
        (10, 0, -3.0, 6.0),
        (10, 0, 9999.0, 60.0),
    ],
)
def test_the_servers_reset_is_waited_for_where_others_share_the_account(
    sent: int, remaining: int, reset_in: float | None, next_at: float
) -> None:
    budget = RequestBudget(60)
    for _ in range(sent):
        budget.spend(0.0)
    budget.due = 9.0
    budget.told(60, remaining, reset_in, now=0.0)
    assert budget.next_at(0.0) == pytest.approx(next_at)


def test_requests_older_than_a_minute_count_no_more() -> None:
    budget = RequestBudget(60)
    sent_at(budget, [0.0, 10.0, 20.0])
    assert budget.count(69.0) == 2
    assert budget.count(500.0) == 0


@pytest.mark.parametrize(
    ("sent", "remaining", "again", "about_rate"),
    [
        (60, 12, False, False),  # requests are left: it was the tasks
        (31, 0, False, True),  # none are left, and we did not use them
        (60, 0, False, True),  # we used them all: both may be meant, the rate is believed first
        (60, 0, True, False),
        (58, None, False, True),
        (58, None, True, False),
        (20, None, False, False),  # far from full
    ],
)
def test_a_429_is_about_rate_or_about_tasks_by_headers_and_our_own_count(
    sent: int, remaining: int | None, again: bool, about_rate: bool
) -> None:
    assert is_rate_refusal(sent, 60, remaining, again=again) is about_rate


# ── slots ───────────────────────────────────────────────────────────────────────────────────────


class Server:
    """A cap on tasks, and a client that fills its slots as they allow."""

    def __init__(self, slots: Slots, cap: int) -> None:
        self.slots, self.cap, self.in_flight, self.refusals = slots, cap, 0, 0

    def fill(self, now: float, tries: int = 1000) -> None:
        for _ in range(tries):
            if self.in_flight >= self.slots.allowed(now):
                return
            if self.in_flight < self.cap:
                self.in_flight += 1
                self.slots.accepted(self.in_flight)
            else:
                self.refusals += 1
                self.slots.refused(self.in_flight, now, generation=130.0)


def test_slots_start_at_four_and_grow_by_one_for_each_accepted_create() -> None:
    slots = Slots(None)
    allowed = [slots.allowed(0.0)]
    for in_flight in range(1, 8):
        slots.accepted(in_flight)
        allowed.append(slots.allowed(0.0))
    assert allowed == [SLOW_START, 5, 6, 7, 8, 9, 10, 11]


def test_a_persons_ceiling_is_never_passed() -> None:
    for ceiling in (1, 2, 10):
        server = Server(Slots(ceiling), cap=100)
        for now in range(0, 1000, 10):
            server.fill(float(now))
        assert (server.in_flight, server.refusals) == (ceiling, 0)


@pytest.mark.parametrize("cap", [1, 3, 10, 50])
def test_one_refusal_tells_the_cap_and_a_probe_a_generation_is_all_that_follows(cap: int) -> None:
    server = Server(Slots(None), cap)
    for now in range(0, 1300, 5):
        server.fill(float(now))
        assert server.in_flight == cap
    assert server.refusals == 1 + 1300 // 130 - (1300 % 130 == 0)


def test_a_cap_that_rose_is_found_by_the_next_probe() -> None:
    server = Server(Slots(None), cap=10)
    server.fill(0.0)
    server.cap = 50
    server.fill(129.0)
    assert server.in_flight == 10
    server.fill(131.0)
    assert (server.in_flight, server.refusals) == (50, 2)


def test_a_cap_that_fell_is_found_with_few_refusals_as_tasks_end() -> None:
    server = Server(Slots(None), cap=50)
    server.fill(0.0)
    server.cap, server.refusals = 10, 0
    for now in range(1, 41):  # forty tasks end, one by one, and none may be replaced
        server.in_flight -= 1
        server.fill(float(now), tries=1)
    assert server.refusals <= 8
    for now in range(41, 400, 13):  # and from then on the slots are as full as they go
        server.in_flight -= 1
        server.fill(float(now))
    assert server.in_flight == 10


def test_creates_wait_as_long_as_a_refusal_asks() -> None:
    slots = Slots(None)
    slots.refused(6, now=100.0, generation=130.0, pause=20.0)
    assert slots.allowed(119.0) == 0
    assert slots.allowed(120.0) == 6
    assert [slots.next_change(now) for now in (100.0, 120.0)] == [120.0, 230.0]
    assert slots.next_change(231.0) == float("inf")
    assert Slots(None).next_change(0.0) == float("inf")


def test_with_nothing_in_flight_one_task_is_still_tried() -> None:
    slots = Slots(None)
    slots.refused(0, now=0.0, generation=130.0)
    assert slots.allowed(0.0) == 1


def test_refusals_of_creates_that_were_under_way_together_tell_the_cap_once() -> None:
    slots = Slots(None)
    for _ in range(4):
        slots.refused(10, now=0.0, generation=130.0)
    assert slots.allowed(0.0) == 10


# ── retries ─────────────────────────────────────────────────────────────────────────────────────


@given(tries=st.integers(0, 2000), jitter=st.floats(0, 1, exclude_max=True))
def test_backoff_is_jittered_and_never_longer_than_a_minute(tries: int, jitter: float) -> None:
    full = min(60.0, 2.0 ** min(tries, 10))
    assert 0.1 * full <= backoff(tries, jitter) <= full


def test_a_run_may_try_again_a_share_of_what_it_tried_first_and_then_one_every_five_seconds() -> (
    None
):
    budget = RetryBudget()
    assert [budget.wait(0.0) for _ in range(12)] == [0.0] * 10 + [5.0, 10.0]
    for _ in range(20):
        budget.first_try()
    assert [budget.wait(0.0) for _ in range(5)] == pytest.approx([0.0] * 4 + [5.0])


def test_a_retry_budget_refills_in_time_up_to_its_reserve() -> None:
    budget = RetryBudget()
    for _ in range(10):
        budget.wait(0.0)
    assert budget.wait(5.0) == 0.0
    assert [budget.wait(1e6) for _ in range(11)] == [0.0] * 10 + [5.0]


def test_the_breaker_opens_after_five_failures_and_lets_single_probes_through() -> None:
    breaker = Breaker()
    for _ in range(5):
        assert breaker.next_at(0.0) == 0.0
        breaker.sent(0.0)
        breaker.heard(0.0, 0.5, good=False)
    assert breaker.open
    at = breaker.next_at(0.0)
    assert 0.5 <= at <= 5.0
    breaker.sent(at)
    assert breaker.next_at(at) > at + 60  # until its answer is there, no second probe goes
    breaker.heard(at + 1, 0.5, good=True)
    assert not breaker.open
    assert breaker.next_at(at + 1) == at + 1


def test_ten_minutes_of_failures_see_few_probes_ever_further_apart() -> None:
    breaker, now, probes = Breaker(), 0.0, 0
    while now < 600:
        now = breaker.next_at(now)
        breaker.sent(now)
        breaker.heard(now, 0.99, good=False)
        probes += 1
    assert probes <= 22


# ── how long generations take ───────────────────────────────────────────────────────────────────


def test_what_is_learned_is_where_endings_are_expected() -> None:
    spans = Spans()
    for seconds in (125.0, 130.0, 135.0) * 10:
        spans.learned(seconds)
    assert spans.typical() == 130.0
    assert spans.waited(0.0, 60.0) < 2.5  # nothing is likely to be over yet
    assert spans.waited(0.0, 200.0) == pytest.approx(70.0, abs=8.0)
    assert spans.waited(250.0, 251.0) < spans.waited(128.0, 129.0)


@given(
    learned=st.lists(st.floats(0, 1e6), max_size=80),
    then=st.floats(0, 1e5),
    later=st.lists(st.floats(0, 1e5), min_size=2, max_size=5),
)
def test_the_longer_one_waits_the_more_is_likely_over_and_never_longer_than_one_waited(
    learned: list[float], then: float, later: list[float]
) -> None:
    spans = Spans()
    for seconds in learned:
        spans.learned(seconds)
    passed = sorted(later)
    waited = [spans.waited(then, then + each) for each in passed]
    assert all(a <= b + 1e-6 for a, b in pairwise(waited))
    assert all(-1e-6 <= w <= p + 1e-6 for w, p in zip(waited, passed, strict=True))


# ── looks ───────────────────────────────────────────────────────────────────────────────────────


def flying(count: int, accepted: float = 0.0, seen: float | None = None) -> list[Flight]:
    return [Flight(accepted, SIZE, accepted if seen is None else seen)] * count


def learned(looks: Looks, seconds: float = 130.0, times: int = 30, told: bool = False) -> Looks:
    for number in range(times):
        looks.learned(SIZE, seconds + number % 7 - 3, told=told)
    return looks


def due(looks: Looks, now: float, flights: list[Flight], looked: float, demand: Demand) -> float:
    look = looks.next(now, {1: flights}, {1: looked}, spacing=1.0, demand=demand)
    assert look is not None
    return look.at


def test_with_nothing_in_flight_there_is_nothing_to_look_at() -> None:
    empty: dict[int, list[Flight]] = {}
    assert Looks(2.0).next(0.0, empty, {}, spacing=1.0, demand=Demand.NOTHING) is None


def test_a_generation_is_assumed_to_take_a_minute_until_one_was_measured() -> None:
    looks = Looks(2.0)
    assert looks.typical() == 60.0
    looks.learned(SIZE, 130.0)
    assert looks.typical() == 130.0


def test_looks_are_never_closer_together_than_the_poll_interval() -> None:
    looks = learned(Looks(7.0))
    for demand in Demand:
        assert due(looks, 130.0, flying(10, seen=129.0), 129.0, demand) >= 136.0


def test_looks_wait_while_nothing_can_have_ended_and_come_often_when_endings_are_expected() -> None:
    looks = learned(Looks(2.0))
    early = due(looks, 10.0, flying(10, seen=10.0), 10.0, Demand.SLOTS)
    late = due(looks, 125.0, flying(10, seen=125.0), 125.0, Demand.SLOTS)
    assert early - 10.0 > 6.0
    assert late == pytest.approx(127.0)


def test_sizes_are_learned_apart_and_a_new_one_starts_from_all() -> None:
    looks = learned(Looks(2.0))
    for _ in range(30):
        looks.learned(("1080p", 15), 600.0)
    long = [Flight(0.0, ("1080p", 15), 130.0)] * 10
    assert due(looks, 130.0, long, 130.0, Demand.SLOTS) > 145.0
    unknown = [Flight(0.0, ("720p", 5), 125.0)] * 10
    assert due(looks, 125.0, unknown, 125.0, Demand.SLOTS) < 130.0


def test_everything_in_flight_is_looked_at_within_a_minute() -> None:
    looks = learned(Looks(2.0))
    assert due(looks, 0.0, flying(1), 0.0, Demand.REQUESTS) == pytest.approx(60.0)


def test_a_poll_interval_above_that_minute_is_kept() -> None:
    looks = learned(Looks(90.0))
    assert due(looks, 0.0, flying(1), 0.0, Demand.SLOTS) == 90.0


def test_while_submits_want_every_request_a_look_leaves_them_ten_of_eleven() -> None:
    looks = learned(Looks(2.0))
    flights = flying(100, seen=120.0)
    assert due(looks, 121.0, flights, 120.0, Demand.REQUESTS) == pytest.approx(131.0)
    assert due(looks, 121.0, flights, 120.0, Demand.NOTHING) == pytest.approx(122.0)


def test_the_page_with_most_to_find_is_looked_at_first() -> None:
    looks = learned(Looks(2.0))
    pages = {
        1: flying(100, accepted=100.0),
        2: flying(100, accepted=10.0, seen=120.0),
        3: flying(2, accepted=-60.0, seen=120.0),
    }
    looked = dict.fromkeys(pages, 120.0)
    look = looks.next(140.0, pages, looked, spacing=1.0, demand=Demand.REQUESTS)
    assert look is not None
    assert look.place == 2


def test_a_hint_is_looked_into_at_once_but_not_before_the_poll_interval() -> None:
    looks = learned(Looks(2.0))
    hinted = [Flight(0.0, SIZE, 10.0, hinted=True)]
    assert due(looks, 10.5, hinted, 10.0, Demand.NOTHING) == 12.0
    assert due(looks, 40.0, hinted, 10.0, Demand.NOTHING) == 40.0


def test_looks_slow_to_a_safety_net_while_callbacks_tell_everything() -> None:
    looks = learned(Looks(2.0, called_back=True), told=True, times=60)
    assert looks.untold < 0.02
    assert due(looks, 125.0, flying(10, seen=125.0), 125.0, Demand.SLOTS) == pytest.approx(225.0)


def test_looks_do_the_job_alone_where_callbacks_never_come() -> None:
    looks = learned(Looks(2.0, called_back=True), told=False, times=60)
    alone = learned(Looks(2.0), times=60)
    assert looks.untold > 0.95
    assert due(looks, 125.0, flying(10, seen=125.0), 125.0, Demand.SLOTS) == pytest.approx(
        due(alone, 125.0, flying(10, seen=125.0), 125.0, Demand.SLOTS), abs=0.5
    )


def test_where_no_callback_is_expected_every_ending_has_to_be_found() -> None:
    assert learned(Looks(2.0), told=True).untold == 1.0


# ── places ──────────────────────────────────────────────────────────────────────────────────────


def test_every_create_pushes_older_tasks_down_the_list() -> None:
    places = Places()
    for number in range(250):
        places.made(f"t{number}")
    assert [places.page_of(f"t{n}") for n in (249, 150, 149, 50, 49, 0)] == [1, 1, 2, 2, 3, 3]
    assert places.page_of("unheard of") is None


def test_one_sighting_tells_all_later_places() -> None:
    places = Places()
    places.shown(1, ["new", "old", "not ours"], 100, {"new", "old"})
    for number in range(99):
        places.made(f"t{number}")
    assert (places.page_of("new"), places.page_of("old")) == (1, 2)
    assert places.page_of("not ours") is None


def test_the_size_that_the_service_returns_is_the_size_of_a_page() -> None:
    places = Places()
    for number in range(25):
        places.made(f"t{number}")
    places.shown(1, [f"t{24 - n}" for n in range(10)], 10, {f"t{n}" for n in range(25)})
    assert [places.page_of(f"t{n}") for n in (24, 15, 14, 0)] == [1, 1, 2, 3]
    places.shown(1, [], 0, ())
    assert places.size == 10


def test_a_task_that_its_page_lacks_is_looked_for_on_the_next_one() -> None:
    places = Places()
    places.made("a")
    places.missed("a", 1)
    assert places.page_of("a") == 2
    places.forget("a")
    places.forget("a")
    assert places.page_of("a") is None
