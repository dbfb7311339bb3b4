"""Marks and notes: by key and by button, kept over a reload, exported for `read_picks`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from seedance_batch.core.attempt import Attempt, Kind, Phase, TakeName
from seedance_batch.core.outcome import RowRecord, outcomes
from seedance_batch.page.marks import Mark, Pick, read_picks
from tests.writer.samples import attempt, row

from .conftest import Review, current, ids, press, until

ROWS = [row(number) for number in range(1, 7)]
FINAL = TakeName(Kind.FINAL, 1)
MADE = outcomes(ROWS, [attempt(of) for of in ROWS])


def progress(tab: Any) -> str:
    return str(tab.locator("#progress").text_content())


def marks(tab: Any) -> list[str]:
    found: list[str] = tab.eval_on_selector_all(".card", "cards => cards.map(c => c.dataset.mark)")
    return found


def export(tab: Any, folder: Path) -> list[Pick]:
    with tab.expect_download() as waiting:
        tab.click("#export")
    assert "picks.csv" == waiting.value.suggested_filename
    waiting.value.save_as(folder / "picks.csv")
    return read_picks(folder / "picks.csv")


def test_j_and_k_move_through_the_rows_and_stop_at_both_ends(review: Review, tab: Any) -> None:
    review(MADE)
    assert "shot-01" == current(tab)
    press(tab, "jj")
    assert "shot-03" == current(tab)
    assert tab.evaluate("document.activeElement.classList.contains('current')")
    press(tab, "kkkkk")
    assert "shot-01" == current(tab)
    press(tab, "jjjjjjjjj")
    assert "shot-06" == current(tab)


def test_the_first_j_leaves_the_outlined_card_so_that_no_mark_is_shifted(
    review: Review, tab: Any
) -> None:
    review(MADE)
    press(tab, "yjnjr")
    assert ["keep", "reject", "redo", "", "", ""] == marks(tab)


def test_y_n_and_r_mark_a_row_and_the_same_key_takes_it_back(review: Review, tab: Any) -> None:
    review(MADE)
    press(tab, "yjnjrjyy")
    assert ["keep", "reject", "redo", "", "", ""] == marks(tab)
    assert "3 of 6 clips chosen" == progress(tab)
    assert "shot-04: no choice. 3 of 6 clips chosen" == tab.locator("#say").text_content()


def test_a_key_held_down_marks_once(review: Review, tab: Any) -> None:
    review(MADE)
    for _ in range(4):
        tab.keyboard.down("y")
    tab.keyboard.up("y")
    assert "keep" == marks(tab)[0]


def test_a_click_marks_its_own_row(review: Review, tab: Any) -> None:
    review(MADE)
    tab.get_by_role("group", name="Mark shot-05").get_by_role("button", name="Keep").click()
    assert ["", "", "", "", "keep", ""] == marks(tab)
    assert "shot-05" == current(tab)


def test_marks_and_notes_survive_a_reload(review: Review, tab: Any) -> None:
    review(MADE)
    press(tab, "yjne")
    tab.fill("#note", "too dark")
    tab.reload()
    tab.wait_for_selector(".card[data-mark=reject]")  # the browser writes a moment later
    assert ["keep", "reject", "", "", "", ""] == marks(tab)
    assert "too dark" == tab.locator(".card .note").nth(1).text_content()
    press(tab, "e")
    assert "too dark" == tab.input_value("#note")


def test_marks_belong_to_their_run_folder_even_when_it_moves(
    review: Review, tab: Any, tmp_path: Path
) -> None:
    page = review(MADE, folder_id="first")
    press(tab, "y")
    tab.wait_for_timeout(300)  # the browser writes a moment later
    moved = tmp_path / "moved.html"
    moved.write_bytes(page.read_bytes())
    tab.goto(moved.as_uri())
    assert "keep" == marks(tab)[0]
    review(MADE, folder_id="second")
    assert "" == marks(tab)[0]


def test_a_new_clip_asks_again_and_an_old_redo_is_not_exported(
    review: Review, tab: Any, tmp_path: Path
) -> None:
    review(MADE)
    press(tab, "rjy")
    again = attempt(ROWS[0], number=2)
    assert again.state.clip
    clip = replace(again.state.clip, file="videos/shot-01.take2.mp4")
    newer = replace(again, state=replace(again.state, clip=clip))
    review(outcomes(ROWS, [*(attempt(of) for of in ROWS), newer]))
    assert ["", "keep", "", "", "", ""] == marks(tab)
    assert "redo, for an earlier clip" == tab.locator(".card .note").first.text_content()
    assert [Pick("shot-02", Mark.KEEP, "", FINAL)] == export(tab, tmp_path)


def test_the_exported_picks_are_what_was_chosen(review: Review, tab: Any, tmp_path: Path) -> None:
    review(MADE)
    press(tab, "yjjnjre")
    tab.fill("#note", 'Warmer, "please"\nand slower')
    tab.keyboard.press("Escape")
    press(tab, "je")
    tab.fill("#note", "ask the client")
    tab.keyboard.press("Escape")
    assert [
        Pick("shot-01", Mark.KEEP, "", FINAL),
        Pick("shot-03", Mark.REJECT, "", FINAL),
        Pick("shot-04", Mark.REDO, 'Warmer, "please"\nand slower', FINAL),
        Pick("shot-05", None, "ask the client", FINAL),
    ] == export(tab, tmp_path)
    assert tab.locator("#next").is_visible()


def test_a_mark_is_exported_with_the_take_that_it_was_made_of(
    review: Review, tab: Any, tmp_path: Path
) -> None:
    takes = [attempt(ROWS[0], number=1, id=1), attempt(ROWS[0], number=2, id=2)]
    draft = attempt(ROWS[1], kind=Kind.DRAFT, number=3)
    failed = attempt(ROWS[2], Phase.FAILED)
    review(outcomes(ROWS[:3], [*takes, draft, failed]))
    press(tab, "rjrjr")
    assert [TakeName(Kind.FINAL, 2), TakeName(Kind.DRAFT, 3), FINAL] == [
        pick.take for pick in export(tab, tmp_path)
    ]


def test_after_the_export_each_command_names_the_folder_where_the_page_lies(
    review: Review, tab: Any, tmp_path: Path
) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    draft = attempt(ROWS[0], kind=Kind.DRAFT)
    page = review(outcomes(ROWS, [draft, *(attempt(of) for of in ROWS[1:])]), clips=False)
    moved = tmp_path / "Kunde's $HOME 夜" / page.name
    moved.parent.mkdir()
    page.rename(moved)
    assert str(tmp_path) not in moved.read_text("utf-8")
    tab.goto(moved.as_uri())
    press(tab, "y")
    export(tab, tmp_path)
    assert 1 == tab.locator("#next code:visible").count()
    press(tab, "jr")
    export(tab, tmp_path)
    assert "downloads folder" in tab.locator("#next").text_content()
    copied = []
    for button in tab.locator("#next button").all():
        button.click()
        copied.append(shlex.split(tab.evaluate("navigator.clipboard.readText()")))
    assert [
        ["seedance-batch", command, str(moved.parent), "--from", "picks.csv"]
        for command in ("promote", "rerun")
    ] == copied
    tab.keyboard.press("Escape")
    assert not tab.locator("#next").is_visible()


def test_without_a_mark_nothing_is_exported_and_the_page_says_so(review: Review, tab: Any) -> None:
    review(MADE)
    saved: list[Any] = []
    tab.on("download", lambda file: saved.append(file))
    tab.click("#export")
    tab.wait_for_timeout(200)
    assert (
        "Nothing is marked yet, so nothing was saved."
        == tab.locator("#next p:visible").inner_text()
    )
    assert [] == saved


RISKY = (
    "=1+1",
    "''=1",
    "\u00a0@x",
    "＝SUM(A1)",
    "-1,5e3",
    "+x",
    "\tx",
    'say "x"',
    "-٣",
    "夜读 🎬",
    "1\n2",
)


def test_no_exported_cell_is_a_formula_and_every_one_comes_back_exactly(
    review: Review, tab: Any, tmp_path: Path
) -> None:
    rows = [row(number, key=key) for number, key in enumerate((*RISKY, "__proto__"), 1)]
    review(outcomes(rows, map(attempt_named_plainly, rows)))
    notes = [*RISKY[::-1], "'quoted'"]
    for note in notes:
        press(tab, "ye")
        tab.fill("#note", note)
        tab.keyboard.press("Escape")
        press(tab, "j")
    expected = [Pick(of.key, Mark.KEEP, note, FINAL) for of, note in zip(rows, notes, strict=True)]
    assert expected == export(tab, tmp_path)
    cells = (tmp_path / "picks.csv").read_text("utf-8-sig").replace("\r\n", ",").split('","')
    assert [] == [cell for cell in cells if cell.lstrip('" \u00a0').startswith(tuple("=@＝+\t"))]


def attempt_named_plainly(of: RowRecord) -> Attempt:
    """Its clip's name is its number, whatever its id is."""
    made = attempt(of)
    assert made.state.clip
    clip = replace(made.state.clip, file=f"videos/{of.number}.mp4")
    return replace(made, state=replace(made.state, clip=clip))


