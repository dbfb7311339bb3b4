"""A clip is at its name only when it is whole and as asked; whatever the host does."""

from __future__ import annotations

import gzip
import hashlib
import random
import zlib
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from seedance_batch.clips.download import Downloader
from seedance_batch.clips.partial import sweep
from seedance_batch.clips.transfer import Failed, Fetched, Gone, Wrong
from tests.clips import hostile
from tests.clips.clips import encoded
from tests.clips.fetching import FILE, PATIENT, QUICK, fetch, leftovers
from tests.clips.hostile import Answer, HostileServer

pytestmark = pytest.mark.anyio

CLIP = encoded()
BIG = encoded(noise=20)
"""Two megabytes, mostly noise: room for cuts."""
CUT_EVERY = 64 * 1024


async def test_a_good_clip_is_published_with_what_was_measured(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    result = await fetch(downloader, server.url(hostile.whole(CLIP)))
    assert isinstance(result, Fetched)
    assert result.clip.file == FILE
    assert result.clip.bytes == len(CLIP)
    assert result.clip.sha256 == hashlib.sha256(CLIP).hexdigest()
    assert (result.clip.width, result.clip.height, result.clip.has_audio) == (864, 496, True)
    assert result.clip.seconds == pytest.approx(4 + 1 / 24, abs=0.001)
    assert (tmp_path / FILE).read_bytes() == CLIP
    assert leftovers(tmp_path) == [FILE]


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.slow)])
async def test_only_the_whole_file_ever_has_the_name_through_broken_downloads(
    count: int, server: HostileServer, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    downloader = Downloader(tmp_path, http, allow_private=True, limits=replace(PATIENT, tries=2))
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    places = [*range(0, len(BIG), CUT_EVERY), len(BIG) - 1]
    anywhere = [chance.randrange(len(BIG)) for _ in range(count)]
    ways = (hostile.cut, hostile.cut_unannounced, hostile.cut_chunked, hostile.reset)
    broken = [(way, place) for way in ways for place in places]
    broken += [(chance.choice(ways), place) for place in anywhere]
    for way, place in broken:
        result = await fetch(downloader, server.url(way(BIG, place)))
        assert isinstance(result, Failed), (way.__name__, place)
        assert leftovers(tmp_path) == [], (way.__name__, place)
    print(f"{len(broken)} broken downloads, {len(server.requests)} answers")  # noqa: T201
    assert len(broken) >= count + 100


ZIPPED = gzip.compress(CLIP)
PACKED = [ZIPPED[at : at + 9_000] for at in range(0, len(ZIPPED), 9_000)]
BROKEN: dict[str, tuple[Answer, type[Failed | Gone | Wrong]]] = {
    "empty": (hostile.status("200 OK"), Failed),
    "nothing at all": (hostile.hung_up, Failed),
    "no content": (hostile.status("204 No Content"), Failed),
    "HTML": (hostile.status("200 OK", "Content-Type: text/html", body=b"<html>sorry"), Failed),
    "JSON": (hostile.status("200 OK", body=b'{"code": 500}'), Failed),
    "gzip bomb": (
        hostile.status("200 OK", "Content-Encoding: gzip", body=b"\x1f\x8b" + bytes(1000)),
        Failed,
    ),
    "no number as length": (hostile.status("200 OK\r\nContent-Length: many"), Failed),
    "two lengths": (
        lambda ask: ask.head("200 OK", "Content-Length: 5", "Content-Length: 6"),
        Failed,
    ),
    "over the cap, announced": (hostile.status("200 OK\r\nContent-Length: 2000000000"), Failed),
    "endless": (hostile.endless, Failed),
    "another part, unasked": (hostile.part(CLIP, 5000), Failed),
    "unpacked without end": (
        hostile.whole(gzip.compress(bytes(64 << 20), 1), "Content-Encoding: gzip"),
        Failed,
    ),
    "cut amid its gzip": (
        hostile.whole(ZIPPED[:-4000], "Content-Encoding: gzip"),
        Failed,
    ),
    "brotli": (hostile.whole(bytes(range(256)) * 40, "Content-Encoding: br"), Failed),
    "short brotli": (hostile.whole(b"\x0b\x02\x80clip\x03", "Content-Encoding: br"), Failed),
    "451": (hostile.status("451 Unavailable For Legal Reasons"), Gone),
    "416": (hostile.status("416 Range Not Satisfiable"), Failed),
    "500": (hostile.status("500 Internal Server Error"), Failed),
    "503": (hostile.status("503 Service Unavailable", "Retry-After: 7"), Failed),
    "429": (hostile.status("429 Too Many Requests", "Retry-After: 7"), Failed),
    "304": (hostile.status("304 Not Modified"), Failed),
    "401": (hostile.status("401 Unauthorized"), Gone),
    "403": (hostile.status("403 Forbidden"), Gone),
    "404": (hostile.status("404 Not Found"), Gone),
    "410": (hostile.status("410 Gone"), Gone),
    "no HTTP": (lambda ask: ask.send(b"\x00\x00\x00 ftypisom not HTTP at all\r\n\r\n"), Failed),
    "a silent host": (hostile.silent, Failed),
    "a head that drips": (hostile.dripping_head, Failed),
    "a stall": (hostile.stalled(CLIP, 5000), Failed),
    "a byte at a time": (hostile.dripping(CLIP, 0.05), Failed),
    "no moov": (hostile.whole(CLIP.replace(b"moov", b"free")), Wrong),
    "bytes that are no video": (hostile.whole(bytes(range(256)) * 40), Wrong),
    "no mdat": (hostile.whole(CLIP[: CLIP.index(b"mdat") - 4]), Wrong),
}


SLOW = {"a silent host", "a head that drips", "a stall", "a byte at a time"}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_leaves_no_clip(
    name: str, server: HostileServer, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    answer, expected = BROKEN[name]
    limits = replace(QUICK if name in SLOW else PATIENT, max_bytes=8 << 20)
    downloader = Downloader(tmp_path, http, allow_private=True, limits=limits)
    result = await fetch(downloader, server.url(answer))
    assert isinstance(result, expected), result
    kept = ["videos/a.mismatch.mp4"] if expected is Wrong else []
    assert leftovers(tmp_path) == kept


READ = {
    "gzip": (hostile.whole(ZIPPED, "Content-Encoding: gzip")),
    "deflate": (hostile.whole(zlib.compress(CLIP), "Content-Encoding: deflate")),
    "gzip in chunks": (
        lambda ask: (
            ask.head("200 OK", "Content-Encoding: GZIP", "Transfer-Encoding: chunked"),
            ask.send(b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (*PACKED, b""))),
        )
    ),
    "gzip, and what is no packing": hostile.whole(ZIPPED, "Content-Encoding: gzip, identity"),
    "a label of its upload": hostile.whole(CLIP, "Content-Encoding: aws-chunked"),
    "a label that is no packing": hostile.whole(CLIP, "Content-Encoding: UTF-8"),
    "a label that is not true": hostile.whole(CLIP, "Content-Encoding: gzip"),
    "a label, in small pieces": (
        lambda ask: (
            ask.head("200 OK", "Content-Encoding: br", "Transfer-Encoding: chunked"),
            *(ask.send(b"%x\r\n%b\r\n" % (len(p), p)) for p in (CLIP[:9], CLIP[9:], b"")),
        )
    ),
    "through a proxy": hostile.status("203 Non-Authoritative Information", body=CLIP),
    "a part that is all, unasked": hostile.part(CLIP, 0),
    "a part of who knows how much": (
        lambda ask: (
            ask.head("206 Partial Content", f"Content-Range: bytes 0-{len(CLIP) - 1}/*"),
            ask.send(CLIP),
        )
    ),
    "a part that does not say which": hostile.status("206 Partial Content", body=CLIP),
}


@pytest.mark.parametrize("name", READ)
async def test_a_whole_file_is_read_however_it_is_handed_over(
    name: str, server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    result = await fetch(downloader, server.url(READ[name]))
    assert isinstance(result, Fetched), result
    assert (tmp_path / FILE).read_bytes() == CLIP


async def test_the_first_of_several_parts_is_gone_on_with(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    tag = 'ETag: "one"'
    first = hostile.status(
        "206 Partial Content",
        f"Content-Length: 50000\r\nContent-Range: bytes 0-49999/{len(CLIP)}\r\n{tag}",
        body=CLIP[:50_000],
    )
    assert isinstance(
        await fetch(downloader, server.url(first, hostile.ranged(CLIP, tag))), Fetched
    )
    assert (tmp_path / FILE).read_bytes() == CLIP


async def test_what_our_own_rules_refuse_is_told_apart_from_what_the_host_lacks(
    server: HostileServer, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    limits = replace(PATIENT, max_bytes=8 << 20)
    downloader = Downloader(tmp_path, http, allow_private=True, limits=limits)
    for name in ("endless", "unpacked without end", "brotli"):
        result = await fetch(downloader, server.url(BROKEN[name][0]))
        assert isinstance(result, Failed), result
        assert result.ours, (name, result)


async def test_the_hosts_wish_to_wait_is_passed_on(
    server: HostileServer, downloader: Downloader
) -> None:
    url = server.url(hostile.status("503 Service Unavailable", "Retry-After: 7"))
    assert await fetch(downloader, url) == Failed("127.0.0.1 answered 503", retry_after=7.0)


async def test_no_message_shows_a_signed_url(
    server: HostileServer, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    downloader = Downloader(tmp_path, http, allow_private=True, limits=QUICK)
    for answer, _ in BROKEN.values():
        result = await fetch(downloader, server.url(answer)) if answer is not hostile.endless else 0
        assert "s3cret" not in repr(result)
        assert "clip.mp4" not in repr(result)


# ── a file in another container ─────────────────────────────────────────────────────────────────


async def test_a_good_clip_is_named_by_its_content_and_taken_where_it_lies(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    webm = encoded(ending=".webm")
    result = await fetch(downloader, server.url(hostile.whole(webm)))
    assert isinstance(result, Fetched), result
    assert result.clip.file == "videos/a.webm"
    assert leftovers(tmp_path) == ["videos/a.webm"]
    # As after a death between publishing and recording: nothing is asked for.
    asked = len(server.requests)
    assert await fetch(downloader, server.url(hostile.status("404 Not Found"))) == result
    assert len(server.requests) == asked


async def test_a_wrong_clip_is_kept_under_its_own_ending_until_the_right_one_comes(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    short = hostile.whole(encoded(seconds=2, ending=".webm"))
    picture = hostile.whole(b"\x89PNG\r\n\x1a\n" + bytes(200))
    for answer, ending in ((short, ".webm"), (picture, ".png")):
        result = await fetch(downloader, server.url(answer))
        assert isinstance(result, Wrong), result
        assert leftovers(tmp_path) == [f"videos/a.mismatch{ending}"]
    assert isinstance(await fetch(downloader, server.url(hostile.whole(CLIP))), Fetched)
    assert leftovers(tmp_path) == [FILE]


# ── a whole file that is not what was asked for ─────────────────────────────────────────────────


async def test_a_wrong_clip_is_kept_once_under_its_own_name(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.url(hostile.whole(CLIP))
    for _ in range(2):
        result = await fetch(downloader, url, duration=5)
        assert isinstance(result, Wrong)
        assert result.reason == "lasts 4.0 s, but 5 s were asked for"
        assert result.sha256 == result.kept.sha256 == hashlib.sha256(CLIP).hexdigest()
        assert result.kept.file == "videos/a.mismatch.mp4"
        assert leftovers(tmp_path) == ["videos/a.mismatch.mp4"]
    assert isinstance(await fetch(downloader, url), Fetched)
    assert leftovers(tmp_path) == [FILE]


# ── what stands at the name already ─────────────────────────────────────────────────────────────


async def test_a_right_clip_from_before_a_crash_is_not_downloaded_again(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / FILE).write_bytes(CLIP)
    result = await fetch(downloader, server.url(hostile.status("403 Forbidden")))
    assert isinstance(result, Fetched)
    assert result.clip.sha256 == hashlib.sha256(CLIP).hexdigest()
    assert server.requests == []


@pytest.mark.parametrize("content", [b"", b"mine", BIG[:-1]], ids=["empty", "a note", "cut"])
async def test_anything_else_at_the_name_is_moved_aside_and_never_overwritten(
    content: bytes, server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    url = server.url(hostile.whole(CLIP))
    for aside in ("videos/a.aside.mp4", "videos/a.aside.2.mp4"):
        (tmp_path / FILE).write_bytes(content)
        assert isinstance(await fetch(downloader, url), Fetched)
        assert (tmp_path / aside).read_bytes() == content
        assert (tmp_path / FILE).read_bytes() == CLIP


async def test_a_link_at_the_name_is_moved_and_never_written_through(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    outside = tmp_path.parent / f"{tmp_path.name}-outside.mp4"
    outside.write_bytes(CLIP)
    (tmp_path / FILE).symlink_to(outside)
    assert isinstance(await fetch(downloader, server.url(hostile.whole(BIG))), Fetched)
    assert outside.read_bytes() == CLIP
    assert not (tmp_path / FILE).is_symlink()


def test_a_sweep_removes_what_a_killed_run_left(tmp_path: Path) -> None:
    sweep(tmp_path)
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "tmpabc.mp4").write_bytes(CLIP)
    (tmp_path / "videos").mkdir()
    (tmp_path / FILE).write_bytes(CLIP)
    sweep(tmp_path)
    assert leftovers(tmp_path) == [FILE]
