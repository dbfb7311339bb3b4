"""HiAPI over HTTP: the only module that knows its paths; it never decides what comes next.

Every call returns an `Answer` with a verdict; nothing is resent here, and no answer raises.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, unquote, urlsplit

import anyio
import httpx
from socksio.exceptions import SOCKSError

from seedance_batch.api.addresses import (
    NO_SOCKS,
    authorities,
    check_proxy,
    proxy_variable,
    unlogged,
)
from seedance_batch.core import hiapi, shapes
from seedance_batch.core.hiapi import (
    ACCOUNT,
    REFUSED_BEFORE_PROCESSING,
    Page,
    RateInfo,
    Task,
    TaskError,
    Verdict,
    Voice,
)
from seedance_batch.errors import root_reason
from seedance_batch.settings import DEFAULT_BASE_URL, normal_base_url

PUBLIC_SITE: Final = "https://www.hiapi.ai"
"""Pages that need no key; no key is ever sent there."""
MAX_CONNECTIONS: Final = 10
"""httpx slows down with the size of its pool, and list pages need few connections."""
_DEADLINE: Final = 60.0
"""Seconds for one answer; a create answers at once, without waiting for the clip."""
_SLOWEST: Final = 10_000.0
"""Bytes a second that a line carries at least: what a body of many pictures is given time by."""
_CONNECTING: Final = 10.0
"""Seconds for a connection: an address that swallows everything is told from a slow answer only
where this ends well before the whole deadline."""
_MAX_ANSWER: Final = 32 * 1024 * 1024

_SAID: Final = 300
"""Bytes that are shown of an error which is no JSON."""

NO_ERROR: Final = TaskError("", "")

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T_co]):
    """What came back: a verdict, its value when OK, and what the server said about waiting."""

    verdict: Verdict
    value: T_co | None = None
    error: TaskError = NO_ERROR
    voice: Voice = Voice.OTHER
    """Who made it, where it is an error."""
    status: int = 0
    """HTTP's; 0 where there was no answer."""
    retry_after: float | None = None
    """Seconds to wait, an hour at most."""
    wished: float | None = None
    """What the server asked for, however long."""
    rate: RateInfo | None = None
    reset_in: float | None = None
    """Seconds until the server's request window has room again, where it said so."""
    connected: bool = True
    """False where no connection was made, so that nothing can have been received."""

    @property
    def refused(self) -> bool:
        """Whether HiAPI itself refused this request before it processed it."""
        return self.voice is Voice.HIAPI and self.verdict in REFUSED_BEFORE_PROCESSING

    @property
    def baffles(self) -> bool:
        """Whether it is an answer, no trouble that passes, and nothing that HiAPI says."""
        if self.verdict is Verdict.UNKNOWN:
            return 200 <= self.status < 300
        definite = {Verdict.INVALID, Verdict.NOT_FOUND, *ACCOUNT}
        return self.verdict is Verdict.ELSEWHERE or (
            self.voice is Voice.OTHER and self.verdict in definite
        )


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

    def meaning(self, body: Any) -> tuple[Verdict, Voice]:
        """See `core.hiapi.meaning_of`."""
        is_page = body is None and hiapi.is_page(self.content)
        return hiapi.meaning_of(self.status, body, page=is_page)


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
        self._proxy = None if transport else _proxy_to(self.base_url)
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
            proxy=self._proxy,
            trust_env=False,  # one host needs one proxy, and httpx cannot read every NO_PROXY
        )

    async def create(self, body: bytes, idempotency_key: str) -> Answer[Created]:
        """``POST /v1/tasks`` with these exact bytes, once."""
        response = await self._send(
            "POST",
            "/v1/tasks",
            patience=len(body) / _SLOWEST,
            content=body,
            headers={"Content-Type": "application/json", "Idempotency-Key": idempotency_key},
        )
        if isinstance(response, Answer):
            return response
        content = hiapi.parse_json(response.content)
        verdict, voice = response.meaning(content)
        task_id = _named(response, content, verdict)
        if task_id is not None:
            replayed = response.headers.get("idempotent-replay", "").lower() == "true"
            return self._answer(response, Verdict.OK, Created(task_id, replayed))
        if verdict is Verdict.OK:  # says nothing about whether a task was made
            error = TaskError("", _not_understood(response, content, "names no task"))
            return self._answer(response, Verdict.UNKNOWN, voice=voice, error=error)
        if verdict is Verdict.NOT_FOUND:  # `model_not_found`: the request itself is refused
            verdict = Verdict.INVALID
        return self._answer(response, verdict, voice=voice, error=_error(response, content))

    async def get(self, task_id: str) -> Answer[Task]:
        """``GET /v1/tasks/:id``."""
        name = quote(task_id, safe="", errors="replace")
        parse = partial(shapes.detail_of, asked=task_id, base=self.base_url)
        return await self._read(f"/v1/tasks/{name}", {}, parse)

    async def list(self, page: int = 1, size: int = 100) -> Answer[Page]:
        """``GET /v1/tasks?page=&size=``, newest first; ``size`` 1 to 100."""
        parse = partial(shapes.page_of, page=page, size=size, base=self.base_url)
        answer = await self._read("/v1/tasks", {"page": page, "size": size}, parse)
        if answer.verdict is Verdict.NOT_FOUND:  # the list is always there, where HiAPI is
            return replace(answer, verdict=Verdict.ELSEWHERE)
        return answer

    async def pricing(self) -> Answer[Any]:
        """``GET /api/pricing``: the public price table, as parsed JSON with exact numbers."""
        return await self._read("/api/pricing", {}, lambda body: body, exact=True)

    async def model_schema(self, name: str) -> Answer[Any]:
        """``GET /api/models/content?name=``: what HiAPI publishes of a model, as parsed JSON."""
        return await self._read("/api/models/content", {"name": name}, lambda body: body)

    async def probe(self) -> Answer[Page]:
        """The free authenticated request: proves the key, not the balance."""
        return await self.list(page=1, size=1)

    @property
    def has_proxy(self) -> bool:
        """Whether requests go through a proxy of the environment."""
        return self._proxy is not None

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
        params: Mapping[str, int | str],
        parse: Callable[[Any], T | None],
        exact: bool = False,
    ) -> Answer[T]:
        response = await self._send("GET", path, params=params)
        if isinstance(response, Answer):
            return response
        content = (hiapi.parse_json_exactly if exact else hiapi.parse_json)(response.content)
        verdict, voice = response.meaning(content)
        if verdict is not Verdict.OK:
            error = _error(response, content)
            return self._answer(response, verdict, voice=voice, error=error)
        value = parse(content)
        if value is None:
            error = TaskError("", _not_understood(response, content, "is not understood"))
            return self._answer(response, Verdict.UNKNOWN, voice=voice, error=error)
        return self._answer(response, Verdict.OK, value)

    async def _send(
        self, method: str, path: str, *, patience: float = 0.0, **request: Any
    ) -> _Raw | Answer[Any]:
        """One request under one deadline (in-process transports ignore httpx's own).

        ``patience``: more seconds, for what is large.
        """
        deadline = self._deadline + patience
        timeout = httpx.Timeout(deadline, connect=min(_CONNECTING, self._deadline / 3), pool=None)
        try:
            with anyio.fail_after(deadline), unlogged():
                async with self._http.stream(method, path, timeout=timeout, **request) as response:
                    content = await _read_capped(response)
        except (httpx.ProxyError, *_NOT_CONNECTED) as error:
            return (
                _no_answer(error, connected=False) if self._proxy is None else self._no_way(error)
            )
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            way = "" if self._proxy is None else f", through the proxy {self._proxy_named()}"
            return _no_answer(error, connected=True, way=way)
        self._note_time(response)
        return _Raw(response.status_code, response.headers, content)

    def _no_way(self, error: Exception) -> Answer[Any]:
        """The proxy makes no connection to the API, so that nothing can have been received."""
        why = NO_SOCKS if isinstance(error, SOCKSError) else root_reason(error)
        words = f"the proxy {self._proxy_named()} does not connect: {why}"
        return Answer(Verdict.UNKNOWN, error=TaskError("", words), connected=False)

    def _proxy_named(self) -> str:
        """Its host and port, without a password, and the variable that it comes from."""
        host = httpx.URL(self._proxy or "").netloc.decode("ascii")
        return f"{host} ({proxy_variable(urlsplit(self.base_url).scheme)})"

    def _note_time(self, response: httpx.Response) -> None:
        at = hiapi.http_date(response.headers.get("date"))
        if at is not None:
            self._offset = at - self._wall()

    def _answer(
        self,
        response: _Raw,
        verdict: Verdict,
        value: Any = None,
        *,
        voice: Voice = Voice.OTHER,
        error: TaskError = NO_ERROR,
    ) -> Answer[Any]:
        now = self.server_time() or self._wall()
        rate = hiapi.rate_of(response.headers, now)
        body = None if verdict is Verdict.OK else hiapi.parse_json(response.content)
        wished = hiapi.retry_after(response.headers, now, body)
        return Answer(
            verdict=verdict,
            value=value,
            error=error,
            voice=voice,
            status=response.status,
            retry_after=hiapi.at_most(wished),
            wished=wished,
            rate=rate,
            reset_in=rate.reset - now if rate and rate.reset else None,
        )


