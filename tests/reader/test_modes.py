"""Frames, references and sounds that do not go together: what is refused, mended and warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from seedance_batch.core.manifest import Job, Manifest, Severity
from seedance_batch.reader.read import read_manifest
from seedance_batch.reader.source import ReadOptions
from tests.service import write_rows

A, B, C = (f"https://example.com/{name}.png" for name in "abc")


def read(folder: Path, *rows: dict[str, Any], **options: Any) -> Manifest:
    write_rows(folder / "shots.csv", rows)
    return read_manifest(folder / "shots.csv", ReadOptions(**options))


def said(manifest: Manifest, severity: Severity) -> list[str]:
    return [found.message for found in manifest.findings if found.severity is severity]


def mended(tmp_path: Path, **cells: str) -> tuple[Job, str]:
    manifest = read(tmp_path, {"prompt": "a cat turns", **cells}, fix_mixed=True)
    assert manifest.problems == ()
    (receipt,) = said(manifest, Severity.RECEIPT)
    return manifest.jobs[0], receipt


def test_a_frame_beside_references_becomes_the_first_of_them_with_a_receipt(tmp_path: Path) -> None:
    job, receipt = mended(tmp_path, first_frame_url=A, last_frame_url=B, reference_image_urls=C)
    assert job.input.reference_image_urls == (A, B, C)
    assert job.input.frames == ()
    assert job.input.prompt == (
        "a cat turns\nImage 1 is the opening frame. Image 2 is the closing frame."
    )
    assert "Image 1 is the opening frame." in receipt
    assert job.row.cells["prompt"] == "a cat turns"


def test_images_that_the_prompt_counts_keep_their_numbers(tmp_path: Path) -> None:
    job, _ = mended(
        tmp_path, prompt="@image1 turns", first_frame_url=A, reference_image_urls=f"{B}|{C}"
    )
    assert job.input.reference_image_urls == (B, C, A)
    assert job.input.prompt.endswith("\nImage 3 is the opening frame.")


def test_a_frame_beside_a_reference_video_is_mended_too(tmp_path: Path) -> None:
    job, _ = mended(tmp_path, first_frame_url=A, reference_video_urls="https://example.com/v.mp4")
    assert job.input.reference_image_urls == (A,)


def test_the_flag_changes_no_row_that_is_not_mixed_and_no_key(tmp_path: Path) -> None:
    rows = [{"prompt": "a cat", "first_frame_url": A}, {"prompt": "a dog", "first_frame_url": ""}]
    plain, flagged = read(tmp_path, *rows), read(tmp_path, *rows, fix_mixed=True)
    assert [(job.key, job.content) for job in plain.jobs] == [
        (job.key, job.content) for job in flagged.jobs
    ]


def test_a_mixed_row_of_a_local_frame_is_mended_with_its_file(tmp_path: Path) -> None:
    from tests.reader.test_local_media import picture

    picture(tmp_path / "a.png", (640, 360))
    job, _ = mended(tmp_path, first_frame_url="a.png", reference_image_urls=B)
    assert job.input.reference_image_urls is not None
    assert job.input.reference_image_urls[0] == job.media[0].token


def test_reference_sounds_alone_are_a_problem_and_the_way_out_is_said(tmp_path: Path) -> None:
    sound = {"prompt": "rain", "reference_audio_urls": "https://example.com/a.mp3"}
    (problem,) = said(read(tmp_path, sound), Severity.PROBLEM)
    assert "needs a reference image or video beside it" in problem
    assert read(tmp_path, {**sound, "reference_image_urls": A}).problems == ()


@pytest.mark.parametrize("name", ["@image1", "@Image 1", "<<<Image1>>>", "[image 1]", "【图片1】"])
def test_a_text_only_row_that_names_a_picture_is_warned_of(tmp_path: Path, name: str) -> None:
    (warning,) = said(read(tmp_path, {"prompt": f"{name} dances"}), Severity.WARNING)
    assert warning == "names image 1, but the row has no image"
    assert read(tmp_path, {"prompt": "image 1 dances in the rain"}).warnings == ()


def test_a_bare_asset_becomes_an_address_with_a_receipt(tmp_path: Path) -> None:
    manifest = read(tmp_path, {"prompt": "a cat", "first_frame_url": "asset-20260101-x"})
    assert manifest.jobs[0].input.first_frame_url == "asset://asset-20260101-x"
    assert said(manifest, Severity.RECEIPT) == [
        "‘asset-20260101-x’ is read as ‘asset://asset-20260101-x’"
    ]


def filmed(path: Path, width: int, height: int, fps: int = 24) -> Path:
    """A grey video of three seconds."""
    with av.open(str(path), "w") as container:
        web = path.suffix == ".webm"
        quick = {"deadline": "realtime", "cpu-used": "8"} if web else {"preset": "ultrafast"}
        stream = container.add_stream("vp8" if web else "libx264", rate=fps, options=quick)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        grey = np.full((height, width, 3), 128, np.uint8)
        for _ in range(3 * fps):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("good.mp4", (864, 496), None),
        ("small.mp4", (320, 240), "has 320×240 pixels; reference videos of 480p to 720p"),
        ("slow.mp4", (864, 496, 12), "has 12 frames a second; 24 to 60 are safe"),
        ("web.webm", (864, 496), "is video/webm; MP4 and MOV are safe"),
    ],
)
def test_reference_videos_are_measured_against_the_models_limits(
    tmp_path: Path, name: str, shape: tuple[int, ...], words: str | None
) -> None:
    filmed(tmp_path / name, *shape)
    manifest = read(tmp_path, {"prompt": "a cat", "reference_video_urls": name})
    assert manifest.problems == ()
    found = said(manifest, Severity.WARNING)
    assert found == [] if words is None else words in found[0]
