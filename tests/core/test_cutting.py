"""What of a clip is copied, encoded and left out, and that sound never drifts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.clip_sets import (
    PACKET,
    FilmPlan,
    How,
    PictureForm,
    Shot,
    SoundForm,
    plan_film,
)

FORM = PictureForm(1280, 720, Fraction(24), b"one", copyable=True)
SOUND = SoundForm(44_100, 2, copyable=True)
SHOT = Shot("a", FORM, frames=121, before_last=117, delay=2, sound=SOUND)


def sections(*shots: Shot) -> list[tuple[int, How, int, int, int]]:
    """A film's sections as plain tuples."""
    return [(s.shot, s.how, s.first, s.count, s.start) for s in plan_film(shots).sections]


def test_a_shared_frame_is_left_out_and_only_those_that_need_it_are_encoded() -> None:
    shared = replace(SHOT, shares_last=True)
    assert sections(shared, SHOT) == [
        (0, How.COPIED, 0, 117, 0),
        (0, How.MADE, 117, 3, 117),
        (1, How.COPIED, 0, 121, 120),
    ]
    in_order = replace(shared, before_last=120)
    assert sections(in_order, SHOT) == [(0, How.COPIED, 0, 120, 0), (1, How.COPIED, 0, 121, 120)]
    one_group = replace(shared, before_last=0)
    assert sections(one_group, SHOT) == [(0, How.MADE, 0, 120, 0), (1, How.COPIED, 0, 121, 120)]


def test_most_shots_decide_what_is_copied_and_the_first_one_how_large_the_film_is() -> None:
    odd = replace(SHOT, picture=replace(FORM, parameters=b"two"))
    film = plan_film([odd, SHOT, SHOT])
    assert [s.how for s in film.sections] == [How.MADE, How.COPIED, How.COPIED]
    small = replace(SHOT, picture=replace(FORM, width=864, height=497))
    film = plan_film([small, SHOT, SHOT])
    assert (film.width, film.height) == (864, 496)
    assert [s.how for s in film.sections] == [How.COPIED, How.MADE, How.MADE]


def test_another_rate_is_counted_at_the_films() -> None:
    fast = replace(SHOT, picture=replace(FORM, rate=Fraction(30)), frames=150, shares_last=True)
    assert sections(SHOT, fast, SHOT)[1] == (1, How.MADE, 0, 119, 121)


def test_sound_is_copied_clip_by_clip_and_made_in_one_go() -> None:
    silent, other = replace(SHOT, sound=None), replace(SHOT, sound=replace(SOUND, rate=48_000))
    film = plan_film([SHOT, silent, other, SHOT])
    assert [(s.how, s.shots) for s in film.stretches] == [
        (How.COPIED, range(1)),
        (How.MADE, range(1, 3)),
        (How.COPIED, range(3, 4)),
    ]
    assert plan_film([silent]).sound is None
    assert [s.shots for s in plan_film([SHOT, SHOT], laid_sound=True).stretches] == [range(2)]


@st.composite
def films(draw: st.DrawFn) -> FilmPlan:
    """Any film."""
    rates = st.sampled_from([Fraction(24), Fraction(30), Fraction(24_000, 1_001)])
    sounds = st.sampled_from([None, SOUND, replace(SOUND, rate=48_000)])
    forms = st.builds(
        PictureForm, st.sampled_from([1280, 864]), st.just(720), rates,
        st.sampled_from([b"1", b"2"]), st.booleans(),
    )  # fmt: skip
    shots = draw(
        st.lists(
            st.integers(1, 400).flatmap(
                lambda frames: st.builds(
                    Shot, st.just("a"), forms, st.just(frames), st.integers(0, frames - 1),
                    st.integers(0, 4), sounds, st.booleans(),
                )
            ),
            min_size=1, max_size=12,
        )
    )  # fmt: skip
    return plan_film(shots, laid_sound=draw(st.booleans()))


@given(films())
def test_sections_and_stretches_have_neither_gap_nor_overlap(film: FilmPlan) -> None:
    at = 0
    for section in film.sections:
        assert (section.start, section.count > 0) == (at, True)
        at += section.count
    assert at == film.frames
    packets = -1
    for stretch in film.stretches:
        assert stretch.first == packets
        packets = stretch.until
    if film.sound is not None:
        length = Fraction(packets * PACKET, film.sound.rate)
        assert 0 <= length - film.seconds < Fraction(PACKET, film.sound.rate)


@given(films())
def test_no_shots_sound_begins_more_than_half_a_packet_beside_its_picture(film: FilmPlan) -> None:
    for stretch in film.stretches[1:]:
        assert film.sound is not None
        begins = film.starts[stretch.shots[0]] / film.rate * film.sound.rate
        assert abs(stretch.first * PACKET - begins) <= PACKET / 2