_NOT_CONNECTED: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    SOCKSError,  # a proxy that is none, which httpcore lets through
)


def _headers(api_key: str) -> dict[str, str]:
    # Without a key there is no such header: an empty token is none that HTTP could carry.
    key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return {"User-Agent": hiapi.USER_AGENT, **key}


def _proxy_to(base_url: str) -> str | None:
    """The environment's proxy for the API. Raises `SettingsError` where it cannot be used."""
    parts = urlsplit(base_url)
    return check_proxy(parts.scheme, parts.hostname or "")


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
            raise httpx.DecodingError("the answer is larger than any that this API gives")
    return bytes(content)


_MAY_NAME_A_TASK: Final = frozenset(
    {
        Verdict.OK,
        Verdict.PROCESSING,
        Verdict.UNKNOWN,
        Verdict.BUSY,
        Verdict.RATE,
        Verdict.BALANCE,
        Verdict.INVALID,
    }
)
"""Whatever an answer says besides: who names a task has made it."""


def _named(response: _Raw, content: Any, verdict: Verdict) -> str | None:
    """The task that a create's answer names: in its content, else in where it points to."""
    if verdict in _MAY_NAME_A_TASK:
        surely = verdict is not Verdict.OK
        if (found := shapes.task_id_of(content, surely=surely)) is not None:
            return found
    path = urlsplit(response.headers.get("location", "")).path
    end = path.rpartition("/v1/tasks/")[2] if "/v1/tasks/" in path else ""
    made = 200 <= response.status < 300 or response.status in {302, 303}
    return shapes.task_id_of({"taskId": unquote(end.partition("/")[0])}) if made else None


