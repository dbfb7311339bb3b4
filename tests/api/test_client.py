"""The client over real sockets: one request, one answer, whatever the other side does."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import anyio
import pytest

from seedance_batch.api.client import Answer, Client
from seedance_batch.core.hiapi import Verdict, Voice
from tests.service import Service, serving

T = TypeVar("T")
KEY = "sk-test"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as found:
        yield found


def body(prompt: str, **fields: Any) -> bytes:
    shot = {"prompt": prompt, "duration": 4, "resolution": "480p", **fields}
    return json.dumps({"model": "seedance-2-0", "input": shot}).encode()


def ask(url: str, what: Callable[[Client], Awaitable[T]], key: str = KEY, **options: Any) -> T:
    """One question by a client of its own."""

    async def main() -> T:
        async with Client(url, key, **options) as client:
            return await what(client)

    return anyio.run(main)


def create(url: str, content: bytes, key: str, **options: Any) -> Answer[Any]:
    return ask(url, lambda client: client.create(content, key), **options)


# ── the contract ────────────────────────────────────────────────────────────────────────────────


def test_a_create_answers_with_the_task_and_the_same_again_is_its_replay(service: Service) -> None:
    first = create(service.api_url, body("create"), "k-create")
    again = create(service.api_url, body("create"), "k-create")
    assert first.verdict is again.verdict is Verdict.OK
    assert first.value.task_id == again.value.task_id
    assert (first.value.replayed, again.value.replayed) == (False, True)


def test_a_key_that_came_with_another_body_is_a_mismatch(service: Service) -> None:
    create(service.api_url, body("one"), "k-mismatch")
    answer = create(service.api_url, body("two"), "k-mismatch")
    assert answer.verdict is Verdict.MISMATCH
    assert answer.value is None
    assert answer.error.code == "IDEMPOTENCY_KEY_MISMATCH"


@pytest.mark.parametrize("named", [True, False])
def test_a_409_tells_the_task_where_it_names_one(service: Service, named: bool) -> None:
    prompt = f"processing {named}"
    faults = {"create": {"processing": 1.0}, "tries": 1, "processing_names_task": named}
    with service.having(faults=faults):
        lost = create(service.api_url, body(prompt), prompt)
        answer = create(service.api_url, body(prompt), prompt)
    assert lost.verdict is Verdict.UNKNOWN
    if named:
        assert answer.verdict is Verdict.OK
        assert answer.value.task_id.startswith("tk-hiapi-")
    else:
        assert answer.verdict is Verdict.PROCESSING
        assert answer.retry_after is not None
        assert 0 < answer.retry_after <= 5


@pytest.mark.parametrize("envelope", ["doc", "hiapi_error", "invalid_request_error", "html"])
def test_a_refused_request_is_invalid_in_every_envelope(service: Service, envelope: str) -> None:
    with service.having(faults={"envelopes": [envelope]}):
        answer = create(service.api_url, body("x"), "k-invalid")
    assert answer.verdict is Verdict.INVALID
    assert answer.error.message.startswith("HTTP 400")
    assert "<html>" not in answer.error.message


def test_an_unknown_model_refuses_the_create_and_an_unknown_task_is_not_found(
    service: Service,
) -> None:
    wrong = body("model").replace(b"seedance-2-0", b"another")
    assert create(service.api_url, wrong, "k-model").verdict is Verdict.INVALID
    answer = ask(service.api_url, lambda client: client.get("tk-hiapi-none"))
    assert answer.verdict is Verdict.NOT_FOUND
    assert answer.value is None


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({"api_key": "sk-other"}, Verdict.KEY),
        ({"balance": "0"}, Verdict.BALANCE),
        ({"faults": {"revoke_after": 0, "revoked_status": 403}}, Verdict.FORBIDDEN),
        ({"faults": {"create": {"429": 1.0}}}, Verdict.RATE),
        ({"faults": {"create": {"503": 1.0}, "retry_after": "date"}}, Verdict.BUSY),
        ({"faults": {"create": {"408": 1.0}}}, Verdict.UNKNOWN),
        ({"faults": {"create": {"425": 1.0}}}, Verdict.UNKNOWN),
        ({"faults": {"create": {"500": 1.0}}}, Verdict.UNKNOWN),
        ({"faults": {"create": {"504": 1.0}}}, Verdict.UNKNOWN),
        ({"faults": {"create": {"reset": 1.0}}}, Verdict.UNKNOWN),
        ({"faults": {"create": {"html": 1.0}}}, Verdict.UNKNOWN),
        ({"faults": {"create": {"empty": 1.0}}}, Verdict.UNKNOWN),
    ],
)
def test_a_create_that_made_nothing_has_its_verdict(
    service: Service, settings: dict[str, Any], verdict: Verdict
) -> None:
    before = len(service.tasks(KEY))
    with service.having(**settings):
        answer = create(service.api_url, body(f"nothing {verdict}"), f"k-{verdict}-{settings}")
    assert (answer.verdict, answer.value, answer.connected) == (verdict, None, True)
    assert answer.error.message
    assert (answer.retry_after is not None) == (verdict in {Verdict.RATE, Verdict.BUSY})
    assert len(service.tasks(KEY)) == before


@pytest.mark.parametrize(
    "fault", ["500_after", "502_after", "504_after", "reset_after", "cut", "html_after",
              "empty_after"]
)  # fmt: skip
def test_a_create_whose_answer_is_lost_is_unknown_and_its_resend_finds_the_one_task(
    service: Service, fault: str
) -> None:
    content = body(f"lost by {fault}")
    with service.having(faults={"create": {fault: 1.0}, "tries": 1}):
        lost = create(service.api_url, content, f"k-{fault}")
        again = create(service.api_url, content, f"k-{fault}")
    page = fault == "html_after"
    assert (lost.value, lost.connected, lost.refused) == (None, True, False)
    assert lost.verdict is (Verdict.ELSEWHERE if page else Verdict.UNKNOWN)
    assert again.verdict is Verdict.OK
    assert again.value.replayed
    prompts = [task["prompt"] for task in service.tasks(KEY)]
    assert prompts.count(f"lost by {fault}") == 1


@pytest.mark.parametrize("fault", ["reset", "cut", "empty_after", "500", "stall"])
def test_a_look_that_goes_wrong_is_unknown(service: Service, fault: str) -> None:
    task_id = create(service.api_url, body("look"), "k-look").value.task_id
    with service.having(faults={"look": {fault: 1.0}, "stall_seconds": 0.05}):
        one = ask(service.api_url, lambda client: client.get(task_id))
        page = ask(service.api_url, lambda client: client.list())
    assert one.verdict is page.verdict is Verdict.UNKNOWN


def test_a_list_page_tells_the_size_that_the_server_used(service: Service) -> None:
    page = ask(service.api_url, lambda client: client.list(page=1, size=3))
    odd = ask(service.api_url, lambda client: client.list(page=1, size=1000))
    assert page.value is not None
    assert odd.value is not None
    assert len(page.value.tasks) == page.value.size == 3
    assert odd.value.size == 10


def test_prices_are_exact_and_need_no_key(service: Service) -> None:
    answer = ask(service.api_url, lambda client: client.pricing(), key="")
    assert answer.verdict is Verdict.OK
    assert str(answer.value["data"][0]["base_usd_value"]) == "0.072"


def test_the_servers_clock_and_its_minute_are_heard(service: Service) -> None:
    async def look(client: Client) -> tuple[Answer[Any], float | None, float | None]:
        before = client.server_time()
        return await client.list(size=1), before, client.server_time()

    with service.having(rpm=1000):
        answer, before, after = ask(service.api_url, look, wall=lambda: 5.0)
    assert before is None
    assert after == pytest.approx(time.time(), abs=5)
    assert answer.rate is not None
    assert answer.rate.limit == 1000
    assert answer.reset_in == pytest.approx(60, abs=5)


# ── the other side is odd ───────────────────────────────────────────────────────────────────────


class Odd(BaseHTTPRequestHandler):
    """Answers as its server was told, and writes down what it was sent."""

    server: OddServer

    def do_GET(self) -> None:
        self.server.heard.append((self.path, self.headers.get("Authorization")))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.wfile.write(self.server.answer)
        self.close_connection = True

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class OddServer(ThreadingHTTPServer):
    """A server with one answer."""

    daemon_threads = True

    def __init__(self, answer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Odd)
        self.answer = answer
        self.heard: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def answering(answer: bytes) -> Iterator[OddServer]:
    with OddServer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_never_followed_and_takes_the_key_nowhere(status: str) -> None:
    with answering(b"") as elsewhere:
        location = f"{elsewhere.url}/v1/tasks".encode()
        moved = b"HTTP/1.1 %s\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
        with answering(moved % (status.encode(), location)) as server:
            made = create(server.url, body("moved"), "k")
            seen = ask(server.url, lambda client: client.get("tk-1"))
        assert made.verdict is seen.verdict is Verdict.ELSEWHERE
        assert location.decode() in made.error.message
        assert server.heard == [
            ("/v1/tasks", f"Bearer {KEY}"),
            ("/v1/tasks/tk-1", f"Bearer {KEY}"),
        ]
        assert elsewhere.heard == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03\x01",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nDate: never\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n" + b'{"data":{"taskId":"tk-\\ud800"   }}',
        b"HTTP/1.1 99999 Odd\r\n\r\n",
    ],
)
def test_what_is_no_answer_of_this_api_is_unknown(answer: bytes) -> None:
    with answering(answer) as server:
        assert create(server.url, body("odd"), "k").verdict is Verdict.UNKNOWN
        assert ask(server.url, lambda client: client.get("tk-1")).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("form", ["text", "html", "json"])
@pytest.mark.parametrize(
    "fault", ["402_gateway", "429_gateway", "503_gateway", "503_gateway_after"]
)
def test_a_gateways_refusal_is_none_of_hiapis(service: Service, fault: str, form: str) -> None:
    faults = {"create": {fault: 1.0}, "gateway_form": form}
    with service.having(faults=faults):
        answer = create(service.api_url, body(f"{fault} {form}"), f"k-{fault}-{form}")
    assert (answer.voice, answer.refused) == (Voice.OTHER, False)
    assert answer.status == int(fault[:3])


@pytest.mark.parametrize("envelope", ["doc", "hiapi_error", "invalid_request_error"])
@pytest.mark.parametrize("in_200", [False, True])
@pytest.mark.parametrize("fault", ["429", "503"])
def test_a_refusal_in_hiapis_envelope_is_one_whatever_http_says(
    service: Service, fault: str, in_200: bool, envelope: str
) -> None:
    faults = {"create": {fault: 1.0}, "codes_in_200": in_200, "envelopes": [envelope]}
    with service.having(faults=faults):
        answer = create(service.api_url, body(f"{fault} {in_200}"), f"k-{fault}-{in_200}")
    if in_200 and envelope != "doc" and fault == "503":  # its code is a word that nobody explains
        assert answer.verdict is Verdict.UNKNOWN
    else:
        assert answer.refused
        assert answer.verdict is (Verdict.RATE if fault == "429" else Verdict.BUSY)


@pytest.mark.parametrize("shape", ["bare", "task", "id", "list", "array"])
@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_create_is_read_in_every_shape_and_so_is_its_replay(
    service: Service, shape: str, status: int
) -> None:
    content, key = body(f"{shape} {status}"), f"k-{shape}-{status}"
    with service.having(faults={"created_as": shape, "created_status": status}):
        first, again = (create(service.api_url, content, key) for _ in range(2))
    assert first.value.task_id == again.value.task_id
    assert (first.value.replayed, again.value.replayed) == (False, True)


def test_a_create_that_names_no_task_is_unknown_and_shown_as_it_came(service: Service) -> None:
    with service.having(faults={"created_as": "nameless"}):
        answer = create(service.api_url, body("nameless"), "k-nameless")
    assert (answer.verdict, answer.value) == (Verdict.UNKNOWN, None)
    assert '"accepted": true' in answer.error.message


@pytest.mark.parametrize(
    "head",
    [
        "201 Created\r\nLocation: /v1/tasks/tk-1",
        "202 Accepted\r\nLocation: https://any.example/v1/tasks/tk-1?x=1",
        "303 See Other\r\nLocation: /v1/tasks/tk-1",
    ],
)
def test_an_answer_may_name_its_task_by_where_it_lies(head: str) -> None:
    with answering(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode()) as server:
        answer = create(server.url, body("located"), "k")
    assert answer.value is not None
    assert answer.value.task_id == "tk-1"


def test_a_redirect_of_the_request_itself_names_no_task() -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /v1/tasks/tk-1\r\nContent-Length: 0\r\n\r\n"
    with answering(moved) as server:
        assert create(server.url, body("moved"), "k").value is None


@pytest.mark.parametrize("status", [400, 503])
def test_a_refusal_that_names_a_task_is_none(status: int) -> None:
    content = b'{"code":%d,"message":"no","data":{"taskId":"tk-1"}}' % status
    head = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n" % (status, len(content))
    with answering(head + content) as server:
        answer = create(server.url, body("busy"), "k")
    assert answer.value is not None
    assert answer.value.task_id == "tk-1"


def test_what_a_gateway_says_is_shown() -> None:
    content = b"upstream connect error"
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % len(content)
    with answering(head + content) as server:
        answer = create(server.url, body("busy"), "k")
    assert answer.error.message == "HTTP 503: upstream connect error"


class Slow(BaseHTTPRequestHandler):
    """Answers a second after it has read the body."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(1.0)
        content = b'{"data":{"taskId":"tk-1"}}'
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
            self.wfile.write(content)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def test_a_large_body_has_as_much_time_as_a_slow_line_needs() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        small = create(url, b"x", "k", deadline=0.3)
        large = create(url, b"x" * 600_000, "k", deadline=0.3)  # a minute more
        server.shutdown()
        thread.join()
    assert small.verdict is Verdict.UNKNOWN
    assert large.verdict is Verdict.OK


