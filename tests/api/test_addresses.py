"""No trick of spelling, naming or resolving reaches an address that is not public."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import anyio
import httpcore
import httpx
import pytest

from seedance_batch.api.addresses import (
    AddressRefused,
    PinnedBackend,
    proxy_for,
    refusal,
    unpinned_note,
)

PUBLIC = "93.184.216.34"

REFUSED = [
    # not https
    "http://files.example.com/a",
    "ftp://files.example.com/a",
    "file:///etc/passwd",
    "gopher://files.example.com/",
    "data:video/mp4;base64,AAAA",
    "//files.example.com/a",
    "files.example.com/a",
    "",
    # not readable
    "https:///a",
    "https://",
    "https://exa mple.com/",
    "https://example.com\\@127.0.0.1/",
    "https://example.com/\r\nHost: x",
    "https://example.com:99999999/",
    "https://[::1/",
    "https://user@files.example.com/",
    "https://user:word@files.example.com/",
    "https://files.example.com@127.0.0.1/",
    # this machine and its network, plainly
    "https://127.0.0.1/",
    "https://127.8.8.8/",
    "https://0.0.0.0/",
    "https://10.1.2.3/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://198.18.0.1/",
    "https://192.0.2.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::1]/",
    "https://[::]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[fd12:3456::1]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    # metadata
    "https://169.254.169.254/latest/meta-data/",
    "https://168.63.129.16/",
    "https://100.100.100.200/",
    "https://[fd00:ec2::254]/",
    "https://metadata.google.internal/",
    # in disguise
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.0.0.1./",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    # private names
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
    "https://printer.local/",
    "https://db.internal/",
    "https://router.home.arpa/",
    "https://intranet/",
]

ALLOWED = [
    "https://files.example.com/a.mp4?Signature=x%2Fy",
    "https://FILES.example.com:8443/a",
    "https://files.example.com./a",
    f"https://{PUBLIC}/a",
    "https://[2606:2800:220:1:248:1893:25c8:1946]/a",
    "https://[64:ff9b::5db8:d822]/a",
    "https://bücher.example/a",
    "https://localhost.example.com/",
    "https://10.example.com/",
]


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_is_not_plainly_public_is_refused(url: str) -> None:
    assert refusal(url, allow_private=False)


@pytest.mark.parametrize("url", ALLOWED)
def test_a_public_address_is_not(url: str) -> None:
    assert refusal(url, allow_private=False) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/a",
        "http://localhost:8080/a",
        "http://[::1]:8080/a",
        "http://192.168.1.1/a",
        "https://files.example.com/a",
    ],
)
def test_this_network_is_admitted_where_the_api_is_here(url: str) -> None:
    assert refusal(url, allow_private=True) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/",
        "http://[fd00:ec2::254]/",
        "http://168.63.129.16/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "http://2130706433/",
        "http://user@127.0.0.1/",
        "file:///etc/passwd",
    ],
)
def test_metadata_and_disguises_are_refused_even_then(url: str) -> None:
    assert refusal(url, allow_private=True)


def test_a_refusal_shows_the_host_and_nothing_of_the_path() -> None:
    for url in REFUSED:
        assert "meta-data" not in str(refusal(f"{url}?Signature=s3cret", allow_private=False))
        assert "s3cret" not in str(refusal(f"{url}?Signature=s3cret", allow_private=False))


# ── resolving ───────────────────────────────────────────────────────────────────────────────────


class Recorder(httpcore.AsyncNetworkBackend):
    """A network that notes where connections would go; some addresses do not answer."""

    def __init__(self, dead: Iterable[str] = ()) -> None:
        self.asked: list[str] = []
        self._dead = set(dead)

    async def connect_tcp(self, host: str, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        self.asked.append(host)
        if host in self._dead:
            raise httpcore.ConnectError("no route")
        return httpcore.AsyncMockStream([])


def resolving(*answers: Sequence[str]) -> Any:
    """A resolver that changes its mind with every question."""
    turns = iter(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return next(turns)

    return resolve


def connect(backend: PinnedBackend, host: str = "files.example.com") -> None:
    anyio.run(backend.connect_tcp, host, 443)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1%eth0",
        "0.0.0.0",  # noqa: S104 - an address to refuse, not to bind
    ],
)
def test_a_public_name_for_a_private_address_is_never_connected_to(address: str) -> None:
    network = Recorder()
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC]):
        backend = PinnedBackend(allow_private=False, resolve=resolving(addresses), inner=network)
        with pytest.raises(AddressRefused, match=r"files\.example\.com is refused"):
            connect(backend)
    assert network.asked == []


def test_a_name_that_a_resolver_in_fake_ip_mode_made_up_is_connected_to() -> None:
    for address in ("198.18.0.5", "198.19.255.254"):
        network = Recorder()
        backend = PinnedBackend(
            allow_private=False, resolve=resolving([address, "fc00::5"]), inner=network
        )
        connect(backend)
        assert network.asked == [address]


def test_a_made_up_address_is_no_cover_for_another_private_one() -> None:
    network = Recorder()
    for addresses in (["198.18.0.5", "10.0.0.1"], ["198.18.0.5", "127.0.0.1"], ["fc00::5"]):
        backend = PinnedBackend(allow_private=False, resolve=resolving(addresses), inner=network)
        with pytest.raises(AddressRefused):
            connect(backend)
    backend = PinnedBackend(allow_private=False, resolve=resolving(["198.18.0.5"]), inner=network)
    with pytest.raises(AddressRefused):
        connect(backend, "198.18.0.5")
    assert network.asked == []


def test_a_name_that_rebinds_meets_the_checked_address_or_none() -> None:
    network = Recorder()
    backend = PinnedBackend(
        allow_private=False, resolve=resolving([PUBLIC], ["127.0.0.1"]), inner=network
    )
    connect(backend)
    with pytest.raises(AddressRefused):
        connect(backend)
    assert network.asked == [PUBLIC]


def test_the_next_checked_address_is_tried_where_one_is_dead() -> None:
    network = Recorder(dead=["2606:2800:220:1:248:1893:25c8:1946"])
    addresses = ["2606:2800:220:1:248:1893:25c8:1946", PUBLIC]
    connect(PinnedBackend(allow_private=False, resolve=resolving(addresses), inner=network))
    assert network.asked == addresses


def test_a_dead_or_nameless_host_is_a_connection_error() -> None:
    for addresses in ([PUBLIC], []):
        backend = PinnedBackend(
            allow_private=False, resolve=resolving(addresses), inner=Recorder(dead=[PUBLIC])
        )
        with pytest.raises(httpcore.ConnectError):
            connect(backend)
    with pytest.raises(httpcore.ConnectError, match="cannot be resolved"):
        connect(PinnedBackend(allow_private=True, inner=Recorder()), "nowhere.invalid")


def test_local_sockets_are_no_file_hosts() -> None:
    backend = PinnedBackend(allow_private=True)
    with pytest.raises(AddressRefused):
        anyio.run(backend.connect_unix_socket, "/run/docker.sock")


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_without_a_proxy_addresses_are_pinned(environment: pytest.MonkeyPatch) -> None:
    assert proxy_for("https", "files.example.com") is None
    assert unpinned_note() is None


def test_a_proxy_is_used_and_named_without_its_password(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "http://me:s3cret@proxy.example.com:3128")
    environment.setenv("NO_PROXY", "example.org")
    assert proxy_for("https", "files.example.com") == "http://me:s3cret@proxy.example.com:3128"
    assert proxy_for("http", "files.example.com") is None
    assert proxy_for("https", "files.example.org") is None
    assert proxy_for("https", "localhost") is None
    assert proxy_for("https", "127.0.0.1") is None
    assert "proxy.example.com" in str(unpinned_note())
    assert "s3cret" not in str(unpinned_note())


def test_a_proxy_for_everything_may_lack_its_scheme(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "proxy.example.com:3128")
    assert httpx.URL(str(proxy_for("http", "files.example.com"))).port == 3128
