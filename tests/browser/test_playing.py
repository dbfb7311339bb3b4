"""Clips play on hover and by key, side by side, and let go of what they hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seedance_batch.core.attempt import Kind, MadeFrom, Phase
from seedance_batch.core.outcome import outcomes
from tests.writer.samples import attempt, row

from .conftest import Review, press, until

ROWS = [row(1), row(2)]
TAKES = outcomes(
    ROWS,
    [attempt(ROWS[0], kind=Kind.DRAFT), attempt(ROWS[0], number=2), attempt(ROWS[1])],
)
RUNNING = "[...document.querySelectorAll('{} video')].filter(v => v.currentTime > 0).length"


def wait_for_playing(tab: Any, where: str, count: int) -> None:
    until(tab, f"{RUNNING.format(where)} === {count}")


def test_draft_and_final_stand_side_by_side_and_play_together_on_hover(
    review: Review, tab: Any
) -> None:
    review(TAKES)
    first = tab.locator(".card").first
    assert ["Draft", "Final"] == first.locator(".badge").all_text_contents()
    draft, final = (clip.bounding_box() for clip in first.locator(".clip").all())
    assert (draft["y"], draft["height"]) == (final["y"], final["height"])
    first.locator(".clip").first.hover()
    wait_for_playing(tab, ".card:first-child", 2)
    tab.hover("#search")
    until(tab, "document.querySelectorAll('video').length === 0")


def test_space_plays_and_stops_the_current_row_only(review: Review, tab: Any) -> None:
    review(TAKES)
    press(tab, "j ")
    wait_for_playing(tab, ".card:nth-child(2)", 1)
    assert tab.evaluate("document.querySelector('video').muted")
    press(tab, "k ")
    wait_for_playing(tab, ".card:first-child", 2)
    assert 2 == tab.locator("video").count()
    press(tab, " ")
    assert 0 == tab.locator("video").count()


def test_space_plays_all_takes_of_the_large_view_and_m_lets_one_be_heard(
    review: Review, tab: Any
) -> None:
    review(TAKES)
    tab.locator(".clip").first.click()
    tab.locator("#large").focus()
    press(tab, " ")
    wait_for_playing(tab, "#large", 2)
    muted = "videos => videos.map(v => v.muted)"
    assert [True, True] == tab.eval_on_selector_all("#large video", muted)
    press(tab, "m")
    assert [True, False] == tab.eval_on_selector_all("#large video", muted)
    press(tab, " ")
    assert tab.eval_on_selector_all("#large video", "videos => videos.every(v => v.paused)")


def test_who_asks_for_less_motion_gets_none_by_hovering(review: Review, tab: Any) -> None:
    tab.emulate_media(reduced_motion="reduce")
    review(TAKES)
    tab.locator(".clip").first.hover()
    tab.wait_for_timeout(300)
    assert 0 == tab.locator("video").count()


def test_a_clip_that_is_gone_or_broken_says_so(review: Review, tab: Any) -> None:
    page = review(TAKES, open_it=False)
    (page.parent / "videos/shot-02.mp4").unlink()
    review(TAKES, clips=False)
    gone = tab.locator(".card").nth(1).locator(".clip")
    assert "the file is missing" == gone.get_attribute("data-gone")
    (page.parent / "videos/shot-01.mp4").write_bytes(b"no clip at all")
    press(tab, " ")
    tab.wait_for_selector(".clip[data-gone='this browser cannot play it']")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#large .notice:has-text('this browser cannot play it')")


def test_names_with_any_character_lead_to_their_clip(review: Review, tab: Any) -> None:
    names = [
        "50% off",
        "a#1",
        "what?",
        "a&b;c",
        "quote's",
        "夜读 🎬",
        "%2e%2e",
        "a+b=c",
        "javascript:1",
    ]
    rows = [row(number, key=name) for number, name in enumerate(names, 1)]
    review(outcomes(rows, [attempt(of) for of in rows]))
    until(tab, "[...document.querySelectorAll('.clip img')].every(i => i.naturalWidth > 0)")
    for number in range(1, len(names) + 1):
        press(tab, " ")
        wait_for_playing(tab, f".card:nth-child({number})", 1)
        press(tab, "j")


def test_a_passing_mouse_does_not_stop_what_a_key_started(review: Review, tab: Any) -> None:
    review(TAKES)
    press(tab, "j ")
    wait_for_playing(tab, ".card:nth-child(2)", 1)
    tab.locator(".card").first.locator(".prompt").hover()
    tab.hover("#search")
    assert 1 == tab.locator("video").count()


def test_a_point_and_a_comma_step_by_one_frame(review: Review, tab: Any) -> None:
    review(outcomes(ROWS[:1], [attempt(ROWS[0])]))
    tab.keyboard.press("Enter")
    until(tab, "document.querySelector('#large video').readyState >= 2")
    for keys, frames in (("...", 3), (",", 2)):
        press(tab, keys)
        at = tab.evaluate("document.querySelector('#large video').currentTime")
        assert round(at * 24) == frames
    assert tab.evaluate("document.querySelector('#large video').paused")


def test_a_chain_stands_in_a_row_is_played_through_and_says_what_is_stale(
    review: Review, tab: Any
) -> None:
    first, second, third = (
        replace(of, follows=follows)
        for of, follows in zip(map(row, (1, 2, 3)), ((), ("shot-01",), ("shot-02",)), strict=True)
    )
    source, follower = attempt(first), attempt(second)
    made_from = MadeFrom("last_frame:shot-01", source.id, "sha256:0")
    follower = replace(follower, intent=replace(follower.intent, made_from=(made_from,)))
    newer = attempt(first, number=2, id=900)
    failed = attempt(third, Phase.FAILED)
    review(outcomes([third, second, first], [source, newer, follower, failed]))
    assert "stale" == tab.locator(".card").nth(1).locator(".status").text_content()
    press(tab, "j")
    tab.keyboard.press("Enter")
    links = tab.locator("#large [data-do=link]")
    assert ["shot-01", "shot-02 (stale)", "shot-03 (failed)"] == links.all_text_contents()
    assert "Made from shot-01 final 1, which has a newer take" in str(
        tab.locator("#large [data-part=made-from]").text_content()
    )
    tab.get_by_role("button", name="Play through").click()
    until(tab, "document.querySelector('#large video')?.currentSrc.includes('shot-01')")
    until(tab, "document.querySelector('#large video').currentSrc.includes('shot-02')")
    links.first.click()
    assert "shot-01" == tab.locator("#large-id").text_content()
