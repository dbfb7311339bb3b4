"""Every wait of a download ends by its own deadline, on any event loop, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
import pytest
import trio
import trio.testing

from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import Failed, Fetched, Limits, Result
from tests.clips.clips import encoded
from tests.clips.fetching import fetch

CLIP = encoded()
T = TypeVar("T")


async def inline(work: Callable[..., T], /, *args: Any) -> T:
    """No thread: the clock would jump while it works."""
    return work(*args)


class Body(httpx.AsyncByteStream):
    """A body in pieces, with a pause before each."""

    def __init__(self, pieces: list[bytes], pause: float) -> None:
        self._pieces, self._pause = pieces, pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await anyio.sleep(self._pause)
            yield piece


def run(folder: Path, answer: Callable[[httpx.Request], Any]) -> tuple[Result, float]:
    """The result of a fetch with production's limits, and the virtual seconds it took."""

    async def main() -> tuple[Result, float]:
        started = anyio.current_time()
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            downloader = Downloader(folder, http, allow_private=False, offload=inline)
            result = await fetch(downloader, "https://files.example.com/a.mp4")
        return result, anyio.current_time() - started

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def pieces(size: int) -> list[bytes]:
    return [CLIP[start : start + size] for start in range(0, len(CLIP), size)]


def answering(body: Body) -> Callable[[httpx.Request], httpx.Response]:
    headers = {"Content-Length": str(len(CLIP))}
    return lambda _: httpx.Response(200, headers=headers, stream=body)


def test_a_slow_but_steady_host_may_take_its_time(tmp_path: Path) -> None:
    result, took = run(tmp_path, answering(Body(pieces(10_000), 4.0)))
    assert isinstance(result, Fetched)
    assert took == pytest.approx(4.0 * len(pieces(10_000)))


def test_20_kB_a_second_are_fast_enough_however_long_the_clip_takes(tmp_path: Path) -> None:
    result, took = run(tmp_path, answering(Body(pieces(2_000), 0.1)))
    assert isinstance(result, Fetched)
    assert took == pytest.approx(len(CLIP) / 20_000, abs=1)
    (tmp_path / "videos/a.mp4").unlink()
    result, took = run(tmp_path, answering(Body(pieces(200), 0.09)))
    assert isinstance(result, Fetched)
    assert took > Limits().stall


def test_silence_ends_after_the_stall_time(tmp_path: Path) -> None:
    result, took = run(tmp_path, answering(Body(pieces(100_000), 90.0)))
    assert result == Failed("files.example.com sent nothing for 60 s")
    assert took == pytest.approx(Limits().stall)


def test_a_drip_ends_after_the_span_that_measures_it(tmp_path: Path) -> None:
    result, took = run(tmp_path, answering(Body(pieces(1), 1.0)))
    assert result == Failed("files.example.com sent 1 bytes a second")
    assert took == pytest.approx(Limits().stall)


def test_no_answer_ends_after_its_time(tmp_path: Path) -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    result, took = run(tmp_path, silent)
    assert result == Failed("files.example.com did not answer within 30 s")
    assert took == pytest.approx(Limits().answer)


def test_a_host_that_always_cuts_is_given_up_after_growing_pauses(tmp_path: Path) -> None:
    result, took = run(tmp_path, answering(Body(pieces(10_000)[:2], 0.0)))
    assert isinstance(result, Failed)
    assert took == pytest.approx(0.5 + 1 + 2 + 4)


def test_a_body_longer_than_announced_is_broken(tmp_path: Path) -> None:
    result, _ = run(tmp_path, answering(Body([CLIP, b"more"], 0.0)))
    assert result == Failed("the file is longer than announced")
