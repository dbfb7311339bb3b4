"""HiAPI over HTTP: the only module that knows its addresses; it never decides what comes next.

Every call returns an `Answer` with a verdict; nothing is resent here, and no answer raises.
"""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

import anyio
import httpx

from seedance_batch import wire
from seedance_batch.addresses import authorities
from seedance_batch.errors import SettingsError
from seedance_batch.model import Task, TaskError
from seedance_batch.root_cause import root_reason
from seedance_batch.wire import Page, RateInfo, Verdict

DEFAULT_BASE_URL: Final = "https://api.hiapi.ai"
MAX_CONNECTIONS: Final = 10
"""httpx slows down with the size of its pool, and list pages need few connections."""
_DEADLINE: Final = 60.0
"""Seconds for one answer; a create answers at once, without waiting for the clip."""
_CONNECTING: Final = 10.0
"""Seconds for a connection: an address that swallows everything is told from a slow answer only
where this ends well before the whole deadline."""
_MAX_ANSWER: Final = 32 * 1024 * 1024

NO_ERROR: Final = TaskError("", "")

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T_co]):
    """What came back: a verdict, its value when OK, and what the server said about waiting."""

    verdict: Verdict
    value: T_co | None = None
    error: TaskError = NO_ERROR
    retry_after: float | None = None
    rate: RateInfo | None = None
    reset_in: float | None = None
    """Seconds until the server's request window has room again, where it said so."""
    connected: bool = True
    """False where no connection was made, so that nothing can have been received."""


@dataclass(frozen=True, slots=True)
class Created:
    """A create's task, and whether the server had seen this key before."""

    task_id: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Raw:
    status: int
    headers: Mapping[str, str]
    content: bytes


