"""A clip is judged by what is in it: decoded to its end, against what was asked for."""

from __future__ import annotations

import contextlib
import io
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import anyio
import anyio.to_thread
import av
import pytest
from PIL import Image

from seedance_batch.clips import media
from seedance_batch.clips.media import (
    ENDINGS,
    MediaUnreadable,
    Probe,
    ending_of,
    frame_rate,
    judge,
    probe,
)
from seedance_batch.clips.stills import still
from seedance_batch.core.model import HEAD_SIZE
from tests.clips.clips import encoded, intent, turned

RIGHT = Probe(seconds=4 + 1 / 24, width=864, height=496, fps=24.0, has_audio=True, frames=97)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encoded())
    return path


def test_a_clip_is_measured_by_decoding_it(clip: Path) -> None:
    found = probe(clip)
    assert (found.width, found.height, found.frames, found.has_audio) == (864, 496, 97, True)
    assert found.seconds == pytest.approx(4 + 1 / 24, abs=1e-3)
    assert found.fps == pytest.approx(24, abs=1e-3)
    assert judge(found, intent()) is None


@pytest.mark.parametrize("flags", ["faststart", "", "webm"])
def test_any_cut_is_seen_wherever_the_index_lies(flags: str, tmp_path: Path) -> None:
    whole = encoded(ending=".webm") if flags == "webm" else encoded(flags=flags)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    path = tmp_path / "cut.mp4"
    for at in [0, 1, 7, 8, 40, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(60))]:
        path.write_bytes(whole[:at])
        with pytest.raises(MediaUnreadable):
            probe(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no type"),
        (b"<html><body>sorry</body></html>", "ends inside a box"),
        (bytes(100), "no type"),
        (encoded().replace(b"moov", b"free"), "no index"),
        (encoded() + b"junk at the end", "ends inside a box"),
        (encoded().replace(b"avcC", b"xxxx"), "cannot be decoded|contains no frame"),
        (b"xxxx".join(encoded().rsplit(b"stsd", 1)), "contains sound of an unknown kind"),
    ],
    ids=["empty", "a page", "zeros", "no moov", "junk after", "no codec data", "unknown sound"],
)
def test_what_is_no_whole_video_is_refused_with_its_reason(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaUnreadable, match=reason):
        probe(path)


def test_missing_frames_are_missed_though_every_box_is_whole(tmp_path: Path) -> None:
    whole = encoded(sound=False)
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole)
    with av.open(str(path)) as container:
        fifty = [packet.pos for packet in container.demux()][50]
    assert fifty is not None
    box = whole.index(b"mdat") - 4  # the last one: its length is made to fit
    path.write_bytes(whole[:box] + (fifty - box).to_bytes(4) + whole[box + 4 : fifty])
    with pytest.raises(MediaUnreadable, match="contains 50 of 97 frames"):
        probe(path)


def test_a_damaged_frame_is_seen(tmp_path: Path) -> None:
    damaged = bytearray(encoded())
    middle = len(damaged) // 2
    damaged[middle : middle + 4000] = bytes(4000)
    path = tmp_path / "clip.mp4"
    path.write_bytes(damaged)
    with pytest.raises(MediaUnreadable, match="cannot be decoded"):
        probe(path)


def test_a_playlist_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(encoded())
    path = tmp_path / "clip.mp4"
    for listing in ("ffconcat version 1.0\nfile secret.mp4\n", "#EXTM3U\n#EXTINF:4,\nsecret.mp4\n"):
        path.write_text(listing)
        with pytest.raises(MediaUnreadable):
            probe(path)
        assert still(path) is None


def test_a_file_that_is_not_there_is_the_disks_matter(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "none.mp4")


# ── other containers ────────────────────────────────────────────────────────────────────────────

FRAGMENTED = ("frag_keyframe+empty_moov", "frag_keyframe+empty_moov+default_base_moof", "dash")


