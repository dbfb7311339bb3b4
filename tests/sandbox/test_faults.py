"""Faults on demand: what each looks like to a client, and that they repeat."""

from __future__ import annotations

import io
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import av
import httpx
import pytest
import trio

from seedance_batch.sandbox.answers import draw, unit
from seedance_batch.sandbox.config import ApiFault, CallbackFault, FaultConfig, FileFault
from tests import patient

from .conftest import START, Served, Virtual, order, serving, virtually

AFTER = ["500_after", "502_after", "504_after"]
BEFORE = ["429", "503", "408", "425", "500", "502", "504"]


def _one(**shares: float) -> dict[str, Any]:
    """Every first create is struck, the second goes through."""
    return {"create": shares, "tries": 1}


@pytest.mark.parametrize("fault", BEFORE)
def test_a_refusal_before_the_work_creates_nothing(fault: str) -> None:
    with serving(faults=_one(**{fault: 1.0})) as served:
        assert served.create(key="k").status_code == int(fault)
        assert served.ledger()["counters"]["creates_accepted"] == 0
        assert "idempotent-replay" not in served.create(key="k").headers


@pytest.mark.parametrize("fault", AFTER)
def test_an_error_after_the_work_hides_a_task_that_was_made(fault: str) -> None:
    with serving(faults=_one(**{fault: 1.0})) as served:
        assert served.create(key="k").status_code == int(fault[:3])
        assert served.ledger()["counters"]["creates_accepted"] == 1
        assert served.create(key="k").headers["idempotent-replay"] == "true"


@pytest.mark.parametrize(
    ("fault", "error", "made"),
    [
        ("reset", httpx.ReadError, 0),
        ("reset_after", httpx.ReadError, 1),
        ("stall", httpx.ReadTimeout, 0),
        ("stall_after", httpx.ReadTimeout, 1),
        ("cut", httpx.RemoteProtocolError, 1),
        ("processing", httpx.ReadError, 1),
    ],
)
def test_a_broken_connection_says_nothing_about_the_task(
    fault: str, error: type[Exception], made: int
) -> None:
    patience = 0.3 if error is httpx.ReadTimeout else 120
    with serving(faults={**_one(**{fault: 1.0}), "processing_seconds": 0}) as served:
        with pytest.raises(error):
            served.client.post(
                "/v1/tasks", json=order(), headers={"Idempotency-Key": "k"}, timeout=patience
            )
        assert served.ledger()["counters"]["creates_accepted"] == made
        assert served.create(key="k").is_success
        assert served.ledger()["counters"]["creates_accepted"] == 1


@pytest.mark.parametrize(
    ("fault", "status", "made"),
    [("html", 502, 0), ("html_after", 200, 1), ("empty", 502, 0), ("empty_after", 200, 1)],
)
def test_an_answer_can_be_no_json_at_all(fault: str, status: int, made: int) -> None:
    with serving(faults=_one(**{fault: 1.0})) as served:
        answer = served.create(key="k")
        assert answer.status_code == status
        assert answer.text == "" or answer.text.startswith("<html>")
        assert served.ledger()["counters"]["creates_accepted"] == made


def test_in_process_a_reset_and_a_stall_raise_what_httpx_raises() -> None:
    async def test(virtual: Virtual) -> None:
        started = trio.current_time()
        for fault, error in (("reset_after", httpx.ReadError), ("stall", httpx.ReadTimeout)):
            faults = {"create": {fault: 1.0}}
            await virtual.api.post("/sandbox/config", json={"faults": faults})
            with pytest.raises(error):
                await virtual.create()
        assert trio.current_time() - started == pytest.approx(60)

    virtually(test)


@pytest.mark.parametrize(
    ("envelope", "kind"), [("hiapi_error", "hiapi_error"), ("invalid_request_error",) * 2]
)
def test_refusals_wear_each_envelope(envelope: str, kind: str) -> None:
    with serving(faults={"envelopes": [envelope]}) as served:
        error = served.create(duration=99).json()["error"]
        assert (error["type"], error["code"]) == (kind, "INVALID_REQUEST")
        assert error["request_id"].startswith("req-")


def test_refusals_can_be_html_or_nothing_and_mixed() -> None:
    envelopes = ["doc", "hiapi_error", "invalid_request_error", "html", "empty"]
    with serving(faults={"envelopes": envelopes}) as served:
        texts = [served.create(seed=-1 - n).text for n in range(60)]
        assert {text[:9] for text in texts} >= {"", "<html><he", '{"code":4', '{"error":'}


@pytest.mark.parametrize(("form", "wanted"), [("seconds", "7"), ("none", None)])
def test_retry_after_is_seconds_or_missing(form: str, wanted: str | None) -> None:
    faults = {**_one(**{"429": 1.0}), "retry_after": form, "retry_after_seconds": 6.5}
    with serving(faults=faults) as served:
        assert served.create().headers.get("retry-after") == wanted


