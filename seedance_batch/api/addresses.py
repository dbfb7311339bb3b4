"""Which addresses a file may come from: public ones, over https, and never by a trick.

`refusal` judges a URL's text; `PinnedBackend` judges what its host resolves to and connects to
exactly that, so that a name cannot mean one thing when checked and another when used. `file_client`
goes by it, or by a proxy of the environment.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urljoin
from urllib.request import getproxies, proxy_bypass

import anyio
import httpcore
import httpx
from socksio.exceptions import SOCKSError

from seedance_batch.errors import SettingsError

if TYPE_CHECKING:
    from httpcore import SOCKET_OPTION

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses, in the order to try them."""

_PRIVATE_NAMES: Final = (
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "localdomain",
    "home.arpa",
)
_METADATA: Final = frozenset(
    ipaddress.ip_address(address)
    for address in ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")
)
"""Where clouds answer a machine's questions about itself; some lie in public or private ranges."""
FAKE_NETWORK: Final = ipaddress.ip_network("198.18.0.0/15")
"""What resolvers in fake-IP mode answer for every name (Clash, sing-box, Surge): the proxy behind
them connects to the real host. Nothing public and nobody's own network is there (RFC 2544)."""
_OWN_NETWORK_6: Final = ipaddress.ip_network("fc00::/7")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_UNICAST: Final = ipaddress.ip_network("2000::/3")
_PATIENCE: Final = 10.0
"""Seconds for one address of several; the caller bounds the whole."""


class AddressRefused(Exception):
    """A host resolves to nothing that may be asked; ``reason`` names it without its path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# ── by the text ─────────────────────────────────────────────────────────────────────────────────


def refusal(url: str, *, allow_private: bool) -> str | None:
    """Why this URL is not asked, by its text alone; None where it may be. Shows only the host.

    ``allow_private`` admits http and this machine's own network: only where the API is here too.
    """
    if re.search(r"[\x00-\x20\x7f\\]", url):
        return "the address contains a space, a backslash or a control character"
    try:
        parsed = httpx.URL(url)  # the parser that will send it: no second opinion on the host
    except (httpx.InvalidURL, ValueError):
        return "the address cannot be read"
    if parsed.scheme != "https" and not (allow_private and parsed.scheme == "http"):
        return f"the address is {parsed.scheme or 'without a scheme'}, but https is needed"
    if parsed.userinfo:
        return "the address contains a user name or a password"
    if parsed.port is not None and not 0 < parsed.port < 1 << 16:
        return "the address has a port that does not exist"
    return _host_refusal(parsed.raw_host.decode("ascii"), allow_private)


def secured(url: str) -> str | None:
    """The https address in place of a plain one at its usual port; None for any other.

    As browsers do it: who serves files to pages serves them so as well.
    """
    plain = re.match(r"(?i)http://([^/?#:@\[\]]+)(?=[/?#]|$)", url)
    return f"https://{url[len('http://') :]}" if plain else None


def _host_refusal(host: str, allow_private: bool) -> str | None:
    name = host.strip("[]").rstrip(".").lower()
    if not name:
        return "the address has no host"
    address = _literal(name)
    if address is not None:
        return _address_refusal(address, allow_private)
    if ":" in name or "%" in name or _looks_numeric(name):
        return f"the host {host} is an IP address in disguise"
    if allow_private:
        return None
    if "." not in name or any(name == own or name.endswith(f".{own}") for own in _PRIVATE_NAMES):
        return f"the host {host} is a private name"
    return None


def is_ip(host: str) -> bool:
    """Whether a host is given by its number rather than by a name."""
    return _literal(host.strip("[]")) is not None


def _literal(name: str) -> IPAddress | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    return None if isinstance(address, ipaddress.IPv6Address) and address.scope_id else address


def _looks_numeric(name: str) -> bool:
    """Whether resolvers may read it as an IPv4 number: its last part is one (WHATWG URL, 3.5)."""
    last = name.rpartition(".")[2]
    return last.isdigit() or bool(re.fullmatch(r"0x[0-9a-f]*", last))


def _address_refusal(address: IPAddress, allow_private: bool) -> str | None:
    inner = _unwrapped(address)
    if inner in _METADATA or inner.is_link_local or inner.is_multicast or inner.is_unspecified:
        return f"{address} is not an address that files can come from"
    if inner.is_global and _is_unicast(inner):
        return None
    if allow_private and (inner.is_loopback or inner.is_private):
        return None
    return f"{address} is a private address"


def _unwrapped(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_unicast(address: IPAddress) -> bool:
    return isinstance(address, ipaddress.IPv4Address) or address in _UNICAST


# ── by what it resolves to ──────────────────────────────────────────────────────────────────────


async def resolve(host: str, port: int) -> Sequence[str]:
    """A host's addresses, as the system gives them. Raises ``httpcore.ConnectError``."""
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_fake(address: IPAddress) -> bool:
    """Whether a resolver in fake-IP mode made this address up."""
    return address in FAKE_NETWORK


