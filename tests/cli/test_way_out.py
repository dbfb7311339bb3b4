"""The way to the service: proxies, certificates and keys, as people's environments have them.

What can be used is used; what cannot is named by its variable before anything is sent.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import certifi
import pytest

from seedance_batch.api.addresses import authorities
from tests.cli.shop import Said, Shop, say

# httpcore leaves the socket of a proxy that refused to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

API = ("--api-url", "https://api.example.test")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No proxy, no exception from one, the usual certificates."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file"):
        for spelled in (name, name.upper()):
            monkeypatch.delenv(spelled, raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    authorities.cache_clear()
    yield monkeypatch
    authorities.cache_clear()
    gc.collect()


def tried(shop: Shop, *commands: str) -> dict[str, Said]:
    """What commands say that would reach the service."""
    shop.fill(1)
    words = {"run": ["run", str(shop.manifest), "--yes"], "prices": ["prices"]}
    return {name: say(*words.get(name, [name]), *API) for name in commands}


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────


def asked_of_socks(answer: bytes) -> Callable[[socket.socket], bytes]:
    """A SOCKS 5 proxy that wants no password, and gives one answer to what it is asked for."""

    def serve(connection: socket.socket) -> bytes:
        connection.recv(64)
        connection.sendall(b"\x05\x00")
        asked = connection.recv(512)
        connection.sendall(answer)
        return asked

    return serve


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """A port whose connections are served so, and what came of each."""
    server, found = socket.create_server(("127.0.0.1", 0)), list[bytes]()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    found.append(serve(connection))

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield server.getsockname()[1], found
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


REFUSED = b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"


@pytest.mark.cases(2)
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("all_proxy", "socks5://127.0.0.1:{}"),
        ("ALL_PROXY", "socks5h://127.0.0.1:{}/"),
        ("all_proxy", "socks://127.0.0.1:{}/"),  # as desktops write it
        ("HTTPS_PROXY", "SOCKS5://127.0.0.1:{}\n"),
    ],
)
def test_a_socks_proxy_is_used_and_named_where_it_refuses(
    shop: Shop, environment: pytest.MonkeyPatch, name: str, form: str
) -> None:
    with listening(asked_of_socks(REFUSED)) as (port, asked):
        environment.setenv(name, form.format(port))
        for said in tried(shop, "run", "prices").values():
            assert said.code == 9
            assert f"the proxy 127.0.0.1:{port} ({name}) does not connect" in said.err
            assert "Nothing" in said.err or "nothing was sent" in said.err
    assert asked
    assert all(b"api.example.test" in each for each in asked)


def test_what_clash_sets_goes_by_the_proxy_for_https(
    shop: Shop, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("all_proxy", "socks5://127.0.0.1:1")
    environment.setenv("http_proxy", "http://127.0.0.1:1")
    with listening(lambda connection: connection.recv(512)) as (port, asked):
        environment.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert tried(shop, "prices")["prices"].code == 9
    assert asked[0].startswith(b"CONNECT api.example.test:443")


def test_a_port_that_speaks_no_socks_is_exit_9(shop: Shop, environment: pytest.MonkeyPatch) -> None:
    def greet(connection: socket.socket) -> bytes:
        connection.recv(64)
        connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        return b""

    with listening(greet) as (port, _):
        environment.setenv("all_proxy", f"socks5://127.0.0.1:{port}")
        for said in tried(shop, "run", "prices").values():
            assert said.code == 9
            assert f"127.0.0.1:{port} (all_proxy) does not connect" in said.err


@pytest.mark.cases(2)
@pytest.mark.parametrize(
    "proxy",
    [
        "http://u:p#x@127.0.0.1:9",
        "http://u:12#x@127.0.0.1:9",
        "http://u:p/x@127.0.0.1:9",
        "http://u:12?x@127.0.0.1:9",
        '"http://127.0.0.1:9"',
        "socks4://127.0.0.1:9",
        "http://",
    ],
)
def test_a_proxy_that_cannot_be_used_is_exit_2_in_every_command(
    shop: Shop, environment: pytest.MonkeyPatch, proxy: str
) -> None:
    environment.setenv("https_proxy", proxy)
    for name, said in tried(shop, "run", "prices", "doctor").items():
        assert said.code == 2
        assert "https_proxy names no usable proxy" in said.err + said.out, name
        assert proxy not in said.err


def test_a_proxy_for_the_clips_alone_is_looked_at_before_anything_is_sent(
    shop: Shop, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("NO_PROXY", "api.example.test")
    environment.setenv("https_proxy", "http://u:p#x@127.0.0.1:9")
    said = tried(shop, "run")["run"]
    assert said.code == 2
    assert "https_proxy names no usable proxy" in said.err
    assert not shop.run_folder.exists()


@pytest.mark.cases(2)
@pytest.mark.parametrize(
    "exceptions",
    ["localhost,fd07:b51a:cc66:f0::/64", "[::1]", "::1,10.0.0.0/8", "[fd00::]:80", ","],
)
def test_exceptions_of_any_form_break_nothing(
    shop: Shop, environment: pytest.MonkeyPatch, exceptions: str
) -> None:
    environment.setenv("https_proxy", "http://127.0.0.1:1")
    environment.setenv("NO_PROXY", exceptions)
    said = tried(shop, "prices")["prices"]
    assert said.code == 9
    assert "127.0.0.1:1 (https_proxy)" in said.err


# ── certificates ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.cases(2)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "nowhere.pem"),
        ("SSL_CERT_FILE", "."),
        ("SSL_CERT_FILE", "empty.pem"),
        ("SSL_CERT_FILE", "key.pem"),
        ("SSL_CERT_DIR", "nowhere"),
        ("SSL_CERT_DIR", "empty.pem"),
    ],
)
def test_certificates_that_cannot_be_used_are_named_by_their_variable(
    shop: Shop, environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    Path("empty.pem").touch()
    Path("key.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    environment.setenv(name, value)
    for command, said in tried(shop, "run", "prices", "doctor").items():
        assert said.code == 2, command
        words = f"{name} names no usable certificates: {value}: "
        assert words in said.err + said.out, command
        assert "Errno" not in said.err + said.out


def test_certificates_of_ones_own_are_used(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = Path(certifi.where()).read_text(encoding="utf-8")
    one = tmp_path / "one.pem"
    one.write_text("".join(whole.partition("-----END CERTIFICATE-----")[:2]) + "\n")
    environment.setenv("SSL_CERT_FILE", str(one))
    assert len(authorities().get_ca_certs()) == 1
    assert authorities().verify_mode is ssl.CERT_REQUIRED


@pytest.mark.more
def test_the_sandbox_needs_neither_proxies_nor_certificates(
    shop: Shop, environment: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    environment.setenv("SSL_CERT_FILE", "nowhere.pem")
    environment.setenv("https_proxy", "http://u:p#x@127.0.0.1:9")
    environment.setenv("all_proxy", "socks4://nowhere")
    environment.setenv("NO_PROXY", "[::1]")
    environment.setenv("HIAPI_API_KEY", '"in quotes"')
    said = say("run", str(shop.manifest), "--sandbox", "-q")
    assert said.code == 0, said.err


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ('"sk-canary"', "in quotes"),
        ("'sk-canary'", "in quotes"),
        ("“sk-canary”", "in quotes"),
        ("HIAPI_API_KEY=sk-canary", "a whole line"),
        ("export HIAPI_API_KEY='sk-canary'", "a whole line"),
        ("$env:HIAPI_API_KEY = sk-canary", "a whole line"),
        ("Bearer sk-canary", "Bearer"),
    ],
)
def test_what_stands_around_a_key_is_said_and_the_key_is_not(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, words: str
) -> None:
    monkeypatch.setenv("HIAPI_API_KEY", key)
    said = tried(shop, "run")["run"]
    assert said.code == 2
    assert "HIAPI_API_KEY contains" in said.err or "HIAPI_API_KEY begins" in said.err
    assert words in said.err
    assert "canary" not in said.err
    (tmp_path / "key").write_text(f"{key}\n", encoding="utf-8")
    monkeypatch.delenv("HIAPI_API_KEY")
    monkeypatch.setenv("HIAPI_API_KEY_FILE", str(tmp_path / "key"))
    said = tried(shop, "run")["run"]
    assert "HIAPI_API_KEY_FILE " in said.err
    assert words in said.err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_key_file_may_be_written_by_windows(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoding: str
) -> None:
    key = shop.key
    (tmp_path / "key").write_text(f"{key}\r\n", encoding=encoding)
    monkeypatch.delenv("HIAPI_API_KEY")
    monkeypatch.setenv("HIAPI_API_KEY_FILE", str(tmp_path / "key"))
    shop.fill(1)
    assert shop.run().code == 0
