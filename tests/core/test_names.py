"""Every name lies below the run folder, is free, and is one that all file systems take."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pathvalidate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.attempt import Kind
from seedance_batch.core.names import (
    Taken,
    aside_names,
    check_pattern,
    clip_name,
    frame_name,
    mismatch_name,
    twin_key,
    with_ending,
)
from seedance_batch.errors import SettingsError


def name(key: str, pattern: str = "{id}", kind: Kind = Kind.FINAL, **columns: str) -> str:
    return clip_name(key, pattern=pattern, columns=columns, kind=kind, taken=Taken())


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a", "a"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("..", "_"),
        (".", "_"),
        ("...", "_"),
        ("", "_"),
        ("   ", "_"),
        ("/etc/passwd", "_etc_passwd"),
        ("C:\\Windows\\x", "C__Windows_x"),
        ("\\\\server\\share", "__server_share"),
        ("%2e%2e%2fetc", "%2e%2e%2fetc"),
        ("a\0b", "a b"),
        ("a\nb\tc\x7fd", "a b c d"),
        ("a\u2028b", "a b"),
        ("CON", "_CON"),
        ("con", "_con"),
        ("nul.tar", "_nul.tar"),
        ("AUX .x", "_AUX .x"),
        ("COM1", "_COM1"),
        ("LPT²", "_LPT²"),
        ("CONIN$", "_CONIN$"),
        ("console", "console"),
        ("name.", "name"),
        ("name. . .", "name"),
        ("name ", "name"),
        (" name", "name"),
        (".hidden", "_hidden"),
        ("-rf", "-rf"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        ("gpj.\u202ecod", "gpj.cod"),
        ("\ud800", "_"),
        ("e\u0301", "é"),
        ("e\u200e\u0301", "é"),
        ("猫と犬", "猫と犬"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("x.mismatch", "x.mismatch_"),
        ("X.Aside", "X.Aside_"),
        ("clip.mp4", "clip.mp4"),
        ("{id}", "{id}"),
        ("{0.__class__}", "{0.__class__}"),
    ],
)
def test_a_key_becomes_one_harmless_part(key: str, expected: str) -> None:
    assert name(key) == f"videos/{expected}.mp4"


def test_drafts_have_their_own_folder() -> None:
    assert name("a", kind=Kind.DRAFT) == "drafts/a.mp4"


def test_a_long_name_is_trimmed_by_bytes_and_keeps_its_ending() -> None:
    for letter in ("x", "é", "猫", "👩"):
        path = name(letter * 300)
        part = path.removeprefix("videos/")
        assert part.endswith(".mp4")
        assert part.removesuffix(".mp4") == letter * (200 // len(letter.encode()))


def test_trimming_leaves_no_blank_at_the_end() -> None:
    assert name("x" * 199 + " yyyy") == f"videos/{'x' * 199}.mp4"


@pytest.mark.parametrize(
    ("first", "second"),
    [("Cat", "cat"), ("CAFÉ", "café"), ("é", "e\u0301"), ("straße", "STRASSE"), ("a/b", "a_b")],
)
def test_twins_get_different_files(first: str, second: str) -> None:
    taken = Taken()
    paths = []
    for key in (first, second):
        path = clip_name(key, columns={}, kind=Kind.FINAL, taken=taken)
        taken.add(path, key)
        paths.append(path)
    assert paths[1].endswith("-2.mp4")
    assert len({twin_key(path) for path in paths}) == 2


def test_takes_are_numbered_from_two() -> None:
    taken = Taken(["videos/a.mp4", "videos/A.take2.mp4"])
    assert clip_name("a", columns={}, kind=Kind.FINAL, taken=taken) == "videos/a.take3.mp4"


def test_takes_of_earlier_versions_are_counted_and_keep_their_names() -> None:
    taken = Taken()
    for file in ("videos/1.mp4", "videos/1.2.mp4", "drafts/1.mp4"):
        taken.add(file, "1")
    made = [
        clip_name(key, columns={}, kind=kind, taken=taken)
        for key, kind in (("1", Kind.FINAL), ("1", Kind.DRAFT), ("1.2", Kind.FINAL))
    ]
    assert made == ["videos/1.take3.mp4", "drafts/1.take2.mp4", "videos/1.2-2.mp4"]


# ── patterns ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{id}", "videos/7.mp4"),
        ("{client}/{id}_{resolution}", "videos/Acme_North/7_720p.mp4"),
        ("{client name}-{id}", "videos/A-7.mp4"),
        ("clip {id}", "videos/clip 7.mp4"),
        ("{{{id}}}", "videos/{7}.mp4"),
        ("{path}/{id}", "videos/_._etc/7.mp4"),
        ("{empty}/{id}", "videos/_/7.mp4"),
        ("{device}/{id}", "videos/_CON/7.mp4"),
        ("{movie}/{id}", "videos/b.MP4_/7.mp4"),
        ("a/b/{id}", "videos/a/b/7.mp4"),
        ("{size: w x h}", "videos/wide.mp4"),
        ("{in/out}/{id}", "videos/both/7.mp4"),
        ("same", "videos/same.mp4"),
    ],
)
def test_a_pattern_is_filled_from_plain_columns(pattern: str, expected: str) -> None:
    columns = {
        "client": "Acme/North",
        "client name": "A",
        "resolution": "720p",
        "path": "../etc",
        "empty": "",
        "device": "CON",
        "movie": "b.MP4",
        "size: w x h": "wide",
        "in/out": "both",
        "id": "a column of that name never replaces the key",
    }
    path = clip_name("7", pattern=pattern, columns=columns, kind=Kind.FINAL, taken=Taken())
    assert path == expected
    check_pattern(pattern, columns)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("{id.__class__}", "plain column names only"),
        ("{id[0]}", "plain column names only"),
        ("{id!r}", "plain column names only"),
        ("{id:>10}", "plain column names only"),
        ("{client}", "no such column"),
        ("{}", "no such column"),
        ("{0}", "no such column"),
        ("{id", "with no column"),
        ("id}", "with no column"),
        ("{{id}", "with no column"),
        ("{a{id}}", "with no column"),
        ("", "empty or only dots"),
        ("/{id}", "empty or only dots"),
        ("{id}/", "empty or only dots"),
        ("a//{id}", "empty or only dots"),
        ("../{id}", "only dots"),
        ("a/../{id}", "only dots"),
        ("./{id}", "only dots"),
    ],
)
def test_a_bad_pattern_names_its_fault(pattern: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        name("a", pattern)
    with pytest.raises(SettingsError, match=fault):
        check_pattern(pattern, [])


@given(
    key=st.text(max_size=300),
    value=st.text(max_size=300),
    pattern=st.sampled_from(["{id}", "{v}", "{v}/{id}", "x/{v}{id}", "{id}.{v}/{v}"]),
)
def test_no_text_at_all_leads_out_of_the_folder(key: str, value: str, pattern: str) -> None:
    path = name(key, pattern, v=value)
    parts = PurePosixPath(path).parts
    assert parts[0] == "videos"
    assert "/".join(parts) == path
    assert PureWindowsPath(path).parts == parts
    for part in parts:
        pathvalidate.validate_filename(part, platform="universal")
        assert len(part.encode()) <= 255
        assert part == unicodedata.normalize("NFC", part)
        assert not part.startswith(".")
    assert name(key, pattern, v=value) == path


@given(keys=st.lists(st.text(alphabet="aAéÉe\u0301.2/_ ", max_size=6), max_size=12))
def test_no_two_clips_share_a_name_on_any_file_system(keys: list[str]) -> None:
    taken = Taken()
    for key in keys:
        path = clip_name(key, columns={}, kind=Kind.FINAL, taken=taken)
        assert not taken(path)
        taken.add(path)


def test_every_safe_name_can_be_made_on_this_disk(tmp_path: Path) -> None:
    for key in ("猫" * 300, "👩\u200d🚀" * 100, "CON", "a\0b", "x" * 300):
        path = tmp_path / mismatch_name(name(key))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")


# ── a clip's companions ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("clip", "frame"),
    [
        ("videos/a.mp4", "frames/a.png"),
        ("videos/a.2.mp4", "frames/a.2.png"),
        ("videos/client/a.mp4", "frames/client/a.png"),
        ("drafts/a.mp4", "drafts/a.png"),
    ],
)
def test_a_frame_is_named_after_its_clip(clip: str, frame: str) -> None:
    assert frame_name(clip) == frame


def test_a_clip_that_is_not_as_asked_says_so_in_its_name() -> None:
    assert mismatch_name("videos/a.2.mp4") == "videos/a.2.mismatch.mp4"
    assert mismatch_name("videos/a.2.mp4", ".webm") == "videos/a.2.mismatch.webm"
    assert with_ending("videos/a.2.mp4", ".webm") == "videos/a.2.webm"
    assert frame_name("videos/a.2.webm") == "frames/a.2.png"


def test_what_stood_in_the_way_is_numbered() -> None:
    names = aside_names("videos/a.mp4")
    assert [next(names) for _ in range(3)] == [
        "videos/a.aside.mp4",
        "videos/a.aside.2.mp4",
        "videos/a.aside.3.mp4",
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{id}", ["1", "1.2", "1.take2", "1.2.take2", "1.take3"]),
        ("{client}", ["Acme", "Acme-2", "Acme.take2", "Acme-3", "Acme.take3"]),
        ("{client}/{id}", ["Acme/1", "Acme/1.2", "Acme/1.take2", "Acme/1.2.take2", "Acme/1.take3"]),
    ],
)
def test_a_second_take_looks_like_no_other_row(pattern: str, names: list[str]) -> None:
    taken, made = Taken(), []
    for key in ("1", "1.2", "1", "1.2", "1"):
        columns = {"client": "Acme"}
        file = clip_name(key, pattern=pattern, columns=columns, kind=Kind.FINAL, taken=taken)
        taken.add(file, key)
        made.append(file)
    assert made == [f"videos/{name}.mp4" for name in names]
