"""Files beside the manifest are sent as what their bytes are, and nothing else is ever opened."""

from __future__ import annotations

import hashlib
import os
import struct
import wave
from pathlib import Path

import pytest
from PIL import Image

from seedance_batch.core.manifest import Job, Manifest
from seedance_batch.reader.read import grouped, read_manifest
from seedance_batch.reader.source import ReadOptions


def picture(path: Path, size: tuple[int, int] = (640, 360), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (40, 60, 80)).save(path, **options)  # type: ignore[arg-type]
    return path


def sound(path: Path, seconds: float) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(b"\0\0" * round(8_000 * seconds))
    return path


def film(path: Path, seconds: int, container: str = "mp4") -> Path:
    import av

    codec = "libvpx" if container == "webm" else "libx264"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame(64, 64, "yuv420p")
        for number in range(10 * seconds):
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def manifest_of(folder: Path, *rows: str, **options: object) -> Manifest:
    head = "prompt,first_frame_url,reference_video_urls,reference_audio_urls\n"
    lines = "".join(f"{number} A lamp wakes,{row}\n" for number, row in enumerate(rows, 1))
    (folder / "shots.csv").write_text(head + lines, encoding="utf-8")
    return read_manifest(folder / "shots.csv", ReadOptions(**options))  # type: ignore[arg-type]


def only_job(manifest: Manifest) -> Job:
    assert not manifest.problems, grouped(manifest.problems)
    (job,) = manifest.jobs
    return job


def test_a_file_is_known_by_its_bytes_and_stands_as_a_token(tmp_path: Path) -> None:
    path = picture(tmp_path / "frames" / "a.png")
    job = only_job(manifest_of(tmp_path, "frames/a.png,,"))
    (media,) = job.media

    assert media.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (media.path, media.mime) == (str(path.resolve()), "image/png")
    assert media.size == path.stat().st_size
    assert job.input.first_frame_url == media.token


def test_a_copy_under_another_name_is_the_same_order(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    first = only_job(manifest_of(tmp_path, "a.png,,")).content
    (tmp_path / "b.jpeg").write_bytes((tmp_path / "a.png").read_bytes())

    assert only_job(manifest_of(tmp_path, "b.jpeg,,")).content == first


@pytest.mark.parametrize(
    ("name", "mime"),
    [("a.png", "image/png"), ("a.jpg", "image/jpeg"), ("a.webp", "image/webp")],
)
def test_an_images_type_is_read_from_its_content(tmp_path: Path, name: str, mime: str) -> None:
    picture(tmp_path / name).rename(tmp_path / "without-ending")

    assert only_job(manifest_of(tmp_path, "without-ending,,")).media[0].mime == mime


def test_sounds_and_films_are_measured(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 3)
    film(tmp_path / "b.webm", 2, "webm")
    film(tmp_path / "c.mov", 4, "mov")
    sound(tmp_path / "d.wav", 2.5)
    job = only_job(manifest_of(tmp_path, ",a.mp4|b.webm|c.mov,d.wav"))

    assert [(media.mime, round(media.seconds or 0, 1)) for media in job.media] == [
        ("video/mp4", 3.0),
        ("video/webm", 2.0),
        ("video/quicktime", 4.0),
        ("audio/wav", 2.5),
    ]


def test_lengths_and_kinds_are_checked(tmp_path: Path) -> None:
    film(tmp_path / "short.mp4", 1)
    sound(tmp_path / "long.wav", 16)
    sound(tmp_path / "nine.wav", 9)
    picture(tmp_path / "a.png")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "short.mp4").read_bytes()[:60])
    rows = (",short.mp4,", ",,long.wav", ",,nine.wav|nine.wav", "short.mp4,,", ",a.png,")

    assert grouped(manifest_of(tmp_path, *rows, ",cut.mp4,").problems) == [
        "shots.csv:2:reference_video_urls: ‘short.mp4’ lasts 1.0 s, where 2 to 15 are wanted",
        "shots.csv:3:reference_audio_urls: ‘long.wav’ lasts 16.0 s, where 2 to 15 are wanted",
        "shots.csv:4:reference_audio_urls: lasts 18.0 s in all, where 15 are the most",
        "shots.csv:5:first_frame_url: ‘short.mp4’ is a video, where an image is wanted",
        "shots.csv:6:reference_video_urls: ‘a.png’ is an image, where a video is wanted",
        "shots.csv:7:reference_video_urls: ‘cut.mp4’ is damaged: it does not open",
    ]


