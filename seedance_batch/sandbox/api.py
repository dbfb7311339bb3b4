"""The API origin: routes, order of checks, where faults strike, the ledger, and callbacks."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
from starlette.types import Receive, Scope, Send

from seedance_batch.sandbox import views
from seedance_batch.sandbox.answers import (
    Disconnected,
    Refusal,
    Reply,
    Request,
    TooLarge,
    broken,
    draw,
    invalid,
    json_answer,
    read_request,
    redirect_answer,
    refusal_answer,
    send_answer,
    strange_answer,
    strikes_before,
    unit,
)
from seedance_batch.sandbox.config import (
    ApiFault,
    CallbackFault,
    SandboxConfig,
    SandboxConfigError,
    checked,
)
from seedance_batch.sandbox.engine import MODELS, CreateOrder, Engine, invented_prices
from seedance_batch.sandbox.ledger import DueCallback, StoredRequest, StoredTask
from seedance_batch.sandbox.validation import Unreadable, published_schema, strict_json
from seedance_batch.sandbox.views import View, told_id

if TYPE_CHECKING:
    import httpx

Handler = Callable[[Request], Awaitable[Reply]]
KeyedHandler = Callable[[str, Request], Awaitable[Reply]]
ReferenceSeconds = Callable[[Mapping[str, Any]], Awaitable[Decimal]]

_TASKS: Final = "/v1/tasks"


class Api:
    """ASGI application for ``/v1``, ``/api/pricing`` and the sandbox's own ``/sandbox``."""

    def __init__(
        self,
        engine: Engine,
        reference_seconds: ReferenceSeconds,
        wake_callbacks: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._reference_seconds = reference_seconds
        self._wake_callbacks = wake_callbacks
        self._served = 0
        self._routes: dict[str, dict[str, Handler]] = {
            _TASKS: {
                "POST": partial(self._keyed, act=self._create),
                "GET": partial(self._keyed, act=self._list),
            },
            "/api/pricing": {"GET": self._prices},
            "/api/models/content": {"GET": self._model_schema},
            "/docs/models.json": {"GET": self._described_models},
            "/v1/models": {"GET": partial(self._keyed, act=self._models)},
            "/sandbox/ledger": {"GET": self._ledger},
            "/sandbox/config": {"GET": self._read_config, "POST": self._change_config},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, written down before its answer leaves."""
        if scope["type"] != "http":
            return
        arrived = self._engine.clock()
        try:
            request = await read_request(scope, receive, self._engine.config.max_body)
        except Disconnected:
            return
        except TooLarge:
            request = Request(scope["method"], scope["path"], {}, {}, target=scope["path"])
            answer = self._refused(request, Refusal(413, "input_too_large", "the body is too big"))
        else:
            answer = await self._answer(request)
        if not request.path.startswith("/sandbox/"):
            record = StoredRequest.of("api", arrived, request, answer, path=request.target)
            self._engine.ledger.add_request(record)
        await send_answer(answer, scope, send, head=request.method == "HEAD")

    async def _answer(self, request: Request) -> Reply:
        faults = self._config.faults
        if faults.stranger is not None and not request.path.startswith("/sandbox/"):
            if self._engine.ledger.count_all() >= faults.stranger_after:
                return strange_answer(faults.stranger, faults)
        try:
            return await self._handler(request)(request)
        except Refusal as refusal:
            return self._refused(request, refusal)

    def _handler(self, request: Request) -> Handler:
        path = request.path
        if path.startswith(_TASKS + "/") and len(path) > len(_TASKS) + 1:
            methods: dict[str, Handler] = {"GET": partial(self._keyed, act=self._detail)}
        elif path.startswith("/tasks/"):  # an output's address without its host
            methods = {"GET": self._to_files}
        elif path in self._routes:
            methods = self._routes[path]
        else:
            raise Refusal(404, "not_found", f"nothing is at {path[:200]}")
        if request.method not in methods:
            allowed = {"allow": ", ".join(methods)}
            raise Refusal(405, "method_not_allowed", "no such method here", headers=allowed)
        return methods[request.method]

    def _refused(self, request: Request, refusal: Refusal) -> Reply:
        self._served += 1
        number, in_200 = f"req-{self._served:08d}", self._config.faults.codes_in_200
        return refusal_answer(refusal, self._envelope(request), number, in_200=in_200)

    def _envelope(self, request: Request) -> Any:
        config = self._engine.config
        choices = config.faults.envelopes
        if len(choices) == 1:
            return choices[0]
        content = hashlib.sha256(request.body).hexdigest()
        nth = self._engine.ledger.count_try("envelope", f"{request.target} {content}")
        where = unit(config.seed, "envelope", request.target, content, nth)
        return choices[int(where * len(choices))]

    async def _keyed(self, request: Request, act: KeyedHandler) -> Reply:
        """What needs a key and counts against the minute; every answer tells what is left."""
        account = self._engine.account(request.headers.get("authorization", ""))
        headers: dict[str, str] = {}
        try:
            try:
                self._engine.admit(account)
            finally:
                headers = self._engine.limit_headers(account)
            return (await act(account, request)).adding(headers)
        except Refusal as refusal:
            refusal.headers = {**headers, **refusal.headers}
            raise

    # -- creating ------------------------------------------------------------------------------

    async def _create(self, account: str, request: Request) -> Reply:
        _want_json(request)
        key = request.headers.get("idempotency-key")
        order = self._engine.read_order(account, request.body, key)
        earlier = self._engine.replayed(order)
        if earlier is not None:
            return self._struck(order, lambda: self._created(earlier, replay=True))
        with self._engine.holding(order):
            cost = self._engine.price(order, await self._reference_seconds(order.input))
            await self._take_time()
            self._engine.check_means(order, cost)
            return self._struck(order, lambda: self._accepted(order, cost))

    async def _take_time(self) -> None:
        if self._config.create_seconds:
            await anyio.sleep(self._config.compressed(self._config.create_seconds))

    def _struck(self, order: CreateOrder, act: Callable[[], Reply]) -> Reply:
        """What the create is answered, done or not, by the fault that strikes it, if any."""
        faults, now = self._config.faults, self._engine.clock()
        fault = self._draw("create", faults.create, order.content)
        if fault is None:
            return act()
        if strikes_before(fault):
            return broken(None, fault, faults, now)
        answer = act()
        if fault is ApiFault.PROCESSING:
            self._engine.hold_key(order, faults.processing_seconds, answer.task_id)
        return broken(answer, fault, faults, now)

    def _accepted(self, order: CreateOrder, cost: Decimal) -> Reply:
        task_id = self._engine.accept(order, cost)
        if order.callback_url:
            self._wake_callbacks()
        return self._created(task_id, replay=False)

    def _created(self, task_id: str, *, replay: bool) -> Reply:
        faults = self._config.faults
        body = views.created(faults.created_as, told_id(task_id))
        verdict = "replayed" if replay else "accepted"
        answer = json_answer(faults.created_status, body, verdict)
        headers = {"idempotent-replay": "true"} if replay else {}
        return answer.having(task_id=task_id).adding(headers)

    # -- looking -------------------------------------------------------------------------------

    async def _list(self, account: str, request: Request) -> Reply:
        def page() -> Reply:
            query = request.query
            data = self._engine.page(account, query.get("page"), query.get("size"))
            return json_answer(200, views.listed(self._config.faults.listed_as, data), "listed")

        return self._look(f"list {request.target}", "lists", page)

    async def _detail(self, account: str, request: Request) -> Reply:
        task = self._engine.task_of(account, request.path.removeprefix(_TASKS + "/"))

        def detail() -> Reply:
            seen = self._engine.view().task(task)
            body = views.detailed(self._config.faults.shown_as, seen)
            return json_answer(200, body, "shown").having(task_id=task.task_id)

        return self._look(f"{task.content}:{task.nth}", "details", detail)

    def _look(
        self, content: str, kind: Literal["details", "lists"], show: Callable[[], Reply]
    ) -> Reply:
        faults = self._config.faults
        own = faults.details if kind == "details" else faults.lists
        fault = self._draw("look", faults.look, content) or self._draw(kind, own, content)
        if fault is None:
            return show()
        answer = None if strikes_before(fault) else show()
        return broken(answer, fault, faults, self._engine.clock())

    def _draw(self, kind: str, shares: Mapping[ApiFault, float], content: str) -> ApiFault | None:
        if not shares:
            return None
        nth = self._engine.ledger.count_try(kind, content)
        return draw(self._config.faults, self._config.seed, kind, shares, content, nth)

    # -- what needs no key ---------------------------------------------------------------------

    @property
    def _config(self) -> SandboxConfig:
        return self._engine.config

    async def _prices(self, request: Request) -> Reply:
        return json_answer(200, invented_prices(), "priced")

    async def _model_schema(self, request: Request) -> Reply:
        name = request.query.get("name", "")
        other = self._config.other_models.get(name)
        if other is None and name not in MODELS:
            raise Refusal(404, "model_not_found", f"no model is called {name[:80]!r}")
        schema = other or published_schema(name, allow_4k=self._config.allow_4k)
        return json_answer(200, schema, "schema")

    async def _described_models(self, request: Request) -> Reply:
        models = [
            {"name": name, "fields": sorted(published_schema(name)["properties"])}
            for name in MODELS
        ]
        return json_answer(200, {"models": models}, "models")

    async def _models(self, account: str, request: Request) -> Reply:
        listed = [
            {"id": name, "object": "model", "supported_endpoint_types": ["task"]} for name in MODELS
        ]
        return json_answer(200, {"object": "list", "data": listed}, "models")

    async def _to_files(self, request: Request) -> Reply:
        return redirect_answer(f"{self._engine.links.base}{request.target}", "to the files")

    async def _ledger(self, request: Request) -> Reply:
        wanted = {name: request.query.get(name, "1") for name in ("tasks", "requests")}
        if not set(wanted.values()) <= {"0", "1"}:
            raise invalid("tasks and requests are 0 or 1")
        tasks, requests = (wanted[name] == "1" for name in ("tasks", "requests"))
        account = request.query.get("account")
        content = ledger(self._engine, tasks=tasks, requests=requests, account=account)
        return json_answer(200, content, "ledger")

    async def _read_config(self, request: Request) -> Reply:
        secret = {"webhook_secret", "api_key"}
        return json_answer(200, self._config.model_dump(mode="json", exclude=secret), "config")

    async def _change_config(self, request: Request) -> Reply:
        _want_json(request)
        try:
            changes = strict_json(request.body)
            if not isinstance(changes, dict):
                raise invalid("settings are wanted, as a JSON object")
            current = self._config.model_dump(exclude_unset=True)
            self._engine.configure(checked({**current, **changes}, "config"))
        except (Unreadable, SandboxConfigError) as error:
            raise invalid(str(error)) from error
        return await self._read_config(request)


def _want_json(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "unsupported_media_type", "Content-Type must be application/json")


# ── The ledger: what was charged and what every request was answered. The oracle of every test ────


def ledger(engine: Engine, *, tasks: bool, requests: bool, account: str | None) -> dict[str, Any]:
    """The ledger as JSON values; the two lists can be left out, and tasks be one account's."""
    view, ledger = engine.view(), engine.ledger
    return {
        "counters": _counters(engine),
        "tasks": [_task(task, view) for task in ledger.tasks(account)] if tasks else [],
        "requests": [_as_values(each) for each in ledger.requests()] if requests else [],
    }


def _as_values(request: StoredRequest) -> dict[str, Any]:
    return {**asdict(request), "authorization": bool(request.authorization)}


def _task(task: StoredTask, view: View) -> dict[str, Any]:
    status = view.status(task)
    return {
        "task_id": task.task_id,
        "account": task.account,
        "idempotency_key": task.idempotency_key,
        "body_sha256": task.body_sha256,
        "content": task.content,
        "model": task.model,
        "prompt": task.input["prompt"],
        "input": _short(task.input),
        "price": str(task.price),
        "created": task.times.created,
        "final": task.times.final,
        "status": status.value,
        "error_code": task.error_code,
        "callback_url": task.callback_url,
    }


def _short(fields: dict[str, Any]) -> dict[str, Any]:
    """Data URIs shortened: the ledger is read by people and by tests, not by players."""
    return {name: _shorter(value) for name, value in fields.items()}


def _shorter(value: Any) -> Any:
    if isinstance(value, list):
        return [_shorter(item) for item in value]
    if isinstance(value, str) and value.startswith("data:"):
        return f"{value[:40]}… ({len(value)} characters)"
    return value


def _counters(engine: Engine) -> dict[str, Any]:
    """Sums over the lists, never kept beside them."""
    ledger = engine.ledger
    counts: Counter[str] = Counter()
    for origin, method, status, verdict, n, keyed in ledger.tally():
        counts[f"requests_{origin}"] += n
        counts[f"refused_{status}"] += n * (status >= 400)
        counts["replays"] += n * (verdict == "replayed")
        counts["faults"] += n * verdict.startswith("fault ")
        counts["create_requests"] += n * (origin == "api" and method == "POST")
        counts["callbacks_delivered"] += n * (origin == "callback" and 200 <= status < 300)
        counts["authorization_on_files"] += keyed * (origin == "files")
    return {
        **_always(counts),
        "creates_accepted": ledger.count_all(),
        "charged_total": str(ledger.charged()),
        "peak_at_once": _peak(ledger.spans()),
    }


def _always(counts: Counter[str]) -> dict[str, int]:
    names = ("replays", "faults", "create_requests", "callbacks_delivered",
             "authorization_on_files", "requests_api", "requests_files", "requests_callback",
             "refused_429")  # fmt: skip
    return {**dict.fromkeys(names, 0), **{name: n for name, n in counts.items() if n}}


def _peak(spans: Iterable[tuple[float, float]]) -> int:
    """The most tasks of all accounts that were unfinished at one moment."""
    changes = [change for start, end in spans for change in ((start, 1), (end, -1))]
    running = peak = 0
    for _, change in sorted(changes):
        running += change
        peak = max(peak, running)
    return peak


# ── Sends callbacks: signed, at least once, at most four attempts ─────────────────────────────────
# As HiAPI's page about callbacks has it (read in November 2026): the bare task object, 10 s to
# answer 2xx, four attempts, and a signature where the account has a key. Whether a retry is signed
# afresh is not said; here it is.

_AFTER_FINAL: Final = (0.0, 60.0, 300.0, 1200.0)
"""When each attempt is made: at once, then about +1, +5 and +20 minutes."""
_HOUR: Final = 3600.0
_AT_ONCE: Final = 100
"""Deliveries in the air together."""


class Callbacks:
    """Delivers what is due, for as long as `serve` runs."""

    def __init__(self, engine: Engine, transport: httpx.AsyncBaseTransport | None) -> None:
        self._engine = engine
        self._transport = transport
        self._news = anyio.Event()
        self._sending: set[int] = set()

    def wake(self) -> None:
        """Tells that a delivery was planned."""
        self._news.set()

    async def serve(self) -> None:
        """Delivers until cancelled."""
        while not self._engine.ledger.due_callbacks():
            await self._news.wait()
            self._news = anyio.Event()

        import httpx  # late, as is the client: a sandbox without callbacks needs neither

        async with (
            httpx.AsyncClient(
                transport=self._transport,
                timeout=None,  # noqa: S113  (`_send` bounds the whole delivery)
                trust_env=False,
                limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=10),
            ) as client,
            anyio.create_task_group() as tasks,
        ):
            while True:
                self._news = anyio.Event()
                wait = self._start_due(client, tasks)
                with anyio.move_on_after(wait):
                    await self._news.wait()

    def _start_due(self, client: httpx.AsyncClient, tasks: anyio.abc.TaskGroup) -> float | None:
        """Starts what is due; the seconds until the next delivery is, None if none is planned."""
        now = self._engine.clock()
        waiting = [
            due for due in self._engine.ledger.due_callbacks() if due.seq not in self._sending
        ]
        for due in waiting:
            if due.due > now:
                return due.due - now
            if len(self._sending) >= _AT_ONCE:
                return None  # the end of a delivery wakes the loop
            self._sending.add(due.seq)
            tasks.start_soon(self._deliver, client, due)
        return None

    async def _deliver(self, client: httpx.AsyncClient, due: DueCallback) -> None:
        try:
            task = self._engine.ledger.task(due.task_id)
            if task is None or task.callback_url is None:
                self._engine.ledger.remove_callback(due.seq)
            else:
                await self._attempt(client, due, task, task.callback_url)
        finally:
            self._sending.discard(due.seq)
            self.wake()

    async def _attempt(
        self, client: httpx.AsyncClient, due: DueCallback, task: StoredTask, url: str
    ) -> None:
        config, place = self._engine.config, f"{task.content}:{task.nth}"
        shares = config.faults.callbacks
        fault = draw(config.faults, config.seed, "callbacks", shares, place, due.attempt)
        await anyio.sleep(self._delay(fault, place, due.attempt))
        heard = False
        if fault is CallbackFault.DROP:
            self._write_down(task, url, 0, f"dropped, attempt {due.attempt}")
        else:
            heard = await self._send(client, due, task, url, fault)
        again = fault is CallbackFault.DUPLICATE and heard and due.attempt < len(_AFTER_FINAL)
        if again:
            await self._send(client, due, task, url, fault)
        self._settle(due, task, heard=heard)

    def _delay(self, fault: CallbackFault | None, place: str, attempt: int) -> float:
        config = self._engine.config
        if fault is CallbackFault.LATE:
            return config.faults.late_seconds
        if fault is CallbackFault.REORDER:
            return config.faults.reorder_seconds * unit(config.seed, "reorder", place, attempt)
        return 0.0

    async def _send(
        self,
        client: httpx.AsyncClient,
        due: DueCallback,
        task: StoredTask,
        url: str,
        fault: CallbackFault | None,
    ) -> bool:
        import httpx

        body = json.dumps(self._engine.view().task(task), ensure_ascii=False).encode()
        headers = {"content-type": "application/json", **self._signature(body, fault)}
        limit = self._engine.config.callback_timeout
        status, verdict = 0, "no answer in time"
        try:
            with anyio.move_on_after(limit):
                answer = await client.post(url, content=body, headers=headers)
                status = answer.status_code
                verdict = "delivered" if answer.is_success else "refused"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            verdict = f"not delivered: {type(error).__name__}"
        odd = f" ({fault.value})" if fault else ""
        self._write_down(task, url, status, f"{verdict}, attempt {due.attempt}{odd}")
        return 200 <= status < 300

    def _signature(self, body: bytes, fault: CallbackFault | None) -> dict[str, str]:
        """``hex(HMAC-SHA256(secret, timestamp + "." + body))``, where there is a secret."""
        secret = self._engine.config.webhook_secret
        if secret is None or fault is CallbackFault.UNSIGNED:
            return {}
        if fault is CallbackFault.FORGED:
            secret = f"not {secret}"
        back = _HOUR if fault is CallbackFault.STALE else 0.0
        stamp = str(int(self._engine.clock() - back))
        signature = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
        return {"x-hiapi-timestamp": stamp, "x-hiapi-signature": signature.hexdigest()}

    def _settle(self, due: DueCallback, task: StoredTask, *, heard: bool) -> None:
        """Plans the next attempt, or ends the matter; nothing is planned twice by a kill."""
        ledger = self._engine.ledger
        if not heard and due.attempt < len(_AFTER_FINAL):
            after = self._engine.config.compressed(_AFTER_FINAL[due.attempt])
            ledger.postpone_callback(due.seq, due.attempt + 1, task.times.final + after)
        else:
            ledger.remove_callback(due.seq)

    def _write_down(self, task: StoredTask, url: str, status: int, verdict: str) -> None:
        self._engine.ledger.add_request(
            StoredRequest(
                self._engine.clock(), "callback", "POST", url, status, verdict, task.task_id, False
            )
        )