def test_a_row_without_a_clip_can_be_redone_but_not_kept(review: Review, tab: Any) -> None:
    review(outcomes(ROWS[:1], [attempt(ROWS[0], Phase.FAILED)]))
    press(tab, "y")
    assert [""] == marks(tab)
    assert "shot-01 has no clip to keep" == tab.locator("#say").text_content()
    assert tab.locator(".card [data-mark=keep]").is_disabled()
    press(tab, "r")
    assert ["redo"] == marks(tab)
    assert "0 of 0 clips chosen" == progress(tab)


def test_what_is_left_to_choose_shrinks_and_the_next_row_takes_over(
    review: Review, tab: Any
) -> None:
    review(MADE)
    tab.get_by_role("button", name="to choose 6").click()
    press(tab, "jy")
    assert ["shot-01", "shot-03", "shot-04", "shot-05", "shot-06"] == ids(tab)
    assert "shot-03" == current(tab)
    press(tab, "yyyy")
    assert ["shot-01"] == ids(tab)
    press(tab, "n")
    assert [] == ids(tab)
    assert tab.locator("#none").is_visible()


def test_another_tab_of_the_same_page_sees_a_mark_at_once(review: Review, tab: Any) -> None:
    page = review(MADE)
    other = tab.context.new_page()
    other.goto(page.as_uri())
    press(other, "yj")
    tab.wait_for_selector(".card[data-mark=keep]")
    press(tab, "jn")
    other.wait_for_selector(".card[data-mark=reject]")
    assert ["keep", "reject", "", "", "", ""] == marks(other) == marks(tab)


