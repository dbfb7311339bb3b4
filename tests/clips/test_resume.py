"""A cut download goes on only where the host proves that it is the same file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import Fetched
from tests.clips import hostile
from tests.clips.clips import encoded
from tests.clips.fetching import FILE, fetch, leftovers
from tests.clips.hostile import ETAG, Answer, HostileServer

pytestmark = pytest.mark.anyio

CLIP = encoded()
BIG = encoded(noise=20)
CUT_EVERY = 64 * 1024


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    "lines",
    [
        (ETAG,),
        ("Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT", "Date: Mon, 01 Jan 2024 00:00:09 GMT"),
    ],
)
async def test_a_cut_download_goes_on_where_the_host_proves_it_is_the_same_file(
    lines: tuple[str, ...], server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    for at in range(CUT_EVERY, len(BIG), 3 * CUT_EVERY):
        url = server.url(hostile.cut(BIG, at, *lines), hostile.ranged(BIG, *lines))
        result = await fetch(downloader, url)
        assert isinstance(result, Fetched), at
        assert result.clip.sha256 == hashlib.sha256(BIG).hexdigest()
        first, second = server.asked(url)
        assert "range" not in first.headers
        assert second.offset == at
        assert second.headers["if-range"] in lines[0]
        (tmp_path / FILE).unlink()


OTHER = BIG[:50_000] + bytes(100) + BIG[50_100:]
"""Another file of the same length: mixed with the right one, neither."""
PLACE = 100_000
"""Where the first download is cut."""


def to_a_range(answer: Answer) -> Answer:
    """The right file; but this to a range."""

    def either(ask: hostile.Exchange) -> None:
        (answer if ask.offset else hostile.whole(BIG, ETAG))(ask)

    return either


def another_part(ask: hostile.Exchange) -> None:
    """As many bytes as are missing, from another place."""
    end = PLACE // 2 + len(BIG) - ask.offset
    content = BIG[PLACE // 2 : end]
    span = f"Content-Range: bytes {PLACE // 2}-{end - 1}/{len(BIG)}"
    hostile.status("206 Partial Content", span, ETAG, body=content)(ask)


def unnamed_part(ask: hostile.Exchange) -> None:
    hostile.status("206 Partial Content", ETAG, body=BIG[ask.offset :])(ask)


def of_another_length(ask: hostile.Exchange) -> None:
    hostile.part(BIG, ask.offset, ETAG, total=len(BIG) + 1)(ask)


MIDNIGHT = "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"
YOUNG = (MIDNIGHT, "Date: Mon, 01 Jan 2024 00:00:00 GMT")

STARTS_AGAIN: dict[str, tuple[tuple[str, ...], Answer]] = {
    "200 to a range": ((ETAG,), hostile.whole(BIG, ETAG)),
    "another file behind a 200": ((ETAG,), hostile.whole(BIG, 'ETag: "v2"')),
    "no validator": ((), hostile.ranged(BIG)),
    "a weak validator": (('ETag: W/"v1"',), hostile.ranged(BIG, 'ETag: W/"v1"')),
    "a date as young as the answer": (YOUNG, hostile.ranged(BIG, *YOUNG)),
    "changed ETag": (('ETag: "v0"',), hostile.ranged(BIG, ETAG)),
    "no ETag in the part": ((ETAG,), hostile.ranged(BIG)),
    "changed length": ((ETAG,), to_a_range(of_another_length)),
    "another part": ((ETAG,), to_a_range(another_part)),
    "a part that does not say which": ((ETAG,), to_a_range(unnamed_part)),
    "416": ((ETAG,), to_a_range(hostile.status("416 Range Not Satisfiable"))),
}
"""The first answer's headers, and the second answer."""


@pytest.mark.parametrize("name", STARTS_AGAIN)
async def test_anything_less_than_proof_starts_again_and_never_mixes_two_files(
    name: str, server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    lines, answer = STARTS_AGAIN[name]
    url = server.url(hostile.cut(OTHER, PLACE, *lines), answer)
    result = await fetch(downloader, url)
    assert isinstance(result, Fetched), result
    assert (tmp_path / FILE).read_bytes() == BIG
    assert result.clip.sha256 == hashlib.sha256(BIG).hexdigest()
    assert leftovers(tmp_path) == [FILE]


async def test_a_file_that_changes_its_length_starts_again(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    longer = hostile.cut(OTHER + b"more", PLACE, ETAG)
    assert isinstance(
        await fetch(downloader, server.url(longer, hostile.ranged(BIG, ETAG))), Fetched
    )
    assert (tmp_path / FILE).read_bytes() == BIG


async def test_a_part_that_ends_early_is_gone_on_with(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    """A host may cap its parts: ``bytes a-b`` short of the end."""

    def capped(ask: hostile.Exchange) -> None:
        start, end = ask.offset, min(ask.offset + (1 << 20), len(BIG))
        ask.head(
            "206 Partial Content",
            f"Content-Length: {end - start}",
            f"Content-Range: bytes {start}-{end - 1}/{len(BIG)}",
            ETAG,
        )
        ask.send(BIG[start:end])

    result = await fetch(downloader, server.url(hostile.cut(BIG, 1000, ETAG), capped))
    assert isinstance(result, Fetched)
    assert (tmp_path / FILE).read_bytes() == BIG


async def test_a_file_of_unannounced_length_is_taken_when_it_is_whole(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    for answer in (hostile.chunked(BIG), hostile.cut_unannounced(BIG, len(BIG))):
        assert isinstance(await fetch(downloader, server.url(answer)), Fetched)
        (tmp_path / FILE).unlink()