def test_an_answer_without_an_end_is_cut_off() -> None:
    big = b"x" * (33 * 2**20)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + big) as server:
        answer = ask(server.url, lambda client: client.get("tk-1"))
    assert answer.verdict is Verdict.UNKNOWN
    assert "larger" in answer.error.message


def test_a_task_id_is_one_name_in_the_address_whatever_it_holds() -> None:
    with answering(b"") as server:
        for task_id in ("../../sandbox/ledger", "a?b#c", "\udcff"):
            assert ask(server.url, _getting(task_id)).verdict is Verdict.UNKNOWN
        paths = [path for path, _ in server.heard]
    assert paths == ["/v1/tasks/..%2F..%2Fsandbox%2Fledger", "/v1/tasks/a%3Fb%23c", "/v1/tasks/%3F"]


def _getting(task_id: str) -> Callable[[Client], Awaitable[Answer[Any]]]:
    return lambda client: client.get(task_id)


def test_no_answer_within_the_deadline_is_a_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        answer = create(url, body("silence"), "k", deadline=3)
    assert (answer.verdict, answer.connected) == (Verdict.UNKNOWN, True)
    assert "time-out" in answer.error.message.lower() or "Timeout" in answer.error.message


def test_an_address_that_swallows_everything_is_unreachable_and_not_slow() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # its queue is full, so that the system drops who comes next
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        answer = create(url, body("black hole"), "k", deadline=0.6)
    assert (answer.verdict, answer.connected) == (Verdict.UNKNOWN, False)
    assert "ConnectTimeout" in answer.error.message


def test_where_nobody_listens_nothing_can_have_been_received() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answer = create(f"http://127.0.0.1:{port}", body("nobody"), "k")
    assert (answer.verdict, answer.connected) == (Verdict.UNKNOWN, False)
    assert answer.error.message


# ── who cannot be reached ───────────────────────────────────────────────────────────────────────


def test_an_unreachable_api_says_what_the_system_said() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    answer = ask(url, lambda client: client.get("task-1"))
    assert answer.error.message == f"ConnectError: {os.strerror(errno.ECONNREFUSED)}"