class Client:
    """A connection to HiAPI with one key. Close it with ``aclose`` or ``async with``.

    ``transport`` mounts an application in process; ``wall`` is the wall clock in Unix seconds.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        wall: Callable[[], float] = time.time,
        deadline: float = _DEADLINE,
    ) -> None:
        self.base_url = normal_base_url(base_url)
        self._wall = wall
        self._deadline = deadline
        self._offset: float | None = None
        # Not an httpx default: redirects would carry the key to wherever they lead.
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            headers=_headers(api_key),
            timeout=httpx.Timeout(deadline, connect=min(_CONNECTING, deadline / 3), pool=None),
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS
            ),
            follow_redirects=False,
            transport=transport,
            verify=_trusted(self.base_url),
            trust_env=not is_loopback(self.base_url),
        )

    async def create(self, body: bytes, idempotency_key: str) -> Answer[Created]:
        """``POST /v1/tasks`` with these exact bytes, once."""
        response = await self._send(
            "POST",
            "/v1/tasks",
            content=body,
            headers={"Content-Type": "application/json", "Idempotency-Key": idempotency_key},
        )
        if isinstance(response, Answer):
            return response
        content = wire.parse_json(response.content)
        task_id = wire.task_id_of(content)
        verdict = wire.verdict_of(response.status)
        if task_id and verdict in {Verdict.OK, Verdict.PROCESSING}:
            replayed = response.headers.get("idempotent-replay", "").lower() == "true"
            return self._answer(response, Verdict.OK, Created(task_id, replayed))
        # A 200 without a task id says nothing about whether a task was made.
        failed = Verdict.UNKNOWN if verdict is Verdict.OK else verdict
        return self._answer(response, _create_verdict(failed), error=_error(response, content))

    async def get(self, task_id: str) -> Answer[Task]:
        """``GET /v1/tasks/:id``."""
        name = quote(task_id, safe="", errors="replace")
        return await self._read(f"/v1/tasks/{name}", {}, wire.detail_of)

    async def list(self, page: int = 1, size: int = 100) -> Answer[Page]:
        """``GET /v1/tasks?page=&size=``, newest first; ``size`` 1 to 100."""
        return await self._read("/v1/tasks", {"page": page, "size": size}, wire.page_of)

    async def pricing(self) -> Answer[Any]:
        """``GET /api/pricing``: the public price table, as parsed JSON with exact numbers."""
        return await self._read("/api/pricing", {}, lambda body: body, exact=True)

    async def probe(self) -> Answer[Page]:
        """The free authenticated request: proves the key, not the balance."""
        return await self.list(page=1, size=1)

    def server_time(self) -> float | None:
        """Unix seconds by the server's own ``Date``, carried on; None before its first answer."""
        return None if self._offset is None else self._wall() + self._offset

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _read(
        self,
        path: str,
        params: dict[str, int],
        parse: Callable[[Any], T | None],
        exact: bool = False,
    ) -> Answer[T]:
        response = await self._send("GET", path, params=params)
        if isinstance(response, Answer):
            return response
        content = (wire.parse_json_exactly if exact else wire.parse_json)(response.content)
        verdict = wire.verdict_of(response.status)
        if verdict is not Verdict.OK:
            return self._answer(response, verdict, error=_error(response, content))
        value = parse(content)
        if value is None:
            error = TaskError("", "the answer is not what the documentation promises")
            return self._answer(response, Verdict.UNKNOWN, error=error)
        return self._answer(response, Verdict.OK, value)

    async def _send(self, method: str, path: str, **request: Any) -> _Raw | Answer[Any]:
        """One request under one deadline (in-process transports ignore httpx's own)."""
        try:
            with anyio.fail_after(self._deadline):
                async with self._http.stream(method, path, **request) as response:
                    content = await _read_capped(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return _no_answer(error, connected=False)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            return _no_answer(error, connected=True)
        self._note_time(response)
        return _Raw(response.status_code, response.headers, content)

    def _note_time(self, response: httpx.Response) -> None:
        at = wire.http_date(response.headers.get("date"))
        if at is not None:
            self._offset = at - self._wall()

    def _answer(
        self,
        response: _Raw,
        verdict: Verdict,
        value: Any = None,
        error: TaskError = NO_ERROR,
    ) -> Answer[Any]:
        now = self.server_time() or self._wall()
        rate = wire.rate_of(response.headers)
        return Answer(
            verdict=verdict,
            value=value,
            error=error,
            retry_after=wire.retry_after(response.headers, now),
            rate=rate,
            reset_in=rate.reset - now if rate and rate.reset else None,
        )


def _headers(api_key: str) -> dict[str, str]:
    # Without a key there is no such header: an empty token is none that HTTP could carry.
    key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return {"User-Agent": wire.USER_AGENT, **key}


def _trusted(base_url: str) -> ssl.SSLContext:
    # Without encryption nobody is asked; without any authority no encrypted connection is trusted.
    return (
        authorities() if base_url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )


async def _read_capped(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _MAX_ANSWER:
            raise httpx.DecodingError("the answer is larger than any answer of this API")
    return bytes(content)


def _create_verdict(verdict: Verdict) -> Verdict:
    # 404 on a create is `model_not_found`: the request itself is refused.
    return Verdict.INVALID if verdict is Verdict.NOT_FOUND else verdict


def _error(response: _Raw, content: Any) -> TaskError:
    error = wire.error_of(content, response.status)
    prefix = f"HTTP {response.status}"
    message = error.message if error.message.startswith(prefix) else f"{prefix}: {error.message}"
    return TaskError(error.code, message)


def _no_answer(error: Exception, *, connected: bool) -> Answer[Any]:
    name = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
    words = f"{name}: {root_reason(error)}" if str(error) else name
    return Answer(Verdict.UNKNOWN, error=TaskError("", words), connected=connected)


def normal_base_url(text: str) -> str:
    """The API's address without ``/v1``, trailing slashes and what else spells the same.

    Raises `SettingsError` for an address that cannot be used, and for ``http`` off loopback:
    the key would travel in the clear.
    """
    address = text.strip()
    parts = _split(address)
    if parts is None or parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise SettingsError(f"The API address {text!r} is no http(s) address.", hint=_ADDRESS)
    if parts.query or parts.fragment:
        raise SettingsError(f"The API address {text!r} has a query or a fragment.", hint=_ADDRESS)
    if parts.scheme == "http" and not is_loopback(address):
        raise SettingsError(
            f"The API address {text} is not encrypted; http is accepted on loopback only.",
            hint=_ADDRESS,
        )
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    host = parts.netloc.lower().removesuffix(f":{_PORTS[parts.scheme]}")
    return urlunsplit((parts.scheme, host, path, "", ""))


_PORTS: Final = {"http": 80, "https": 443}
_ADDRESS: Final = f"export HIAPI_BASE_URL={DEFAULT_BASE_URL}"


def _split(address: str) -> SplitResult | None:
    """The parts of an address that a request can be made to; None where there are none."""
    if not address.isprintable() or " " in address:
        return None
    try:
        parts = urlsplit(address)
        return parts if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None


def is_loopback(url: str) -> bool:
    """Whether an address names this machine by a loopback address or as ``localhost``."""
    parts = _split(url)
    host = ((parts.hostname if parts else None) or "").rstrip(".")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
