"""A real S3 server on loopback, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAOPENSESAME",
    "AWS_SECRET_ACCESS_KEY": "a-secret-that-no-file-may-hold",
    "AWS_REGION": "us-east-1",
}
"""What a machine needs besides the endpoint; the server takes any key."""


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Its address, while it serves; skips the test where there is no such program."""
    program = os.environ.get("MOTO_SERVER") or shutil.which("moto_server")
    if program is None:
        pytest.skip("moto_server is neither on the PATH nor named by MOTO_SERVER")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with subprocess.Popen(command, env=environment, **quiet) as process:  # type: ignore[call-overload]
        try:
            yield _answering(f"http://127.0.0.1:{port}", process)
        finally:
            process.kill()


def _answering(address: str, process: subprocess.Popen[bytes]) -> str:
    while True:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{address}/moto-api/", timeout=60)
            return address
        assert process.poll() is None, "moto_server ended while it started"
        time.sleep(0.05)


def new_bucket(address: str) -> str:
    """A bucket that nobody has used, as the address of a store."""
    name = f"b-{uuid.uuid4().hex}"
    assert httpx.put(f"{address}/{name}", timeout=60).status_code == 200
    return f"s3://{name}/a/prefix"