def test_a_browser_that_keeps_nothing_says_so_and_still_exports(
    review: Review, tab: Any, tmp_path: Path
) -> None:
    page = review(MADE, open_it=False)
    other = tab.context.new_page()
    other.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage'])"
        " Object.defineProperty(window, name, { get() { throw new Error('denied') } })"
    )
    other.goto(page.as_uri())
    press(other, "yjn")
    assert "does not save your choices" in other.locator("#trouble").text_content()
    assert ["keep", "reject"] == [str(pick.mark) for pick in export(other, tmp_path)]


def test_keys_can_be_switched_off_and_do_nothing_while_one_writes(review: Review, tab: Any) -> None:
    review(MADE)
    tab.fill("#search", "shot")
    press(tab, "yj")
    assert "shotyj" == tab.input_value("#search")
    tab.fill("#search", "")
    tab.click(".keys summary")
    tab.uncheck("#keys")
    tab.keyboard.press("Escape")
    press(tab, "yj")
    assert [""] * 6 == marks(tab)


def test_keys_work_on_a_keyboard_of_another_script(review: Review, tab: Any) -> None:
    review(MADE)
    for key, code in (("о", "KeyJ"), ("н", "KeyY")):
        event = f"new KeyboardEvent('keydown', {{ key: '{key}', code: '{code}', bubbles: true }})"
        tab.evaluate(f"document.activeElement.dispatchEvent({event})")
    assert ["", "keep"] == marks(tab)[:2]


def test_the_large_view_moves_and_marks_each_take_by_itself(
    review: Review, tab: Any, tmp_path: Path
) -> None:
    of = ROWS[1]
    drafts = [attempt(of, kind=Kind.DRAFT, number=n, id=n) for n in (7, 8)]
    first, second = attempt(of), attempt(of, number=2)
    review(
        outcomes(
            ROWS, [*(attempt(each) for each in ROWS if each is not of), *drafts, first, second]
        )
    )
    tab.keyboard.press("Enter")
    press(tab, "yj")
    assert "shot-02" == tab.locator("#large-id").text_content()
    names = ["Draft 1", "Draft 2", "Final 1", "Final 2"]
    assert names == tab.locator("#large figcaption strong").all_text_contents()
    assert "2 of 6 · done" in tab.locator("#large [data-part=place]").text_content()
    takes = tab.locator("#large figure")
    takes.last.get_by_role("button", name="Reject").click()
    assert "for Final 2" == tab.locator("#large [data-part=of]").text_content()
    tab.keyboard.press("ArrowLeft")
    press(tab, "y4r")  # another take of it is there already: nothing to redo
    assert "A newer take is there" in str(tab.locator("#say").text_content())
    assert takes.nth(2).get_by_role("button", name="Redo").is_disabled()
    tab.fill("#note", "this one")
    tab.keyboard.press("Escape")
    tab.keyboard.press("Enter")
    takes.nth(1).get_by_role("button", name="Redo").click()
    tab.keyboard.press("Escape")
    card = tab.locator(".card").nth(1)
    assert "keeps Final 1" == card.locator(".note").text_content()
    assert ["Draft 2 ↻", "Final 1 ✓", "Final 2 ✕"] == card.locator(".badge").all_text_contents()
    assert "2 of 6 clips chosen" == progress(tab)
    assert ["keep", "reject"] == marks(tab)[:2]
    assert "shot-02" == current(tab)
    until(tab, "document.querySelectorAll('#large video').length === 0")
    assert [
        Pick("shot-01", Mark.KEEP, "", FINAL),
        Pick("shot-02", Mark.REDO, "", TakeName(Kind.DRAFT, 8)),
        Pick("shot-02", Mark.KEEP, "this one", FINAL, 4),
        Pick("shot-02", Mark.REJECT, "", TakeName(Kind.FINAL, 2)),
    ] == export(tab, tmp_path)
    commands = tab.locator("#next code").all_text_contents()
    assert [["--draft", "--from", "picks.csv"]] == [shlex.split(each)[3:] for each in commands]
