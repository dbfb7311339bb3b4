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
        "shots.csv:2:reference_video_urls: ‘short.mp4’ lasts 1.0 s; it must last 2 to 15 s",
        "shots.csv:3:reference_audio_urls: ‘long.wav’ lasts 16.0 s; it must last 2 to 15 s",
        "shots.csv:4:reference_audio_urls: lasts 18.0 s in all; the limit is 15 s",
        "shots.csv:5:first_frame_url: ‘short.mp4’ is a video, but an image is needed",
        "shots.csv:6:reference_video_urls: ‘a.png’ is an image, but a video is needed",
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
        "shots.csv:2:first_frame_url: ‘pipe.png’ is not a file"
    ]


def test_a_request_never_grows_past_its_limit(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", 14)  # 224 kB, and a third more as base64
    row = ",https://example.com/a.png,a.wav"

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


# ── frames as people have them ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {}),
        ("a.jpg", {"progressive": True}),
        ("a.png", {}),
        ("a.webp", {}),
        ("a.webp", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
def test_a_cut_frame_is_refused(
    tmp_path: Path, name: str, options: dict[str, object], part: float
) -> None:
    path = tmp_path / name
    Image.effect_noise((640, 360), 60).convert("RGB").save(path, **options)
    whole = path.read_bytes()
    assert not manifest_of(tmp_path, f"{name},,").problems
    path.write_bytes(whole[: int(len(whole) * part)])
    (said,) = grouped(manifest_of(tmp_path, f"{name},,").problems)
    assert f"‘{name}’ is a damaged image" in said


def test_a_frame_with_something_behind_its_end_is_whole(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jpg", (360, 640))
    path.write_bytes(path.read_bytes() + b"a phone's own data" * 9)
    assert not manifest_of(tmp_path, "a.jpg,,").problems


@pytest.mark.parametrize(
    ("there", "written"),
    [
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("Bilder Ku\u0308che/a.jpg", "Bilder K\u00fcche/a.jpg"),
        ("Ku\u0308che/cafe\u0301.jpg", "K\u00fcche\\caf\u00e9.jpg"),
        ("\u1112\u1161\u11ab.png", "\ud55c.png"),
        ("\u304b\u3099.png", "\u304c.png"),
    ],
)
def test_a_name_of_another_unicode_composition_is_found_with_a_receipt(
    tmp_path: Path, there: str, written: str
) -> None:
    picture(tmp_path / there)
    manifest = manifest_of(tmp_path, f"{written},,")
    assert only_job(manifest).media[0].path == str(tmp_path / there)
    assert any("accents are encoded differently" in found.message for found in manifest.findings)


@pytest.mark.parametrize(
    ("there", "written"),
    [
        ("frames/whole.jpg", "frames/Whole.JPG"),
        ("Frames/whole.jpg", "frames/whole.jpg"),
        ("ÜBER/a.jpg", "über/A.jpg"),
    ],
)
def test_a_name_with_other_capitals_is_named_and_not_sent(
    tmp_path: Path, there: str, written: str
) -> None:
    picture(tmp_path / there)
    (said,) = grouped(manifest_of(tmp_path, f"{written},,").problems)
    assert f"is it ‘{there}’? Mind the capitals" in said


def test_of_two_names_that_are_alike_none_is_named(tmp_path: Path) -> None:
    for name in ("a.JPG", "A.jpg"):
        picture(tmp_path / name)
    (said,) = grouped(manifest_of(tmp_path, "a.jpg,,").problems)
    assert "there is no such file in" in said


def test_nothing_outside_the_folder_is_looked_for(tmp_path: Path) -> None:
    picture(tmp_path / "Secret.jpg")
    inner = tmp_path / "inner"
    inner.mkdir()
    (said,) = grouped(manifest_of(inner, "../secret.jpg,,").problems)
    assert "Secret" not in said


@pytest.mark.parametrize(
    "address",
    [
        "https://drive.google.com/file/d/1AbCdEfGhIjKlMnOpQrStUvWxYz012345/view?usp=sharing",
        "https://drive.google.com/open?id=1AbC",
        "https://www.dropbox.com/scl/fi/abc123/dog.jpg?rlkey=xyz&dl=0",
        "https://github.com/example/repo/blob/main/fox.png",
        "https://photos.app.goo.gl/AbCdEfGh123",
        "https://photos.google.com/share/AF1Q",
        "https://www.icloud.com/iclouddrive/0aB",
        "https://1drv.ms/i/s!AbC",
        "https://studio.sharepoint.com/:i:/g/personal/abc",
        "https://imgur.com/a/AbC12",
        "https://we.tl/t-abc",
        "https://www.figma.com/file/abc",
        "https://unsplash.com/photos/abc",
    ],
)
def test_a_page_that_only_shows_a_file_is_warned_of(tmp_path: Path, address: str) -> None:
    (said,) = (str(found) for found in manifest_of(tmp_path, f"{address},,").findings)
    assert " is a page of " in said


@pytest.mark.parametrize(
    "address",
    [
        "https://drive.google.com/uc?export=download&id=1AbC",
        "https://www.dropbox.com/scl/fi/abc123/dog.jpg?rlkey=xyz&raw=1",
        "https://www.dropbox.com/s/abc/dog.jpg?dl=1",
        "https://dl.dropboxusercontent.com/s/abc/dog.jpg",
        "https://raw.githubusercontent.com/example/repo/main/fox.png",
        "https://github.com/example/repo/blob/main/fox.png?raw=true",
        "https://lh3.googleusercontent.com/abc",
        "https://i.imgur.com/abc.jpg",
        "https://images.unsplash.com/photo-1",
        "https://cdn.example.com/drive.google.com/file/a.png",
    ],
)
def test_an_address_of_a_file_is_not(tmp_path: Path, address: str) -> None:
    assert manifest_of(tmp_path, f"{address},,").findings == ()
