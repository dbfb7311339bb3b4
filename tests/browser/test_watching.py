"""While a run goes on the page loads itself anew, and nobody loses their place by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.core.outcome import outcomes
from tests.writer.samples import attempt, row

from .conftest import VIEWPORT, Review, current, faultless_tab, press

ROWS = [row(number) for number in range(1, 41)]


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """In a profile of its own: these tests set its clock."""
    with chromium.new_context(viewport=VIEWPORT) as profile:
        yield from faultless_tab(profile)


def standing(done: int) -> list[Any]:
    phases = [Phase.DONE if number < done else Phase.IN_FLIGHT for number in range(len(ROWS))]
    return outcomes(ROWS, [attempt(of, at) for of, at in zip(ROWS, phases, strict=True)])


def test_a_watched_page_shows_news_and_keeps_marks_filters_and_place(
    review: Review, tab: Any
) -> None:
    tab.clock.install()
    review(standing(20), refresh=30)
    tab.fill("#search", "take")
    tab.keyboard.press("Escape")
    press(tab, "j" * 18 + "yj")
    top = "document.querySelector('.card.current').getBoundingClientRect().top"
    before = tab.evaluate(top)
    assert tab.evaluate("scrollY") > 500
    review(standing(30), refresh=30, open_it=False)
    with tab.expect_navigation():
        tab.clock.run_for(31_000)
    assert tab.locator("#by-status >> text=done 30").is_visible()
    assert ("take", "shot-20") == (tab.input_value("#search"), current(tab))
    assert abs(tab.evaluate(top) - before) < 3
    assert 1 == tab.locator(".card[data-mark=keep]").count()
    press(tab, "j")
    assert "shot-21" == current(tab)


def test_it_waits_for_who_writes_a_note_and_for_who_stopped_it(review: Review, tab: Any) -> None:
    loads: list[Any] = []
    tab.clock.install()
    review(standing(3), refresh=30)
    tab.on("load", lambda _: loads.append(1))
    press(tab, "je")
    tab.keyboard.type("A long")
    tab.clock.run_for(90_000)
    tab.keyboard.type(" note")
    assert "A long note" == tab.input_value("#note")
    tab.keyboard.press("Escape")
    assert [] == loads
    with tab.expect_navigation():
        tab.clock.run_for(2_000)
    tab.click("#live")
    loads.clear()
    tab.clock.run_for(90_000)
    assert [] == loads
    tab.click("#live")
    with tab.expect_navigation():
        tab.clock.run_for(2_000)


def test_a_finished_page_stays_as_it_is(review: Review, tab: Any) -> None:
    review(standing(3))
    assert tab.locator("#live").is_hidden()
