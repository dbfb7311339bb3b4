"""HiAPI's own published clients work unchanged against the sandbox."""

from __future__ import annotations

from typing import Any

import hiapi
import hiapi_seedance
import pytest

from .conftest import KEY, PROMPT, Served, order, serving


@pytest.fixture
def client(served: Served) -> hiapi.HiAPI:
    """HiAPI's SDK."""
    return hiapi.HiAPI(api_key=KEY, base_url=served.address.api_url)


@pytest.fixture
def seedance(served: Served) -> hiapi_seedance.Seedance:
    """HiAPI's Seedance SDK."""
    return hiapi_seedance.Seedance(
        api_key=KEY, base_url=f"{served.address.api_url}/v1", model="seedance-2-0"
    )


@pytest.fixture(scope="module", autouse=True)
def _slower(served: Served) -> None:
    served.configure(generation_time="0.2")


def test_hiapi_creates_and_replays(client: hiapi.HiAPI) -> None:
    first = client.tasks.create(**order(), idempotency_key="sdk")
    again = client.tasks.create(**order(), idempotency_key="sdk")
    assert (first.task_id, False, True) == (
        again.task_id,
        first.idempotent_replay,
        again.idempotent_replay,
    )
    with pytest.raises(hiapi.IdempotencyKeyMismatchError):
        client.tasks.create(**order(duration=6), idempotency_key="sdk")


def test_hiapi_runs_a_task_and_sees_its_statuses(client: hiapi.HiAPI) -> None:
    seen: list[str] = []
    task = client.tasks.run(
        **order(return_last_frame=True),
        poll_interval=0.01,
        on_update=lambda task: seen.append(task.status),
    )
    assert task.succeeded
    order_of_statuses = ("queued", "handling", "archiving", "success")
    told = [status for status in order_of_statuses if status in seen]
    assert list(dict.fromkeys(seen)) == told  # a look may miss any of them
    assert seen[-1] == "success"
    assert {output.type for output in task.output} == {"video", "thumbnail", "last_frame"}
    assert all(output.expire_at and output.expire_at > task.completed_at for output in task.output)


def test_hiapi_lists_newest_first(client: hiapi.HiAPI) -> None:
    made = [client.tasks.create(**order()).task_id for _ in range(3)]
    page = client.tasks.list(page=1, size=2)
    assert [task.task_id for task in page.items] == made[:0:-1]
    assert page.total is not None
    assert page.total >= 3


def test_hiapi_maps_every_refusal_to_its_class(client: hiapi.HiAPI, served: Served) -> None:
    with pytest.raises(hiapi.InvalidRequestError, match="duration"):
        client.tasks.create(**order(duration=3))
    with pytest.raises(hiapi.InvalidRequestError, match="no known field"):
        client.tasks.create(model="seedance-2-0", input={"prompt": PROMPT, "callback": {}})
    with pytest.raises(hiapi.InvalidRequestError, match="there are: default, pro"):
        client.tasks.create(**order(), route="nope")
    with pytest.raises(hiapi.NotFoundError):
        client.tasks.retrieve("tk-hiapi-nothing")
    stranger = hiapi.HiAPI(api_key="nobody", base_url=served.address.api_url)
    with pytest.raises(hiapi.AuthenticationError):
        stranger.tasks.list()


def test_hiapi_retries_what_was_refused_before_processing() -> None:
    faults = {"create": {"429": 0.5, "503": 0.5}, "tries": 2, "retry_after_seconds": 0}
    with serving(faults=faults) as served:
        client = hiapi.HiAPI(api_key=KEY, base_url=served.address.api_url)
        assert client.tasks.create(**order()).task_id
        assert served.ledger()["counters"]["creates_accepted"] == 1


def test_hiapi_finds_its_task_after_a_lost_answer() -> None:
    faults = {"create": {"processing": 1.0}, "tries": 1, "processing_seconds": 0.3}
    with serving(faults=faults) as served:
        client = hiapi.HiAPI(api_key=KEY, base_url=served.address.api_url)
        created = client.tasks.create(**order(), idempotency_key="lost")
        assert created.idempotent_replay
        assert served.ledger()["counters"]["creates_accepted"] == 1


def test_hiapi_tells_a_failed_task() -> None:
    with serving(faults={"tasks": {"TASK_TIMEOUT": 1.0}}) as served:
        client = hiapi.HiAPI(api_key=KEY, base_url=served.address.api_url)
        with pytest.raises(hiapi.TaskFailed) as caught:
            client.tasks.run(**order(), poll_interval=0.01)
    assert caught.value.code == "TASK_TIMEOUT"


@pytest.mark.parametrize("status", [402, 403])
def test_hiapi_carries_other_statuses(status: int) -> None:
    settings: dict[str, Any] = {
        402: {"balance": 0},
        403: {"faults": {"revoke_after": 0, "revoked_status": 403}},
    }[status]
    with serving(**settings) as served:
        client = hiapi.HiAPI(api_key=KEY, base_url=served.address.api_url)
        with pytest.raises(hiapi.APIError) as caught:
            client.tasks.create(**order())
    assert caught.value.status == status


def test_hiapi_seedance_makes_videos_from_text_images_and_videos(
    seedance: hiapi_seedance.Seedance,
) -> None:
    quick = {"poll_interval": 0.01, "duration": 4, "resolution": "480p"}
    text = seedance.text_to_video(prompt=PROMPT, **quick)
    images = seedance.image_to_video(prompt=PROMPT, image_urls="https://e.x/a.png", **quick)
    edit = seedance.video_edit(prompt=PROMPT, video_urls=["https://e.x/a.mp4"], poll_interval=0.01)
    for task in (text, images, edit):
        assert isinstance(task, hiapi_seedance.Task)
        assert task.succeeded
        assert task.output[0].type == "video"


def test_hiapi_seedance_tells_refusals_and_failures(
    seedance: hiapi_seedance.Seedance, served: Served
) -> None:
    with pytest.raises(hiapi_seedance.APIError) as caught:
        seedance.text_to_video(prompt="ab")
    assert (caught.value.status, caught.value.error_code) == (400, "INVALID_REQUEST")
    served.configure(generation_time="600")
    with pytest.raises(hiapi_seedance.PollTimeout):
        seedance.text_to_video(prompt=PROMPT, poll_interval=0.01, timeout=0.02)
    served.configure(generation_time="0.2")
