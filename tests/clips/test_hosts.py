"""Where files come from: checked hosts only, by checked redirects, with the real name in TLS."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from seedance_batch.api.addresses import file_client
from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import Failed, Fetched, Gone, Result
from tests.clips import hostile
from tests.clips.clips import encoded
from tests.clips.fetching import PATIENT, fetch, leftovers
from tests.clips.hostile import HostileServer

pytestmark = pytest.mark.anyio

CLIP = encoded()


async def to_this_machine(host: str, port: int) -> Sequence[str]:
    """Every name means this machine."""
    return ["127.0.0.1"]


def is_ours(result: Result) -> bool:
    """Whether a rule of our own refused it: that never is the clip's end."""
    return isinstance(result, Failed) and result.ours


# ── redirects ───────────────────────────────────────────────────────────────────────────────────


async def test_five_redirects_are_followed_and_a_sixth_is_not(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.url(hostile.whole(CLIP))
    for _ in range(5):
        url = server.url(hostile.redirect(url))
    assert isinstance(await fetch(downloader, url), Fetched)
    (tmp_path / "videos/a.mp4").unlink()
    result = await fetch(downloader, server.url(hostile.redirect(url)))
    assert result == Failed("127.0.0.1 keeps redirecting")


async def test_a_relative_redirect_is_followed(
    server: HostileServer, downloader: Downloader
) -> None:
    target = httpx.URL(server.url(hostile.whole(CLIP))).raw_path.decode()
    assert isinstance(await fetch(downloader, server.url(hostile.redirect(target))), Fetched)


ODD = (
    "/out/a%2Fb%20c+d(1)'x'/~v,1;p=2:3@4%3A%25/clip.mp4?X-Amz-Credential=AKIA%2F20261126%2Fus%2Faws4"
    "&sig=a%2Bb%2F%3D%3D&n='q'(r)*[s]|t&e=%E2%82%AC&u=a/b?c&plus=1+2&%7Etilde=%7E&empty=&t=%2f"
)
"""A signed path with whatever a signature may cover: another spelling of it is another file."""


@pytest.mark.parametrize("location", [None, f"https://cdn.example.com{ODD}", ODD])
async def test_a_signed_address_is_asked_for_byte_for_byte(
    location: str | None, tmp_path: Path
) -> None:
    asked: list[bytes] = []

    def public(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        if location is not None and len(asked) == 1:
            return httpx.Response(302, headers={"Location": location})
        return httpx.Response(200, stream=httpx.ByteStream(CLIP))

    async with httpx.AsyncClient(transport=httpx.MockTransport(public)) as http:
        downloader = Downloader(tmp_path, http, allow_private=False, limits=PATIENT)
        start = "/start" if location else ODD
        result = await fetch(downloader, f"https://files.example.com{start}")
    assert isinstance(result, Fetched), result
    assert asked[-1] == ODD.encode()


@pytest.mark.parametrize("status", [200, 404])
async def test_a_plain_address_is_asked_for_by_https_alone(status: int, tmp_path: Path) -> None:
    asked: list[str] = []

    def public(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(status, stream=httpx.ByteStream(CLIP))

    async with httpx.AsyncClient(transport=httpx.MockTransport(public)) as http:
        downloader = Downloader(tmp_path, http, allow_private=False, limits=PATIENT)
        result = await fetch(downloader, "http://files.example.com/a.mp4?sig=%2f")
        assert asked == ["https://files.example.com/a.mp4?sig=%2f"]
        other = await fetch(downloader, "http://files.example.com:8080/b.mp4", file="videos/b.mp4")
    assert asked == ["https://files.example.com/a.mp4?sig=%2f"]
    assert other == Failed("the address is http, but https is needed", ours=True)
    words = "the address is http, but https is needed; over https files.example.com answered 404"
    if status == 200:
        assert isinstance(result, Fetched)
    else:
        assert result == Failed(words, ours=True)


async def test_a_redirect_to_nowhere_is_a_failure(
    server: HostileServer, downloader: Downloader
) -> None:
    result = await fetch(downloader, server.url(hostile.status("302 Found")))
    assert result == Failed("127.0.0.1 redirects to nowhere")
    for target in ("https://[", "https://files.example.com:99999999/", "http://", "ÿþ"):
        result = await fetch(downloader, server.url(hostile.redirect(target)))
        assert isinstance(result, Failed | Gone)


@pytest.mark.parametrize(
    "target",
    [
        "http://files.example.com/a.mp4",
        "https://127.0.0.1:{port}/a.mp4",
        "http://127.0.0.1:{port}/a.mp4",
        "//127.0.0.1:{port}/a.mp4",
        "https://localhost:{port}/a.mp4",
        "https://[::1]:{port}/a.mp4",
        "https://[::ffff:127.0.0.1]:{port}/a.mp4",
        "https://2130706433:{port}/a.mp4",
        "https://0x7f.1:{port}/a.mp4",
        "https://169.254.169.254/latest/meta-data/",
        "https://user:word@files.example.com/a.mp4",
        "file:///etc/passwd",
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(
    target: str, server: HostileServer, tmp_path: Path
) -> None:
    asked = []

    def public(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(302, headers={"Location": target.format(port=server.port)})

    async with httpx.AsyncClient(transport=httpx.MockTransport(public)) as http:
        downloader = Downloader(tmp_path, http, allow_private=False, limits=PATIENT)
        assert is_ours(await fetch(downloader, "https://files.example.com/a.mp4"))
    assert asked == ["files.example.com"]
    assert server.connections == 0


async def test_metadata_is_out_of_reach_even_for_the_sandbox(
    server: HostileServer, downloader: Downloader
) -> None:
    url = server.url(hostile.redirect("http://169.254.169.254/latest/meta-data/"))
    assert is_ours(await fetch(downloader, url))


# ── names and addresses ─────────────────────────────────────────────────────────────────────────


async def test_a_public_name_for_this_machine_is_never_connected_to(
    server: HostileServer, tmp_path: Path
) -> None:
    async with file_client(allow_private=False, resolve=to_this_machine) as http:
        downloader = Downloader(tmp_path, http, allow_private=False, limits=PATIENT)
        url = f"https://files.example.com:{server.port}/a.mp4"
        result = await fetch(downloader, url)
    words = "the host files.example.com is refused: 127.0.0.1 is a private address"
    assert result == Failed(words, ours=True)
    assert server.connections == 0
    assert leftovers(tmp_path) == []


async def test_a_host_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    async with file_client(allow_private=True) as http:
        downloader = Downloader(tmp_path, http, allow_private=True, limits=PATIENT)
        for url in ("http://127.0.0.1:1/a.mp4", "https://nowhere.invalid/a.mp4"):
            assert isinstance(await fetch(downloader, url), Failed)


def test_a_client_that_carries_the_key_is_refused(tmp_path: Path) -> None:
    keyed = httpx.AsyncClient(headers={"Authorization": "Bearer sk-canary"})
    with pytest.raises(ValueError, match="key"):
        Downloader(tmp_path, keyed, allow_private=True)


async def test_cookies_are_neither_kept_nor_sent(
    server: HostileServer, downloader: Downloader, http: httpx.AsyncClient
) -> None:
    page = hostile.status("200 OK", "Set-Cookie: a=b", body=b"<html>")
    await fetch(downloader, server.url(page))
    await fetch(downloader, server.url(page))  # the fixture looks at every request
    assert not http.cookies


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for files.test, in one file, made for this run."""
    folder = tmp_path_factory.mktemp("tls")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=files.test".split()
    words += ["-addext", "subjectAltName=DNS:files.test"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    try:
        subprocess.run(["openssl", *words, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl makes this test's certificate")
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return both


@pytest.fixture
def secure(certificate: Path) -> Iterator[HostileServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    host = HostileServer(tls=context)
    yield host
    host.close()


async def test_tls_proves_the_name_although_the_number_is_connected_to(
    secure: HostileServer, certificate: Path, tmp_path: Path
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with file_client(allow_private=True, trusted=trusting, resolve=to_this_machine) as http:
        downloader = Downloader(tmp_path, http, allow_private=True, limits=PATIENT)
        right = secure.url(hostile.whole(CLIP), host="files.test")
        assert isinstance(await fetch(downloader, right), Fetched)
        assert secure.requests[0].headers["host"] == f"files.test:{secure.port}"
        (tmp_path / "videos/a.mp4").unlink()
        wrong = secure.url(hostile.whole(CLIP), host="other.test")
        result = await fetch(downloader, wrong)
    assert isinstance(result, Failed)
    assert leftovers(tmp_path) == []


async def test_a_certificate_that_nobody_signed_is_refused(
    secure: HostileServer, tmp_path: Path
) -> None:
    async with file_client(allow_private=True, resolve=to_this_machine) as http:
        downloader = Downloader(tmp_path, http, allow_private=True, limits=PATIENT)
        url = secure.url(hostile.whole(CLIP), host="files.test")
        assert isinstance(await fetch(downloader, url), Failed)
    assert secure.requests == []


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_environments_proxy_is_used_except_for_this_machine(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    async with file_client(allow_private=True) as http:
        downloader = Downloader(tmp_path, http, allow_private=True, limits=PATIENT)
        proxied = server.url(hostile.whole(CLIP), host="files.test")  # a name only it knows
        assert isinstance(await fetch(downloader, proxied), Fetched)
        assert server.requests[0].headers["host"].startswith("files.test")
        (tmp_path / "videos/a.mp4").unlink()
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert isinstance(await fetch(downloader, server.url(hostile.whole(CLIP))), Fetched)
