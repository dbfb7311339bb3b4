"""The HTTP client for files: without the key, without redirects, pinned to checked addresses."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin

import anyio
import httpcore
import httpx
from socksio.exceptions import SOCKSError

from seedance_batch.api.addresses import (
    NO_SOCKS,
    AddressRefused,
    PinnedBackend,
    PinnedTransport,
    Resolve,
    authorities,
    proxy_fault,
    proxy_for,
    refusal,
    resolve,
    unlogged,
)
from seedance_batch.errors import SettingsError

_READ: Final = 256 * 1024
"""Bytes: what asyncio's transports read at once."""


def file_client(
    *,
    allow_private: bool,
    lanes: int = 4,
    trusted: ssl.SSLContext | None = None,
    resolve: Resolve = resolve,
) -> httpx.AsyncClient:
    """A client for file hosts with a connection a lane; close it after use.

    ``allow_private`` only while the API itself is on loopback. Proxies of the environment hold.
    """
    limits = httpx.Limits(max_connections=lanes, max_keepalive_connections=lanes)
    trusted = trusted or _trusted(allow_private=allow_private)
    backend = PinnedBackend(allow_private=allow_private, resolve=resolve, inner=_WideBackend())
    pinned = PinnedTransport(backend, context=trusted, limits=limits)
    return httpx.AsyncClient(
        transport=_ByEnvironment(pinned, trusted, limits),
        follow_redirects=False,
        timeout=None,  # noqa: S113 - each wait of a transfer has a deadline of its own
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


def _trusted(*, allow_private: bool) -> ssl.SSLContext:
    """Whom to trust. Files beside an API on this machine come without TLS, and need nobody."""
    try:
        return authorities()
    except SettingsError:
        if not allow_private:
            raise
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _WideBackend(httpcore.AnyIOBackend):
    """anyio's sockets, read in the pieces that asyncio receives anyway.

    httpcore asks for 64 KiB at a time, and anyio then cuts what is there into such pieces, a copy
    of the rest for each: with whole ones a download is half as fast again.
    """

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return _WideStream(await super().connect_tcp(*args, **options))


class _WideStream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._inner.read(max(max_bytes, _READ), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return _WideStream(await self._inner.start_tls(*args, **options))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _ByEnvironment(httpx.AsyncBaseTransport):
    """Direct and pinned, or through the proxy that the environment names for the host."""

    def __init__(
        self, direct: httpx.AsyncBaseTransport, trusted: ssl.SSLContext, limits: httpx.Limits
    ) -> None:
        self._direct = direct
        self._trusted = trusted
        self._limits = limits
        self._proxied: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = proxy_for(request.url.scheme, request.url.host)
        transport = self._direct if proxy is None else self._through(proxy)
        try:
            return await transport.handle_async_request(request)
        except SOCKSError as error:  # which httpcore lets through
            raise httpx.ProxyError(f"the proxy does not connect: {NO_SOCKS}") from error

    def _through(self, proxy: str) -> httpx.AsyncHTTPTransport:
        if proxy not in self._proxied:
            if (fault := proxy_fault(proxy)) is not None:
                raise httpx.ProxyError(f"the proxy cannot be used: {fault}")
            self._proxied[proxy] = httpx.AsyncHTTPTransport(
                proxy=proxy, verify=self._trusted, limits=self._limits
            )
        return self._proxied[proxy]

    async def aclose(self) -> None:
        for transport in (self._direct, *self._proxied.values()):
            await transport.aclose()


# ── A small file, whole and in memory: a manifest that lies at an address ─────────────────────────

_MOST_REDIRECTS: Final = 5


class NotFetched(Exception):
    """Why a file did not come, in words that follow its address."""


class Answered(NamedTuple):
    """What came, and from where in the end."""

    url: str
    status: int
    data: bytes


async def fetch_small(
    url: str,
    *,
    allow_private: bool,
    most: int,
    patience: float,
    trusted: ssl.SSLContext | None = None,
) -> Answered:
    """The file at ``url``, of ``most`` bytes, within ``patience`` seconds; each hop is judged.

    Raises `NotFetched`.
    """
    try:
        with anyio.fail_after(patience):
            async with file_client(allow_private=allow_private, trusted=trusted) as http:
                return await _followed(url, http, allow_private, most)
    except AddressRefused as refused:
        raise NotFetched(f"is not asked: {refused.reason}") from None
    except TimeoutError:
        raise NotFetched(f"did not arrive within {patience:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise NotFetched(f"cannot be reached ({type(error).__name__})") from error


async def _followed(url: str, http: httpx.AsyncClient, allow_private: bool, most: int) -> Answered:
    for _ in range(_MOST_REDIRECTS + 1):
        if why := refusal(url, allow_private=allow_private):
            raise NotFetched(f"is not asked: {why}")
        async with AsyncExitStack() as stack:
            with unlogged():
                response = await stack.enter_async_context(http.stream("GET", url))
            if not response.has_redirect_location:
                return Answered(url, response.status_code, await _whole(response, most))
            url = urljoin(url, response.headers["location"])
    raise NotFetched(f"leads on more than {_MOST_REDIRECTS} times")


async def _whole(response: httpx.Response, most: int) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():  # unpacked: a small one may hold a large one
        data += chunk
        if len(data) > most:
            raise NotFetched(f"has more than {most:,} bytes")
    return bytes(data)
