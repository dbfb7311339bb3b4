"""Two thousand rows are as light as twenty, because only what is in sight is loaded."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from seedance_batch.clips.kept import KeptClips
from seedance_batch.page.marks import save_mark
from seedance_batch.page.page import write_report
from tests.benchmarks.page import sample
from tests.page.served import kept, served
from tests.writer.samples import PERSON, attempt, row

from .conftest import Review, current, ids, press, until
from .test_accessibility import findings

COUNT = 2_000
MANY = 240
LOADED = "document.querySelectorAll('img[src], video[src]').length"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of many rows."""
    folder = tmp_path_factory.mktemp("many")
    words = {"title": "storyboard", "prices_note": "Sandbox prices."}
    return write_report(KeptClips(folder), PERSON, sample(folder, MANY), **words)


def test_of_many_rows_few_are_in_the_document_and_keys_reach_all(many: Path, tab: Any) -> None:
    tab.goto(many.as_uri())
    assert len(ids(tab)) < 60
    last = tab.locator(".card").last
    told = [last.get_attribute(f"aria-{name}") for name in ("posinset", "setsize")]
    assert [str(len(ids(tab))), str(MANY)] == told
    press(tab, "j" * 70 + "y")
    assert "shot-70" == current(tab)
    assert in_sight(tab, ".card.current")
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    until(tab, "[...document.querySelectorAll('.card .id')].at(-1).textContent === 'shot-239'")
    assert len(ids(tab)) < 60
    assert [] == findings(tab)
    assert "shot-70" == current(tab), "it stays the stop of the Tab key"
    press(tab, "jn")
    assert ("shot-71", "reject") == (current(tab), mark_of_current(tab))
    assert in_sight(tab, ".card.current")
    tab.reload()
    assert ("shot-71", "reject") == (current(tab), mark_of_current(tab))
    assert in_sight(tab, ".card.current")
    press(tab, "k")
    assert "keep" == mark_of_current(tab)


def in_sight(tab: Any, what: str) -> bool:
    box = tab.locator(what).bounding_box()
    return bool(0 <= box["y"] and box["y"] + box["height"] <= 900)


def mark_of_current(tab: Any) -> str:
    return str(tab.locator(".card.current").get_attribute("data-mark"))


def test_of_many_rows_the_page_finds_and_prints_all(many: Path, tab: Any) -> None:
    tab.goto(many.as_uri())
    tab.keyboard.press("Control+f")
    tab.keyboard.type("scene 199,")
    assert ["shot-199"] == ids(tab)
    tab.fill("#search", "")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert MANY == len(ids(tab))
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(ids(tab)) < 60


def test_what_arrives_for_a_row_far_away_is_there_when_one_comes_to_it(
    profile: Any, tmp_path: Path
) -> None:
    rows = [row(number) for number in range(1, MANY + 1)]
    with kept(tmp_path / "run") as folder:
        folder.rows(rows)
        folder.add(attempt(rows[0]))
        with served(folder.path) as page, contextlib.closing(profile.new_page()) as tab:
            tab.goto(page.address)
            tab.wait_for_selector(".clip")
            folder.add(attempt(rows[-1]))
            save_mark(folder.path, rows[-1].key, "final 1", {"mark": "keep", "seen": True})
            until(tab, "document.getElementById('progress').textContent === '1 of 2 clips chosen'")
            assert rows[-1].key not in ids(tab)
            tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
            last = "[...document.querySelectorAll('.card[data-mark=keep] img')].at(-1)"
            until(tab, f"{last}?.naturalWidth > 0")
            assert rows[-1].key == ids(tab)[-1]
            seen, above = tab.locator(".card:not(.away)").nth(8), ids(tab)[2]
            name, before = seen.locator(".id").text_content(), seen.bounding_box()["y"]
            folder.add(attempt(next(of for of in rows if of.key == above)))
            until(tab, "document.getElementById('progress').textContent === '1 of 3 clips chosen'")
            held = tab.locator(".card", has=tab.get_by_text(name, exact=True))
            assert abs(held.bounding_box()["y"] - before) < 2, "what one looks at stays there"


@pytest.mark.slow
def test_of_two_thousand_rows_only_what_is_in_sight_is_loaded(
    review: Review, tab: Any, tmp_path: Path
) -> None:
    page = review(sample(tmp_path, COUNT), clips=False)
    assert page.stat().st_size < 4_000_000
    tab.wait_for_selector("img[src]")
    most = 0
    for _ in range(12):
        tab.mouse.wheel(0, 2_500)
        tab.wait_for_timeout(40)
        most = max(most, tab.evaluate(LOADED))
    print("media elements loaded at most:", most)  # noqa: T201
    assert 0 < most <= 40
    tab.fill("#search", "scene 1999,")
    assert ["shot-1999"] == ids(tab)
