"""A film shows every frame of its clips once, with their sound where it belongs."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import av
import numpy as np
import pytest

from seedance_batch.clips.film import FilmOrder, make_film, mark_of, shot_of
from seedance_batch.clips.media import MediaUnreadable, probe
from seedance_batch.clips.soundtrack import Unheard
from seedance_batch.core.clip_sets import plan_film
from tests.clips.clips import turned
from tests.clips.filmed import (
    SIZE,
    beep,
    bytes_of_frames,
    filmed,
    frames_of,
    hum,
    joined,
    listened,
    seen,
    starts,
)


@pytest.mark.parametrize("preset", ["ultrafast", "fast"])
def test_clips_of_one_form_are_copied_byte_for_byte(preset: str, tmp_path: Path) -> None:
    paths = [filmed(tmp_path / f"{n}.mp4", n, preset=preset) for n in range(3)]
    film = joined(paths, tmp_path / "film.mp4")
    assert film.made_frames == 0
    assert seen(tmp_path / "film.mp4") == frames_of(25, 25, 25)
    copied = [each for path in paths for each in bytes_of_frames(path)]
    assert bytes_of_frames(tmp_path / "film.mp4") == copied


@pytest.mark.parametrize(("preset", "made"), [("ultrafast", 0), ("fast", 2 * 24), ("medium", 48)])
def test_the_frame_that_two_clips_share_appears_once(
    preset: str, made: int, tmp_path: Path
) -> None:
    paths = [filmed(tmp_path / f"{n}.mp4", n, preset=preset) for n in range(3)]
    film = joined(paths, tmp_path / "film.mp4", chained=True)
    assert film.made_frames <= made
    assert bool(film.made_frames) == (preset != "ultrafast")
    expected = [(n, at) for n, at in frames_of(25, 25, 25) if n == 2 or at < 24]
    assert seen(tmp_path / "film.mp4") == expected
    coded = bytes_of_frames(tmp_path / "film.mp4")
    for path, shot, start in zip(paths, film.shots, film.starts, strict=False):
        copied = min(shot.before_last, 24)
        assert coded[start : start + copied] == bytes_of_frames(path)[:copied]


def test_what_the_last_frame_is_needed_for_is_encoded_and_nothing_else(tmp_path: Path) -> None:
    paths = [filmed(tmp_path / f"{n}.mp4", n, frames=49, preset="medium") for n in range(2)]
    film = joined(paths, tmp_path / "film.mp4", chained=True)
    assert 0 < film.made_frames <= 16
    assert seen(tmp_path / "film.mp4") == [*frames_of(48), *[(1, at) for at in range(49)]]


def test_clips_of_other_forms_are_encoded_at_the_first_clips_size_with_bars(
    tmp_path: Path,
) -> None:
    odd = {
        "upright": filmed(tmp_path / "upright.mp4", 1, size=(96, 160)),
        "fast": filmed(tmp_path / "fast.mp4", 2, frames=50, fps=48),
        "web": filmed(tmp_path / "web.webm", 3, codecs=("libvpx-vp9", "libopus"), rate=48_000),
        "mono": filmed(tmp_path / "mono.mp4", 4, rate=22_050, layout="mono", preset="fast"),
        "silent": filmed(tmp_path / "silent.mp4", 5, wave=None),
    }
    first = filmed(tmp_path / "first.mp4", 0)
    film = joined([first, *odd.values(), first], tmp_path / "film.mp4")
    found = probe(tmp_path / "film.mp4")
    assert (found.width, found.height, round(found.fps), found.frames) == (*SIZE, 24, 7 * 25)
    with av.open(str(tmp_path / "film.mp4")) as container:
        frames = [f.to_ndarray()[:96] for f in container.decode(video=0)]
    upright = frames[30]
    assert upright[:, :40].max() <= 17  # the bar beside it
    assert abs(int(upright[48, 90]) - 60) < 3
    shown = seen(tmp_path / "film.mp4")
    assert [at for _, at in shown[50:75]] == list(range(0, 50, 2))  # every other frame of 48
    assert shown[75:100] == [(3, at) for at in range(25)]
    assert film.made_frames == 4 * 25  # the silent one's picture is copied
    samples, rate = listened(tmp_path / "film.mp4")
    quiet = samples[round(126.5 / 24 * rate) : round(149 / 24 * rate)]
    assert np.abs(quiet).max() < 0.002
    heard = samples[round(110 / 24 * rate) : round(120 / 24 * rate)]
    assert 0.2 < np.abs(heard).max() < 0.4


def test_a_clip_that_players_turn_is_encoded_upright(tmp_path: Path) -> None:
    stored = filmed(tmp_path / "stored.mp4", 0, size=(96, 160))
    (tmp_path / "turned.mp4").write_bytes(turned(stored.read_bytes(), 90))
    other = filmed(tmp_path / "other.mp4", 1)
    film = joined([tmp_path / "turned.mp4", other], tmp_path / "film.mp4")
    assert (film.width, film.height, film.made_frames) == (160, 96, 25)
    with av.open(str(tmp_path / "film.mp4")) as container:
        frame = list(container.decode(video=0))[10].to_ndarray()
    assert (abs(int(frame[10, 80]) - 80) < 3, abs(int(frame[86, 80]) - 40) < 3) == (True, True)
    assert seen(tmp_path / "film.mp4")[25:] == [(1, at) for at in range(25)]


# ── sound ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.cases(1)
@pytest.mark.parametrize("rates", [(44_100,), (44_100, 48_000)], ids=["copied", "encoded"])
def test_sound_keeps_to_its_picture_through_ten_clips(
    rates: tuple[int, ...], tmp_path: Path
) -> None:
    paths = [
        filmed(tmp_path / f"{n}.mp4", n, wave=beep, rate=rates[n % len(rates)]) for n in range(10)
    ]
    film = joined(paths, tmp_path / "film.mp4", chained=True)
    samples, rate = listened(tmp_path / "film.mp4")
    for number, start in enumerate(starts(film)[:-1]):
        window = samples[round(float(start) * rate) :][: round(0.9 * rate)]
        begun = int(np.argmax(np.abs(window) > 0.2)) / rate
        assert abs(begun - 0.5) < 0.02, f"clip {number}: {begun}"
    assert 0 <= len(samples) / rate - float(film.seconds) < 1 / 24


@pytest.mark.parametrize("rates", [(44_100,), (44_100, 48_000)], ids=["copied", "encoded"])
def test_no_cut_clicks(rates: tuple[int, ...], tmp_path: Path) -> None:
    paths = [
        filmed(tmp_path / f"{n}.mp4", n, frames=25 + n, rate=rates[n % len(rates)])
        for n in range(4)
    ]
    joined(paths, tmp_path / "film.mp4")
    hard, _ = listened(paths[0])
    click = np.abs(np.diff(hard, 2)).max()  # each clip begins and ends at its loudest
    samples, rate = listened(tmp_path / "film.mp4")
    assert np.abs(np.diff(samples[rate // 10 : -rate // 10], 2)).max() < click / 10


@pytest.mark.more
def test_a_track_lies_under_the_clips_sound_and_fades_out(tmp_path: Path) -> None:
    paths = [filmed(tmp_path / f"{n}.mp4", n, frames=49, wave=beep) for n in range(3)]
    track = filmed(tmp_path / "track.mp4", 9, frames=24 * 8, rate=48_000, layout="mono")
    film = joined(paths, tmp_path / "film.mp4", laid=track)
    assert film.made_frames == 0
    samples, rate = listened(tmp_path / "film.mp4")

    def loudest(begin: float, end: float) -> float:
        return float(np.abs(samples[round(begin * rate) : round(end * rate)]).max())

    assert 0.18 < loudest(0.1, 0.4) < 0.36  # the track alone
    assert 0.75 < loudest(0.5, 0.6) <= 1  # both, rounded off below the most that there is
    ending = float(film.seconds)
    assert loudest(ending - 0.05, ending) < 0.02
    assert loudest(ending - 1.2, ending - 1.0) < 0.2


def test_a_short_track_ends_and_clips_without_sound_take_one_too(tmp_path: Path) -> None:
    paths = [filmed(tmp_path / f"{n}.mp4", n, wave=None) for n in range(3)]
    track = filmed(tmp_path / "track.mp4", 9, frames=24, wave=hum)
    joined(paths, tmp_path / "film.mp4", laid=track)
    samples, rate = listened(tmp_path / "film.mp4")
    assert 0.2 < np.abs(samples[rate // 4 : rate // 2]).max() < 0.4
    assert np.abs(samples[round(1.3 * rate) :]).max() < 0.01
    with pytest.raises(Unheard):
        joined(paths, tmp_path / "film.mp4", laid=paths[0])


def test_a_film_of_silent_clips_has_no_sound(tmp_path: Path) -> None:
    paths = [filmed(tmp_path / f"{n}.mp4", n, wave=None) for n in range(2)]
    joined(paths, tmp_path / "film.mp4")
    assert not probe(tmp_path / "film.mp4").has_audio


# ── the file ────────────────────────────────────────────────────────────────────────────────────


def test_chapters_have_the_rows_names_and_the_file_says_whose_it_is(tmp_path: Path) -> None:
    paths = [filmed(tmp_path / f"{n}.mp4", n) for n in range(3)]
    joined(paths, tmp_path / "film.mp4", chained=True)
    with av.open(str(tmp_path / "film.mp4")) as container:
        told = [
            (c["metadata"]["title"], float(c["start"] * c["time_base"]))
            for c in container.chapters()
        ]
        assert container.metadata["title"] == "A film"
    assert told == [("a", 0), ("b", pytest.approx(1)), ("c", pytest.approx(2))]
    assert mark_of(tmp_path / "film.mp4") == "a test"
    assert mark_of(paths[0]) is None


def test_chapters_take_any_name_that_a_row_may_have(tmp_path: Path) -> None:
    names = ["Szene 1: „ä“", "夜读 🎬", 'a"b\\;=#', "\ud83c", "x" * 400]
    paths = [filmed(tmp_path / "0.mp4", 0)] * len(names)
    joined(paths, tmp_path / "film.mp4", names=names)
    with av.open(str(tmp_path / "film.mp4")) as container:
        told = [chapter["metadata"]["title"] for chapter in container.chapters()]
    assert told[:4] == [*names[:3], "?"]
    assert names[4].startswith(told[4])


def test_one_clip_and_one_frame_make_a_film(tmp_path: Path) -> None:
    one = filmed(tmp_path / "one.mp4", 0, frames=1)
    joined([one], tmp_path / "film.mp4")
    assert seen(tmp_path / "film.mp4") == [(0, 0)]
    joined([one, one], tmp_path / "film.mp4", chained=True)
    assert seen(tmp_path / "film.mp4") == [(0, 0), (0, 0)]


def test_a_clip_that_goes_while_a_film_is_made_is_named(tmp_path: Path) -> None:
    paths = [filmed(tmp_path / f"{n}.mp4", n) for n in range(2)]
    film = plan_film([shot_of(path, path.stem) for path in paths])
    paths[1].unlink()
    with pytest.raises(MediaUnreadable, match=r"^1: "):
        make_film(FilmOrder(film, paths, "", ""), tmp_path / "film.mp4", lambda count: None)


@pytest.mark.parametrize("share", [0.2, 0.7, 0.99])
def test_a_clip_that_was_cut_is_no_clip(share: float, tmp_path: Path) -> None:
    whole = filmed(tmp_path / "whole.mp4", 0).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(MediaUnreadable):
        shot_of(tmp_path / "cut.mp4", "a")


@pytest.mark.slow
def test_whatever_a_clip_holds_a_film_is_made_or_the_clip_is_named(tmp_path: Path) -> None:
    good = [filmed(tmp_path / f"{n}.mp4", n, preset=p) for n, p in enumerate(("fast", "ultrafast"))]
    odd, chance = tmp_path / "odd.mp4", random.Random(20)
    made = 0
    for _ in range(300):
        content = bytearray(chance.choice(good).read_bytes())
        for _ in range(chance.choice([1, 3, 20])):  # most of them where the index is
            begin = chance.choice([0, max(0, len(content) - 3_000)])
            content[chance.randrange(begin, len(content))] = chance.randrange(256)
        odd.write_bytes(content)
        with contextlib.suppress(MediaUnreadable):
            joined([good[0], odd, good[1]], tmp_path / "film.mp4", chained=chance.random() < 0.5)
            made += 1
    assert 50 < made < 290
