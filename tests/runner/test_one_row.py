"""One row's trouble is one row's outcome, and an error of the program loses nothing in flight."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.events import AttemptChanged, Stop, Stopping
from tests.benchmarks.world import Case, World, play

QUICK = {"generation_time": "20", "rpm": 60}
Strikes = Callable[[httpx.Request], bool]


class Broken(httpx.AsyncBaseTransport):
    """Raises what no client expects for the requests that it strikes."""

    def __init__(self, inner: httpx.AsyncBaseTransport, strikes: Strikes) -> None:
        self._inner, self._strikes = inner, strikes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._strikes(request):
            raise RuntimeError("nobody thought of this")
        return await self._inner.handle_async_request(request)


def _third_row(request: httpx.Request) -> bool:
    return request.method == "POST" and "boat 3" in json.loads(request.content)["input"]["prompt"]


def _later_look(request: httpx.Request) -> bool:
    return request.method == "GET" and "size=100" in str(request.url)


@pytest.mark.parametrize(("strikes", "done"), [(_third_row, 2), (_later_look, 0)])
def test_an_error_of_the_program_is_raised_once_what_is_in_flight_has_ended(
    strikes: Strikes, done: int
) -> None:
    seen: list[World] = []

    async def look_on(world: World) -> None:
        seen.append(world)

    case = Case(6, settings=QUICK, between=lambda inner: Broken(inner, strikes), script=look_on)
    with pytest.raises(BaseExceptionGroup) as raised:
        play(case)
    assert raised.group_contains(RuntimeError, match="nobody thought of this")
    events = [event for _, event in seen[0].events]
    stops = [event for event in events if isinstance(event, Stopping)]
    assert [stop.why for stop in stops] == [Stop.ERROR]
    assert "in flight are finished first" in stops[0].message
    ended = [
        e for e in events if isinstance(e, AttemptChanged) and e.attempt.state.phase is Phase.DONE
    ]
    assert len(ended) >= done