@pytest.mark.parametrize("flags", FRAGMENTED)
def test_a_fragmented_mp4_is_as_long_and_as_fast_as_it_plays(flags: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encoded(flags=flags))
    found = probe(path)
    assert found.seconds == pytest.approx(4 + 1 / 24, abs=0.03)
    assert found.fps == pytest.approx(24, abs=1e-3)
    assert judge(found, intent()) is None


@pytest.mark.parametrize("fps", [12, 25, 30])
def test_another_rate_is_seen_in_any_container(fps: int, tmp_path: Path) -> None:
    for ending, flags in ((".mp4", "faststart"), (".mp4", FRAGMENTED[0]), (".webm", "")):
        path = tmp_path / f"clip{ending}"
        path.write_bytes(encoded(fps=fps, flags=flags, ending=ending))
        assert probe(path).fps == pytest.approx(fps, abs=0.05), (ending, flags)


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(24_000, 1001), Fraction(30)])
def test_the_rate_that_an_index_tells_is_the_one_that_ffmpeg_finds(
    fps: Fraction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ending, flags in ((".mp4", ""), (".mp4", FRAGMENTED[0]), (".mov", ""), (".webm", "")):
        path = tmp_path / f"clip{ending}"
        path.write_bytes(
            encoded(seconds=1, width=160, height=96, fps=fps, flags=flags, ending=ending)
        )
        told = frame_rate(path)
        with monkeypatch.context() as patch:
            patch.setattr(media, "_told_rate", lambda file: None)
            assert told == frame_rate(path)
        assert told == pytest.approx(float(fps), abs=1)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 16, b"\0" * 16])
def test_a_damaged_index_tells_no_rate_and_breaks_nothing(damage: bytes, tmp_path: Path) -> None:
    whole = encoded(seconds=1, width=160, height=96)
    path = tmp_path / "clip.mp4"
    for kind in (b"moov", b"trak", b"mdia", b"hdlr", b"mdhd", b"stbl", b"stts"):
        at = whole.index(kind) - 4
        path.write_bytes(whole[:at] + damage + whole[at + len(damage) + (not damage) * 9 :])
        with contextlib.suppress(MediaUnreadable):
            assert 0 < frame_rate(path) < 1_000


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".mov", ".mkv"])
def test_a_good_video_is_judged_by_its_content_and_named_by_it(ending: str, tmp_path: Path) -> None:
    content = encoded(ending=ending)
    path = tmp_path / "clip.mp4"  # its name says nothing
    path.write_bytes(content)
    assert judge(probe(path), intent()) is None
    assert ending_of(content[:HEAD_SIZE]) == ending
    assert Image.open(io.BytesIO(still(path) or b"")).format == "JPEG"


@pytest.mark.parametrize(
    ("head", "ending"),
    [
        (b"\x89PNG\r\n\x1a\n", ".png"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"ID3\x04", ".mp3"),
        (b"whatever it is", ".mp4"),
        (b"", ".mp4"),
    ],
)
def test_what_is_no_video_is_named_by_its_content_too(head: bytes, ending: str) -> None:
    assert ending_of(head) == ending
    assert ending in ENDINGS


