"""A wrong address, a wall of a proxy: said soon, with what to mend, and nothing is bought."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from seedance_batch.core.attempt import Phase
from tests.cli.shop import QUICK, Shop, say


@pytest.mark.cases(2)
@pytest.mark.parametrize("stranger", ["404", "405", "page", "redirect"])
def test_an_address_where_somebody_else_answers_is_exit_9_and_takes_no_folder(
    shop: Shop, stranger: str
) -> None:
    shop.fill(2)
    faults = {"stranger": stranger, "redirect_to": "https://right.example/v1/tasks"}
    with shop.service.having(faults=faults):
        said = shop.run()
    assert said.code == 9
    assert "is not HiAPI's API" in said.err
    assert ("https://right.example/v1/tasks" in said.err) == (stranger == "redirect")
    assert "hint: " in said.err
    assert shop.attempts() == []
    assert shop.run().code == 0


@pytest.mark.cases(1)
@pytest.mark.parametrize("end", ["/v1", "/v1/tasks", "/v1/tasks/"])
def test_an_address_may_be_pasted_whole(shop: Shop, end: str) -> None:
    shop.fill(1)
    api_url = f"{shop.service.api_url}{end}"
    said = say("run", str(shop.manifest), "--api-url", api_url, *QUICK, "--yes", "-q")
    assert said.code == 0
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_creates_that_are_redirected_end_with_exit_9_and_are_sent_again_by_the_same_command(
    shop: Shop,
) -> None:
    shop.fill(3)
    with shop.service.having(faults={"create": {"redirect": 1.0}}):
        said = shop.run()
    assert said.code == 9
    assert shop.tasks() == []
    assert {a.state.phase for a in shop.attempts()} == {Phase.SUBMITTING}
    assert "HIAPI_BASE_URL" in said.out
    assert shop.run().code == 0
    assert len(shop.tasks()) == 3


def test_paid_rows_wait_where_the_address_answers_for_somebody_else_now(shop: Shop) -> None:
    shop.fill(2)
    with shop.service.having(generation_time="600"):
        assert shop.run("--wait", "0.5").code == 5
    with shop.service.having(faults={"stranger": "page"}):
        assert shop.run().code == 9
    assert {a.state.phase for a in shop.attempts()} == {Phase.IN_FLIGHT}
    assert len(shop.tasks()) == 2


@pytest.mark.parametrize(("code", "exit_code"), [("balance", 6), ("invalid", 3)])
def test_a_refusal_with_http_200_has_the_exit_code_of_its_own_code(
    shop: Shop, code: str, exit_code: int
) -> None:
    shop.fill(2)
    settings = {"balance": {"balance": "0"}, "invalid": {"routes": []}}[code]
    flags = ["--model", "no-such-model"] if code == "invalid" else []
    with shop.service.having(faults={"codes_in_200": True}, **settings):
        said = shop.run(*flags)
    assert said.code == exit_code, said
    assert shop.tasks() == []


@pytest.mark.cases(2)
@pytest.mark.parametrize("output", ["relative", "no_scheme", "blanks", "strings"])
def test_a_clip_is_fetched_from_where_its_odd_address_leads(shop: Shop, output: str) -> None:
    shop.fill(1)
    with shop.service.having(faults={"outputs": {output: 1.0}}):
        said = shop.run()
        assert said.code == 0, said
    assert shop.statuses() == ["done"]


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def refusing_proxy(status: str) -> Iterator[str]:
    """A proxy that answers every request with one status, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(65_536)
                        client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
def test_a_proxy_that_lets_nothing_through_is_exit_9_and_is_named(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    shop.fill(1)
    with refusing_proxy(status) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:s3cret@{address}")
        monkeypatch.delenv("NO_PROXY")
        url = "https://api.example.test"
        said = say("run", str(shop.manifest), "--api-url", url, *QUICK, "--yes", "-q")
    assert said.code == 9
    assert f"proxy {address} (HTTPS_PROXY)" in said.err
    assert status in said.err
    assert "s3cret" not in said.out + said.err


@pytest.mark.parametrize(
    "value", ["http://u:p#x@127.0.0.1:9", "http://", "ftp://127.0.0.1:9", "http://127.0.0.1:port"]
)
def test_a_proxy_that_cannot_be_read_is_named_by_its_variable(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    shop.fill(1)
    monkeypatch.setenv("HTTPS_PROXY", value)
    monkeypatch.delenv("NO_PROXY")
    for words in (["run", str(shop.manifest), "--yes"], ["prices"]):
        said = say(*words, "--api-url", "https://api.example.test")
        assert said.code == 2
        assert "HTTPS_PROXY names no usable proxy" in said.err
        assert value not in said.err


def test_exceptions_from_a_proxy_may_name_networks(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,fd07:b51a:cc66:f0::/64,api.example.test")
    monkeypatch.setenv("HTTPS_PROXY", "http://u:p#x@127.0.0.1:9")
    said = say("prices", "--api-url", "https://api.example.test")
    assert "HTTPS_PROXY" not in said.err
    assert "something broke" not in said.err
