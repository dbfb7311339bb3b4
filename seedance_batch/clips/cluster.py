"""A Dask cluster as hands: it is told addresses and hashes, and answers with what a file is.

No limit of the account, no key and no clip's bytes go through it. Whatever it does not answer in
time, or cannot do, is done in this process; so it may lose workers, or its scheduler, at any
moment. Imports ``distributed`` only when a cluster is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

import anyio
from anyio import from_thread, to_thread

from seedance_batch.clips.kept import MOMENT, Hands, Unfit, our_version, work_through
from seedance_batch.core.text import first_few, shown, some
from seedance_batch.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from distributed import Client

J = TypeVar("J")
T = TypeVar("T")
Tell = Callable[[str], None]

LOCAL: Final = "local"
"""In place of an address: a cluster of this machine's processors, for as long as it is needed."""

_CONNECT: Final = 10.0
"""Seconds for a connection, the first and any later one, and for what is asked of all workers."""
_LOOK_EVERY: Final = 2.0
_START: Final = 60.0
"""Seconds that a local cluster may take to start: each worker loads the program."""
_END: Final = 5.0
"""Seconds for a goodbye to whoever does not answer any more."""
_GRACE: Final = 30.0
"""Seconds beyond a worker's own time, after which its answer is not waited for."""
_CHUNK: Final = 16
"""Jobs that are handed over at once where each takes a moment: a way there and back costs 2 ms."""
_AHEAD: Final = 3
"""Chunks for each thread of the cluster that are under way."""
_TRIES: Final = 5
"""Failures of the cluster in a row, after which it is not asked any more."""
_LOCAL_SETTINGS: Final = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
"""A worker would look a hundred times a second at what it is doing."""
_PLACE: Final = "seedance-batch-dask-"
_SECRETS: Final = ("HIAPI_API_KEY", "HIAPI_API_KEY_FILE", "HIAPI_WEBHOOK_SECRET")
_WHY: Final = 200


def check_dask(where: str | None) -> None:
    """Raise `SettingsError` where a cluster is asked for and Dask is not installed."""
    if where is not None and find_spec("distributed") is None:
        raise SettingsError(
            "--dask needs the package distributed, which is not installed. Nothing was sent.",
            hint="pip install 'seedance-batch[dask]'",
        )


class NotDone(Exception):
    """No worker has done the work, for the reason given; it has to be done here."""


