"""Transfer and hash of 16 MiB files beside ``curl --parallel``: prints both and their ratio.

Run it as ``python tests/benchmarks/downloads.py``. curl writes and does not hash; both write to
the same disk, from the same server in a process of its own, alternately; the median counts.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import anyio

from seedance_batch.api.addresses import file_client
from seedance_batch.clips.download import in_threads
from seedance_batch.clips.partial import Partial
from seedance_batch.clips.transfer import Known, Limits, Transfer

SIZE = 16 << 20
FILES = 24
LANES = 8
ROUNDS = 9
TARGET = 0.45


def serve(listener: socket.socket, path: str) -> None:
    """Answer every request with the file, by sendfile."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection, path), daemon=True).start()


def _answer(connection: socket.socket, path: str) -> None:
    with connection, Path(path).open("rb") as file:
        while True:
            received = b""
            while not received.endswith(b"\r\n\r\n"):
                more = connection.recv(65536)
                if not more:
                    return
                received += more
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
            offset = 0
            while offset < SIZE:
                offset += os.sendfile(connection.fileno(), file.fileno(), offset, SIZE - offset)


def with_curl(urls: list[str], folder: Path) -> float:
    """Seconds."""
    started = time.perf_counter()
    outputs = [word for number in range(len(urls)) for word in ("-o", str(folder / str(number)))]
    subprocess.run(
        [
            "curl",
            "--silent",
            "--no-progress-meter",
            "--parallel",
            "--parallel-max",
            str(LANES),
            *outputs,
            *urls,
        ],
        check=True,
    )
    return time.perf_counter() - started


async def with_ours(urls: list[str], folder: Path) -> float:
    """Seconds, connections included; a run has one client for all its clips, so its making not."""
    waiting = list(urls)
    async with file_client(allow_private=True, lanes=LANES) as http:
        started = time.perf_counter()
        offload = in_threads()
        transfer = Transfer(http, True, Limits(), offload, lambda _: None)

        async def lane() -> None:
            while waiting:
                url = waiting.pop()
                part = Partial(folder, ".mp4")
                arrived = await transfer.pull(url, part, 1 << 30)
                if not isinstance(arrived, Known) or part.size != SIZE:
                    raise AssertionError(arrived)
                await offload(part.write)

        async with anyio.create_task_group() as tasks:
            for _ in range(LANES):
                tasks.start_soon(lane)
    return time.perf_counter() - started


def measure(port: int, home: Path) -> float:
    """The median ratio of our speed to curl's."""
    urls = [f"http://127.0.0.1:{port}/{number}" for number in range(FILES)]
    ratios = []
    for _ in range(ROUNDS):
        seconds = []
        for run in (with_curl, partial(anyio.run, with_ours)):
            folder = Path(tempfile.mkdtemp(dir=home))
            seconds.append(run(urls, folder))
            shutil.rmtree(folder)
        ratios.append(seconds[0] / seconds[1])
        speeds = [FILES * SIZE / (1 << 20) / each for each in seconds]
        sys.stdout.write(
            f"curl {speeds[0]:5.0f} MiB/s   ours {speeds[1]:5.0f} MiB/s   {ratios[-1]:.2f}\n"
        )
    return statistics.median(ratios)


def main() -> int:
    """0 where the target is met."""
    with tempfile.TemporaryDirectory() as home, socket.create_server(("127.0.0.1", 0)) as listener:
        file = Path(home) / "16MiB"
        file.write_bytes(os.urandom(SIZE))
        server = multiprocessing.Process(target=serve, args=(listener, str(file)), daemon=True)
        server.start()
        ratio = measure(listener.getsockname()[1], Path(home))
        server.terminate()
    sys.stdout.write(f"median ratio {ratio:.2f}, target {TARGET}\n")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