async def faked(host: str) -> str | None:
    """The made-up address that a name resolves to here; None where it has its own, or none."""
    try:
        found = await resolve(host, 443)
    except httpcore.ConnectError:
        return None
    return next((a for a in found if is_fake(ipaddress.ip_address(a))), None)


def _beside(fakes: Sequence[str], addresses: Iterable[IPAddress]) -> list[IPAddress]:
    """The addresses that are judged: a made-up one passes, since https proves its host.

    Such a resolver makes up one of IPv6 as well, in a network of one's own; it is not used.
    """
    if not fakes:
        return list(addresses)
    return [a for a in addresses if not is_fake(a) and a not in _OWN_NETWORK_6]


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, resolved once for each connection.

    TLS still verifies the host's name: only the TCP connection is made by number.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        resolve: Resolve = resolve,
        inner: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A stream to the first checked address that answers. Raises `AddressRefused`."""
        fault: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._checked(host, await self._resolve(host, port)):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout or _PATIENCE, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                fault = error
        raise fault

    def _checked(self, host: str, addresses: Sequence[str]) -> list[str]:
        named = _literal(host.strip("[]")) is None
        fakes = [a for a in addresses if named and is_fake(ipaddress.ip_address(a))]
        real = _beside(fakes, map(ipaddress.ip_address, addresses))
        refused = [r for a in real if (r := _address_refusal(a, self._allow_private))]
        if refused:
            # One private address among public ones is a trick or a mistake; neither is followed.
            raise AddressRefused(f"the host {host} is refused: {refused[0]}")
        return fakes or list(addresses)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """Never: files do not come from sockets on this machine."""
        raise AddressRefused("a local socket is not a file host")

    async def sleep(self, seconds: float) -> None:
        """Wait; the pool asks its backend for that."""
        await self._inner.sleep(seconds)


class PinnedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over a pool that connects through a `PinnedBackend`."""

    def __init__(
        self, backend: PinnedBackend, *, context: ssl.SSLContext, limits: httpx.Limits
    ) -> None:
        super().__init__(verify=context, limits=limits)
        # httpx has no way to hand over a network backend; httpcore, which it wraps, has.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=backend,
        )


@cache
def authorities() -> ssl.SSLContext:
    """Whom we trust to say who a server is; loaded once, since that takes 20 ms.

    Raises `SettingsError` naming the variable whose certificates cannot be used.
    """
    name = next((name for name in _CERTIFICATES if os.environ.get(name)), None)
    try:
        if name == "SSL_CERT_DIR" and not os.path.isdir(os.environ[name]):  # noqa: PTH112
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return httpx.create_ssl_context()
    except OSError as error:  # TLS's own errors among them
        if name is None:
            raise
        raise SettingsError(
            f"{name} names no usable certificates: {os.environ[name]}: "
            f"{_fault_of(error)}. Nothing was sent.",
            hint=f"fix {name}, or to use the certificates that come with the program: unset {name}",
        ) from error


def _fault_of(error: OSError) -> str:
    return "it contains no certificate" if isinstance(error, ssl.SSLError) else str(error.strerror)