class Cluster:
    """Workers that do what is handed to them, or are found not to."""

    def __init__(self, client: Client, address: str, tell: Tell) -> None:
        self.workers = 0
        self.threads = 0
        """Jobs that the workers can do at once; 0 while none is there."""
        self._client = client
        self._address = address
        self._tell = tell
        self._failures = 0
        self._waits: set[anyio.CancelScope] = set()
        self._told: set[str] = set()

    async def do(
        self,
        work: Callable[[J], T],
        jobs: Sequence[J],
        /,
        *,
        within: float = MOMENT,
        refuses: Callable[[T], str | None] = lambda answer: None,
    ) -> list[T]:
        """What ``work``, a function of a module, makes of the jobs, in one worker.

        ``within``: seconds for each of them. ``refuses`` completes *a worker …* for an answer with
        which nothing is done. Raises `NotDone`.
        """
        if not self.threads or self._failures >= _TRIES:
            raise NotDone("no worker is there")
        try:
            # Impure, with a name of its own: nothing that another call has left is an answer.
            future = self._client.submit(
                work_through,
                our_version(),
                work,
                list(jobs),
                key=f"seedance-batch-{token_hex(8)}",
                pure=False,
                retries=0,
            )
        except Exception as error:  # it is closed, or about to be
            raise self._failed(error) from error
        try:
            with anyio.move_on_after(within * len(jobs) + _GRACE) as wait:
                self._waits.add(wait)
                found: list[T] = await future.result()
                if why := next(filter(None, map(refuses, found)), None):
                    raise Unfit(why)
                self._failures = 0
                return found
        except Exception as error:  # a worker's or the scheduler's
            raise self._failed(error) from error
        finally:
            self._waits.discard(wait)
            future.release()  # or the cluster would keep it for as long as this process lives
        raise self._failed(TimeoutError())

    def _failed(self, error: Exception) -> NotDone:
        why = f"a worker {error}" if isinstance(error, Unfit) else _words(error)
        self._failures += 1
        self.say_once("failed", f"dask: work is done here that no worker has done ({why})")
        if self._failures == _TRIES:
            self._tell(f"dask: {_TRIES} failures in a row, so the rest is done here")
        return NotDone(why)

    def say_once(self, what: str, words: str) -> None:
        """Tell whoever watches, the first time."""
        if what not in self._told:
            self._told.add(what)
            self._tell(words)

    async def watch(self) -> None:
        """Keep count of the workers, for as long as the scheduler is there."""
        while True:
            await anyio.sleep(_LOOK_EVERY)
            await self.count()
            if self._client.status == "closed":
                return

    async def count(self) -> None:
        """Ask for the workers' threads; none while the scheduler does not answer."""
        try:
            with anyio.fail_after(_CONNECT):
                threads = await self._client.scheduler.ncores()
            if not self.threads:  # it may be another one by now
                self._failures = 0
            self.workers, self.threads = len(threads), sum(threads.values())
        except Exception:  # whatever its connection says: there is nobody there now
            self.threads = 0
            for wait in self._waits:  # a machine that has lost its power closes no connection
                wait.cancel()
            self.say_once(
                "lost", f"dask: the scheduler at {self._address} is lost; its work is done here"
            )
            return
        if not self.threads:
            self.say_once("empty", "dask: no worker is there; work is done here until one comes")


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = str(error).splitlines()
    return shown(f"{type(error).__name__}: {text[0] if text else ''}", _WHY, one_line=True)


# ── connecting ──────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def open_cluster(
    where: str, seen: Path | None, *, tell: Tell, secrets: Sequence[str] = ()
) -> AsyncIterator[Cluster]:
    """The cluster at an address, or a local one, checked, for the length of a block.

    ``seen`` is a file that every worker has to see by this name, if any; ``secrets`` are values
    that a local one must not inherit. Raises `UsageError` for what is wrong, before any work.
    """
    check_dask(where)
    async with contextlib.AsyncExitStack() as stack:
        _be_quiet()
        _leave_to_dask(asyncio.get_running_loop())
        address = where
        if where == LOCAL:
            address = await stack.enter_async_context(_local_cluster(secrets))
        client = await stack.enter_async_context(_client_of(address))
        cluster = Cluster(client, address, tell)
        with _answering(address):
            await _check(client, address, seen, tell)
        await cluster.count()
        size = f"{some(cluster.workers, 'worker')} with {some(cluster.threads, 'thread')}"
        tell(f"dask: {size} at {address}, {_dashboard(client)}")
        watching = asyncio.create_task(cluster.watch())
        try:
            yield cluster
        finally:
            watching.cancel()


def _dashboard(client: Client) -> str:
    try:
        return f"dashboard {client.dashboard_link}"
    except (LookupError, AttributeError, ValueError):  # a scheduler may be started without one
        return "which has no dashboard"


@contextlib.asynccontextmanager
async def _client_of(address: str) -> AsyncIterator[Client]:
    import dask
    from distributed import Client

    # Dask would show the source of whoever submits on its dashboard, and looks for it each time.
    with dask.config.set({"distributed.diagnostics.computations.nframes": 0}):
        client = Client(
            address,
            asynchronous=True,
            set_as_default=False,
            timeout=_CONNECT,
            name="seedance-batch",
        )
        try:
            with _answering(address), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of versions, which are checked
                await client
            yield client
        finally:  # also where it never came to a connection, or its own end would make noise
            with (
                anyio.move_on_after(_END, shield=True),
                contextlib.suppress(Exception),  # whoever is gone cannot be taken leave of
            ):
                await client.close(timeout=_END)


@contextlib.contextmanager
def _answering(address: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The Dask scheduler at {address} does not answer ({_words(error)}). Nothing was sent.",
            hint="start it (dask scheduler), or leave --dask out; --dask local needs none",
        ) from error


