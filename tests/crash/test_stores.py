"""Killed at random, with a store that spoils uploads: one charge and one clip a row."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.errors import Exit
from seedance_batch.objects import open_store
from tests import moto, s3_faults
from tests.crash.tables import Tell
from tests.rig import Bench, Service

BATCHES = 12
ROWS = 10
MOST_RUNS = 60


@dataclass
class StoredBench(Bench):
    """A batch whose runs see the store's variables."""

    url: str = ""
    endpoint: str = ""

    def argv(self, *flags: str, command: str = "run") -> list[str]:
        return super().argv("--store", self.url, *flags, command=command)

    def environment(self, **more: str) -> dict[str, str]:
        store = {**moto.ENVIRONMENT, "AWS_ENDPOINT_URL": self.endpoint}
        return super().environment(**store, **more)


@pytest.mark.slow
def test_kills_and_spoilt_uploads_cost_no_clip_and_no_second_charge(
    service: Service, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    for name, value in {**moto.ENVIRONMENT, "AWS_ENDPOINT_URL": s3}.items():
        monkeypatch.setenv(name, value)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance, kills, spoilt, charges = random.Random(seed), 0, 0, 0
    with s3_faults.before(s3) as relay:
        relay.at_random = chance
        for number in range(BATCHES):
            url = moto.new_bucket(s3)
            key = f"sk-stores-{number}"
            bench = StoredBench(tmp_path / str(number), service, key, url=url)
            bench.endpoint = relay.address
            bench.fill(ROWS)
            kills += _to_the_end(bench, chance)
            charges += len(bench.tasks())
            _check(bench, url)
        spoilt = relay.spoilt
    tell(
        "kills with a store",
        f"{BATCHES} batches, {kills} kills, {spoilt} spoilt, {charges} charges",
    )
    assert kills >= BATCHES


def _to_the_end(bench: StoredBench, chance: random.Random) -> int:
    """Runs, most of them killed, until one has nothing left to do; how many were killed."""
    kills = 0
    for turn in range(MOST_RUNS):
        process = bench.start()
        if turn < 4:
            time.sleep(chance.uniform(0.5, 4.0))  # a machine dies whenever it likes
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
        said = process.communicate(timeout=300)[0]
        if process.returncode == Exit.OK:
            return kills
        assert process.returncode in {-signal.SIGKILL, Exit.UNFINISHED}, said
    raise AssertionError("it never came to an end")


def _check(bench: StoredBench, url: str) -> None:
    times = Counter(task["prompt"] for task in bench.tasks())
    assert set(times.values()) == {1}
    assert len(times) == ROWS
    store, attempts = open_store(url), bench.attempts()
    assert {a.state.phase for a in attempts} == {Phase.DONE}
    stored = {each.name for each in store.list("videos")}
    assert stored == {a.state.clip.file for a in attempts if a.state.clip}
    for attempt in attempts:
        clip = attempt.state.clip
        got = store.get(clip.file) if clip else None
        assert clip is not None
        assert got is not None
        assert hashlib.sha256(got[0]).hexdigest() == clip.sha256