def test_retry_after_can_be_a_date() -> None:
    async def test(virtual: Virtual) -> None:
        told = (await virtual.create()).headers["retry-after"]
        assert parsedate_to_datetime(told).timestamp() == START + 7

    virtually(
        test, faults={**_one(**{"503": 1.0}), "retry_after": "date", "retry_after_seconds": 7}
    )


def test_looks_are_struck_by_shares_of_their_own() -> None:
    with serving(faults={"look": {"500": 1.0}, "tries": 2}) as served:
        task_id = served.task_id()
        seen = [served.client.get(f"/v1/tasks/{task_id}").status_code for _ in range(3)]
        assert seen == [500, 500, 200]
        assert served.client.get("/v1/tasks").status_code == 500


def test_tasks_fail_by_code_and_moderation_refuses_words() -> None:
    faults = {"tasks": {"STORAGE_UNAVAILABLE": 1.0}, "moderation": ["Forbidden"], "tries": 1}
    with serving(faults=faults) as served:
        failed = served.finished(served.task_id())
        assert (failed["status"], failed["error"]["code"]) == ("fail", "STORAGE_UNAVAILABLE")
        assert "output" not in failed
        assert served.finished(served.task_id())["status"] == "success"
        refused = served.finished(served.task_id(prompt="a forbidden thing"))
        assert refused["error"]["code"] == "TASK_FAILED"
        assert "moderation" in refused["error"]["message"]


def test_statuses_can_be_aliases_or_unknown() -> None:
    with serving(faults={"statuses": {"alias": 1.0}}) as served:
        assert served.finished(served.task_id())["status"] == "succeeded"
    with serving(faults={"statuses": {"unknown": 1.0}}, generation_time="5") as served:
        import time

        task_id = served.task_id()
        time.sleep(0.5)
        assert served.task(task_id)["status"] == "reviewing"


def test_list_pages_can_lack_what_the_detail_has() -> None:
    with serving(faults={"bare_lists": True}) as served:
        assert "output" in served.finished(served.task_id())
        (listed,) = served.client.get("/v1/tasks").json()["data"]["tasks"]
        assert listed["status"] == "success"
        assert "output" not in listed


def test_output_can_be_odd_in_every_way() -> None:
    def kinds(fault: str) -> list[Any]:
        settings = {"outputs": {fault: 1.0}, "late_seconds": 600}
        with serving(faults=settings) as served:
            found: list[Any] = served.finished(served.task_id())["output"]
            return found

    assert [entry["type"] for entry in kinds("no_video")] == ["thumbnail"]
    assert kinds("late_video") == []
    assert [entry["type"] for entry in kinds("video_last")] == ["thumbnail", "video"]
    assert kinds("malformed")[0] is None
    assert kinds("expire_iso")[0]["expireAt"].endswith("Z")
    assert kinds("expire_zero")[0]["expireAt"] == 0
    assert "expireAt" not in kinds("expire_missing")[0]
    assert kinds("expire_past")[0]["expireAt"] < kinds("video_last")[0]["expireAt"]


@pytest.mark.parametrize(
    ("fault", "frames", "size", "audio"),
    [
        ("other_length", 6 * 24 + 1, (864, 496), True),
        ("other_size", 97, (1280, 720), True),
        ("other_audio", 97, (864, 496), False),
    ],
)
def test_a_clip_can_be_another_than_was_asked(
    fault: str, frames: int, size: tuple[int, int], audio: bool
) -> None:
    with serving(faults={"outputs": {fault: 1.0}}) as served:
        content = patient.get(served.video_url()).content
    with av.open(io.BytesIO(content)) as clip:
        stream = clip.streams.video[0]
        assert (stream.frames, (stream.width, stream.height)) == (frames, size)
        assert bool(clip.streams.audio) == audio


# -- downloads -------------------------------------------------------------------------------------


def _strike(served: Served, url: str, fault: str, **measures: Any) -> httpx.Response:
    served.configure(faults={"files": {fault: 1.0}, **measures})
    headers = {"Range": "bytes=100-"} if fault in ("wrong_range", "ignore_range") else {}
    patience = 0.5 if fault in {"stall", "late", "drip"} else 120
    return httpx.get(url, headers=headers, timeout=patience)


@pytest.fixture(scope="module")
def clip(served: Served) -> tuple[str, bytes]:
    """A clip's URL and bytes."""
    served.configure(faults={})
    url = served.video_url()
    return url, patient.get(url).content


