"""Batches and sandboxes in processes of their own, and the ledger as the judge of both."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from seedance_batch.core.attempt import Attempt, Phase
from tests import service
from tests.crash.forker import Forker
from tests.service import AT_ONCE, SMALL, Batch

PROGRAM = [sys.executable, "-c", "from seedance_batch.cli.main import entry; entry()"]
PLAIN = "tests.crash.hooks:plain"
"""What a forked child calls to run a command line as it is."""
_KEPT = {"PATH", "PYTHONPATH", "SSL_CERT_FILE", "LANG", "SYSTEMROOT", "TMPDIR"}
QUICK = ["--rpm", "600000", "--poll-interval", "0.1", "--yes", "--no-progress", "--quiet"]
"""Flags of a run that nobody watches and nothing slows down."""


def environment(cache: Path, key: str = "sk-test", **more: str) -> dict[str, str]:
    """What a run sees of the world: this key, no proxy, nothing of the tester's own settings."""
    kept = {k: v for k, v in os.environ.items() if k in _KEPT}
    quiet = {"NO_PROXY": "*", "OPENBLAS_NUM_THREADS": "1", "HOME": str(cache)}
    homes = {"XDG_CACHE_HOME": str(cache), "XDG_STATE_HOME": str(cache)}
    return {**kept, **quiet, **homes, "HIAPI_API_KEY": key, **more}


# ── the server ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class Service(service.Service):
    """A sandbox that lives in its own process and keeps its state in a file."""

    folder: Path
    settings: Mapping[str, Any]
    process: subprocess.Popen[str] = field(init=False)
    api_url: str = field(init=False)

    def start(self, port: int = 0) -> None:
        """Serve, until `stop`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "sandbox.yaml"
        config.write_text(yaml.safe_dump({**AT_ONCE, **self.settings}))
        self.process = subprocess.Popen(
            [*PROGRAM, "sandbox", "--json", "--state", str(self.folder / "state.db"),
             "--config", str(config), "--port", str(port)],
            env=environment(self.folder),
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.api_url = json.loads(self.process.stdout.readline())["api_url"]

    def stop(self) -> None:
        """End the process."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[Service]:
    """A sandbox for the length of a block."""
    service = Service(folder, settings)
    service.start()
    try:
        yield service
    finally:
        service.stop()


# ── the batch ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Bench(Batch):
    """A batch whose runs are processes of their own, so that they can be killed."""

    forker: Forker | None = None
    """Where runs are forked, in place of new interpreters."""
    api_url: str = ""
    """Another address of the service, if any."""
    store: Path | None = None
    """A folder that is the batch's store, if it has one."""

    small: ClassVar[Mapping[str, Any]] = SMALL

    def fill(self, count: int, *, chained: bool = False) -> None:
        """A manifest of so many rows; ``chained``: each takes its frame from the one before."""
        frames = [{"first_frame_url": f"last_frame:row{n}" if n else ""} for n in range(count)]
        more = frames if chained else [{}] * count
        self.write(*(row(number, **more[number - 1]) for number in range(1, count + 1)))

    def argv(self, *flags: str, command: str = "run") -> list[str]:
        """Arguments of a command about this manifest."""
        api_url = self.api_url or self.service.api_url
        kept = [] if self.store is None else ["--store", self.store.as_uri()]
        return [command, str(self.manifest), "--api-url", api_url, *kept, *QUICK, *flags]

    def environment(self, **more: str) -> dict[str, str]:
        """What a run of this bench sees of the world."""
        return environment(self.folder, self.key, **more)

    def start(self, *flags: str, command: str = "run") -> subprocess.Popen[str]:
        """A run in a process of its own."""
        return subprocess.Popen(
            [*PROGRAM, *self.argv(*flags, command=command)],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *flags: str, command: str = "run", wait: float = 120) -> Ran:
        """A run in a process of its own, to its end."""
        process = self.start(*flags, command=command)
        output, _ = process.communicate(timeout=wait)
        return Ran(process.returncode, output)

    def fork(self, *flags: str, call: str = PLAIN, **arguments: Any) -> int:
        """A run in a forked child; returns its pid."""
        assert self.forker is not None
        argv = self.argv(*flags)
        return self.forker.start(call, self.environment(), self.log, argv=argv, **arguments)

    def forked(self, *flags: str, call: str = PLAIN, **arguments: Any) -> Ran:
        """A run in a forked child, to its end."""
        return self.ended(self.fork(*flags, call=call, **arguments))

    def ended(self, pid: int) -> Ran:
        """How a forked child ended; negative for the signal that did it."""
        assert self.forker is not None
        code = self.forker.wait(pid)
        said = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return Ran(code, said)

    @property
    def log(self) -> Path:
        """What forked runs said."""
        return self.folder / "log"

    def file_requests(self) -> list[dict[str, Any]]:
        """Requests for this bench's clips, oldest first."""
        ours = {task["task_id"] for task in self.tasks()}
        return [r for r in self.service.requests("files", "GET") if r["task_id"] in ours]

    def verdict(self, rows: int) -> Verdict:
        """The journal and the disk against the server's ledger, row by row."""
        return judged(self, rows)


