"""Clips: the asked size, length and sound; legible, repeatable, and drawn from what was given."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from seedance_batch.sandbox.drawing import Scene, face, fit, render, wrap
from seedance_batch.sandbox.encode import tone
from seedance_batch.sandbox.validation import content_at, image_ratio
from seedance_batch.sandbox.views import ClipSpec, Drawn, frame_size
from tests import patient

from .conftest import Served, serving

RATIOS = {"16:9": 16 / 9, "4:3": 4 / 3, "1:1": 1, "3:4": 3 / 4, "9:16": 9 / 16, "21:9": 21 / 9}
AREAS = {"480p": 640 * 640, "720p": 1280 * 720, "1080p": 1920 * 1080, "4k": 3840 * 2160}
TABLE = {
    ("480p", "16:9"): (864, 496),
    ("480p", "9:16"): (496, 864),
    ("480p", "3:4"): (560, 752),
    ("480p", "21:9"): (992, 432),
    ("720p", "4:3"): (1112, 834),
    ("720p", "1:1"): (960, 960),
    ("720p", "21:9"): (1470, 630),
    ("1080p", "16:9"): (1920, 1080),
}


@pytest.mark.parametrize("resolution", AREAS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_resolution_fixes_the_area_with_even_sides(resolution: str, ratio: str) -> None:
    width, height = frame_size(resolution, ratio)
    assert width % 2 == height % 2 == 0
    assert width * height == pytest.approx(AREAS[resolution], rel=0.15)
    assert width / height == pytest.approx(RATIOS[ratio], rel=0.06)
    assert (width, height) == TABLE.get((resolution, ratio), (width, height))


def test_adaptive_takes_the_first_frames_ratio_within_bounds() -> None:
    assert frame_size("480p", "adaptive") == (864, 496)
    for given, got in ((1.5, 1.5), (9.0, 2.5), (0.1, 0.4)):
        width, height = frame_size("480p", "adaptive", given)
        assert width / height == pytest.approx(got, rel=0.02)


def _probe(content: bytes) -> dict[str, Any]:
    with av.open(io.BytesIO(content), "r") as clip:
        video = clip.streams.video[0]
        decoded = sum(1 for _ in clip.decode(video))
        return {
            "size": (video.width, video.height),
            "frames": decoded,
            "rate": video.average_rate,
            "codecs": [stream.codec_context.name for stream in clip.streams],
            "seconds": (clip.duration or 0) / 1_000_000,
        }


@pytest.mark.parametrize("audio", [True, False])
@pytest.mark.parametrize("seconds", [4, 6])
def test_a_clip_is_h264_at_24_frames_with_aac_only_where_asked(
    served: Served, audio: bool, seconds: int
) -> None:
    got = _probe(patient.get(served.video_url(duration=seconds, generate_audio=audio)).content)
    assert got["frames"] == 24 * seconds + 1
    assert got["rate"] == 24
    assert got["seconds"] == pytest.approx(seconds + 1 / 24, abs=0.03)
    assert got["codecs"] == (["h264", "aac"] if audio else ["h264"])


def _drawn(**changes: Any) -> Drawn:
    base: dict[str, Any] = {
        "content": "seed",
        "prompt": "A paper boat 纸船 drifts",
        "caption": "seedance-2-0 · 480p",
        "first_frame": None,
        "last_frame": None,
        "references": (),
        "others": (),
    }
    return Drawn(**{**base, **changes})


def _clip(**changes: Any) -> ClipSpec:
    return ClipSpec(320, 180, 25, True, _drawn(**changes))


def _frame(clip: ClipSpec, number: int) -> NDArray[np.uint8]:
    return Scene(clip).planes(number)


def _luma(clip: ClipSpec, number: int) -> NDArray[np.uint8]:
    return _frame(clip, number)[: clip.height]


def test_the_same_clip_is_the_same_bytes() -> None:
    for name in ("video.mp4", "last_frame.png", "thumbnail.jpg"):
        assert render(_clip(), name) == render(_clip(), name)
    assert render(_clip(), "video.mp4") != render(_clip(content="other"), "video.mp4")


def test_the_picture_moves_and_carries_a_running_timecode() -> None:
    clip = _clip()
    assert not np.array_equal(_luma(clip, 0)[40:100], _luma(clip, 20)[40:100])
    corner = np.s_[0:30, 200:]
    assert not np.array_equal(_luma(clip, 3)[corner], _luma(clip, 4)[corner])


@pytest.mark.parametrize("prompt", ["The quick brown fox", "雨夜的霓虹小巷", "Zażółć ệ Ελλάδα Я"])
def test_a_prompt_is_set_in_light_on_dark(prompt: str) -> None:
    below = _luma(_clip(prompt=prompt), 0)[-50:]
    assert below.max() > 210
    assert np.median(below) < 110
    assert 0.003 < (below > 180).mean() < 0.4


def test_known_characters_differ_and_missing_ones_are_boxed() -> None:
    def ink(text: str) -> bytes:
        mask = Image.new("L", (60, 60))
        from PIL import ImageDraw

        face(40).draw(ImageDraw.Draw(mask), 5, 45, text, (255,))
        return mask.tobytes()

    known = "AéłệΆЯ中国漢あア、「★"
    assert len({ink(character) for character in known}) == len(known)
    box = ink("\U0001f6b2")
    assert box == ink("한")
    assert box not in {ink(character) for character in known}
    assert any(box)


def test_lines_are_never_wider_than_the_frame() -> None:
    texts = (
        "word " * 80,
        "unbreakable" * 30,
        "雨夜的霓虹小巷，镜头缓缓向前推进" * 9,
        "a\n\nb\r\nc",
        "",
        "\n\n\n",
        '  {"json": [1, 2]} ',
    )
    for text in texts:
        for width, height in ((300, 200), (90, 60)):
            block = fit(text, width, height, 40, 9)
            assert block.height <= height
            assert all(face(block.size).width(line) <= width + 20 for line in block.lines)


def test_line_breaks_of_the_prompt_are_kept_and_closing_signs_do_not_start_a_line() -> None:
    assert list(wrap("one\ntwo", face(20), 400)) == ["one", "two"]
    lines = list(wrap("雨夜，的霓虹。" * 20, face(20), 105))
    assert not any(line.startswith(("，", "。")) for line in lines)


def test_a_long_prompt_is_cut_with_an_ellipsis() -> None:
    block = fit("word " * 4000, 300, 100, 30, 12)
    assert block.lines[-1].endswith("…")


def _png(colour: tuple[int, int, int], size: tuple[int, int] = (64, 36)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def _data_uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_first_and_last_frame_are_cross_faded() -> None:
    clip = _clip(
        first_frame=_data_uri(_png((255, 255, 255))), last_frame=_data_uri(_png((0, 0, 0)))
    )
    middle = [int(_luma(clip, n)[60:90].mean()) for n in range(25)]
    assert middle[0] > 225
    assert middle[-1] < 25
    # It only falls, but for the few levels that an encoder may lose on the way.
    assert all(later <= earlier + 6 for earlier, later in pairwise(middle))


def test_a_first_frame_alone_gives_way_to_the_backdrop() -> None:
    clip = _clip(first_frame=_data_uri(_png((255, 255, 255))))
    assert _luma(clip, 0)[60:90].mean() > 225
    assert _luma(clip, 24)[60:90].mean() < 200


def test_references_stand_as_a_strip() -> None:
    images = tuple(_data_uri(_png((250, 10, 10))) for _ in range(3))
    with_strip = _clip(references=images, others=(("video", 1),))
    assert (_luma(with_strip, 0) != _luma(_clip(), 0)).mean() > 0.05


@contextmanager
def _site(content: bytes) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if self.path == "/away" else 200)
            self.send_header("Location", "http://example.com/")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_only_data_and_loopback_are_fetched_and_redirects_are_not_followed() -> None:
    content = _png((1, 2, 3))
    with _site(content) as (url, asked):
        assert content_at(f"{url}/a.png?b=c") == content
        assert content_at(f"{url}/away") is None
        assert asked == ["/a.png?b=c", "/away"]
        assert image_ratio(f"{url}/a.png") == pytest.approx(64 / 36)
    assert content_at(_data_uri(content)) == content
    for other in ("asset://x", "https://127.0.0.1/x", "http://example.com/", "http://10.0.0.1/x"):
        assert content_at(other) is None
    assert content_at("data:image/png;base64,AAA") is None


def test_an_address_that_is_not_fetched_gets_a_placeholder() -> None:
    given = _luma(_clip(first_frame="https://example.com/first.png"), 0)
    assert (given != _luma(_clip(), 0)).mean() > 0.5


def test_the_tone_is_soft_stereo_and_changes_with_the_content() -> None:
    one, other = tone("one", 2.0), tone("other", 2.0)
    assert one.shape == (2, 88_200)
    assert 0.02 < np.abs(one).max() < 0.5
    assert np.abs(one[:, [0, -1]]).max() < 0.001
    assert not np.array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


def test_the_last_frame_is_a_png_of_the_clips_size() -> None:
    with serving(clips="full") as served:
        output = served.finished(served.task_id(return_last_frame=True))["output"]
        urls = {entry["type"]: entry["url"] for entry in output}
        frame = Image.open(io.BytesIO(patient.get(urls["last_frame"]).content))
        assert (frame.format, frame.size) == ("PNG", (864, 496))
        thumbnail = Image.open(io.BytesIO(patient.get(urls["thumbnail"]).content))
        assert (thumbnail.format, max(thumbnail.size)) == ("JPEG", 320)


def test_plain_clips_are_made_once_for_a_size_and_length(served: Served) -> None:
    one = patient.get(served.video_url(prompt="one prompt"))
    other = patient.get(served.video_url(prompt="another prompt"))
    assert one.content == other.content
    assert patient.get(served.video_url(duration=5)).content != one.content


def test_reference_videos_are_measured_billed_and_limited(served: Served) -> None:
    def video(seconds: int) -> str:
        clip = ClipSpec(64, 64, 24 * seconds, audio=False)
        return _data_uri(render(clip, "video.mp4"), "video/mp4")

    task_id = served.task_id(reference_video_urls=[video(3), "https://example.com/a.mp4"])
    price = {task["task_id"]: task["price"] for task in served.ledger()["tasks"]}[task_id]
    assert float(price) == pytest.approx((4 + 3 + 5) * 0.048)
    assert "2 to 15" in served.create(reference_video_urls=[video(1)]).json()["message"]
    too_long = served.create(reference_video_urls=[video(8), video(8)])
    assert "together" in too_long.json()["message"]
