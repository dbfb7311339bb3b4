"""Nonsense, on the wire or in the file, is a result or a refusal: never a crash of the run."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from PIL import Image

from seedance_batch.clips.download import Downloader, NoImage, as_png
from seedance_batch.clips.media import MediaUnreadable, probe
from seedance_batch.clips.stills import still
from seedance_batch.clips.transfer import Failed, Fetched, Gone, NoFrame, Wrong
from tests.clips.clips import encoded
from tests.clips.fetching import FILE, QUICK, fetch, leftovers
from tests.clips.hostile import Answer, HostileServer

CLIP = encoded()
DIGITS = "9" * 5000
HEADS = [
    "HTTP/1.1 200 OK",
    "HTTP/1.1 206 Partial Content",
    "HTTP/1.1 302 Found",
    "HTTP/1.1 999 Odd",
    "HTTP/9.9 200 OK",
    "HTTP/1.1 20 OK",
    "ICY 200 OK",
    "",
]
LINES = [
    f"Content-Length: {len(CLIP)}",
    f"Content-Length: {DIGITS}",
    "Content-Length: -1",
    "Content-Length: ٣",
    "Content-Length: 12, 12",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Content-Encoding: br",
    "Content-Encoding: ,",
    f"Content-Range: bytes 0-{DIGITS}/{DIGITS}",
    f"Content-Range: bytes 0-{len(CLIP) - 1}/{len(CLIP)}",
    "Content-Range: lines 1-2/3",
    'ETag: "',
    'ETag: "v1"',
    "Last-Modified: yesterday",
    "Last-Modified: Mon, 99 Jan 99999 99:99:99 GMT",
    "Date: Thu, 01 Jan 1970 00:00:00 -9999",
    "Retry-After: -5",
    f"Retry-After: {DIGITS}",
    "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT",
    "Location: http://[",
    "Location: \udcff\udcfe",
    "Location: //\t/",
    f"Location: http://{'a' * 300}.example.com/",
    f"Location: /{'a' * 70_000}",
    "Set-Cookie: a=\x01",
    "No colon",
    ": no name",
    " folded",
    f"X: {'y' * 200_000}",
]


def seeded() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    return random.Random(seed)


def nonsense(chance: random.Random) -> Answer:
    """An answer out of parts that are each a little or very wrong."""
    lines = [chance.choice(HEADS), *chance.sample(LINES, chance.randrange(6)), "", ""]
    head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    if chance.random() < 0.2:
        head = bytes(byte ^ (chance.random() < 0.02) for byte in head)
    body = chance.choice([b"", CLIP, CLIP[:999], b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n"])
    return lambda ask: ask.send(head + body)


@pytest.mark.anyio
async def test_no_answer_whatever_crashes_a_fetch(
    server: HostileServer, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    chance = seeded()
    limits = replace(QUICK, tries=2)
    downloader = Downloader(tmp_path, http, allow_private=True, limits=limits)
    for _ in range(200):
        url = server.url(nonsense(chance), nonsense(chance))
        result = await fetch(downloader, url, last_frame_url=url)
        assert isinstance(result, Fetched | NoFrame | Failed | Gone | Wrong)
        for name in set(leftovers(tmp_path)) - {"videos/a.mismatch.mp4"}:
            assert name == FILE
            assert (tmp_path / name).read_bytes() == CLIP
            (tmp_path / name).unlink()


def damaged(content: bytes, chance: random.Random, end: int) -> bytes:
    """A few bytes changed before ``end``."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 5, 20))):
        at = chance.randrange(end)
        changed[at : at + 4] = chance.randbytes(4)
    return bytes(changed[: len(content)])


@pytest.mark.cases(1)
@pytest.mark.parametrize("read", [probe, still])
def test_no_damage_to_a_clip_is_worse_than_unreadable(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    chance = seeded()
    index = CLIP.index(b"mdat")  # what describes the media lies before them
    path = tmp_path / "clip.mp4"
    tags = (b"avc1", b"mp4a", b"stts", b"stsz", b"stco", b"hdlr", b"stsd", b"avcC", b"trak")
    files = [CLIP.replace(tag, b"zzzz") for tag in tags]
    files += [damaged(CLIP, chance, index) for _ in range(60)]
    readable = 0
    for content in files:
        path.write_bytes(content)
        with suppress(MediaUnreadable):
            readable += read(path) is not None
    assert readable < len(files)


def test_no_damage_to_a_frame_is_worse_than_no_image() -> None:
    chance = seeded()
    for form in ("PNG", "JPEG", "WEBP"):
        out = io.BytesIO()
        Image.effect_noise((64, 64), 50).convert("RGB").save(out, form)
        for _ in range(100):
            content = damaged(out.getvalue(), chance, len(out.getvalue()))
            with suppress(NoImage):
                as_png(content[: chance.randrange(len(content) + 1)])


def test_a_picture_that_claims_too_much_is_not_unpacked() -> None:
    out = io.BytesIO()
    Image.new("1", (20_000, 4_000)).save(out, "PNG")
    with pytest.raises(NoImage, match="20000×4000"):
        as_png(out.getvalue())
    out = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(out, "PNG")
    with pytest.raises(NoImage):
        as_png(out.getvalue())