def _error(response: _Raw, content: Any) -> TaskError:
    error = hiapi.error_of(content, response.status)
    prefix = f"HTTP {response.status}"
    message = error.message if error.message.startswith(prefix) else f"{prefix}: {error.message}"
    if content is None and not hiapi.is_page(response.content):
        said = response.content[:_SAID].decode("utf-8", "replace").strip()
        message = f"{message}: {said}" if said else message
    target = response.headers.get("location", "")
    if 300 <= response.status < 400 and target:
        message = f"{message}, a redirect to {target} that is not followed"
    elif hiapi.is_page(response.content):
        message = f"{message}, a web page"
    return TaskError(error.code, message)


def _not_understood(response: _Raw, content: Any, how: str) -> str:
    text = response.content.decode("utf-8", "replace")
    raw = shapes.raw_of(text if content is None else content)
    return f"HTTP {response.status}, whose content {how}: {raw or '(empty)'}"


def _no_answer(error: Exception, *, connected: bool, way: str = "") -> Answer[Any]:
    name = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
    words = (f"{name}: {root_reason(error)}" if str(error) else name) + way
    return Answer(Verdict.UNKNOWN, error=TaskError("", words), connected=connected)


def public_site(base_url: str) -> str:
    """Where HiAPI publishes models' schemas, for the API at that address."""
    return PUBLIC_SITE if base_url == DEFAULT_BASE_URL else base_url