@pytest.mark.parametrize("status", ["403", "404", "416", "429", "500", "503"])
def test_a_download_can_be_refused(served: Served, clip: tuple[str, bytes], status: str) -> None:
    assert _strike(served, clip[0], status).status_code == int(status)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset", httpx.ReadError),
        ("cut", httpx.RemoteProtocolError),
        ("wrong_length", httpx.RemoteProtocolError),
        ("stall", httpx.ReadTimeout),
        ("late", httpx.ReadTimeout),
    ],
)
def test_a_download_can_end_in_an_error(
    served: Served, clip: tuple[str, bytes], fault: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        _strike(served, clip[0], fault, cut_at=65_536)


def test_a_download_can_be_whole_on_the_wire_and_still_wrong(
    served: Served, clip: tuple[str, bytes]
) -> None:
    url, whole = clip
    assert _strike(served, url, "short", cut_at=1000).content == whole[:1000]
    assert _strike(served, url, "empty").content == b""
    assert _strike(served, url, "html").headers["content-type"] == "text/html"
    assert b"moov" not in _strike(served, url, "no_moov").content
    missing = _strike(served, url, "no_length")
    assert "content-length" not in missing.headers
    assert missing.content == whole


def test_ranges_and_validators_can_lie(served: Served, clip: tuple[str, bytes]) -> None:
    url, whole = clip
    wrong = _strike(served, url, "wrong_range")
    assert wrong.status_code == 206
    assert not wrong.headers["content-range"].startswith("bytes 100-")
    ignored = _strike(served, url, "ignore_range")
    assert (ignored.status_code, ignored.content) == (200, whole)
    assert len({_strike(served, url, "etag").headers["etag"] for _ in range(3)}) == 3


def test_a_gzip_bomb_and_an_endless_body_are_bounded_by_their_measure(
    served: Served, clip: tuple[str, bytes]
) -> None:
    url, _ = clip
    bomb = _strike(served, url, "gzip", endless_bytes=8 * 2**20)
    assert bomb.headers["content-encoding"] == "gzip"
    assert len(bomb.content) == 8 * 2**20
    endless = _strike(served, url, "endless", endless_bytes=2**20)
    assert len(endless.content) >= 2**20
    assert "content-length" not in endless.headers


def test_a_drip_is_slow_and_goes_on(served: Served, clip: tuple[str, bytes]) -> None:
    served.configure(faults={"files": {"drip": 1.0}, "drip_bytes_per_second": 100})
    got = bytearray()
    with httpx.stream("GET", clip[0], timeout=0.5) as answer, suppress(httpx.ReadTimeout):
        for part in answer.iter_raw():
            got += part
    assert 0 < len(got) <= 200


# -- repetition ------------------------------------------------------------------------------------


def test_draws_depend_on_seed_content_and_try_alone() -> None:
    config = FaultConfig.model_validate({"create": {"500": 0.3}})
    drawn = {
        (seed, content, nth): draw(config, seed, "create", config.create, content, nth)
        for seed in range(3)
        for content in "abc"
        for nth in range(1, 50)
    }
    again = {place: draw(config, place[0], "create", config.create, *place[1:]) for place in drawn}
    assert drawn == again
    assert 0.2 < sum(fault is not None for fault in drawn.values()) / len(drawn) < 0.4
    for n in range(3):
        assert (
            len({str([drawn[s, c, k] for k in range(1, 50)]) for s in range(3) for c in "abc"}) > n
        )


def test_a_concurrent_run_is_struck_as_a_run_in_order_is() -> None:
    faults = {"create": {"500": 0.2, "429": 0.2, "reset_after": 0.2}}
    prompts = [f"prompt number {n}" for n in range(30)]

    def verdicts(order_of: list[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}

        async def test(virtual: Virtual) -> None:
            async def send(prompt: str) -> None:
                seen = found.setdefault(prompt, [])
                for _ in range(3):
                    try:
                        seen.append(
                            str((await virtual.create(key=prompt, prompt=prompt)).status_code)
                        )
                    except httpx.ReadError:
                        seen.append("reset")

            async with trio.open_nursery() as nursery:
                for prompt in order_of:
                    nursery.start_soon(send, prompt)

        virtually(test, faults=faults, seed=7)
        return found

    assert verdicts(prompts) == verdicts(prompts[::-1])
    assert len({str(seen) for seen in verdicts(prompts).values()}) > 5


def test_numbers_are_spread_evenly() -> None:
    numbers = [unit("seed", n) for n in range(4000)]
    assert all(0 <= number < 1 for number in numbers)
    assert sum(numbers) / len(numbers) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("kind", [ApiFault, FileFault, CallbackFault])
def test_every_fault_can_be_named_in_a_configuration(kind: Any) -> None:
    field = {ApiFault: "create", FileFault: "files", CallbackFault: "callbacks"}[kind]
    for fault in kind:
        assert FaultConfig.model_validate({field: {fault.value: 0.5}})
