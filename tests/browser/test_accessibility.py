"""The page can be used by everybody: axe finds nothing serious, and a keyboard is enough."""

from __future__ import annotations

from typing import Any

import pytest

from seedance_batch.core.outcome import outcomes
from tests.writer.samples import attempt, every_status, row

from .conftest import Review, press, until

VIEWS = [("light", 1280), ("dark", 390)]


def findings(tab: Any) -> list[str]:
    """What axe says is wrong, of any weight: rule, element."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    result = axe.Axe().run(tab)
    return [
        f"{found['impact']}: {found['id']}: {node['html']}"
        for found in result.response["violations"]
        for node in found["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "width"), VIEWS)
def test_axe_finds_nothing(review: Review, tab: Any, scheme: str, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 1_000})
    tab.emulate_media(color_scheme=scheme)
    review(every_status(), refresh=600)
    press(tab, "jjjjjyjne")
    tab.fill("#note", "a note")
    assert [] == findings(tab)
    tab.keyboard.press("Escape")
    tab.click("#by-column summary" if width < 660 else ".keys summary")
    assert [] == findings(tab)
    tab.click("#export")
    assert tab.locator("#next").is_visible()
    assert [] == findings(tab)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_nothing_sticks_out_sideways_at_any_width(review: Review, tab: Any) -> None:
    long = row(20, key="a" * 150, prompt="b" * 400, client="c" * 200)
    found = [*every_status(), *outcomes([long], [attempt(long, error_message="d" * 300)])]
    review(found, title="e" * 100)
    for width in (320, 390, 820, 1280, 2560):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        tab.locator(".card .id").last.click()
        assert tab.evaluate("document.querySelector('#large').scrollWidth <= innerWidth"), width
        tab.keyboard.press("Escape")


def test_tab_reaches_every_control_and_stops_in_the_sheet_once(review: Review, tab: Any) -> None:
    rows = [row(number) for number in range(1, 21)]
    review(outcomes(rows, [attempt(of) for of in rows]))
    stops = []
    for _ in range(40):
        tab.keyboard.press("Tab")
        stop = tab.evaluate("document.activeElement.closest('.card, #filters, .top')?.className")
        if stop is None:
            break
        stops.append(stop or "filters")
    assert "top" == stops[0]
    assert "filters" in stops
    assert 1 + 5 == stops.count("card current")  # the card, its picture, its name, three marks


def test_focus_is_seen_goes_into_the_large_view_and_comes_back(review: Review, tab: Any) -> None:
    rows = [row(number) for number in range(1, 21)]
    review(outcomes(rows, [attempt(of) for of in rows]))
    press(tab, "jjjjjjjjjj")
    assert "solid" == tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    box = tab.locator(".card.current").bounding_box()
    header = tab.locator(".top").bounding_box()
    assert header["y"] + header["height"] <= box["y"]
    assert box["y"] + box["height"] <= 900
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.querySelector('#large').contains(document.activeElement)")
    tab.keyboard.press("Escape")
    until(tab, "document.activeElement.matches('.card.current')")


def test_landmarks_and_names_are_there_for_a_screen_reader(review: Review, tab: Any) -> None:
    review(every_status())
    for role in ("banner", "search", "main", "contentinfo"):
        assert 1 == tab.get_by_role(role).count(), role
    assert 11 == tab.get_by_role("main").get_by_role("listitem").count()
    assert 1 == tab.get_by_role("group", name="Mark shot-06").count()
    assert tab.get_by_role("button", name="Enlarge shot-06, Draft").is_visible()
    assert "status" == tab.locator("#say").get_attribute("role")
