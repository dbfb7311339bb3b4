"""Forks children from a process that has everything imported, so that a start costs nothing.

As a program it reads one JSON request a line and answers one line each; `Forker` speaks to it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seedance_batch

_PRELOADED = (
    "anyio._backends._asyncio",
    "av",
    "filelock",
    "h11",
    "jinja2",
    "httpx",
    "httpcore._async.http11",
    "importlib.readers",
    "importlib.resources._adapters",
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
    "platformdirs",
    "xlsxwriter.workbook",
    "yaml",
)


HUNG = -999
"""The exit code of a child that had to be ended, since it came to no end by itself."""


@dataclass
class Forker:
    """Children on demand. One at a time may be waited for."""

    process: subprocess.Popen[str]

    def start(self, call: str, environment: dict[str, str], log: Path, **arguments: Any) -> int:
        """Call ``module:function`` with keyword arguments in a new child; returns its pid.

        ``folder`` is where it works, and ``terminal`` what it reads from, where they are given.
        """
        request = {"call": call, "environment": environment, "log": str(log), **arguments}
        return int(self._ask({"start": request}))

    def wait(self, pid: int, seconds: float = 120) -> int:
        """A child's exit code, negative for the signal that ended it."""
        return int(self._ask({"wait": pid, "seconds": seconds}))

    def ended(self, pid: int) -> bool:
        """Whether a child has come to its end."""
        return bool(self._ask({"ended": pid}))

    def kill(self, pid: int) -> None:
        """End a child that may have ended already; its pid is its own until it is waited for."""
        os.kill(pid, signal.SIGKILL)

    def call(self, call: str, environment: dict[str, str], log: Path, **arguments: Any) -> int:
        """Start a child and wait for it."""
        return self.wait(self.start(call, environment, log, **arguments))

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextlib.contextmanager
def forking() -> Iterator[Forker]:
    """A forker for the length of a block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.forker"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        yield Forker(process)
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


# ── the program ─────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Serve requests until standard input ends."""
    rooms = pkgutil.walk_packages(seedance_batch.__path__, f"{seedance_batch.__name__}.")
    for name in (*_PRELOADED, *(room.name for room in rooms)):
        importlib.import_module(name)
    # Reading all the world's certificates takes longer than a run; the sandbox speaks plain HTTP.
    ssl.SSLContext.load_verify_locations = lambda *_, **__: None  # type: ignore[method-assign]
    gc.collect()
    gc.freeze()  # or each child would copy what the collector touches
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_answer(request)), flush=True)  # noqa: T201


def _answer(request: dict[str, Any]) -> int | bool:
    if "wait" in request:
        return _waited(request["wait"], request["seconds"])
    if "ended" in request:
        return os.waitid(os.P_PID, request["ended"], _LOOK) is not None
    return _started(**request["start"])


_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT


def _started(
    call: str,
    environment: dict[str, str],
    log: str,
    folder: str = "",
    terminal: str = os.devnull,
    **arguments: Any,
) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        with open(log, "a") as output, open(terminal) as given:  # noqa: PTH123
            os.dup2(given.fileno(), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        if folder:
            os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        module, _, function = call.partition(":")
        code = getattr(importlib.import_module(module), function)(**arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _waited(pid: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return HUNG
        time.sleep(0.005)


if __name__ == "__main__":
    main()
