"""kill -9 in the middle of downloads: in the end every clip is whole, and none fetched twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clips import hostile
from tests.clips.clips import encoded
from tests.clips.fetching import leftovers
from tests.clips.hostile import HostileServer

CLIP = encoded()
FILES = 8

LANES = """
import json, sys
from pathlib import Path
import anyio
from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import Fetched
from seedance_batch.api.addresses import file_client
from seedance_batch.clips.partial import sweep
from tests.clips.fetching import fetch

async def main(folder, urls):
    waiting = list(enumerate(urls))
    async with file_client(allow_private=True) as http, anyio.create_task_group() as tasks:
        downloader = Downloader(folder, http, allow_private=True)
        async def lane():
            while waiting:
                number, url = waiting.pop(0)
                result = await fetch(downloader, url, file=f"videos/{number}.mp4")
                assert isinstance(result, Fetched), result
        for _ in range(4):
            tasks.start_soon(lane)

folder = Path(sys.argv[1])
sweep(folder)
anyio.run(main, folder, json.loads(sys.argv[2]))
"""


@pytest.mark.parametrize(
    "kills", [1, pytest.param(20, marks=pytest.mark.slow)], ids=["1 kill", "20 kills"]
)
def test_a_killed_download_harms_nothing(kills: int, server: HostileServer, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    urls = [server.url(hostile.paced(CLIP, 20, 0.02)) for _ in range(FILES)]
    done: set[str] = set()
    for _ in range(kills):
        before = {url: len(server.asked(url)) for url in urls}
        process = start(tmp_path, urls)
        wait_for_requests(server, sum(before.values()) + 1, process)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        whole = {name for name in leftovers(tmp_path) if name.startswith("videos/")}
        for name in whole:
            assert (tmp_path / name).read_bytes() == CLIP
        for name in done:  # what was done before this start was not asked for again
            url = urls[int(Path(name).stem)]
            assert len(server.asked(url)) == before[url]
        done = whole
        if len(done) == FILES:
            for name in done:
                (tmp_path / name).unlink()
            done = set()
    assert start(tmp_path, urls).wait() == 0
    assert leftovers(tmp_path) == sorted(f"videos/{number}.mp4" for number in range(FILES))
    for name in leftovers(tmp_path):
        content = (tmp_path / name).read_bytes()
        assert hashlib.sha256(content).digest() == hashlib.sha256(CLIP).digest()


def start(folder: Path, urls: list[str]) -> subprocess.Popen[bytes]:
    environment = {"PYTHONPATH": os.environ["PYTHONPATH"], "NO_PROXY": "*"}
    return subprocess.Popen(
        [sys.executable, "-c", LANES, str(folder), json.dumps(urls)],
        cwd=Path(__file__).parents[2],
        env=environment,
    )


def wait_for_requests(server: HostileServer, number: int, process: subprocess.Popen[bytes]) -> None:
    while len(server.requests) < number and process.poll() is None:
        time.sleep(0.01)
