"""Serving: connections that are dropped on purpose, quick ends, and nothing said on stderr."""

from __future__ import annotations

import errno
import socket
import threading
import time
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from seedance_batch.sandbox.answers import DISCONNECT
from seedance_batch.sandbox.drawing import Abandoned, render
from seedance_batch.sandbox.server import _serve_one, build, running
from seedance_batch.sandbox.views import ClipSpec, Drawn
from tests import patient

from .conftest import KEY, config, order, serving


def _lose_an_answer(url: str, wait: float = 30) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{url}/v1/tasks", json=order(), headers=headers, timeout=wait)


def _creates(url: str) -> int:
    """How many creates were asked for."""
    ledger = httpx.get(f"{url}/sandbox/ledger", timeout=30).json()
    return int(ledger["counters"]["create_requests"])


def test_it_ends_at_once_and_quietly_while_answers_are_waited_for(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with running(config(faults={"create": {"stall": 1.0}})) as address:
        threads = [
            threading.Thread(target=_lose_an_answer, args=(address.api_url,)) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        while _creates(address.api_url) < len(threads):
            time.sleep(0.01)
        started = time.monotonic()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 100, "it waited for answers that stall for 120 s"
    assert capfd.readouterr().err + caplog.text == ""


@pytest.mark.parametrize("fault", ["reset", "reset_after", "cut", "stall", "html_after"])
def test_a_dropped_connection_is_no_error_of_the_server(
    fault: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(faults={"create": {fault: 1.0}, "stall_seconds": 0.1}) as served:
        for _ in range(3):
            if fault == "html_after":
                assert served.create().is_success
            else:
                _lose_an_answer(served.address.api_url)
        served.configure(faults={})
        assert served.create().is_success
    assert capfd.readouterr().err + caplog.text == ""


def test_it_ends_quietly_while_a_dropped_connection_still_has_bytes_to_send(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        dropped = anyio.Event()

        async def cut(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            body = b"x" * 2**24  # more than the system holds for a client that does not read
            await send({"type": "http.response.body", "body": body, "more_body": True})
            scope["extensions"][DISCONNECT](False)
            dropped.set()

        sock = socket.create_server(("127.0.0.1", 0))
        async with anyio.create_task_group() as group:
            await group.start(_serve_one, cut, sock)
            with socket.create_connection(sock.getsockname()) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                await dropped.wait()
                group.cancel_scope.cancel()

    anyio.run(main)
    assert capfd.readouterr().err + caplog.text == ""


def test_a_reset_is_a_real_one() -> None:
    with serving(faults={"create": {"reset": 1.0}}) as served:
        place = urlsplit(served.address.api_url)
        body = b'{"model":"seedance-2-0","input":{"prompt":"abc"}}'
        with socket.create_connection((place.hostname or "", place.port or 0)) as sock:
            sock.sendall(
                b"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-x\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            with pytest.raises(ConnectionResetError):
                sock.recv(100)


def test_a_port_that_is_taken_is_told() -> None:
    with serving() as served:
        port = urlsplit(served.address.api_url).port or 0
        with pytest.raises(OSError) as refused:  # noqa: PT011 - its number says more
            with running(config(), port=port):
                pass
    assert refused.value.errno == errno.EADDRINUSE


def test_an_ipv6_loopback_is_served_too() -> None:
    try:
        with running(config(), host="::1") as address:
            assert address.api_url.startswith("http://[::1]:")
            assert patient.get(f"{address.api_url}/api/pricing").is_success
    except OSError:
        pytest.skip("this machine has no IPv6")


def test_ending_gives_up_a_clip_that_is_being_rendered() -> None:
    sandbox = build(config(clips="full"))
    drawn = Drawn("content", "prompt", "caption", None, None, (), ())
    clip = ClipSpec(1920, 1080, 361, True, drawn)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Abandoned):
        render(clip, "video.mp4", stopped)
    sandbox.close()
    assert sandbox.clip_files.closed.is_set()