def row(number: int, **fields: Any) -> dict[str, Any]:
    """A row whose prompt is no other row's."""
    return {"id": f"row{number}", "prompt": f"a paper boat on street number {number}", **fields}


@dataclass(frozen=True)
class Ran:
    """How a process ended and what it said."""

    code: int
    output: str


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Verdict:
    """What the ledger says about a finished batch; all lists are empty where the promise held."""

    charged: int
    double: list[str]
    """Prompts charged more than once."""
    lost: list[str]
    """Task ids that were charged and that no done attempt holds."""
    orphans: list[str]
    """Paid clips that are not on disk as their journal says, and files that belong to nothing."""
    unpaid: int
    """Rows that were never charged."""

    @property
    def holds(self) -> bool:
        """Every row paid once, every paid clip delivered, nothing else on disk."""
        return not (self.double or self.lost or self.orphans or self.unpaid)


def judged(bench: Bench, rows: int) -> Verdict:
    """See `Bench.verdict`."""
    tasks = bench.tasks()
    times = Counter(task["prompt"] for task in tasks)
    attempts = bench.attempts() if (bench.run_folder / "journal.db").exists() else []
    done = {a.state.task_id: a for a in attempts if a.state.phase is Phase.DONE}
    charged = {task["task_id"] for task in tasks}
    return Verdict(
        charged=len(tasks),
        double=[prompt for prompt, count in times.items() if count > 1],
        lost=sorted(charged - done.keys()),
        orphans=[*_wrong_clips(bench, done.values()), *_strays(bench, attempts)],
        unpaid=rows - len(times),
    )


def _wrong_clips(bench: Bench, done: Any) -> Iterator[str]:
    for attempt in done:
        clip = attempt.state.clip
        path = (bench.store or bench.run_folder) / clip.file
        if not path.is_file():
            yield f"{clip.file}: missing"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != clip.sha256:
            yield f"{clip.file}: not what the journal says"


def _strays(bench: Bench, attempts: Sequence[Attempt]) -> Iterator[str]:
    clips = {a.state.clip.file for a in attempts if a.state.clip is not None}
    if bench.store is not None:  # whatever has a clip's name there is one
        for path in (bench.store / "videos").glob("[!.]*"):
            if f"videos/{path.name}" not in clips:
                yield f"{path.name}: belongs to nothing"
    for path in bench.run_folder.rglob("*"):
        name = path.relative_to(bench.run_folder).as_posix()
        if path.is_dir() or name in {".lock", ".lock.json", ".home"} or name in clips:
            continue
        if path.name.startswith(".") or name.split("/")[0] in {"videos", "drafts", ".partial"}:
            yield f"{name}: belongs to nothing"


def some(*usual: Any, slow: Iterable[Any]) -> list[Any]:
    """Parameters of a test, of which some are for the slow suite."""
    sets = [value if isinstance(value, tuple) else (value,) for value in slow]
    return [*usual, *(pytest.param(*values, marks=pytest.mark.slow) for values in sets)]


def until(condition: Any, seconds: float = 120) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)