async def _check(client: Client, address: str, seen: Path | None, tell: Tell) -> None:
    """Raise `UsageError` where versions differ or a worker does not see the run folder."""
    ours: dict[str, dict[str, Any]]
    with anyio.fail_after(_CONNECT):
        found = await client.get_versions(packages=["seedance-batch"])
    ours = {"this command": found["client"], "the scheduler": found["scheduler"]}
    ours |= {f"the worker {name}": told for name, told in found["workers"].items()}
    if (odd := odd_one(ours)) is not None:
        raise UsageError(
            f"{odd}: the cluster at {address} has other versions. Nothing was sent.",
            hint="install the same on all of its machines: pip install "
            f"'seedance-batch[dask]=={our_version()}' "
            f"distributed=={_version(found['client'], 'distributed')}",
        )
    with anyio.fail_after(_CONNECT):
        told = await client.run(_surroundings, seen and str(seen), on_error="return")
    told = {name: each for name, each in told.items() if isinstance(each, tuple)}
    unfit = [name for name, each in told.items() if not each[0]]
    if unfit:
        raise UsageError(
            f"{first_few(unfit, 3)} cannot read {seen}: workers have to see the run folder under "
            "the same path, unless a store keeps the clips. Nothing was sent.",
            hint="put it on a disk that all machines share, or: --store s3://bucket/prefix",
        )
    if keyed := [name for name, each in told.items() if each[1]]:
        tell(
            "warning: dask: HiAPI's key or secret is in the environment of "
            f"{first_few(keyed, 3)}; no worker needs it"
        )


def _surroundings(seen: str | None) -> tuple[bool, bool]:
    """What a worker is asked once: whether it sees a file, and whether it was given a key."""
    return seen is None or _can_read(seen), any(name in os.environ for name in _SECRETS)


