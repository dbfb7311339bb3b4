"""The sandbox as other clients see it: models, ids, seeds, browsers, slow senders, host names."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
import trio

from seedance_batch.sandbox.server import running

from .conftest import KEY, START, Served, Virtual, config, order, serving, virtually

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def moment_of(task_id: str) -> float:
    """Unix seconds in a task's ULID."""
    number = 0
    for sign in task_id.removeprefix("tk-hiapi-")[:10]:
        number = number * 32 + CROCKFORD.index(sign)
    return number / 1000


def test_another_makers_model_is_404_before_any_look_at_its_fields(served: Served) -> None:
    body = {"model": "veo-3.1", "input": {"text": 1, "size": "x"}, "unheard": True}
    answer = served.client.post("/v1/tasks", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "model_not_found")
    answer = served.client.post("/v1/tasks", json={"input": {}})
    assert answer.status_code == 400


def test_ids_are_ulids_in_the_order_of_their_tasks() -> None:
    async def test(virtual: Virtual) -> None:
        ids = []
        for number in range(6):
            answer = await virtual.create(seed=number)  # three in one moment, then three later
            ids.append(answer.json()["data"]["taskId"])
            if number == 2:
                await trio.sleep(60)
        assert ids == sorted(ids)
        assert len(set(ids)) == 6
        assert [round(moment_of(each) - START) for each in ids] == [0, 0, 0, 60, 60, 60]

    virtually(test)


def test_seed_can_be_refused_as_production_once_did() -> None:
    with serving(refuse_seed=True) as served:
        answer = served.create(seed=7)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_REQUEST")
        assert "input.seed" in answer.json()["message"]
        assert served.create().status_code == 200


def test_a_file_that_is_known_is_not_sent_again(served: Served) -> None:
    url = served.video_url()
    first = httpx.get(url, timeout=120)
    etag, dated = first.headers["etag"], first.headers["last-modified"]
    known = [
        {"If-None-Match": etag},
        {"If-None-Match": f'"other", W/{etag}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": dated},
    ]
    for headers in known:
        again = httpx.get(url, headers=headers, timeout=120)
        assert (again.status_code, again.content) == (304, b""), headers
        assert again.headers["etag"] == etag
    news = [
        {"If-None-Match": '"other"', "If-Modified-Since": dated},
        {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"If-Modified-Since": "some day"},
    ]
    assert {httpx.get(url, headers=each, timeout=120).status_code for each in news} == {200}
    assert httpx.head(url, headers={"If-None-Match": etag}, timeout=120).status_code == 304
    part = {"Range": "bytes=10-", "If-Range": dated}
    assert httpx.get(url, headers=part, timeout=120).status_code == 206


def test_a_page_on_this_machine_may_read_files_by_script(served: Served) -> None:
    url, page = served.video_url(), {"Origin": "http://localhost:3000"}
    asked = httpx.options(url, headers=page, timeout=120)
    assert asked.status_code == 204
    assert "range" in asked.headers["access-control-allow-headers"]
    for answer in (
        httpx.get(url, headers=page, timeout=120),
        httpx.head(url, headers=page, timeout=120),
        httpx.get(url.partition("?")[0], headers=page, timeout=120),  # 403
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "etag" in answer.headers["access-control-expose-headers"]
    elsewhere = httpx.get(url, headers={"Origin": "https://example.com"}, timeout=120)
    assert elsewhere.status_code == 403


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", b"HTTP/1.1 408"),
        (b"POST /v1/tasks HT", b"HTTP/1.1 408"),
        (b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", b""),
    ],
)
def test_a_request_whose_rest_never_comes_is_ended(sent: bytes, said: bytes) -> None:
    with serving(half_sent_seconds=0.2) as served:
        parts = urlsplit(served.address.api_url)
        with socket.create_connection((parts.hostname, parts.port), timeout=120) as connection:
            connection.sendall(sent)
            heard = b"".join(iter(lambda: connection.recv(4096), b""))  # until it is closed
        assert heard.startswith(said)
        assert served.create().status_code == 200


def test_a_slow_sender_that_goes_on_is_waited_for() -> None:
    with serving(half_sent_seconds=5.0) as served:
        parts = urlsplit(served.address.api_url)
        request = b"GET /api/pricing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with socket.create_connection((parts.hostname, parts.port), timeout=120) as connection:
            for at in range(0, len(request), 16):
                connection.sendall(request[at : at + 16])
                time.sleep(0.02)
            assert connection.recv(64).startswith(b"HTTP/1.1 200")


def test_it_answers_to_a_name_that_it_was_told_and_to_no_other() -> None:
    with running(config(), host_names=["api.hiapi.ai"]) as address:

        def asked(name: str) -> int:
            headers = {"Authorization": f"Bearer {KEY}", "Host": name}
            url = f"{address.api_url}/v1/tasks"
            return httpx.post(url, json=order(), headers=headers, timeout=120).status_code

        assert [asked(name) for name in ("api.hiapi.ai", "API.HiAPI.ai:8080", "localhost")] == [
            200, 200, 200,
        ]  # fmt: skip
        assert asked("api.example.com") == 403
    with running(config()) as address:
        assert asked("api.hiapi.ai") == 403