def test_nothing_outside_the_folder_is_sent_unless_asked_for(tmp_path: Path) -> None:
    inside = tmp_path / "project"
    picture(tmp_path / "secret.png")
    inside.mkdir()
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    names = ("../secret.png", "link.png", str(tmp_path / "secret.png"))
    rows = [f"{name},," for name in names]

    refused = grouped(manifest_of(inside, *rows).problems)
    assert len(refused) == 3
    assert all("lies outside the manifest's folder" in line for line in refused)
    allowed = manifest_of(inside, *rows, allow_outside=True)
    assert len(allowed.jobs) == 3


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    picture(tmp_path / "frames" / "a.png")
    (tmp_path / "link.png").symlink_to("frames/a.png")

    media = only_job(manifest_of(tmp_path, "link.png,,")).media[0]

    assert media.path == str((tmp_path / "frames" / "a.png").resolve())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")

    assert grouped(manifest_of(tmp_path, "pipe.png,,").problems) == [
        "shots.csv:2:first_frame_url: ‘pipe.png’ is no file"
    ]


def test_a_request_never_grows_past_its_limit(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", 14)  # 224 kB, and a third more as base64
    row = ",,a.wav"

    assert manifest_of(tmp_path, row, max_body=310_000).problems == ()
    (line,) = grouped(manifest_of(tmp_path, row, max_body=298_000).problems)
    assert "--max-body" in line
    (line,) = grouped(manifest_of(tmp_path, row, max_body=100_000).problems)
    assert "224,044 bytes" in line


def test_many_small_files_count_together(tmp_path: Path) -> None:
    for name in "abc":
        sound(tmp_path / f"{name}.wav", 4)

    (line,) = grouped(manifest_of(tmp_path, ",,a.wav|b.wav|c.wav", max_body=200_000).problems)
    assert "makes the request" in line


def test_a_frame_of_another_shape_is_worth_a_word(tmp_path: Path) -> None:
    picture(tmp_path / "tall.jpg", (360, 640))
    turned = Image.Exif()
    turned[0x0112] = 6  # a phone held upright stores a wide picture and this note
    picture(tmp_path / "turned.jpg", (360, 640), exif=turned)
    manifest = manifest_of(tmp_path, "tall.jpg,,", "turned.jpg,,")

    assert grouped(manifest.findings) == [
        "shots.csv:2:first_frame_url: the frame has 360×640 pixels, which does not match 16:9"
    ]


def test_a_data_uri_and_an_asset_pass_through(tmp_path: Path) -> None:
    uri = "data:image/png;base64,iVBORw0KGgo="
    manifest = manifest_of(tmp_path, f'"{uri}",,', "asset://20260101-a,,")

    assert [job.input.first_frame_url for job in manifest.jobs] == [uri, "asset://20260101-a"]
    assert [job.media for job in manifest.jobs] == [(), ()]


def test_a_token_that_a_person_writes_is_only_a_missing_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    token = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"

    assert len(manifest_of(tmp_path, f"{token},,").problems) == 1


def test_a_web_video_renamed_is_still_found_out(tmp_path: Path) -> None:
    box = struct.pack(">I4s4s", 16, b"ftyp", b"avif") + b"\0" * 40
    (tmp_path / "a.png").write_bytes(box)

    assert len(manifest_of(tmp_path, "a.png,,").problems) == 1
