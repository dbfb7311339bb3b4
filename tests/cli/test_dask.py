"""``--dask`` hands work on clips to a cluster, and does what the cluster does not."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seedance_batch.errors import Exit
from seedance_batch.publish import sha256_of
from tests.cli.shop import Shop, shot
from tests.clusters import in_threads
from tests.rig import some, until


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with in_threads() as found:
        yield found


def hashes(shop: Shop) -> dict[str, str]:
    """Each clip's hash in the journal, by its file."""
    clips = [a.state.clip for a in shop.attempts()]
    return {clip.file: clip.sha256 for clip in clips if clip is not None}


def assert_whole(shop: Shop, rows: int) -> None:
    """Every row was paid for once, and its clip lies where the journal says, and nothing else."""
    assert len(shop.tasks()) == len(set(shop.prompts())) == rows
    on_disk = {f"videos/{p.name}": sha256_of(p) for p in (shop.run_folder / "videos").iterdir()}
    assert on_disk == hashes(shop)
    assert len(on_disk) == rows
    assert len(list((shop.run_folder / "posters").iterdir())) == rows
    assert list((shop.run_folder / ".partial").iterdir()) == []


def test_workers_fetch_and_verify_and_nothing_of_it_stays_in_the_cluster(
    shop: Shop, cluster: Any
) -> None:
    shop.write(*(shot(n, return_last_frame="true") for n in range(1, 7)))
    told = shop.run("--dask", cluster.scheduler_address)
    assert told.code == Exit.OK
    assert f"dask: 2 workers with 2 threads at {cluster.scheduler_address}, dashboard" in told.err
    assert "HiAPI's key or secret is in the environment of tcp://" in told.err
    assert_whole(shop, 6)
    assert len(list((shop.run_folder / "frames").iterdir())) == 6
    done = cluster.scheduler.task_prefixes["seedance-batch"]
    assert done.state_counts["memory"] + done.state_counts["forgotten"] >= 6
    assert cluster.scheduler.tasks == {}


@pytest.mark.more
def test_what_a_worker_finds_wrong_is_said_as_without_one(shop: Shop, cluster: Any) -> None:
    shop.fill(5)
    assert shop.run().code == Exit.OK
    first, second, *_ = sorted((shop.run_folder / "videos").iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    second.unlink()
    alone = shop.at("verify")
    assert alone.code == Exit.SOME_FAILED
    told = shop.at("verify", "--dask", cluster.scheduler_address)
    assert (told.code, told.out) == (alone.code, alone.out)
    for poster in (shop.run_folder / "posters").iterdir():
        poster.unlink()
    assert shop.at("report", "--dask", cluster.scheduler_address).code == Exit.OK
    assert len(list((shop.run_folder / "posters").iterdir())) == 4


def test_a_cluster_that_is_lost_amid_a_run_costs_nothing(shop: Shop) -> None:
    drip = {"files": {"drip": 1.0}, "drip_bytes_per_second": 60_000}
    with shop.service.having(faults=drip), in_threads() as cluster:
        shop.fill(4)
        before = len(shop.service.requests("files", "GET"))

        def lose() -> None:
            until(lambda: len(shop.service.requests("files", "GET")) > before)
            cluster.close()

        loser = threading.Thread(target=lose)
        loser.start()
        told = shop.run("--dask", cluster.scheduler_address)
        loser.join()
    assert told.code == Exit.OK
    assert "work is done here" in told.err
    assert_whole(shop, 4)


def test_without_a_worker_the_work_is_done_here(shop: Shop) -> None:
    shop.fill(2)
    with in_threads(0) as cluster:
        told = shop.run("--dask", cluster.scheduler_address)
    assert (told.code, "work is done here until one comes" in told.err) == (Exit.OK, True)
    assert len(hashes(shop)) == 2


@pytest.mark.parametrize("address", some("nonsense://x", "127.0.0.1", slow=["tcp://127.0.0.1:1"]))
def test_an_address_where_no_scheduler_is_costs_nothing(address: str, shop: Shop) -> None:
    shop.fill(1)
    told = shop.run("--dask", address)
    assert told.code == Exit.USAGE
    assert f"error: The Dask scheduler at {address} does not answer" in told.err
    assert shop.prompts() == []


def test_without_the_package_a_sentence_says_how_to_get_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    monkeypatch.setitem(sys.modules, "distributed", None)
    for told in (shop.run("--dask", "local"), shop.at("verify", "--dask", "local")):
        assert told.code == Exit.USAGE
    told = shop.run("--dask", "local")
    assert "hint: pip install 'seedance-batch[dask]'" in told.err
    assert shop.prompts() == []


@pytest.mark.more
def test_workers_put_clips_into_a_store_and_check_them_there(
    shop: Shop, cluster: Any, tmp_path: Path
) -> None:
    place, dask = tmp_path / "bucket", ("--dask", cluster.scheduler_address)
    shop.write(*(shot(n, return_last_frame="true") for n in range(1, 5)))
    told = shop.run("--store", place.as_uri(), *dask)
    assert told.code == Exit.OK, told.err
    assert "is done here" not in told.err
    assert len(shop.tasks()) == 4
    there = {f"videos/{p.name}": sha256_of(p) for p in (place / "videos").iterdir()}
    assert there == hashes(shop)
    assert len(list((place / "frames").iterdir())) == len(list((place / "posters").iterdir())) == 4
    assert list((shop.run_folder / "videos").glob("*.mp4")) == []
    assert shop.at("verify", *dask).code == Exit.OK
    first = min((place / "videos").iterdir())
    first.write_bytes(b"another")
    alone, told = shop.at("verify"), shop.at("verify", *dask)
    assert (told.code, told.out) == (alone.code, alone.out) == (Exit.SOME_FAILED, alone.out)
    for poster in [*(place / "posters").iterdir(), *(shop.run_folder / "posters").iterdir()]:
        poster.unlink()
    assert shop.at("report", *dask).code == Exit.OK
    assert len(list((shop.run_folder / "posters").iterdir())) == 3


@pytest.mark.more
@pytest.mark.parametrize("form", some("webdataset", slow=["parquet"]))
def test_a_data_set_that_workers_write_has_the_same_bytes(
    form: str, shop: Shop, cluster: Any, tmp_path: Path
) -> None:
    shop.fill(3)
    assert shop.run().code == Exit.OK

    def exported(name: str, *flags: str) -> dict[str, bytes]:
        told = shop.at("export", str(tmp_path / name), "--look", "--format", form, *flags)
        assert told.code == Exit.OK, told.err
        files = [path for path in (tmp_path / name).iterdir() if path.name[0] != "."]
        return {path.name: path.read_bytes() for path in files}

    alone = exported("alone")
    assert exported("shared", "--dask", cluster.scheduler_address) == alone
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {
        path.name for path in (tmp_path / "alone").iterdir()
    }
