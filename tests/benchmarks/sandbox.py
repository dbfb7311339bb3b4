"""How much the sandbox bears: small requests a second on one core, list pages of 100,000 tasks.

Run it as ``python -m tests.benchmarks.sandbox [TASKS]``. The server is a process of its own on one
core with its state in a file; the load comes from another process over eight connections. On a
busy machine only the figure for a second of processor time says anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from seedance_batch.sandbox.config import checked
from seedance_batch.sandbox.server import build

KEY = "sk-bench"
CONNECTIONS = 8
ROUNDS = 5
REQUESTS = 3_000
FIGURE = 1_500
PAGE_FIGURE = 50
SERVE = "from seedance_batch.cli.preparing import sandbox; sandbox()"


def main(argv: list[str]) -> None:
    """Print a table of medians, each beside its figure."""
    tasks = int(argv[0]) if argv else 100_000
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.db"
        seconds = fill(state, tasks)
        _say(f"{tasks:,} tasks accepted in {seconds:.1f} s, state {state.stat().st_size:,} bytes")
        server, port = _serve(state)
        try:
            _requests(port, server.pid, tasks)
        finally:
            server.terminate()
            server.communicate()


def fill(state: Path | None, tasks: int) -> float:
    """Accepts so many tasks of 1,000-character prompts; the seconds that took."""
    sandbox = build(checked({"generation_time": "0"}, "bench"), state=state)
    engine = sandbox.engine
    account = engine.account(f"Bearer {KEY}")
    started = time.perf_counter()
    for number in range(tasks):
        content = {"prompt": f"{number} " + "x" * 1_000, "duration": 4, "resolution": "480p"}
        body = json.dumps({"model": "seedance-2-0", "input": content}).encode()
        order = engine.read_order(account, body, f"key-{number}")
        engine.accept(order, engine.price(order))
    seconds = time.perf_counter() - started
    sandbox.close()
    return seconds


def _serve(state: Path) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-c", SERVE, "--json", "--state", str(state)]
    command += ["--generation-time", "0", "--clips", "plain"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if server.stdout is None:
        raise RuntimeError("the sandbox says nothing")
    os.sched_setaffinity(server.pid, {min(os.sched_getaffinity(0))})
    return server, urlsplit(json.loads(server.stdout.readline())["api_url"]).port or 0


def _requests(port: int, pid: int, tasks: int) -> None:
    listed = asyncio.run(_load(port, 1, lambda n: _get("/v1/tasks?size=100")))
    task_id = json.loads(listed.body)["data"]["tasks"][0]["taskId"]
    kinds: dict[str, Callable[[int], bytes]] = {
        "look at one task": lambda n: _get(f"/v1/tasks/{task_id}"),
        "list of 10": lambda n: _get("/v1/tasks"),
        "create": lambda n: _post(time.perf_counter_ns()),
        "the three in turn": lambda n: (
            _get(f"/v1/tasks/{task_id}"),
            _get("/v1/tasks"),
            _post(time.perf_counter_ns()),
        )[n % 3],
    }
    for name, request in kinds.items():
        rates, spent = [], _cpu(pid)
        for _ in range(ROUNDS):
            rates.append(REQUESTS / asyncio.run(_load(port, REQUESTS, request)).seconds)
        per_core = REQUESTS * ROUNDS / (_cpu(pid) - spent)
        _say(
            f"{name:20} {statistics.median(rates):8,.0f} requests/s,"
            f" {per_core:8,.0f} in a second of one core   (at least {FIGURE:,})"
        )
    for page in (1, tasks // 200, tasks // 100):
        request = _get(f"/v1/tasks?size=100&page={page}")
        took = [
            asyncio.run(_load(port, 20, lambda n, r=request: r, 1)).seconds / 20
            for _ in range(ROUNDS)
        ]
        milliseconds = statistics.median(took) * 1000
        _say(f"page {page:<5} of 100    {milliseconds:8.1f} ms           (below {PAGE_FIGURE})")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Load:
    seconds: float
    body: bytes


async def _load(
    port: int, count: int, request: Callable[[int], bytes], connections: int = CONNECTIONS
) -> _Load:
    done = _Load()

    async def one(start: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(start, count, connections):
            writer.write(request(number))
            done.body = await _answer(reader)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one(start) for start in range(connections)))
    done.seconds = time.perf_counter() - started
    return done


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(head.decode())
    start = head.index(b"content-length:") + 15
    return await reader.readexactly(int(head[start : head.index(b"\r", start)]))


def _get(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        "Accept: */*\r\nAccept-Encoding: gzip\r\nUser-Agent: bench\r\n\r\n"
    ).encode()


def _post(number: int) -> bytes:
    content = {"prompt": f"prompt {number}", "duration": 4, "resolution": "480p"}
    body = json.dumps({"model": "seedance-2-0", "input": content}).encode()
    return (
        f"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Idempotency-Key: {number}\r\n\r\n"
    ).encode() + body


if __name__ == "__main__":
    main(sys.argv[1:])