_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""The variables that httpx takes certificates from, the first one first."""


# ── what httpx tells ────────────────────────────────────────────────────────────────────────────

_UNLOGGED: Final = ContextVar("unlogged", default=False)


class _Ours(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is somebody else's request."""
        return not _UNLOGGED.get()


logging.getLogger("httpx").addFilter(_Ours())


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Keeps httpx from logging the requests of a block: it tells whole addresses, and who has a
    signed one has the file. Other people's requests in the same process are logged as ever."""
    token = _UNLOGGED.set(True)
    try:
        yield
    finally:
        _UNLOGGED.reset(token)


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────


def proxy_for(scheme: str, host: str) -> str | None:
    """The environment's proxy for a host, None for a direct connection (``NO_PROXY`` honoured)."""
    address = _literal(host.strip("[]"))
    if host == "localhost" or (address is not None and address.is_loopback):
        return None  # a proxy's own loopback is another machine's
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return None if proxy is None else _as_url(proxy.strip())


def _as_url(proxy: str) -> str:
    """A proxy as httpx takes it. What desktops write as ``socks://`` is SOCKS 5."""
    if "://" not in proxy:
        return f"http://{proxy}"
    scheme, _, rest = proxy.partition("://")
    if scheme.casefold() not in {"socks", "socks5", "socks5h"}:
        return proxy
    port = "" if re.search(r":\d+/?$", rest) else ":1080"
    return f"socks5{'h' if scheme.casefold() == 'socks5h' else ''}://{rest.rstrip('/')}{port}"


def check_proxy(scheme: str, host: str) -> str | None:
    """The environment's proxy for a host, as `proxy_for`, sure to be one that can be used.

    Raises `SettingsError` naming the variable.
    """
    proxy = proxy_for(scheme, host)
    if proxy is None:
        return None
    fault = proxy_fault(proxy)
    if fault is None:
        return proxy
    name = proxy_variable(scheme)
    raise SettingsError(
        f"{name} names no usable proxy: {fault}. Nothing was sent.",
        hint=f"fix {name}, or to connect directly: unset {name}",
    )


def check_file_proxy() -> str | None:
    """The environment's proxy for hosts of files, as `check_proxy`: paid clips come through it."""
    return check_proxy("https", _SOME_FILE_HOST)


NO_SOCKS: Final = "it does not answer like a SOCKS 5 proxy"
_SOME_FILE_HOST: Final = "files.example.com"
_LIKE: Final = "write it as http://host:port, with # @ / in a password as %23 %40 %2F"


def proxy_fault(proxy: str) -> str | None:
    """Why a proxy cannot be used; None where it may be tried."""
    try:
        url = httpx.Proxy(proxy).url
    except (httpx.InvalidURL, ValueError):
        return _LIKE
    if not url.host:
        return "it has no host"
    if url.path not in {"", "/"} or url.query or url.fragment:  # the end of a password, mostly
        return _LIKE
    return None


def proxy_variable(scheme: str) -> str:
    """The variable that names the proxy for a scheme, as it is spelled in the environment.

    Where none does, Windows and macOS have it in their settings, and HTTPS_PROXY goes before those.
    """
    wanted = (f"{scheme}_proxy", "all_proxy")
    for name in wanted:
        for spelled in (name, name.upper()):
            if os.environ.get(spelled):
                return spelled
    return wanted[0].upper()


def unpinned_note() -> str | None:
    """A sentence to say once where a proxy resolves hosts, so that addresses cannot be pinned."""
    proxy = check_file_proxy()
    if proxy is None:
        return None
    return (
        f"files come through the proxy {httpx.URL(proxy).host}, which resolves host names itself: "
        "private addresses are refused only where a URL spells them out"
    )


# ── the client for files: without the key, without redirects, pinned to checked addresses ─────────

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


async def fetch_small(url: str, *, allow_private: bool, most: int, patience: float) -> Answered:
    """The file at ``url``, of ``most`` bytes, within ``patience`` seconds; each hop is judged.

    Raises `NotFetched`.
    """
    try:
        with anyio.fail_after(patience):
            async with file_client(allow_private=allow_private) as http:
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
        async with contextlib.AsyncExitStack() as stack:
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
