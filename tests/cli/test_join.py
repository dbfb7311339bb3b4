"""``join`` makes films of what a run folder holds, and says what it lacks."""

from __future__ import annotations

import resource
from pathlib import Path

import av
import pytest

from seedance_batch.clips.media import probe
from seedance_batch.errors import Exit
from tests.cli.shop import Shop, say, shot
from tests.clips.filmed import filmed
from tests.clips.test_disk import limited

FRAMES = 4 * 24 + 1


def names_of_chapters(film: Path) -> list[str]:
    """The titles of a film's chapters."""
    with av.open(str(film)) as container:
        return [chapter["metadata"]["title"] for chapter in container.chapters()]


@pytest.fixture
def three(shop: Shop) -> Shop:
    """Three clips in two scenes."""
    shop.write(
        shot(1, scene="opening"), shot(2, scene="a/b: …"), shot(3, scene="opening", prompt="a kite")
    )
    assert shop.run().code == Exit.OK
    return shop


def test_a_film_has_every_rows_clip_in_the_manifests_order(three: Shop) -> None:
    done = three.at("join")
    assert done.code == Exit.OK, done.err
    film = Path(done.out.strip())
    assert film == three.run_folder / "films" / "shots.mp4"
    assert probe(film).frames == 3 * FRAMES
    assert names_of_chapters(film) == ["shot1", "shot2", "shot3"]
    assert "3 clips, 12 s" in done.err
    assert "copied" in done.err
    assert not [path for path in film.parent.iterdir() if path != film]


def test_a_film_for_each_scene_and_chosen_rows(three: Shop) -> None:
    films = three.at("join", "--by", "scene", "--json").lines
    assert [(Path(f["file"]).name, f["value"], f["ids"]) for f in films] == [
        ("opening.mp4", "opening", ["shot1", "shot3"]),
        ("a_b_ ….mp4", "a/b: …", ["shot2"]),
    ]
    assert {Path(film["file"]).parent for film in films} == {three.run_folder / "films" / "scene"}
    for flags in (["--ids", "shot3,shot1"], ["--rows", "1,3"], ["--where", "scene == 'opening'"]):
        (film,) = three.at("join", "--json", *flags).lines
        assert film["ids"] == ["shot1", "shot3"]
        assert film["frames"] == probe(Path(film["file"])).frames == 2 * FRAMES
        assert film["encoded_frames"] == 0
    wrong = three.at("join", "--by", "scenes")
    assert wrong.code == Exit.USAGE
    assert "There is no column 'scenes'; did you mean scene?" in wrong.err


@pytest.mark.more
def test_the_frame_that_a_row_took_from_the_one_before_is_shown_once(shop: Shop) -> None:
    link = "last_frame:previous"
    shop.write(shot(1), *(shot(n, first_frame_url=link) for n in (2, 3)))
    assert shop.run().code == Exit.OK
    (film,) = shop.at("join", "--json").lines
    assert film["frames"] == probe(Path(film["file"])).frames == 3 * FRAMES - 2
    (film,) = shop.at("join", "--ids", "shot1,shot3", "--json").lines
    assert film["frames"] == 2 * FRAMES  # the third does not begin where the first ends


def test_rows_without_a_clip_are_named_and_left_out_on_request(shop: Shop) -> None:
    shop.write(shot(1), shot(2, prompt="forbidden"), shot(3))
    assert shop.run().code == Exit.SOME_FAILED
    lacking = shop.at("join")
    assert lacking.code == Exit.USAGE
    assert "1 of 3 rows has no final clip to join: shot2 (failed)" in lacking.err
    assert lacking.hint == ["join", str(shop.run_folder), "--skip-missing"]
    assert not (shop.run_folder / "films").exists()
    (film,) = shop.at("join", "--skip-missing", "--json").lines
    assert film["ids"] == ["shot1", "shot3"]
    assert film["left_out"] == [{"id": "shot2", "reason": "failed"}]
    assert shop.at("join", "--ids", "shot2").hint == ["status", "runs/shots"]
    none = shop.at("join", "--ids", "shot2", "--skip-missing")
    assert (none.code, "None of 1 row has a clip" in none.err) == (Exit.USAGE, True)


