"""The sandbox's own broken downloads: never a half clip, and the key never reaches its files."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import Failed, Fetched, Gone, Wrong
from seedance_batch.sandbox.config import FileFault, checked
from seedance_batch.sandbox.server import running
from tests.clips.fetching import FILE, PATIENT, QUICK, fetch, leftovers

pytestmark = pytest.mark.anyio

ALWAYS: dict[FileFault, type[Fetched | Failed | Gone | Wrong]] = {
    FileFault.DENIED_403: Gone,
    FileFault.MISSING_404: Gone,
    FileFault.SHORT: Wrong,
    FileFault.NO_MOOV: Wrong,
    FileFault.NO_LENGTH: Fetched,
    FileFault.WRONG_RANGE: Fetched,
    FileFault.IGNORE_RANGE: Fetched,
    FileFault.ETAG: Fetched,
    FileFault.LATE: Fetched,
    FileFault.NOT_YET: Gone,
    FileFault.PART: Fetched,
    FileFault.PACKED: Fetched,
}
"""How a fetch ends where every answer has the fault; the rest is `Failed`."""

Configure = Callable[..., None]


@pytest.fixture(scope="module")
def api() -> Iterator[httpx.Client]:
    settings = {"generation_time": "0.05", "clips": "plain", "faults": {"late_seconds": 0.1}}
    with (
        running(checked(settings, "test")) as address,
        httpx.Client(
            base_url=address.api_url,
            headers={"Authorization": "Bearer sk-test"},
            trust_env=False,
            timeout=120,
        ) as client,
    ):
        yield client
        counters = client.get("/sandbox/ledger").json()["counters"]
        assert counters["authorization_on_files"] == 0


@pytest.fixture
def configure(api: httpx.Client) -> Iterator[Configure]:
    """Changes what goes wrong with files."""

    def change(**faults: Any) -> None:
        measures = {"late_seconds": 0.1, "endless_bytes": 1 << 25, "stall_seconds": 5.0}
        answer = api.post("/sandbox/config", json={"faults": {**measures, **faults}})
        assert answer.status_code == 200, answer.text

    yield change
    change()


@pytest.fixture(scope="module")
def new_clip(api: httpx.Client) -> Callable[[], str]:
    """Makes a clip's URL: with each the faults begin anew."""

    def make() -> str:
        order = {"prompt": f"a boat {time.monotonic()}", "duration": 4, "resolution": "480p"}
        body = {"model": "seedance-2-0", "input": order}
        task_id = api.post("/v1/tasks", json=body).json()["data"]["taskId"]
        while True:
            task = api.get(f"/v1/tasks/{task_id}").json()["data"]
            if task["completed"]:
                return str(task["output"][0]["url"])
            time.sleep(0.01)

    return make


@pytest.fixture
def downloader(
    tmp_path: Path, http: httpx.AsyncClient, request: pytest.FixtureRequest
) -> Downloader:
    """A patient one, but for the fault that is about speed."""
    given = getattr(request.node, "callspec", None)
    is_slow = given is not None and given.params.get("fault") is FileFault.DRIP
    limits = replace(QUICK, answer=PATIENT.answer) if is_slow else PATIENT
    limits = replace(limits, max_bytes=16 << 20)
    return Downloader(tmp_path, http, allow_private=True, limits=limits)


@pytest.mark.parametrize("fault", FileFault)
async def test_a_fault_in_every_answer_never_leaves_a_half_clip(
    fault: FileFault,
    configure: Configure,
    new_clip: Callable[[], str],
    downloader: Downloader,
    tmp_path: Path,
) -> None:
    configure(files={fault.value: 1.0}, cut_at=50_000, stall_seconds=0.1)
    result = await fetch(downloader, new_clip())
    expected = ALWAYS.get(fault, Failed)
    assert isinstance(result, expected), result
    kept = {Fetched: [FILE], Wrong: ["videos/a.mismatch.mp4"]}
    assert leftovers(tmp_path) == kept.get(expected, [])


@pytest.mark.parametrize("fault", FileFault)
async def test_a_fault_that_passes_costs_no_clip(
    fault: FileFault,
    configure: Configure,
    new_clip: Callable[[], str],
    downloader: Downloader,
    tmp_path: Path,
) -> None:
    configure(files={fault.value: 1.0}, tries=1, stall_seconds=0.1)
    url = new_clip()
    for _ in range(2):
        result = await fetch(downloader, url)
        if isinstance(result, Fetched):
            break
    assert isinstance(result, Fetched), result
    assert leftovers(tmp_path) == [FILE]


@pytest.mark.parametrize("places", [60, pytest.param(300, marks=pytest.mark.slow)])
async def test_cuts_each_in_another_place_are_survived(
    places: int,
    configure: Configure,
    new_clip: Callable[[], str],
    downloader: Downloader,
    tmp_path: Path,
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    url = new_clip()
    whole = await fetch(downloader, url)
    assert isinstance(whole, Fetched)
    for number in range(places):
        (tmp_path / FILE).unlink(missing_ok=True)
        fault = ("cut", "short", "stall")[number % 3 if number < 30 else number % 2]
        at = chance.randrange(whole.clip.bytes)
        configure(files={fault: 1.0}, cut_at=at, stall_seconds=0.0)
        result = await fetch(downloader, url)
        assert not isinstance(result, Fetched), (fault, at)
        assert FILE not in leftovers(tmp_path)
        assert not [name for name in leftovers(tmp_path) if name.startswith(".partial")]
    configure()
    assert await fetch(downloader, url) == whole
    assert leftovers(tmp_path) == [FILE]
