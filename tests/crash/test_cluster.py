"""Workers and the scheduler of a Dask cluster are killed; the key is nowhere but in the run."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Phase
from tests.clusters import crew
from tests.crash.tables import Tell
from tests.rig import PROGRAM, Bench, serving, until

EVERY = (2.0, 4.0)
"""Seconds from one killed worker to the next."""
MB = 1 << 20


def started(bench: Bench, *flags: str) -> subprocess.Popen[str]:
    """A run whose words go to a file, so that no full pipe holds it up."""
    argv = [*PROGRAM, *bench.argv(*flags)]
    with bench.log.open("w") as log:
        return subprocess.Popen(argv, env=bench.environment(), stdout=log, stderr=log, text=True)


def done(bench: Bench) -> int:
    """Rows whose clip is here."""
    with contextlib.suppress(Exception):  # the journal is not there yet
        return bench.phases()[Phase.DONE]
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("storing", [False, True], ids=["disk", "store"])
def test_killed_workers_and_a_killed_scheduler_cost_nothing_and_lose_nothing(
    storing: bool, tmp_path: Path, tell: Tell
) -> None:
    rows, seed = 2_000, random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    faults = {"files": {"drip": 0.05}, "drip_bytes_per_second": 100_000}
    kills = 0
    with (
        serving(tmp_path / "service", generation_time="lognormal:2:0.5", faults=faults) as service,
        crew(tmp_path / "crew", 4) as workers,
    ):
        bench = Bench(tmp_path / "batch", service, f"sk-cluster-{seed:x}")
        bench.fill(rows)
        bench.store = tmp_path / "bucket" if storing else None
        run = started(bench, "--dask", workers.address, "-j", "60")
        until(lambda: done(bench) or run.poll() is not None)
        until(lambda: done(bench) > rows / 50 or run.poll() is not None)
        processes = [*workers.workers, workers.scheduler]
        keyed = [place for each in processes if each for place in secrets_in(each.pid, bench.key)]
        seen = list(secrets_in(run.pid, bench.key))
        while run.poll() is None and done(bench) < rows * 0.75:
            time.sleep(chance.uniform(*EVERY))
            workers.kill_one(chance)
            kills += 1
        workers.kill_scheduler()
        at = done(bench)
        assert run.wait(timeout=1_800) == 0, bench.log.read_text()
        verdict = bench.verdict(rows)
        files = Counter(r["task_id"] for r in bench.file_requests())
    clips = list(((bench.store or bench.run_folder) / "videos").glob("[!.]*"))
    posters = list((bench.run_folder / "posters").iterdir())
    tell(
        f"--dask, 4 workers, {rows} rows{', --store' * storing} (seed {seed})",
        f"workers killed {kills}, the scheduler with {at} rows done",
        f"charges {verdict.charged}, double {len(verdict.double)}, lost {len(verdict.lost)}, "
        f"orphans {len(verdict.orphans)}, clips {len(clips)}, posters {len(posters)}",
        f"clips asked for more than once {sum(n > 1 for n in files.values())}",
    )
    assert verdict.holds, verdict
    assert len(clips) == len(posters) == rows
    assert keyed == []
    assert seen != [], "the search has to find what is there"
    said = bench.log.read_text()
    assert "Traceback" not in said
    assert "is lost; its work is done here" in said


@pytest.mark.slow
def test_what_workers_cannot_fetch_is_fetched_here(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "service", faults={"files": {"404": 1.0}}) as service,
        crew(tmp_path / "crew", 1) as workers,
    ):
        until(lambda: "Registered to" in (tmp_path / "crew" / "log").read_text())
        bench = Bench(tmp_path / "batch", service)
        bench.fill(8)
        run = started(bench, "--dask", workers.address)
        until(lambda: "the rest is done here" in bench.log.read_text() or run.poll() is not None)
        service.configure(faults={})
        assert run.wait(timeout=600) == 0, bench.log.read_text()
        said = bench.log.read_text()
        assert "(a worker could not fetch a clip: 127.0.0.1 answered 404)" in said
        assert "5 failures in a row, so the rest is done here" in said
        assert bench.verdict(8).holds


# ── where the key is ────────────────────────────────────────────────────────────────────────────


def secrets_in(pid: int, key: str) -> Iterator[str]:
    """Places of a process that hold the key: its environment, arguments and memory."""
    home, secret = Path("/proc") / str(pid), key.encode()
    for name in ("environ", "cmdline"):
        if secret in (home / name).read_bytes():
            yield f"{pid} {name}"
    with (home / "mem").open("rb", buffering=0) as memory:
        for line in (home / "maps").read_text().splitlines():
            span, rights, *_ = line.split()
            first, last = (int(end, 16) for end in span.split("-"))
            if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]")):
                continue
            for at in range(first, last, 16 * MB):
                with contextlib.suppress(OSError, ValueError):  # what is not there any more
                    memory.seek(at)
                    if secret in memory.read(min(16 * MB, last - at) + len(secret)):
                        yield f"{pid} memory"
                        return


def family(pid: int) -> list[int]:
    """All processes that descend from one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


@pytest.mark.slow
def test_a_cluster_of_this_machine_has_no_key_and_ends_with_the_run_however_that_ends(
    tmp_path: Path,
) -> None:
    faults = {"files": {"drip": 1.0}, "drip_bytes_per_second": 5_000}
    with serving(tmp_path / "service", faults=faults) as service:
        bench = Bench(tmp_path / "batch", service, "sk-local-0123456789abcdef")
        bench.fill(4)
        run = started(bench, "--dask", "local")
        until(lambda: bench.file_requests() or run.poll() is not None)
        children = family(run.pid)
        assert len(children) >= 2, bench.log.read_text()
        assert [place for child in children for place in secrets_in(child, bench.key)] == []
        assert list(secrets_in(run.pid, bench.key)) != []
        run.kill()
        run.wait()
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 30)