@pytest.mark.more
def test_clips_that_are_gone_or_were_changed_are_named(three: Shop) -> None:
    videos = three.run_folder / "videos"
    (videos / "shot1.mp4").unlink()
    changed = bytearray((videos / "shot2.mp4").read_bytes())
    changed[-100] ^= 1
    (videos / "shot2.mp4").write_bytes(changed)
    lacking = three.at("join")
    assert lacking.code == Exit.USAGE
    assert "shot1 (videos/shot1.mp4 cannot be read" in lacking.err
    assert "shot2 (videos/shot2.mp4 is not the file that was downloaded)" in lacking.err
    assert lacking.hint == ["fetch", "runs/shots"]
    assert three.online("fetch").code == Exit.OK
    assert three.at("join").code == Exit.OK


@pytest.mark.more
def test_an_edited_rows_clip_is_shown_and_that_is_said(three: Shop) -> None:
    three.write(shot(1), shot(2, prompt="another boat"), shot(3, prompt="a kite"))
    three.run("--ids", "shot1")
    said = three.at("join")
    assert said.code == Exit.OK
    assert "made before the row was edited: shot2\n" in said.err


def test_drafts_are_joined_by_themselves(shop: Shop) -> None:
    shop.fill(2)
    shop.run("--draft")
    lacking = shop.at("join")
    assert "no final clip to join: shot1 (only a draft)" in lacking.err
    assert lacking.hint == ["join", str(shop.run_folder), "--draft"]
    (film,) = shop.at("join", "--draft", "--json").lines
    assert Path(film["file"]).name == "shots.draft.mp4"
    assert not probe(Path(film["file"])).has_audio


# ── where it goes ───────────────────────────────────────────────────────────────────────────────


def test_a_film_replaces_its_predecessor_and_nothing_else(three: Shop, tmp_path: Path) -> None:
    film = tmp_path / "my film.mp4"
    assert three.at("join", "-o", str(film)).code == Exit.OK
    assert three.at("join", "-o", str(film), "--ids", "shot1").code == Exit.OK
    assert probe(film).frames == FRAMES
    strange = filmed(tmp_path / "strange.mp4", 1)
    before = strange.read_bytes()
    refused = three.at("join", "-o", str(strange))
    assert (refused.code, "is there already" in refused.err) == (Exit.USAGE, True)
    assert strange.read_bytes() == before
    for name, words in (("film.mov", "A film is an MP4"), ("nowhere/film.mp4", "does not exist")):
        wrong = three.at("join", "-o", str(tmp_path / name))
        assert (wrong.code, words in wrong.err) == (Exit.USAGE, True), wrong.err


def test_a_full_disk_leaves_no_half_film_and_the_film_before(three: Shop) -> None:
    assert three.at("join", "--ids", "shot1").code == Exit.OK
    film = three.run_folder / "films" / "shots.mp4"
    before = film.read_bytes()
    with limited(resource.RLIMIT_FSIZE, len(before)):
        full = three.at("join")
    assert full.code == Exit.USAGE
    assert "cannot be written: File too large" in full.err
    assert film.read_bytes() == before
    assert [path.name for path in film.parent.iterdir()] == [film.name]


@pytest.mark.more
def test_a_track_is_laid_under_the_clips(three: Shop, tmp_path: Path) -> None:
    track = filmed(tmp_path / "song.mp4", 1, frames=30)
    (film,) = three.at("join", "--audio", str(track), "--json").lines
    assert film["encoded_frames"] == 0
    for path in (tmp_path / "none.wav", three.manifest):
        wrong = three.at("join", "--audio", str(path))
        assert wrong.code == Exit.USAGE
        assert "cannot be used" in wrong.err


def test_a_manifest_that_was_never_run_has_no_film(shop: Shop) -> None:
    shop.write(shot(1))
    nothing = say("join", str(shop.manifest))
    assert (nothing.code, nothing.hint[0]) == (Exit.USAGE, "run")
