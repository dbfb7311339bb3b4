"""The receiver on a real socket, and the flags and addresses that lead to it."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path

import anyio
import httpx
import pytest

from seedance_batch.api import callbacks
from seedance_batch.api.callbacks import (
    Receiver,
    Reception,
    ToldTask,
    attempt_url,
    token_in,
    token_of,
)
from seedance_batch.batch.running import Hearing, hearing
from seedance_batch.cli.main import main
from seedance_batch.core.manifest import body_template, callback_token, content_hash
from seedance_batch.core.model import TaskInput
from seedance_batch.errors import Exit, SettingsError
from seedance_batch.settings import (
    Access,
    RunSettings,
    access_from,
    check_callbacks,
    secrets_from,
)
from tests.api.sending import encoded, finished, signed
from tests.benchmarks.world import SECRET

PUBLIC = Access("https://api.hiapi.ai", "sk-test", webhook_keys=(SECRET,))
LOCAL = Access("http://127.0.0.1:9", "sk-test")
TOKEN = callback_token("salt", "sb-1")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def receiver(heard: list[ToldTask], answer: Reception = Reception.TAKEN) -> Receiver:
    def hear(told: ToldTask) -> Reception:
        heard.append(told)
        return answer

    return Receiver(hear, keys=(SECRET,), wall=time.time, allow_private=False)


# ── on a socket ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_a_hundred_callbacks_at_once_are_each_answered_and_signals_stay_the_runs_own() -> (
    None
):
    heard: list[ToldTask] = []
    before = signal.getsignal(signal.SIGINT)
    with callbacks.listen("127.0.0.1:0") as sock:
        url = callbacks.local_url(sock)
        async with (
            callbacks.served(receiver(heard), sock),
            httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=100)) as client,
        ):

            async def call(number: int) -> None:
                body = encoded(finished(f"tk-{number}", "https://cdn.example.com/clip.mp4"))
                answer = await client.post(
                    f"{url}/x", content=body, headers=signed(body, time.time())
                )
                assert answer.status_code == 200

            async with anyio.create_task_group() as group:
                for number in range(100):
                    group.start_soon(call, number)
            assert signal.getsignal(signal.SIGINT) is before
    assert {told.task.task_id for told in heard} == {f"tk-{number}" for number in range(100)}


@pytest.mark.anyio
async def test_a_body_that_never_ends_is_given_up_within_a_second() -> None:
    heard: list[ToldTask] = []
    with callbacks.listen("127.0.0.1:0") as sock:
        async with callbacks.served(receiver(heard), sock):
            stream = await anyio.connect_tcp(*sock.getsockname()[:2])
            async with stream:
                await stream.send(b"POST /x HTTP/1.1\r\nHost: me\r\nContent-Length: 900\r\n\r\n{")
                with anyio.fail_after(120):
                    answer = await stream.receive()
                assert answer.startswith(b"HTTP/1.1 408 ")
    assert heard == []


@pytest.mark.anyio
async def test_what_the_run_cannot_take_is_asked_for_again() -> None:
    with callbacks.listen("127.0.0.1:0") as sock:
        url = callbacks.local_url(sock)
        busy = receiver([], Reception.TOO_BUSY)
        async with callbacks.served(busy, sock), httpx.AsyncClient(trust_env=False) as client:
            body = encoded({"taskId": "tk-1", "status": "fail"})
            answer = await client.post(url, content=body, headers=signed(body, time.time()))
            assert answer.status_code == 503


# ── proof ───────────────────────────────────────────────────────────────────────────────────────


def test_while_one_signing_key_replaces_another_both_are_good() -> None:
    keys = secrets_from(" the-new-signing-key , the-old-signing-key,")
    for key in ("the-new-signing-key", "the-old-signing-key"):
        headers = signed(b"body", 1000, key)
        stamp, signature = headers["x-hiapi-timestamp"], headers["x-hiapi-signature"]
        assert callbacks.is_signed(keys, stamp, signature, b"body", now=1300.0)
        assert not callbacks.is_signed(keys, stamp, signature, b"body", now=1301.0)
        assert not callbacks.is_signed((), stamp, signature, b"body", now=1000.0)


@pytest.mark.parametrize("value", ["short", "long-enough-to-be-one,short", "x" * 257])
def test_a_signing_key_of_impossible_length_is_refused(value: str) -> None:
    with pytest.raises(SettingsError):
        secrets_from(value)


def test_the_signing_keys_come_from_the_environment_and_are_in_no_repr() -> None:
    access = access_from({"HIAPI_API_KEY": "sk-test", "HIAPI_WEBHOOK_SECRET": SECRET})
    assert access.webhook_keys == (SECRET,)
    assert SECRET not in repr(access)


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


def test_every_attempts_address_has_a_token_of_its_own_that_its_body_gives_back() -> None:
    task = TaskInput(prompt="a paper boat")
    made = [callback_token("salt", f"sb-{number}") for number in range(100)]
    urls = [attempt_url("https://me.example.com/hiapi/", token) for token in made]
    tokens = [token_of(body_template("seedance-2-0", task, callback_url=url)) for url in urls]
    assert None not in tokens
    assert len(set(tokens)) == 100
    assert urls[0] == f"https://me.example.com/hiapi/{tokens[0]}"


def test_a_token_is_found_whatever_a_proxy_puts_before_it() -> None:
    token = attempt_url("https://me", TOKEN).rpartition("/")[2]
    assert {token_in(p) for p in (f"/{token}", f"/a/b/{token}", f"/{token}/")} == {token}
    assert {token_in(p) for p in ("/", "", f"/{token}/x", f"/{token[:-1]}", f"/x{token}")} == {None}


def test_a_body_without_our_callback_has_no_token() -> None:
    task = TaskInput(prompt="a paper boat")
    assert token_of(body_template("seedance-2-0", task)) is None
    own = body_template("seedance-2-0", task, callback_url="https://me.example.com/hook")
    assert token_of(own) is None


def test_the_token_is_no_part_of_a_rows_content() -> None:
    task = TaskInput(prompt="a paper boat")
    body = json.loads(
        body_template("seedance-2-0", task, callback_url=attempt_url("https://me", TOKEN))
    )
    assert content_hash(body["model"], TaskInput(**body["input"])) == content_hash(
        "seedance-2-0", task
    )


# ── flags ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "http://me.example.com/hook",
        "https://localhost/hook",
        "https://10.0.0.1/hook",
        "https://169.254.169.254/",
        "https://user:word@me.example.com/",
        "https://me.example.com/hook?token=1",
        "https://me.example.com/hook#1",
        "ftp://me.example.com/",
        "me.example.com",
    ],
)
def test_a_callback_url_that_hiapi_would_not_call_is_refused_before_anything_is_sent(
    url: str,
) -> None:
    with pytest.raises(SettingsError):
        check_callbacks(RunSettings(callback_url=url), PUBLIC)


def test_plain_http_is_for_an_api_on_this_machine() -> None:
    check_callbacks(RunSettings(callback_url="http://127.0.0.1:8787/hook"), LOCAL)
    check_callbacks(RunSettings(callback_url="https://me.example.com/hook"), PUBLIC)
    check_callbacks(RunSettings(callback_bind="127.0.0.1:0"), LOCAL)
    check_callbacks(RunSettings(), PUBLIC)


def test_listening_for_a_public_api_needs_an_address_that_it_can_call() -> None:
    with pytest.raises(SettingsError, match="--callback-url"):
        check_callbacks(RunSettings(callback_bind="127.0.0.1:0"), PUBLIC)


@pytest.mark.parametrize(
    "bind",
    [
        "8787x", "127.0.0.1", "127.0.0.1:99999", "no.such.host.invalid:1", "127.0.0.1:²",
        "127.0.0.1:٥", f"{'a' * 100}:1", "\x00:1", "127.0.0.1:" + "1" * 5000,
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_listened_at_is_refused(bind: str) -> None:
    with pytest.raises(SettingsError):
        callbacks.listen(bind)


def test_a_port_that_is_taken_is_named() -> None:
    with (
        callbacks.listen("127.0.0.1:0") as sock,
        pytest.raises(SettingsError, match=str(sock.getsockname()[1])),
    ):
        callbacks.listen(f"127.0.0.1:{sock.getsockname()[1]}")


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_an_ipv6_address_is_told_in_brackets() -> None:
    with callbacks.listen("[::1]:0") as sock:
        assert callbacks.local_url(sock) == f"http://[::1]:{sock.getsockname()[1]}"


def test_a_persons_own_service_is_told_the_address_as_it_is() -> None:
    settings = RunSettings(callback_url="https://me.example.com/hook")
    with hearing(settings, PUBLIC) as found:
        assert found.socket is None
        assert found.url_for_attempt(TOKEN) == "https://me.example.com/hook"


def test_without_callback_flags_nobody_is_called() -> None:
    with hearing(RunSettings(), PUBLIC) as found:
        assert found.url_for_attempt(TOKEN) is None
    assert Hearing(PUBLIC).url_for_attempt(TOKEN) is None


def test_behind_a_proxy_each_attempt_has_its_place_below_the_public_address() -> None:
    settings = RunSettings(callback_url="https://me.example.com/hook", callback_bind="127.0.0.1:0")
    with hearing(settings, PUBLIC) as found:
        url = found.url_for_attempt(TOKEN) or ""
        assert url.startswith("https://me.example.com/hook/cb-")


# ── a whole run ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_with_the_sandbox_callbacks_work_out_of_the_box(tmp_path: Path) -> None:
    import sqlite3

    manifest = tmp_path / "boats.csv"
    rows = [f"boat{n},a paper boat number {n},4,480p" for n in range(3)]
    manifest.write_text("\n".join(["id,prompt,duration,resolution", *rows]))
    flags = ["--sandbox", "--callback-bind", "127.0.0.1:0", "-q"]
    assert main(["run", str(manifest), *flags]) == Exit.OK
    with sqlite3.connect(tmp_path / "runs/boats-sandbox/sandbox.db") as sandbox:
        found = sandbox.execute("SELECT status, verdict FROM requests WHERE origin = 'callback'")
        assert list(found) == [(200, "delivered, attempt 1")] * 3
