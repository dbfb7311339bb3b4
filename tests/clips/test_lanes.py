"""Slow hosts cost their own lane a bounded while, never another's pace."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
import trio
import trio.testing

from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import Failed, Fetched
from tests.clips import hostile
from tests.clips.clips import encoded
from tests.clips.fetching import PATIENT, QUICK, fetch, leftovers
from tests.clips.hostile import Answer, HostileServer
from tests.clips.test_virtual_time import Body, inline

pytestmark = pytest.mark.anyio

CLIP = encoded()
FILES = 6

SLOW: dict[str, Answer] = {
    "a silent host": hostile.silent,
    "a head that drips": hostile.dripping_head,
    "a stall": hostile.stalled(CLIP, 5000),
    "a byte at a time": hostile.dripping(CLIP, 0.02),
}


@pytest.mark.cases(1)
@pytest.mark.parametrize("name", SLOW)
async def test_a_slow_host_frees_its_lane(
    name: str, server: HostileServer, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    downloader = Downloader(tmp_path, http, allow_private=True, limits=QUICK)
    assert isinstance(await fetch(downloader, server.url(SLOW[name])), Failed)


async def test_clips_arrive_while_slow_hosts_hold_their_lanes(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    async def slow(number: int, url: str) -> None:
        await fetch(downloader, url, file=f"videos/slow{number}.mp4")

    async with anyio.create_task_group() as tasks:
        for number, answer in enumerate(SLOW.values()):
            tasks.start_soon(slow, number, server.url(answer))
        await anyio.to_thread.run_sync(server.wait_for, len(SLOW))
        for number in range(FILES):
            url = server.url(hostile.paced(CLIP, 10, 0.01))
            assert isinstance(await fetch(downloader, url, file=f"videos/{number}.mp4"), Fetched)
        tasks.cancel_scope.cancel()  # until here none of them was given up: they are patient
    assert leftovers(tmp_path) == sorted(f"videos/{number}.mp4" for number in range(FILES))


def test_slow_hosts_take_nothing_from_the_pace_of_other_lanes(tmp_path: Path) -> None:
    """In virtual time, so that it is the lanes' pace and not the machine's."""
    alone = _seconds_of_good_files(tmp_path / "alone", slow=0)
    beside = _seconds_of_good_files(tmp_path / "beside", slow=4)
    assert alone / beside >= 0.9


def _seconds_of_good_files(folder: Path, slow: int) -> float:
    """Virtual seconds of so many good files, one after another, beside hosts that say nothing."""

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host.startswith("slow"):
            await anyio.sleep_forever()
        pieces = [CLIP[at : at + 20_000] for at in range(0, len(CLIP), 20_000)]
        headers = {"Content-Length": str(len(CLIP))}
        return httpx.Response(200, headers=headers, stream=Body(pieces, 0.5))

    folder.mkdir()

    async def main() -> float:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
            anyio.create_task_group() as tasks,
        ):
            downloader = Downloader(folder, http, allow_private=False, offload=inline)
            for number in range(slow):
                url = f"https://slow{number}.example.com/a.mp4"
                tasks.start_soon(partial(fetch, downloader, url, file=f"videos/slow{number}.mp4"))
            started = anyio.current_time()
            for number in range(FILES):
                url = f"https://files.example.com/{number}.mp4"
                result = await fetch(downloader, url, file=f"videos/{number}.mp4")
                assert isinstance(result, Fetched)
            tasks.cancel_scope.cancel()
            return anyio.current_time() - started

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_cancelled_download_leaves_nothing(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.url(hostile.paced(CLIP, 50, 0.01))
    for patience in (0.0, 0.02, 0.1, 0.3):
        with anyio.move_on_after(patience) as scope:
            await fetch(downloader, url)
        assert scope.cancelled_caught
        assert leftovers(tmp_path) == []


async def test_bytes_are_told_as_they_arrive(
    server: HostileServer, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    told: list[int] = []
    downloader = Downloader(tmp_path, http, allow_private=True, limits=PATIENT, observe=told.append)
    url = server.url(hostile.paced(CLIP, 5, 0.01))
    await fetch(downloader, url)
    assert sum(told) == len(CLIP)
    assert len(told) > 1
