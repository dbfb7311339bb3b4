"""Dask clusters on this machine: one in threads of this process, one in processes to be killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def in_threads(workers: int = 2) -> Iterator[Any]:
    """A cluster whose scheduler and workers are threads of this process, over real sockets."""
    from distributed import (
        LocalCluster,
    )  # half a second, and most test processes have no use for it

    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=100,
    ) as cluster:
        yield cluster


@dataclass
class Crew:
    """A scheduler and workers, each a process of its own; those that are killed are replaced."""

    folder: Path
    environment: dict[str, str]
    size: int
    threads: int = 1
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start all of them, and wait until they are there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        told = self.folder / "scheduler.json"
        self.scheduler = self._begin(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", str(told),
        )  # fmt: skip
        while not told.exists() or not told.read_text():
            time.sleep(0.05)
        self.address = json.loads(told.read_text())["address"]
        for _ in range(self.size):
            self.add()

    def add(self) -> None:
        """One worker more."""
        self.workers.append(
            self._begin(
                "dask_worker", self.address, "--nthreads", str(self.threads), "--no-nanny",
                "--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(self.folder),
            )
        )  # fmt: skip

    def _begin(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", f"distributed.cli.{program}", *words]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(argv, env=self.environment, stdout=log, stderr=log)

    def kill_one(self, chance: random.Random) -> None:
        """kill -9 to a worker; another one comes for it."""
        victim = self.workers.pop(chance.randrange(len(self.workers)))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        self.add()

    def kill_scheduler(self) -> None:
        """kill -9 to the scheduler."""
        assert self.scheduler is not None
        self.scheduler.send_signal(signal.SIGKILL)
        self.scheduler.wait()

    def stop(self) -> None:
        """End whatever is left."""
        for process in (*self.workers, self.scheduler):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def crew(folder: Path, size: int, *, threads: int = 1, **environment: str) -> Iterator[Crew]:
    """A cluster of processes that are to find this project where the tester has it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HIAPI_", "SEEDANCE_"))}
    found = Crew(folder, {**kept, "NO_PROXY": "*", **environment}, size, threads)
    try:
        found.start()
        yield found
    finally:
        found.stop()
