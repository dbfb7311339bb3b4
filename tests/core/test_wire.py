"""Whatever HiAPI answers, something definite comes out of it."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedance_batch.core import hiapi, shapes
from seedance_batch.core.hiapi import OutputType, TaskStatus, Verdict, Voice

NOW = 1_800_000_000.0

# ── verdicts ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.OK), (400, Verdict.INVALID), (401, Verdict.KEY), (402, Verdict.BALANCE),
        (403, Verdict.FORBIDDEN), (404, Verdict.NOT_FOUND), (201, Verdict.OK), (202, Verdict.OK),
        (409, Verdict.PROCESSING), (413, Verdict.INVALID), (415, Verdict.INVALID),
        (422, Verdict.MISMATCH), (429, Verdict.RATE), (503, Verdict.BUSY),
    ],
)  # fmt: skip
def test_a_documented_status_means_what_the_documentation_says(
    status: int, verdict: Verdict
) -> None:
    assert hiapi.verdict_of(status) is verdict


@pytest.mark.parametrize("status", [100, 204, 206, 408, 425, 500, 502, 504, 520, 599])
def test_any_other_status_leaves_open_whether_a_task_was_made(status: int) -> None:
    assert hiapi.verdict_of(status) is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 405, 407, 501])
def test_a_redirect_and_a_path_that_takes_no_such_request_are_somebody_elses(status: int) -> None:
    assert hiapi.verdict_of(status) is Verdict.ELSEWHERE


OWN = [
    {"code": 503, "message": "busy", "data": None, "error_code": "BUSY"},
    {"code": 503, "message": "busy", "data": None},
    {"error": {"type": "hiapi_error", "code": "busy", "request_id": "r-1"}},
    {"error": {"type": "invalid_request_error", "code": "busy"}},
]
FOREIGN: list[Any] = [
    None,
    [],
    {},
    {"message": "no healthy upstream"},
    {"code": 14, "message": "unavailable", "details": []},
    {"error": "Service Unavailable", "status": 503},
    {"error": {"code": 503, "message": "unavailable", "status": "UNAVAILABLE"}},
    {"error": {"message": "overloaded", "type": "server_error", "code": None}},
    {"success": False, "errors": [{"code": 1015, "message": "rate limited"}]},
    {"detail": "Request was throttled.", "status": 429, "retry_after": 20},
    {"code": "Throttling", "message": "throttled", "request_id": "r-2"},
]


@pytest.mark.parametrize("body", OWN)
def test_a_refusal_in_one_of_the_three_envelopes_is_hiapis(body: Any) -> None:
    assert hiapi.voice_of(503, body) is Voice.HIAPI


@pytest.mark.parametrize("body", FOREIGN)
@pytest.mark.parametrize("status", [402, 429, 503])
def test_a_refusal_in_any_other_words_is_not(status: int, body: Any) -> None:
    verdict, voice = hiapi.meaning_of(status, body)
    assert voice is not Voice.HIAPI
    assert verdict is hiapi.verdict_of(status)


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 409, 422, 429, 503, 500])
@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {}}, {"data": []}])
def test_the_code_of_a_success_without_data_is_the_verdict(code: int, data: Any) -> None:
    body = {"code": code, "message": "no", **data}
    assert hiapi.meaning_of(200, body) == (hiapi.verdict_of(code), Voice.HIAPI)
    assert hiapi.meaning_of(200, {**body, "code": str(code)})[0] is hiapi.verdict_of(code)


@pytest.mark.parametrize("code", [0, 1, 200, 1001, "success", None, True])
def test_other_codes_of_a_success_say_nothing(code: Any) -> None:
    assert hiapi.meaning_of(200, {"code": code, "message": "x"})[0] is Verdict.OK


def test_hiapis_own_envelope_outweighs_a_status_that_something_between_has_changed() -> None:
    own = {"code": 500, "message": "internal", "data": None}
    assert hiapi.meaning_of(503, own) == (Verdict.UNKNOWN, Voice.HIAPI)
    assert hiapi.meaning_of(503, {"error": {"code": 400}})[0] is Verdict.BUSY


def test_a_web_page_and_a_path_that_is_not_there_are_no_answers_of_an_api() -> None:
    assert hiapi.is_page(b" \n<!DOCTYPE html>")
    assert not hiapi.is_page(b"upstream connect error")
    assert hiapi.meaning_of(200, None, page=True)[0] is Verdict.ELSEWHERE
    assert hiapi.meaning_of(404, None)[0] is Verdict.ELSEWHERE
    assert hiapi.meaning_of(404, {"detail": "Not Found"})[0] is Verdict.ELSEWHERE
    unknown = {"error": {"code": "task_not_found", "message": "none"}}
    assert hiapi.meaning_of(404, unknown)[0] is Verdict.NOT_FOUND


def test_only_what_surely_made_no_task_counts_as_refused_before_processing() -> None:
    assert {v.value for v in hiapi.REFUSED_BEFORE_PROCESSING} == {
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
        ({"error": "a text"}, "", "a text"),
        ({"detail": "throttled"}, "", "throttled"),
        ({}, "", "HTTP 418"),
        ([], "", "HTTP 418"),
        (None, "", "HTTP 418"),
        ("text", "", "HTTP 418"),
    ],
)  # fmt: skip
def test_every_envelope_gives_its_code_and_words(body: Any, code: str, message: str) -> None:
    found = hiapi.error_of(body, 418)
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
        {"code": 200, "data": {"id": "tk-1"}},
        {"id": "req-9", "data": {"id": "tk-1", "status": "queued"}},
        {"code": 200, "data": {"task": {"taskId": "tk-1"}}},
        {"id": "req-9", "task": {"id": "tk-1"}},
        {"result": {"task": {"task_id": "tk-1"}}},
        {"data": [{"taskId": "tk-1"}]},
        [{"id": "tk-1"}],
        {"code": 200, "data": {"taskIds": ["tk-1"]}},
    ],
)
def test_a_task_id_is_found_wherever_hiapi_may_put_it(body: Any) -> None:
    assert shapes.task_id_of(body) == "tk-1"


@pytest.mark.parametrize(
    "body",
    [{"data": {"taskId": 4711}}, {"data": {"id": 4711}}, {"id": 4711}, {"task": {"id": 4711}}],
)
def test_a_number_is_a_task_id_as_well(body: Any) -> None:
    assert shapes.task_id_of(body) == "4711"


@pytest.mark.parametrize("spelling", ["TK-1A", "task:tk-1a", "seedance-2-0@tk-1a"])
def test_a_detail_is_about_the_task_that_was_asked_for_however_it_spells_its_id(
    spelling: str,
) -> None:
    task = shapes.detail_of({"data": {"taskId": spelling, "status": "queued"}}, asked="tk-1a")
    assert task is not None
    assert task.task_id == "tk-1a"


def test_a_text_alone_is_a_task_id_where_it_looks_like_one() -> None:
    assert shapes.task_id_of({"code": 200, "data": "tk-hiapi-01ABC"}) == "tk-hiapi-01ABC"
    assert shapes.task_id_of({"code": 200, "data": "accepted"}) is None
    assert shapes.task_id_of("success") is None


@pytest.mark.parametrize(
    "task_id", ["models/m/operations/op-1", "q83+/AbC/gh==", "eyJh.bGci.Oi_J", "x" * 1000]
)
def test_an_id_may_be_a_path_or_hold_a_whole_order(task_id: str) -> None:
    assert shapes.task_id_of({"data": {"taskId": task_id}}) == task_id
    task = shapes.task_of({"taskId": task_id, "status": "handling"})
    assert task is not None
    assert task.task_id == task_id


def test_the_id_of_an_error_is_none_of_a_task() -> None:
    assert shapes.task_id_of({"id": "req-1", "error": {"code": "x", "id": "e-1"}}) is None
    assert shapes.task_id_of({"id": "req-1", "code": 1001, "message": "no"}) is None
    assert shapes.task_id_of({"id": "req-1", "success": False}) is None
    assert shapes.task_id_of({"id": "req-1"}, surely=True) is None
    assert shapes.task_id_of({"code": 503, "data": {"taskId": "tk-1"}}, surely=True) == "tk-1"


@pytest.mark.parametrize(
    "task_id",
    [
        *("", None, 0, -7, 1.5, True, [], {}, "x" * 1001, "a b", "a\nb", "\x1b[2J", "\ud800"),
        *("../x", "https://api.example/v1/tasks/tk-1"),
    ],
)
def test_what_no_address_and_no_journal_could_hold_is_no_task_id(task_id: Any) -> None:
    assert shapes.task_id_of({"data": {"taskId": task_id}}) is None
    assert shapes.task_of({"taskId": task_id, "status": "success"}) is None


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
        task = shapes.task_of({"taskId": "tk-1", "status": name})
        assert task is not None
        assert (task.status, task.raw_status) == (status, name)
        assert shapes.knows_status(name)


@pytest.mark.parametrize("name", ["reviewing", "", None, 7, ["success"]])
def test_an_unknown_status_is_still_running(name: Any) -> None:
    task = shapes.task_of({"taskId": "tk-1", "status": name})
    assert task is not None
    assert task.status is TaskStatus.RUNNING
    assert not shapes.knows_status(task.raw_status)


def test_the_video_is_the_entry_of_that_type_and_malformed_entries_are_skipped() -> None:
    task = shapes.task_of(
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


MP4 = "https://cdn.example/t/clip.mp4"


@pytest.mark.parametrize(
    "fields",
    [
        {"output": [{"url": MP4}]},
        {"output": [{"url": MP4, "type": "mp4"}]},
        {"output": [{"url": MP4, "type": "video/mp4"}]},
        {"output": [{"url": MP4, "type": "file"}]},
        {"output": [{"url": MP4, "type": "result"}]},
        {"output": [{"url": "https://c/t.jpg"}, {"url": MP4}]},
        {"output": [{"url": "https://c/t.jpg", "type": "thumbnail"}, {"uri": MP4}]},
        {"output": [MP4]},
        {"output": ["https://c/cover.png", MP4]},
        {"output": MP4},
        {"output": {"url": MP4, "cover": "https://c/cover"}},
        {"output": {"video": MP4, "last_frame": "https://c/f"}},
        {"output": {"video": {"url": MP4}}},
        {"output": json.dumps({"urls": [MP4]})},
        {"outputs": [{"url": MP4, "type": "video"}]},
        {"video_url": MP4},
        {"videoUrl": MP4, "output": []},
        {"result": {"video_url": MP4}},
        {"data": {"video_url": MP4}},
        {"result": [{"type": "video", "url": MP4}]},
        {"result": {"videos": [{"url": MP4, "cover_url": "https://c/x.jpg"}]}},
        {"output": [{"url": f"  {MP4}\n", "type": "video"}]},
        {"output": [{"url": "//cdn.example/t/clip.mp4", "type": "video"}]},
        {"output": ["//cdn.example/t/clip.mp4"]},
        {"output": [{"type": "audio", "url": "https://c/a"}, {"type": "x", "url": MP4}]},
        {"output": [{"url": "s3://bucket/clip.mp4", "type": "video"}, {"url": MP4}]},
    ],
)
def test_the_only_address_that_is_no_picture_and_no_sound_is_the_clip(fields: Any) -> None:
    value = {"taskId": "tk-1", "status": "success", **fields}
    task = shapes.task_of(value, base="https://api.example/hiapi")
    assert task is not None
    clip = task.first(OutputType.VIDEO)
    assert clip is not None
    assert clip.url == MP4
    assert len([file for file in task.output if file.type is OutputType.VIDEO]) == 1
    assert task.raw == ""


def test_a_relative_address_is_below_the_api_and_blanks_in_it_are_spelled_out() -> None:
    def clip(url: str) -> str:
        value = {"taskId": "tk-1", "status": "success", "output": [{"url": url, "type": "video"}]}
        task = shapes.task_of(value, base="https://api.example")
        assert task is not None
        return task.output[0].url

    assert clip("/files/a.mp4?s=1") == "https://api.example/files/a.mp4?s=1"
    assert clip("files/a.mp4") == "https://api.example/files/a.mp4"
    assert clip("https://c/my clip.mp4") == "https://c/my%20clip.mp4"


@pytest.mark.parametrize(
    "output",
    [
        [],
        None,
        [{"url": "https://c/t.jpg"}],
        [{"url": "https://c/t", "type": "first_frame"}],
        ["https://c/song.mp3"],
        ["no address"],
        [{"url": "s3://bucket/clip.mp4", "type": "video"}],
    ],
)
def test_a_success_without_a_clip_is_kept_as_it_came(output: Any) -> None:
    task = shapes.task_of({"taskId": "tk-1", "status": "success", "output": output, "odd": "x"})
    assert task is not None
    assert task.first(OutputType.VIDEO) is None
    assert json.loads(task.raw)["odd"] == "x"


@pytest.mark.parametrize("status", ["done", "finished", "complete", "ok", 2, None, "", "reviewed"])
def test_what_a_task_holds_tells_how_it_ended_where_its_status_does_not(status: Any) -> None:
    ended = {"taskId": "tk-1", "status": status, "completed": NOW}
    good = shapes.task_of({**ended, "output": [{"url": MP4}]})
    bad = shapes.task_of({**ended, "error": {"code": "TASK_FAILED", "message": "no"}})
    bare = shapes.task_of(ended)
    assert good is not None
    assert bad is not None
    assert bare is not None
    assert (good.status, bad.status) == (TaskStatus.SUCCESS, TaskStatus.FAIL)
    assert bare.status is TaskStatus.RUNNING


@pytest.mark.parametrize(
    ("good", "bad"),
    [("succeed", "FAILURE"), ("TASK_STATUS_SUCCEED", "JobFailed"), ("job.done", "Rejected")],
)
def test_a_name_that_can_only_mean_an_ending_is_one_where_the_rest_agrees(
    good: str, bad: str
) -> None:
    made = shapes.task_of({"taskId": "tk-1", "status": good, "output": [{"url": MP4}]})
    lost = shapes.task_of({"taskId": "tk-1", "status": bad, "error": {"message": "no"}})
    bare = [shapes.task_of({"taskId": "tk-1", "status": name}) for name in (good, bad)]
    assert made is not None
    assert lost is not None
    assert (made.status, lost.status) == (TaskStatus.SUCCESS, TaskStatus.FAIL)
    assert [task.status for task in bare if task] == [TaskStatus.RUNNING] * 2


@pytest.mark.parametrize("name", ["PREVIEW_READY", "draftDone", "partial_success", "not finished"])
def test_the_ending_of_a_part_is_no_ending_of_the_task(name: str) -> None:
    seen = shapes.task_of({"taskId": "tk-1", "status": name, "output": [{"url": MP4}]})
    assert seen is not None
    assert seen.status is TaskStatus.RUNNING


@pytest.mark.parametrize("status", [1, None, "reviewing", "not_done", "NotFinished"])
def test_a_preview_of_a_task_that_is_not_over_is_no_ending(status: Any) -> None:
    task = shapes.task_of({"taskId": "tk-1", "status": status, "output": [{"url": MP4}]})
    assert task is not None
    assert task.status is TaskStatus.RUNNING
    assert task.raw


@pytest.mark.parametrize(
    "fields",
    [
        {"error": "moderation"},
        {"error": ["moderation"]},
        {"error": [{"message": "moderation"}]},
        {"error": {"msg": "moderation"}},
        {"errors": [{"detail": "moderation"}]},
        {"failReason": "moderation"},
        {"fail_reason": "moderation"},
        {"error_message": "moderation"},
        {"message": "moderation"},
        {"error": {}, "failMsg": "moderation"},
    ],
)
def test_the_reason_of_a_failure_is_found(fields: Any) -> None:
    task = shapes.task_of({"taskId": "tk-1", "status": "fail", **fields})
    assert task is not None
    assert task.error is not None
    assert task.error.message == "moderation"


def test_an_error_of_unknown_form_is_shown_as_it_is() -> None:
    task = shapes.task_of({"taskId": "tk-1", "status": "fail", "error": {"why": [1]}})
    assert task is not None
    assert task.error == hiapi.TaskError("", '{"why": [1]}')


DETAIL = {"status": "success", "completed": NOW, "output": [{"url": MP4, "type": "video"}]}


@pytest.mark.parametrize(
    "body",
    [
        {"code": 200, "data": {"taskId": "tk-1", **DETAIL}},
        {"taskId": "tk-1", **DETAIL},
        {"id": "tk-1", **DETAIL},
        {"status": "ok", "data": {"task": {"id": "tk-1", **DETAIL}}},
        {"id": "req-1", "data": {"task_id": "tk-1", **DETAIL}},
        {"data": {"id": 17, "taskId": "tk-1", **DETAIL}},
        {"task": {"taskId": "tk-1", **DETAIL}},
        {"code": 200, "data": DETAIL},
        {"data": [{"taskId": "tk-1", **DETAIL}]},
    ],
)
def test_a_detail_is_found_wherever_it_stands(body: Any) -> None:
    task = shapes.detail_of(body, asked="tk-1")
    assert task is not None
    assert (task.task_id, task.status) == ("tk-1", TaskStatus.SUCCESS)


@pytest.mark.parametrize(
    "body", [None, [], {}, {"code": 200, "message": "success"}, {"status": "success", "data": {}}]
)
def test_an_envelope_alone_is_no_task(body: Any) -> None:
    assert shapes.detail_of(body, asked="tk-1") is None


@pytest.mark.parametrize("name", ["tasks", "items", "list", "records", "results"])
def test_a_page_is_found_under_every_name(name: str) -> None:
    tasks = [{"taskId": "tk-1"}, {"id": "tk-2"}]
    for body in ({"data": {name: tasks}}, {name: tasks}, {"data": tasks}, tasks):
        page = shapes.page_of(body, page=2, size=2)
        assert page is not None
        assert [task.task_id for task in page.tasks] == ["tk-1", "tk-2"]
        assert (page.page, page.size, page.total) == (2, 2, 5)  # a full page may have a next one
    last = shapes.page_of(tasks, page=1, size=100)
    assert last is not None
    assert last.total == 2


def test_a_list_without_tasks_may_be_null() -> None:
    page = shapes.page_of({"code": 200, "data": {"tasks": None, "total": 0}}, page=1, size=100)
    assert page is not None
    assert (page.tasks, page.total) == ((), 0)
    assert shapes.page_of({"code": 200, "data": None}) is None


def test_an_error_may_be_an_object_or_a_text() -> None:
    told = {"taskId": "tk-1", "status": "fail"}
    by_object = shapes.task_of({**told, "error": {"code": "TASK_FAILED", "message": "no"}})
    by_text = shapes.task_of({**told, "error": "no"})
    assert by_object is not None
    assert by_text is not None
    assert by_object.error == hiapi.TaskError("TASK_FAILED", "no")
    assert by_text.error == hiapi.TaskError("", "no")


def test_half_a_surrogate_pair_in_a_servers_words_can_be_stored() -> None:
    task = shapes.task_of({"taskId": "tk-1", "error": {"code": "\udcff", "message": "a\ud800b"}})
    assert task is not None
    assert task.error is not None
    assert task.error.message.encode() == b"a?b"
    assert hiapi.error_of({"message": "a\ud800b"}, 500).message == "a?b"


def test_a_page_skips_what_is_no_task_and_tells_the_size_that_the_server_used() -> None:
    tasks = [{"taskId": "tk-1"}, None, {"taskId": ""}, {"taskId": "tk-2"}]
    page = shapes.page_of({"data": {"page": 2, "size": 10, "total": 12, "tasks": tasks}})
    assert page is not None
    assert [task.task_id for task in page.tasks] == ["tk-1", "tk-2"]
    assert (page.page, page.size, page.total) == (2, 10, 12)


@pytest.mark.parametrize("number", [None, "3", True, -1, 1.5, [], float("nan")])
def test_a_page_whose_numbers_are_none_is_still_read(number: Any) -> None:
    data = {"page": number, "size": number, "total": number, "tasks": [{"taskId": "tk-1"}]}
    page = shapes.page_of({"data": data})
    assert page is not None
    assert (page.page, page.size, page.total) == (1, 1, 1)


@pytest.mark.parametrize("body", [None, "", {}, {"data": None}, {"data": {"tasks": {}}}])
def test_what_holds_no_list_of_tasks_is_no_page(body: Any) -> None:
    assert shapes.page_of(body) is None


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
    assert hiapi.unix_time(value) == NOW


@pytest.mark.parametrize(
    "value",
    [
        None, 0, -1, "", "0", "soon", True, [], {}, float("nan"), float("inf"), 10**400, 1e300,
        "inf", "nan", "1e400", "0001-01-01T00:00:00+23:00", "1969-12-31T00:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time_that_anything_could_be_done_with_is_none(value: Any) -> None:
    assert hiapi.unix_time(value) is None


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
        (str(int(NOW) + 30), 30.0),
        (str(int(NOW) - 30), 0.0),
        (str(int(NOW * 1000) + 30_000), 30.0),
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
    assert hiapi.at_most(hiapi.retry_after({"retry-after": value}, NOW)) == seconds


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"retry_after": 20}, 20.0),
        ({"detail": "throttled", "retryAfter": "20"}, 20.0),
        ({"error": {"retry_after_ms": 1500}}, 1.5),
        ({"retry_after": NOW + 20}, 20.0),
        ({"error": {"details": [{"retryAfter": "3s"}]}}, 3.0),
        ({"data": {"retry-after-seconds": 4}}, 4.0),
        ({"message": "slow down, try again in 12 s"}, 12.0),
        ({"error": {"message": "Please try again in 1m30s."}}, 90.0),
        ({"detail": "Request was throttled. Expected available in 12 seconds."}, 12.0),
        ({"error": "retry after 2 minutes"}, 120.0),
        ({"message": "try again in 250 ms"}, 0.25),
        ({"message": "try again in 12"}, None),
        ({"message": "try again later"}, None),
        ({"message": "12 s of video were asked for"}, None),
        ({"retry_after": True}, None),
        ({"retry_after": -3}, None),
        ({"retry_after": "soon"}, None),
        (None, None),
    ],
)
def test_a_wait_in_the_body_is_understood_where_it_is_sure(
    body: Any, seconds: float | None
) -> None:
    assert hiapi.retry_after({}, NOW, body) == seconds
    assert hiapi.retry_after({"retry-after": "7"}, NOW, body) == 7.0


@pytest.mark.parametrize(
    ("value", "at"),
    [("30", NOW + 30), ("0", NOW), ("6m0s", NOW + 360), ("1800000000", NOW), ("86400", None)],
)
def test_a_reset_below_a_day_is_a_span(value: str, at: float | None) -> None:
    info = hiapi.rate_of({"x-ratelimit-reset": value}, NOW)
    assert info is not None
    assert info.reset == (86_400.0 if at is None else at)


def test_a_date_without_a_time_zone_is_utc() -> None:
    assert hiapi.http_date("Wed, 21 Oct 2026 07:28:00 -0000") == 1_792_567_680.0


def test_without_retry_after_nothing_is_wished() -> None:
    assert hiapi.retry_after({}, NOW) is None


def test_rate_headers_are_read_as_far_as_they_make_sense() -> None:
    whole = {
        "x-ratelimit-limit": "60",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "1800000000",
    }
    assert hiapi.rate_of(whole) == hiapi.RateInfo(60, 0, NOW)
    assert hiapi.rate_of({"x-ratelimit-limit": "many", "x-ratelimit-remaining": "3"}) == (
        hiapi.RateInfo(None, 3, None)
    )
    assert hiapi.rate_of({"x-ratelimit-limit": "-1"}) is None
    assert hiapi.rate_of({"x-ratelimit-limit": "9" * 5000}) is None
    assert hiapi.rate_of({}) is None


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
                "url type expireAt created completed page size total model id task items result "
                "state video_url outputs failReason retry_after".split()
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


def test_a_broken_letter_costs_a_letter_and_not_the_answer() -> None:
    content = b'{"code": 200, "data": {"taskId": "tk-1", "input": {"prompt": "caf\xc3"}}}'
    for body in (hiapi.parse_json(content), hiapi.parse_json_exactly(content)):
        assert shapes.task_id_of(body) == "tk-1"
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert hiapi.parse_json('{"ä": 1}'.encode(encoding)) == {"ä": 1}


@given(ANYTHING)
@example({"error": {"type": []}})
def test_no_json_makes_anything_raise_and_all_that_comes_out_can_be_stored(body: Any) -> None:
    error, task, page = hiapi.error_of(body, 400), shapes.task_of(body), shapes.page_of(body)
    shapes.task_id_of(body)
    hiapi.meaning_of(200, body)
    hiapi.retry_after({}, NOW, body)
    shapes.page_of(body, page=2, size=10, base="https://api.example")
    for asked in (None, "tk-1"):
        shapes.detail_of(body, asked=asked, base="https://[")
    tasks = [found for found in (task, *(page.tasks if page else ())) if found is not None]
    errors = [error, *(found.error for found in tasks if found.error is not None)]
    words = [word for e in errors for word in (e.code, e.message)]
    words += [word for t in tasks for word in (t.task_id, t.model, t.raw_status)]
    words += [file.url for t in tasks for file in t.output]
    words += [t.raw for t in tasks]
    for word in words:
        word.encode()
    for at in [t.created for t in tasks] + [t.completed for t in tasks]:
        assert 0 <= at < 253_402_300_800


@example(b'{"price": 1e99999999999999999999}')
@given(st.binary(max_size=200) | ANYTHING.map(lambda body: json.dumps(body).encode()))
def test_no_bytes_make_anything_raise(content: bytes) -> None:
    hiapi.parse_json(content)
    hiapi.parse_json_exactly(content)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\xff\xfe"])
def test_a_body_that_breaks_parsers_is_no_json(content: bytes) -> None:
    assert hiapi.parse_json(content) is None
    assert hiapi.parse_json_exactly(content) is None


@given(st.text(max_size=40))
def test_no_header_makes_anything_raise(value: str) -> None:
    hiapi.http_date(value)
    hiapi.retry_after({"retry-after": value}, NOW)
    names = ("limit", "remaining", "reset")
    hiapi.rate_of({f"x-ratelimit-{name}": value for name in names})
