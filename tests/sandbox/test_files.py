"""The file origin: signed URLs that expire, ranges, validators, and no key."""

from __future__ import annotations

import httpx
import pytest
import trio

from tests import patient

from .conftest import Served, Virtual, serving, virtually


def test_a_file_needs_no_key_and_has_a_length_a_type_and_a_validator(served: Served) -> None:
    answer = patient.get(served.video_url())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["etag"].startswith('"')
    assert answer.content[4:8] == b"ftyp"


def test_files_live_on_another_origin(served: Served) -> None:
    assert served.video_url().startswith(served.address.files_url)
    assert served.address.files_url != served.address.api_url


def test_a_key_sent_to_the_file_host_is_written_down_loudly(served: Served) -> None:
    url = served.video_url()
    before = served.ledger()["counters"]["authorization_on_files"]
    patient.get(url)
    assert served.ledger()["counters"]["authorization_on_files"] == before
    patient.get(url, headers={"Authorization": "Bearer sk-oops"})
    ledger = served.ledger()
    assert ledger["counters"]["authorization_on_files"] == before + 1
    assert "AUTHORIZATION" in ledger["requests"][-1]["verdict"]


def test_ranges_follow_the_book(served: Served) -> None:
    url = served.video_url()
    whole = patient.get(url)
    size = len(whole.content)
    for asked, start, end in (
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, size - 1),
        ("bytes=-50", size - 50, size - 1),
        (f"bytes=10-{size * 2}", 10, size - 1),
    ):
        part = patient.get(url, headers={"Range": asked})
        assert part.status_code == 206
        assert part.headers["content-range"] == f"bytes {start}-{end}/{size}"
        assert part.content == whole.content[start : end + 1]
    beyond = patient.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    for ignored in ("bytes=0-1,5-6", "items=0-1", "bytes=-"):
        assert patient.get(url, headers={"Range": ignored}).status_code == 200


def test_if_range_with_another_validator_gets_the_whole_file(served: Served) -> None:
    url = served.video_url()
    etag = patient.head(url).headers["etag"]
    asked = {"Range": "bytes=10-", "If-Range": etag}
    assert patient.get(url, headers=asked).status_code == 206
    assert patient.get(url, headers={**asked, "If-Range": '"other"'}).status_code == 200


def test_head_tells_the_length_without_a_body(served: Served) -> None:
    url = served.video_url()
    head = patient.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(patient.get(url).content)
    assert patient.post(url).status_code == 405


def test_a_url_is_good_only_as_it_was_signed(served: Served) -> None:
    url = served.video_url()
    for changed in (
        url.partition("?")[0],
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.replace("expires=", "expires=9"),
        url.replace("video.mp4", "thumbnail.jpg"),
        url.replace("expires=", "expires=x"),
    ):
        assert patient.get(changed).status_code == 403
    assert patient.get(url.replace("video.mp4", "nothing.mp4")).status_code == 404
    assert patient.get(f"{served.address.files_url}/elsewhere").status_code == 404


def test_a_url_expires_when_the_task_said_it_would() -> None:
    async def test(virtual: Virtual) -> None:
        task_id = (await virtual.create()).json()["data"]["taskId"]
        await trio.sleep(130)
        entry = (await virtual.task(task_id))["output"][0]
        await trio.sleep(entry["expireAt"] - virtual.sandbox.engine.clock() - 1)
        assert (await virtual.files.get(entry["url"])).status_code == 200
        await trio.sleep(1)
        assert (await virtual.files.get(entry["url"])).status_code == 403
        again = (await virtual.task(task_id))["output"][0]
        assert again == entry

    virtually(test, url_ttl=3600)


def test_urls_can_be_fresh_at_each_look() -> None:
    async def test(virtual: Virtual) -> None:
        task_id = (await virtual.create()).json()["data"]["taskId"]
        await trio.sleep(4000)
        entry = (await virtual.task(task_id))["output"][0]
        assert (await virtual.files.get(entry["url"])).status_code == 200
        await trio.sleep(61)
        assert (await virtual.files.get(entry["url"])).status_code == 403
        entry = (await virtual.task(task_id))["output"][0]
        assert (await virtual.files.get(entry["url"])).status_code == 200

    virtually(test, url_ttl=60, expire_at="fresh")


@pytest.mark.slow
def test_twelve_downloads_at_once_render_a_clip_once() -> None:
    with serving(clips="full") as served:
        url = served.video_url()

        async def main() -> set[bytes]:
            got: set[bytes] = set()

            async def one(client: httpx.AsyncClient) -> None:
                got.add((await client.get(url)).content)

            async with httpx.AsyncClient() as client, trio.open_nursery() as nursery:
                for _ in range(12):
                    nursery.start_soon(one, client)
            return got

        assert len(trio.run(main)) == 1