def _can_read(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return bool(file.read(1))
    except OSError:
        return False


def odd_one(told: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The first difference in words; None where all have the same versions of what matters."""
    ours = next(iter(told.values()))
    for who, theirs in told.items():
        for what in ("python", "distributed", "seedance-batch"):
            mine, other = _version(ours, what), _version(theirs, what)
            if mine != other:
                return f"{who} has {what} {other or 'not at all'}, this command {mine}"
    return None


def _version(told: Mapping[str, Any], what: str) -> str | None:
    """Of Python its first two numbers: what they pickle, the other reads."""
    found: str | None = told["packages"].get(what)
    return ".".join(found.split(".")[:2]) if found and what == "python" else found


def _be_quiet() -> None:
    """Dask's log, with its tracebacks, reaches nobody who has not asked for it himself."""
    if "distributed" not in sys.modules:
        import distributed  # noqa: F401 - sets its log up

        for name in ("distributed", "distributed.client", "distributed.gc", "tornado.application"):
            logger = logging.getLogger(name)
            logger.handlers = [logging.NullHandler()]
            logger.propagate = False


def _leave_to_dask(loop: asyncio.AbstractEventLoop) -> None:
    """Tasks of Dask's own that end with an error say nothing: what matters of them is answered."""
    if loop in _LEFT:
        return
    _LEFT.add(loop)
    told = loop.get_exception_handler() or type(loop).default_exception_handler

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not _is_of_dask(context):
            told(loop, context)

    loop.set_exception_handler(tell)


def _is_of_dask(context: Mapping[str, Any]) -> bool:
    error, task = context.get("exception"), context.get("future") or context.get("task")
    code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
    homes = type(error).__module__.split(".")[0], Path(getattr(code, "co_filename", "")).parts
    return homes[0] in _THEIRS or bool(_THEIRS.intersection(homes[1]))


_LEFT: Final[WeakSet[asyncio.AbstractEventLoop]] = WeakSet()
_THEIRS: Final = frozenset({"distributed", "tornado"})


# ── a cluster of this machine ───────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def _local_cluster(secrets: Sequence[str]) -> AsyncIterator[str]:
    """Scheduler and workers in processes of their own, which end with this one however it ends.

    They begin anew with what the environment holds beside keys, in a session of their own, so that
    Ctrl-C is for this process alone.
    """
    with tempfile.TemporaryDirectory(prefix=_PLACE, ignore_cleanup_errors=True) as place:
        process = _begin(place, secrets)
        try:
            told = b""
            if process.stdout is not None:
                with anyio.move_on_after(_START):
                    read = process.stdout.readline
                    told = await to_thread.run_sync(read, abandon_on_cancel=True)
            if not told.endswith(b"\n"):
                raise UsageError(
                    "No Dask cluster could be started on this machine. Nothing was sent.",
                    hint='to see why: python -c "import distributed; distributed.LocalCluster()"',
                )
            yield json.loads(told)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(_end, process)


def _begin(place: str, secrets: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a local cluster. Not by asyncio, which has words for a loop that ends before it."""
    script = "import sys; from seedance_batch.clips.cluster import serve; serve(sys.argv[1])"
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_LOCAL_SETTINGS | without_keys(os.environ, secrets),
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a local cluster end, or end it."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def without_keys(environ: Mapping[str, str], secrets: Sequence[str]) -> dict[str, str]:
    """An environment without HiAPI's key and secret, under whatever name they stand."""
    values = {*secrets, *(environ.get(name, "") for name in _SECRETS)} - {""}
    return {
        name: value
        for name, value in environ.items()
        if name not in _SECRETS and not any(secret in value for secret in values)
    }


def serve(place: str) -> None:
    """A cluster on loopback until standard input ends; tells its address on standard output.

    ``place`` is a folder for what its workers put down.
    """
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    logging.disable(logging.CRITICAL)
    try:
        with LocalCluster(
            n_workers=CPU_COUNT,
            threads_per_worker=2,  # one waits for a file host while the other decodes
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            local_directory=place,
        ) as cluster:
            sys.stdout.write(json.dumps(cluster.scheduler_address) + "\n")
            sys.stdout.flush()
            sys.stdin.read()
    finally:  # who began it may have been killed
        shutil.rmtree(place, ignore_errors=True)


# ── many small jobs, for commands without a loop of their own ───────────────────────────────────


@contextlib.contextmanager
def hands_on(where: str | None, seen: Path | None, *, tell: Tell) -> Iterator[Hands | None]:
    """The hands of a cluster for the length of a block; None where none is asked for.

    See `open_cluster`.
    """
    if where is None:
        yield None
        return
    with from_thread.start_blocking_portal() as portal:
        opening = open_cluster(where, seen and seen.resolve(), tell=tell)
        opened = portal.wrap_async_context_manager(opening)
        cluster = opened.__enter__()
        try:
            yield _Many(portal, cluster)
        finally:
            opened.__exit__(None, None, None)


class _Many:
    """`Hands` of a cluster, whose loop runs in a thread."""

    def __init__(self, portal: from_thread.BlockingPortal, cluster: Cluster) -> None:
        self._portal = portal
        self._cluster = cluster

    def each(
        self, work: Callable[[J], T], jobs: Sequence[J], /, *, within: float = MOMENT
    ) -> Iterator[T]:
        """See `Hands`."""
        at_once = max(1, self._cluster.threads)
        most = _CHUNK if within <= MOMENT else 1
        size = max(1, min(most, len(jobs) // (at_once * _AHEAD)))
        chunks = deque(jobs[n : n + size] for n in range(0, len(jobs), size))
        under_way: deque[tuple[Sequence[J], Future[list[T]]]] = deque()
        try:
            while chunks or under_way:
                while chunks and len(under_way) < max(1, self._cluster.threads) * _AHEAD:
                    chunk = chunks.popleft()
                    do = partial(self._cluster.do, work, chunk, within=within)
                    handed = self._portal.start_task_soon(do)
                    under_way.append((chunk, handed))
                chunk, handed = under_way.popleft()
                try:
                    yield from handed.result()
                except NotDone:
                    yield from map(work, chunk)
        finally:
            for _, handed in under_way:
                handed.cancel()
