"""Whatever HiAPI answers, something definite comes out of it."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedance_batch import wire
from seedance_batch.model import OutputType, TaskStatus
from seedance_batch.wire import Verdict

NOW = 1_800_000_000.0

# ── verdicts ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.OK), (400, Verdict.INVALID), (401, Verdict.KEY), (402, Verdict.BALANCE),
        (403, Verdict.FORBIDDEN), (404, Verdict.NOT_FOUND), (405, Verdict.INVALID),
        (409, Verdict.PROCESSING), (413, Verdict.INVALID), (415, Verdict.INVALID),
        (422, Verdict.MISMATCH), (429, Verdict.RATE), (503, Verdict.BUSY),
    ],
)  # fmt: skip
def test_a_documented_status_means_what_the_documentation_says(
    status: int, verdict: Verdict
) -> None:
    assert wire.verdict_of(status) is verdict


@pytest.mark.parametrize(
    "status", [100, 201, 202, 204, 206, 301, 302, 307, 308, 408, 425, 500, 501, 502, 504, 520, 599]
)
def test_any_other_status_leaves_open_whether_a_task_was_made(status: int) -> None:
    assert wire.verdict_of(status) is Verdict.UNKNOWN


def test_only_what_surely_made_no_task_counts_as_refused_before_processing() -> None:
    assert {v.value for v in wire.REFUSED_BEFORE_PROCESSING} == {
        "rate", "busy", "balance", "key", "forbidden",
    }  # fmt: skip


# ── error envelopes ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            {"code": 400, "message": "bad field", "data": None, "error_code": "INVALID_REQUEST"},
            "INVALID_REQUEST",
            "bad field",
        ),
        (
            {"error": {"type": "hiapi_error", "code": "E1", "message": "no", "request_id": "r-7"}},
            "E1",
            "no (request r-7)",
        ),
        ({"error": {"type": "hiapi_error", "code": "E1", "request_id": "r-7"}},
         "E1", "E1 (request r-7)"),
        ({"error": {"type": "invalid_request_error", "code": "bad"}}, "bad", "bad"),
        ({"error": {}}, "", "HTTP 418"),
        ({"code": 1001, "message": ""}, "1001", "HTTP 418"),
        ({"error": "a text"}, "", "HTTP 418"),
        ({}, "", "HTTP 418"),
        ([], "", "HTTP 418"),
        (None, "", "HTTP 418"),
        ("text", "", "HTTP 418"),
    ],
)  # fmt: skip
def test_every_envelope_gives_its_code_and_words(body: Any, code: str, message: str) -> None:
    found = wire.error_of(body, 418)
    assert (found.code, found.message) == (code, message)


# ── creates ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        {"code": 200, "data": {"taskId": "tk-1"}},
        {"data": {"task_id": "tk-1"}},
        {"error": {"code": "IDEMPOTENCY_KEY_PROCESSING", "taskId": "tk-1"}},
        {"taskId": "tk-1"},
        {"data": {"taskId": 7, "task_id": "tk-1"}},
    ],
)
def test_a_task_id_is_found_wherever_hiapi_may_put_it(body: Any) -> None:
    assert wire.task_id_of(body) == "tk-1"


@pytest.mark.parametrize(
    "task_id", ["", None, 7, True, [], {}, "x" * 256, "a b", "a\nb", "\x1b[2J", "\ud800", "../x"]
)
def test_what_no_address_and_no_journal_could_hold_is_no_task_id(task_id: Any) -> None:
    assert wire.task_id_of({"data": {"taskId": task_id}}) is None
    assert wire.task_of({"taskId": task_id, "status": "success"}) is None


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("names", "status"),
    [
        ("queued pending handling archiving", TaskStatus.RUNNING),
        ("success succeeded completed SUCCESS", TaskStatus.SUCCESS),
        ("fail failed error timeout cancelled canceled", TaskStatus.FAIL),
    ],
)
def test_every_name_of_a_status_is_known(names: str, status: TaskStatus) -> None:
    for name in names.split():
        task = wire.task_of({"taskId": "tk-1", "status": name})
        assert task is not None
        assert (task.status, task.raw_status) == (status, name)
        assert wire.knows_status(name)


@pytest.mark.parametrize("name", ["reviewing", "", None, 7, ["success"]])
def test_an_unknown_status_is_still_running(name: Any) -> None:
    task = wire.task_of({"taskId": "tk-1", "status": name})
    assert task is not None
    assert task.status is TaskStatus.RUNNING
    assert not wire.knows_status(task.raw_status)


def test_the_video_is_the_entry_of_that_type_and_malformed_entries_are_skipped() -> None:
    task = wire.task_of(
        {
            "taskId": "tk-1",
            "status": "success",
            "output": [
                None, "video", {"type": "video"}, {"url": 7, "type": "video"},
                {"url": "https://c/t.jpg", "type": "thumbnail"},
                {"url": "https://c/f.png", "type": "last_frame", "expireAt": 0},
                {"url": "https://c/v.mp4", "type": "VIDEO", "expireAt": 1_800_000_000},
            ],
        }
    )  # fmt: skip
    assert task is not None
    assert [(f.type, f.url, f.expires_at) for f in task.output] == [
        (OutputType.OTHER, "https://c/t.jpg", None),
        (OutputType.LAST_FRAME, "https://c/f.png", None),
        (OutputType.VIDEO, "https://c/v.mp4", 1_800_000_000.0),
    ]


def test_an_error_may_be_an_object_or_a_text() -> None:
    told = {"taskId": "tk-1", "status": "fail"}
    by_object = wire.task_of({**told, "error": {"code": "TASK_FAILED", "message": "no"}})
    by_text = wire.task_of({**told, "error": "no"})
    assert by_object is not None
    assert by_text is not None
    assert by_object.error == wire.TaskError("TASK_FAILED", "no")
    assert by_text.error == wire.TaskError("", "no")


def test_half_a_surrogate_pair_in_a_servers_words_can_be_stored() -> None:
    task = wire.task_of({"taskId": "tk-1", "error": {"code": "\udcff", "message": "a\ud800b"}})
    assert task is not None
    assert task.error is not None
    assert task.error.message.encode() == b"a?b"
    assert wire.error_of({"message": "a\ud800b"}, 500).message == "a?b"


def test_a_page_skips_what_is_no_task_and_tells_the_size_that_the_server_used() -> None:
    tasks = [{"taskId": "tk-1"}, None, {"taskId": ""}, {"taskId": "tk-2"}]
    page = wire.page_of({"data": {"page": 2, "size": 10, "total": 12, "tasks": tasks}})
    assert page is not None
    assert [task.task_id for task in page.tasks] == ["tk-1", "tk-2"]
    assert (page.page, page.size, page.total) == (2, 10, 12)


@pytest.mark.parametrize("number", [None, "3", True, -1, 1.5, [], float("nan")])
def test_a_page_whose_numbers_are_none_is_still_read(number: Any) -> None:
    data = {"page": number, "size": number, "total": number, "tasks": [{"taskId": "tk-1"}]}
    page = wire.page_of({"data": data})
    assert page is not None
    assert (page.page, page.size, page.total) == (1, 1, 1)


@pytest.mark.parametrize("body", [None, [], {}, {"data": None}, {"data": {"tasks": {}}}])
def test_what_holds_no_list_of_tasks_is_no_page(body: Any) -> None:
    assert wire.page_of(body) is None


# ── times ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value",
    [
        1_800_000_000, 1_800_000_000.0, 1_800_000_000_000, "1800000000", " 1800000000.0 ",
        "1800000000000", "2027-01-15T08:00:00Z", "2027-01-15T08:00:00+00:00",
        "2027-01-15T08:00:00", "2027-01-15 09:00:00+01:00",
    ],
)  # fmt: skip
def test_a_time_is_understood_in_seconds_milliseconds_and_iso_text(value: Any) -> None:
    assert wire.moment(value) == NOW


@pytest.mark.parametrize(
    "value",
    [
        None, 0, -1, "", "0", "soon", True, [], {}, float("nan"), float("inf"), 10**400, 1e300,
        "inf", "nan", "1e400", "0001-01-01T00:00:00+23:00", "1969-12-31T00:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time_that_anything_could_be_done_with_is_none(value: Any) -> None:
    assert wire.moment(value) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        (" 5 ", 5.0),
        ("1.5", 1.5),
        ("0", 0.0),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        (formatdate(NOW - 30, usegmt=True), 0.0),
        ("99999999", 3600.0),
        ("9" * 400, 3600.0),
        (formatdate(NOW + 1e6, usegmt=True), 3600.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.2.3", None),
        (".", None),
        ("٥", None),
        ("inf", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_never_longer_than_an_hour(
    value: str, seconds: float | None
) -> None:
    assert wire.retry_after({"retry-after": value}, NOW) == seconds


def test_a_date_without_a_time_zone_is_utc() -> None:
    assert wire.http_date("Wed, 21 Oct 2026 07:28:00 -0000") == 1_792_567_680.0


def test_without_retry_after_nothing_is_wished() -> None:
    assert wire.retry_after({}, NOW) is None


def test_rate_headers_are_read_as_far_as_they_make_sense() -> None:
    whole = {
        "x-ratelimit-limit": "60",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "1800000000",
    }
    assert wire.rate_of(whole) == wire.RateInfo(60, 0, NOW)
    assert wire.rate_of({"x-ratelimit-limit": "many", "x-ratelimit-remaining": "3"}) == (
        wire.RateInfo(None, 3, None)
    )
    assert wire.rate_of({"x-ratelimit-limit": "-1"}) is None
    assert wire.rate_of({"x-ratelimit-limit": "9" * 5000}) is None
    assert wire.rate_of({}) is None


# ── hostile bodies ──────────────────────────────────────────────────────────────────────────────

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300)
    | st.floats()
    | st.text()
    | st.sampled_from(["tk-1", "success", "fail", "video", "\ud800", "2027-01-15T08:00:00Z"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                "data error code message error_code request_id taskId task_id tasks status output "
                "url type expireAt created completed page size total model".split()
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@given(ANYTHING)
def test_no_json_makes_anything_raise_and_all_that_comes_out_can_be_stored(body: Any) -> None:
    error, task, page = wire.error_of(body, 400), wire.task_of(body), wire.page_of(body)
    wire.task_id_of(body)
    wire.detail_of(body)
    tasks = [found for found in (task, *(page.tasks if page else ())) if found is not None]
    errors = [error, *(found.error for found in tasks if found.error is not None)]
    words = [word for e in errors for word in (e.code, e.message)]
    words += [word for t in tasks for word in (t.task_id, t.model, t.raw_status)]
    words += [file.url for t in tasks for file in t.output]
    for word in words:
        word.encode()
    for at in [t.created for t in tasks] + [t.completed for t in tasks]:
        assert 0 <= at < 253_402_300_800


@example(b'{"price": 1e99999999999999999999}')
@given(st.binary(max_size=200) | ANYTHING.map(lambda body: json.dumps(body).encode()))
def test_no_bytes_make_anything_raise(content: bytes) -> None:
    wire.parse_json(content)
    wire.parse_json_exactly(content)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\xff\xfe"])
def test_a_body_that_breaks_parsers_is_no_json(content: bytes) -> None:
    assert wire.parse_json(content) is None
    assert wire.parse_json_exactly(content) is None


@given(st.text(max_size=40))
def test_no_header_makes_anything_raise(value: str) -> None:
    wire.http_date(value)
    wire.retry_after({"retry-after": value}, NOW)
    names = ("limit", "remaining", "reset")
    wire.rate_of({f"x-ratelimit-{name}": value for name in names})
