"""A whole run in virtual time: the real client, journal, runner and downloads, a real sandbox.

Nothing is simulated but the clock: it jumps to the next deadline whenever everybody waits.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
import trio
import trio.testing

from seedance_batch.api.callbacks import Receiver, attempt_url
from seedance_batch.api.client import Client
from seedance_batch.batch.orders import IntentMaker, take_for
from seedance_batch.clips import media
from seedance_batch.clips.download import Downloader
from seedance_batch.clips.kept import KeptClips
from seedance_batch.clips.media import Probe
from seedance_batch.core.attempt import Kind
from seedance_batch.core.chains import KnownRow, heights, linked
from seedance_batch.core.manifest import Job, Place, Row, content_hash
from seedance_batch.core.model import Allow, Resolution, TaskInput
from seedance_batch.core.steps import Action, Step
from seedance_batch.events import RunEvent
from seedance_batch.journal.opening import open_journal
from seedance_batch.runner.attempts import Attempts, Order, Terms
from seedance_batch.runner.gate import Stopper, tools_for
from seedance_batch.runner.runner import RunEnding, Runner
from seedance_batch.sandbox.config import checked
from seedance_batch.sandbox.ledger import StoredRequest, StoredTask
from seedance_batch.sandbox.server import Sandbox, build
from seedance_batch.sandbox.server import inline as sandbox_inline
from seedance_batch.settings import RunSettings
from tests.in_process import InProcess

START = 1_800_000_000.0
"""Unix seconds at which every world begins."""
KEY = "sk-bench"
SECRET = "whsec_of_the_benches"
CALLBACKS = "http://127.0.0.1:2/hiapi"
LOGNORMAL = "lognormal:130:0.25"
T = TypeVar("T")


async def inline(work: Callable[..., T], /, *args: Any) -> T:
    """No thread: the clock would jump while it works."""
    return work(*args)


_PROBES: dict[bytes, Probe] = {}


def measured_once(path: Path) -> Probe:
    """`media.probe` of a file; equal bytes, of which plain clips are made, are decoded once."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    if digest not in _PROBES:
        _PROBES[digest] = media.probe(path)
    return _PROBES[digest]


@dataclass
class World:
    """One run as it goes on: what a script beside it may look at and change."""

    sandbox: Sandbox
    stopper: Stopper
    receiver: Receiver
    wall: Callable[[], float]
    events: list[tuple[float, RunEvent]] = field(default_factory=list)
    runner: Runner | None = None
    """Set once there is one; scripts start later."""
    watch: Callable[[RunEvent], None] | None = None
    """Told of each event at once."""
    shift: float = 0.0
    """Seconds by which the run's own wall clock is ahead of the service's."""

    @property
    def attempts(self) -> Attempts:
        """All that it sends."""
        assert self.runner is not None
        return self.runner._attempts

    @property
    def inbox(self) -> Any:
        """Where its callbacks arrive."""
        return self.runner._inbox if self.runner else None


class Dated(httpx.AsyncBaseTransport):
    """Tells the service's time with each answer, as every server does."""

    def __init__(self, inner: httpx.AsyncBaseTransport, wall: Callable[[], float]) -> None:
        self._inner, self._wall = inner, wall

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        answer.headers["date"] = formatdate(self._wall(), usegmt=True)
        return answer


Between = Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]
Script = Callable[[World], Awaitable[None]]
"""Runs beside a run, in the same virtual time."""


@dataclass(frozen=True)
class Case:
    """What is run: rows, the person's flags, the server's limits, and what happens meanwhile."""

    rows: int
    rpm: float = 60.0
    concurrency: int | None = 10
    poll_interval: float = 2.0
    settings: dict[str, Any] = field(default_factory=dict)
    """The sandbox's, beside plain clips and log-normal times."""
    script: Script | None = None
    seed: int = 0
    durations: Sequence[int] = (4,)
    """Seconds of clip, row by row in turn."""
    max_failures: int | None = None
    between: Between | None = None
    """What stands between the client and the API, if anything."""
    shift: float | None = None
    """Seconds by which the run's wall clock is ahead at first; None: answers tell no ``Date``."""
    chain: int = 1
    """Rows of each chain: every row but the first of one takes its frame from the row above."""
    may_send: Callable[[float], bool] = lambda seconds: True
    """Whether the run is its batch's owner, by virtual seconds since its start."""
    lost: float | None = None
    """Virtual seconds before the start from which on any row may have been sent unrecorded."""
    callbacks: bool = False
    """Whether the run asks for callbacks, and takes them; signed if the sandbox has a secret."""


@dataclass(frozen=True)
class Played:
    """What came of a case."""

    case: Case
    ending: RunEnding
    world: World
    tasks: list[StoredTask]
    requests: list[StoredRequest]
    """To the API only."""
    seconds: float
    """Virtual seconds from start to end."""


