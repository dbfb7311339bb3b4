"""Finding rows: by words, by status, by choice, by the person's columns, in any order."""

from __future__ import annotations

from typing import Any

from seedance_batch.core.attempt import Phase
from seedance_batch.core.outcome import outcomes
from tests.writer.samples import attempt, every_status, row

from .conftest import Review, ids, press

SCENES = [
    row(1, prompt="A red lamp at dawn", client="Acme", scene="10"),
    row(2, prompt="A blue lamp at night", client="Lumo", scene="9"),
    row(3, prompt="Ein Fuchs im Schnee", client="Acme", scene="9"),
    row(4, prompt="雨夜的书房", client="", scene="2"),
]
COLUMNS = ("prompt", "client", "scene")


def scenes() -> list[Any]:
    phases = (Phase.DONE, Phase.FAILED, Phase.DONE, Phase.DONE)
    return outcomes(SCENES, [attempt(of, at) for of, at in zip(SCENES, phases, strict=True)])


def test_every_row_is_there_in_manifest_order_with_its_state(review: Review, tab: Any) -> None:
    found = every_status()
    review(found)
    assert [outcome.key for outcome in found] == ids(tab)
    statuses = tab.eval_on_selector_all(".card", "cards => cards.map(c => c.dataset.status)")
    assert [outcome.status.replace("_", " ") for outcome in found] == statuses
    failed = tab.locator(".card[data-status=failed]")
    assert "the prompt was refused by moderation" in failed.locator(".notice").text_content()
    assert "Next: change the prompt, then run" in failed.locator(".notice").text_content()
    assert "up to $0.71" == failed.locator("[data-part=cost]").text_content()


def test_search_finds_all_words_in_any_text_whatever_their_case(review: Review, tab: Any) -> None:
    review(scenes(), COLUMNS)
    for words, expected in {
        "LAMP": ["shot-01", "shot-02"],
        "lamp acme": ["shot-01"],
        "moderation": ["shot-02"],
        "书房": ["shot-04"],
        "shot-03": ["shot-03"],
        "nothing like it": [],
        "": ["shot-01", "shot-02", "shot-03", "shot-04"],
    }.items():
        tab.fill("#search", words)
        assert expected == ids(tab), words
    assert "4 of 4 rows" == tab.locator("#say").text_content()


def test_a_note_can_be_found_again(review: Review, tab: Any) -> None:
    review(scenes(), COLUMNS)
    press(tab, "je")
    tab.fill("#note", "Flicker in frame 40")
    tab.keyboard.press("Escape")
    tab.fill("#search", "flicker")
    assert ["shot-02"] == ids(tab)


def test_status_chips_add_up_and_show_their_counts(review: Review, tab: Any) -> None:
    review(scenes(), COLUMNS)
    tab.get_by_role("button", name="failed 1").click()
    assert ["shot-02"] == ids(tab)
    tab.get_by_role("button", name="done 3").click()
    assert 4 == len(ids(tab))
    tab.get_by_role("button", name="failed 1").click()
    assert ["shot-01", "shot-03", "shot-04"] == ids(tab)


def test_the_persons_columns_are_filters_where_they_tell_rows_apart(
    review: Review, tab: Any
) -> None:
    review(scenes(), COLUMNS)
    tab.click("#by-column summary")
    assert ["client", "scene"] == tab.eval_on_selector_all(
        "#by-column label", "labels => labels.map(l => l.firstChild.textContent)"
    )
    tab.locator("#by-column select").first.select_option(label="Acme · 2")
    assert ["shot-01", "shot-03"] == ids(tab)
    tab.locator("#by-column select").last.select_option(label="9 · 2")
    assert ["shot-03"] == ids(tab)
    tab.locator("#by-column select").first.select_option(label="(empty) · 1")
    assert [] == ids(tab)
    tab.keyboard.press("Escape")
    tab.click("#clear")
    assert 4 == len(ids(tab))


def test_rows_sort_by_our_values_and_by_the_persons_columns(review: Review, tab: Any) -> None:
    review(scenes(), COLUMNS)
    tab.select_option("#sort", label="By scene")
    assert ["shot-04", "shot-02", "shot-03", "shot-01"] == ids(tab)
    tab.select_option("#sort", label="Status")
    assert "shot-02" == ids(tab)[-1]
    tab.select_option("#sort", label="Manifest order")
    assert ["shot-01", "shot-02", "shot-03", "shot-04"] == ids(tab)


def test_filters_and_choices_work_together_and_outlive_a_reload(review: Review, tab: Any) -> None:
    review(scenes(), COLUMNS)
    press(tab, "yjjy")
    tab.fill("#search", "lamp")
    tab.get_by_role("button", name="keep 2").click()
    assert ["shot-01"] == ids(tab)
    tab.reload()
    assert ["shot-01"] == ids(tab)
    assert "lamp" == tab.input_value("#search")


def test_a_card_shows_scene_and_client_under_its_id(review: Review, tab: Any) -> None:
    of = row(1, scene="010", prompt="A cat", client="Lumo Lighting")
    review(outcomes([of], [attempt(of)]), list(of.cells))
    assert "010 · Lumo Lighting" == tab.locator(".card .own").text_content()
    assert "Filter by column" == tab.locator("#by-column summary").text_content()


def test_an_empty_run_folder_has_a_page_too(review: Review, tab: Any) -> None:
    review([])
    press(tab, "jy e")
    assert tab.locator("#none").is_visible()
