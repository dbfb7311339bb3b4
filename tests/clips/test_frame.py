"""A returned last frame is saved beside its clip, and never costs the clip."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import Failed, Fetched, NoFrame
from tests.clips import hostile
from tests.clips.clips import encoded
from tests.clips.fetching import FILE, fetch, leftovers
from tests.clips.hostile import Answer, HostileServer

pytestmark = pytest.mark.anyio

CLIP = encoded()
BIG = encoded(noise=20)
CUT_EVERY = 64 * 1024


def picture(form: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (864, 496), "teal").save(out, form)
    return out.getvalue()


async def test_a_frame_that_is_not_there_yet_is_told_apart_and_its_clip_stands(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    frame = server.url(hostile.status("404 Not Found"), hostile.whole(picture("PNG")))
    url = server.url(hostile.whole(CLIP))
    result = await fetch(downloader, url, last_frame_url=frame)
    assert isinstance(result, NoFrame)
    assert leftovers(tmp_path) == [FILE]
    assert isinstance(await fetch(downloader, url, last_frame_url=frame), Fetched)
    assert leftovers(tmp_path) == ["frames/a.png", FILE]


@pytest.mark.cases(1)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
async def test_the_returned_last_frame_is_saved_as_a_png(
    form: str, server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    frame = server.url(hostile.whole(picture(form)))
    result = await fetch(downloader, server.url(hostile.whole(CLIP)), last_frame_url=frame)
    assert isinstance(result, Fetched)
    assert result.clip.last_frame_file == "frames/a.png"
    with Image.open(tmp_path / "frames/a.png") as image:
        assert (image.format, image.size) == ("PNG", (864, 496))
    assert leftovers(tmp_path) == ["frames/a.png", FILE]


async def test_a_frame_hosts_bad_day_costs_the_next_fetch_the_frame_alone(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    clip = server.url(hostile.whole(CLIP))
    frame = server.url(hostile.status("503 Busy"), hostile.whole(picture("PNG")))
    assert isinstance(await fetch(downloader, clip, last_frame_url=frame), Failed)
    assert leftovers(tmp_path) == [FILE]
    result = await fetch(downloader, clip, last_frame_url=frame)
    assert isinstance(result, Fetched)
    assert result.clip.last_frame_file == "frames/a.png"
    assert len(server.asked(clip)) == 1
    again = await fetch(downloader, clip, last_frame_url=frame)
    assert again == result
    assert len(server.asked(frame)) == 2


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (hostile.whole(b"<html>"), "no last frame: the file is not a complete image"),
        (hostile.whole(picture("PNG")[:900]), "no last frame: the file is not a complete image"),
    ],
    ids=["a page", "half an image"],
)
async def test_a_paid_clip_is_done_also_where_its_frame_cannot_be_had(
    answer: Answer, note: str, server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    result = await fetch(
        downloader, server.url(hostile.whole(CLIP)), last_frame_url=server.url(answer)
    )
    assert isinstance(result, Fetched)
    assert result.clip.last_frame_file is None
    assert result.note is not None
    assert result.note.startswith(note)
    assert leftovers(tmp_path) == [FILE]