def jobs(case: Case) -> list[Job]:
    """Rows of small clips, each with a prompt of its own."""
    found: list[Job] = []
    for number in range(1, case.rows + 1):
        follows = bool((number - 1) % case.chain)
        frame = {"first_frame_url": "last_frame:previous"} if follows else {}
        wanted = TaskInput.model_validate(
            {
                "prompt": f"paper boat {number} drifts down a rainy street",
                "duration": case.durations[number % len(case.durations)],
                "resolution": Resolution.P480,
                **frame,
            },
            context=Allow(blobs=True),
        )
        row = Row(number, Place("bench.csv", line=number + 1), {})
        content = content_hash("seedance-2-0", wanted)
        found.append(Job(row, f"row{number:05}", "seedance-2-0", wanted, content))
    jobs, troubles = linked(found, [KnownRow(job.key, job.row.line) for job in found], 10 << 20)
    assert not troubles
    return list(jobs)


def step_for(job: Job) -> Step:
    """The step of a plan that buys a job for the first time."""
    return Step(
        Action.NEW,
        job.key,
        Kind.FINAL,
        "",
        job,
        None,
        number=1,
        seconds=job.input.duration,
        waits_for=tuple(source.key for source in job.sources),
    )


def play(case: Case) -> Played:
    """Run a case to its end."""

    async def main() -> Played:
        with tempfile.TemporaryDirectory() as folder:
            return await _play(case, Path(folder))

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def _play(case: Case, folder: Path) -> Played:
    started = trio.current_time()

    def wall() -> float:
        return START + trio.current_time() - started

    def ours() -> float:
        return wall() + world.shift

    settings = {"clips": "plain", "generation_time": LOGNORMAL, "seed": case.seed, **case.settings}
    keys = (settings["webhook_secret"],) if settings.get("webhook_secret") else ()
    receiver = Receiver(lambda told: runner.hear(told), keys=keys, wall=wall, allow_private=True)
    sandbox = build(
        checked(settings, "bench"),
        clock=wall,
        offload=sandbox_inline,
        callback_transport=InProcess(receiver),
    )
    dice = random.Random(case.seed)
    events: list[tuple[float, RunEvent]] = []

    def observe(event: RunEvent) -> None:
        events.append((wall(), event))
        if world.watch is not None:
            world.watch(event)

    with (
        contextlib.closing(sandbox),
        open_journal(folder / "journal.db", threaded=False) as journal,
    ):
        stopper = Stopper(observe)
        world = World(sandbox, stopper, receiver, wall, events, shift=case.shift or 0.0)
        maker = IntentMaker(
            journal,
            api_key=KEY,
            storage=None,
            callback_url=lambda token: attempt_url(CALLBACKS, token) if case.callbacks else None,
            wall=ours,
            offload=inline,
            kept=KeptClips(folder),
        )
        api: httpx.AsyncBaseTransport = InProcess(sandbox.api)
        api = api if case.shift is None else Dated(api, wall)
        api = case.between(api) if case.between else api
        async with (
            Client("http://127.0.0.1:1", KEY, transport=api, wall=ours) as client,
            httpx.AsyncClient(transport=InProcess(sandbox.files)) as files,
            anyio.create_task_group() as group,
        ):
            group.start_soon(sandbox.callbacks.serve)
            runner = world.runner = Runner(
                tools_for(
                    client,
                    journal,
                    journal.attempts(),
                    stopper,
                    rpm=case.rpm,
                    wall=ours,
                    jitter=dice.random,
                ),
                Downloader(
                    folder, files, allow_private=True, offload=inline, measure=measured_once
                ),
                RunSettings(
                    concurrency=case.concurrency,
                    poll_interval=case.poll_interval,
                    max_failures=case.max_failures,
                ),
                Terms(
                    maker.key_fingerprint,
                    maker.body_of,
                    room,
                    may_send=lambda: case.may_send(wall() - START),
                    lost_since=lambda key: None if case.lost is None else START - case.lost,
                ),
                name_for=lambda attempt: f"videos/{attempt.intent.key}.mp4",
                called_back=case.callbacks,
            )
            if case.script is not None:
                group.start_soon(case.script, world)
            ending = await runner.run(orders(case, maker, lambda: world.attempts))
            seconds = wall() - START
            group.cancel_scope.cancel()
        store = sandbox.engine.ledger
        tasks, requests = list(store.tasks()), list(store.requests())
    requests = [r for r in requests if r.origin == "api"]
    return Played(case, ending, world, tasks, requests, seconds)


def room() -> bool:
    """Always."""
    return True


def orders(case: Case, maker: IntentMaker, attempts: Callable[[], Attempts]) -> list[Order]:
    """The rows of a case, in order; ``attempts`` are the run's, once it has begun."""
    steps = [step_for(job) for job in jobs(case)]
    high = heights(steps)

    def order(step: Step) -> Order:
        async def prepare() -> Any:
            assert step.job is not None
            return await maker.make(step, step.job, partial(take_for, step, attempts()))

        waits = step.waits_for
        return Order(step.key, None, prepare, waits_for=waits, height=high[step.key])

    return [order(step) for step in steps]