@pytest.mark.parametrize(("degrees", "upright"), [(90, True), (180, False), (270, True)])
def test_a_picture_that_is_stored_on_its_side_has_the_sides_that_are_shown(
    degrees: int, upright: bool, tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(turned(encoded(), degrees))
    found = probe(path)
    assert (found.width, found.height) == ((496, 864) if upright else (864, 496))
    ratio = "9:16" if upright else "16:9"
    assert judge(found, intent(aspect_ratio=ratio)) is None


@pytest.mark.parametrize(
    ("degrees", "bright"), [(90, (240, 800)), (180, (100, 138)), (270, (240, 100))]
)
def test_a_poster_is_turned_as_a_player_would(
    degrees: int, bright: tuple[int, int], tmp_path: Path
) -> None:
    """The picture's right side is white: turned clockwise by 90° that is its lower side."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(turned(encoded(bright_edge=True), degrees))
    with Image.open(io.BytesIO(still(path) or b"")) as image:
        assert image.width == 480
        dark = (image.width - 1 - bright[0], image.height - 1 - bright[1])
        shades = image.convert("L")
        assert shades.getpixel(bright) > 230
        assert shades.getpixel(dark) < 230


# ── judging ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("found", "asked", "reason"),
    [
        ({}, {}, None),
        ({"seconds": 4.13}, {}, None),
        ({"seconds": 3.95}, {}, None),
        ({"seconds": 4.15}, {}, "lasts 4.2 s, but 4 s were asked for"),
        ({"seconds": 3.2}, {"duration": 5}, "lasts 3.2 s, but 5 s were asked for"),
        ({"fps": 23.976}, {}, None),
        ({"fps": 25.0}, {}, "has 25.00 frames a second, but 24 are promised"),
        ({"has_audio": False}, {}, "has no sound, but sound was asked for"),
        ({"has_audio": False}, {"generate_audio": False}, None),
        ({}, {"generate_audio": False}, "has sound, but none was asked for"),
        ({}, {"resolution": "720p"}, "is 864×496, not 720p"),
        ({"width": 496, "height": 864}, {}, "is 496×864, not 16:9"),
        ({"width": 496, "height": 864}, {"aspect_ratio": "adaptive"}, None),
        ({"width": 1280, "height": 720}, {"aspect_ratio": "adaptive"}, "is 1280×720, not"),
    ],
)
def test_a_clip_is_as_asked_or_the_first_reason_why_not(
    found: dict[str, float], asked: dict[str, object], reason: str | None
) -> None:
    verdict = judge(replace(RIGHT, **found), intent(**asked))
    assert verdict is None if reason is None else str(verdict).startswith(reason)


SIZES = {
    "480p": "864×496 752×560 640×640 560×752 496×864 992×432",
    "720p": "1280×720 1112×834 960×960 834×1112 720×1280 1470×630",
    "1080p": "1920×1080 1664×1248 1440×1440 1248×1664 1080×1920 2206×946",
}
RATIOS = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9")


@pytest.mark.parametrize("resolution", SIZES)
def test_every_size_that_the_service_makes_passes_for_itself_alone(resolution: str) -> None:
    for made, size in zip(RATIOS, SIZES[resolution].split(), strict=True):
        width, height = (int(side) for side in size.split("×"))
        found = replace(RIGHT, width=width, height=height)
        for asked in RATIOS:
            verdict = judge(found, intent(resolution=resolution, aspect_ratio=asked))
            assert (verdict is None) is (asked == made), (size, asked, verdict)


# ── posters ─────────────────────────────────────────────────────────────────────────────────────


def test_a_poster_is_a_small_jpeg_of_the_clip(clip: Path) -> None:
    with Image.open(io.BytesIO(still(clip) or b"")) as image:
        assert image.format == "JPEG"
        assert image.width == 480
        assert image.width / image.height == pytest.approx(864 / 496, rel=0.01)


def test_a_poster_of_a_clip_that_fades_in_shows_more_than_its_black_beginning(clip: Path) -> None:
    """A short clip has one key frame, its first: what seeking would find at every moment."""
    with Image.open(io.BytesIO(still(clip) or b"")) as image:
        darkest, brightest = image.convert("L").getextrema()
    assert darkest > 10  # the test clip's frames grow brighter, from black
    assert brightest < 250


def test_a_clip_whose_times_lead_nowhere_has_a_poster_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 864, 496, "yuv420p"
        container.mux(video.encode(av.VideoFrame(864, 496, "yuv420p")))
        container.mux(video.encode())
    with Image.open(io.BytesIO(still(path) or b"")) as image:
        assert image.width == 480


@pytest.mark.slow
def test_decoding_leaves_the_event_loop_free(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encoded(noise=60))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.002)
            ticks += 1

    async def check() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            await anyio.to_thread.run_sync(probe, path)
            tasks.cancel_scope.cancel()

    anyio.run(check)
    assert ticks >= 10
