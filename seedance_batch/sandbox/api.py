"""The API origin: routes, order of checks, and where faults strike."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final, Literal

import anyio

from seedance_batch.sandbox import shapes
from seedance_batch.sandbox.config import ApiFault, SandboxConfig, SandboxConfigError, checked
from seedance_batch.sandbox.engine import Engine, Order
from seedance_batch.sandbox.faults import broken, draw, strange_answer, strikes_before, unit
from seedance_batch.sandbox.ledger import ledger
from seedance_batch.sandbox.prices import price_list
from seedance_batch.sandbox.refusals import Refusal, invalid, redirect_answer, refusal_answer
from seedance_batch.sandbox.schema import Unreadable, parse_json
from seedance_batch.sandbox.store import StoredRequest
from seedance_batch.sandbox.views import told_id
from seedance_batch.sandbox.wire import (
    Answer,
    Disconnected,
    Receive,
    Request,
    Scope,
    Send,
    TooLarge,
    json_answer,
    read_request,
    send_answer,
)

Handler = Callable[[Request], Awaitable[Answer]]
KeyedHandler = Callable[[str, Request], Awaitable[Answer]]
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
            self._write_down(arrived, request, answer)
        await send_answer(answer, scope, send, head=request.method == "HEAD")

    def _write_down(self, arrived: float, request: Request, answer: Answer) -> None:
        self._engine.store.add_request(
            StoredRequest(
                arrived,
                "api",
                request.method,
                request.target,
                answer.status,
                answer.verdict,
                answer.task_id,
                "authorization" in request.headers,
            )
        )

    async def _answer(self, request: Request) -> Answer:
        faults = self._config.faults
        if faults.stranger is not None and not request.path.startswith("/sandbox/"):
            if self._engine.store.count_all() >= faults.stranger_after:
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

    def _refused(self, request: Request, refusal: Refusal) -> Answer:
        self._served += 1
        number, in_200 = f"req-{self._served:08d}", self._config.faults.codes_in_200
        return refusal_answer(refusal, self._envelope(request), number, in_200=in_200)

    def _envelope(self, request: Request) -> Any:
        config = self._engine.config
        choices = config.faults.envelopes
        if len(choices) == 1:
            return choices[0]
        content = hashlib.sha256(request.body).hexdigest()
        nth = self._engine.store.count_try("envelope", f"{request.target} {content}")
        where = unit(config.seed, "envelope", request.target, content, nth)
        return choices[int(where * len(choices))]

    async def _keyed(self, request: Request, act: KeyedHandler) -> Answer:
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

    async def _create(self, account: str, request: Request) -> Answer:
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

    def _struck(self, order: Order, act: Callable[[], Answer]) -> Answer:
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

    def _accepted(self, order: Order, cost: Decimal) -> Answer:
        task_id = self._engine.accept(order, cost)
        if order.callback_url:
            self._wake_callbacks()
        return self._created(task_id, replay=False)

    def _created(self, task_id: str, *, replay: bool) -> Answer:
        faults = self._config.faults
        body = shapes.created(faults.created_as, told_id(task_id))
        verdict = "replayed" if replay else "accepted"
        answer = json_answer(faults.created_status, body, verdict)
        headers = {"idempotent-replay": "true"} if replay else {}
        return answer.having(task_id=task_id).adding(headers)

    # -- looking -------------------------------------------------------------------------------

    async def _list(self, account: str, request: Request) -> Answer:
        def page() -> Answer:
            query = request.query
            data = self._engine.page(account, query.get("page"), query.get("size"))
            return json_answer(200, shapes.listed(self._config.faults.listed_as, data), "listed")

        return self._look(f"list {request.target}", "lists", page)

    async def _detail(self, account: str, request: Request) -> Answer:
        task = self._engine.task_of(account, request.path.removeprefix(_TASKS + "/"))

        def detail() -> Answer:
            seen = self._engine.view().task(task)
            body = shapes.shown(self._config.faults.shown_as, seen)
            return json_answer(200, body, "shown").having(task_id=task.task_id)

        return self._look(f"{task.content}:{task.nth}", "details", detail)

    def _look(
        self, content: str, kind: Literal["details", "lists"], show: Callable[[], Answer]
    ) -> Answer:
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
        nth = self._engine.store.count_try(kind, content)
        return draw(self._config.faults, self._config.seed, kind, shares, content, nth)

    # -- what needs no key ---------------------------------------------------------------------

    @property
    def _config(self) -> SandboxConfig:
        return self._engine.config

    async def _prices(self, request: Request) -> Answer:
        return json_answer(200, price_list(), "priced")

    async def _to_files(self, request: Request) -> Answer:
        return redirect_answer(f"{self._engine.links.base}{request.target}", "to the files")

    async def _ledger(self, request: Request) -> Answer:
        wanted = {name: request.query.get(name, "1") for name in ("tasks", "requests")}
        if not set(wanted.values()) <= {"0", "1"}:
            raise invalid("tasks and requests are 0 or 1")
        content = ledger(
            self._engine, tasks=wanted["tasks"] == "1", requests=wanted["requests"] == "1"
        )
        return json_answer(200, content, "ledger")

    async def _read_config(self, request: Request) -> Answer:
        secret = {"webhook_secret", "api_key"}
        return json_answer(200, self._config.model_dump(mode="json", exclude=secret), "config")

    async def _change_config(self, request: Request) -> Answer:
        _want_json(request)
        try:
            changes = parse_json(request.body)
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
