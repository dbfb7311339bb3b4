"""The served page in a browser: it lives, and what is chosen on it is saved for every window."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seedance_batch.batch.showing import ShareWish, shared_copy
from seedance_batch.core.attempt import Kind, Phase, TakeName
from seedance_batch.core.select import Selection
from seedance_batch.page.marks import Mark, Pick, read_marks, read_picks, save_mark
from seedance_batch.run_folder import RunFolder, held
from tests.page.served import Kept, Page, kept, served
from tests.writer.samples import attempt, row

from .conftest import VIEWPORT, emptied, press, until
from .test_accessibility import findings

ROWS = [row(number) for number in range(1, 5)]
CARD = "document.querySelectorAll('.card')[{}]"


@pytest.fixture
def tab(lasting_tab: Any, page: Page) -> Iterator[Any]:
    """Done before its server ends."""
    yield from emptied(lasting_tab)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Kept]:
    with kept(tmp_path / "run") as found:
        found.rows(ROWS)
        yield found


@pytest.fixture
def page(folder: Kept) -> Iterator[Page]:
    with served(folder.path) as found:
        yield found


def test_clips_appear_as_they_arrive_without_a_reload(folder: Kept, page: Page, tab: Any) -> None:
    (coming,) = folder.add(attempt(ROWS[1], Phase.IN_FLIGHT))
    tab.goto(page.address)
    loads: list[Any] = []
    tab.on("load", lambda _: loads.append(1))
    press(tab, "j")
    tab.fill("#search", "take")
    tab.keyboard.press("Escape")
    until(tab, f"{CARD.format(1)}.querySelector('.notice strong').textContent === 'in flight'")
    folder.become(coming, attempt(ROWS[1]).state)
    until(tab, f"{CARD.format(1)}.querySelector('img')?.naturalWidth > 0")
    assert tab.locator("#by-status >> text=done 1").is_visible()
    assert 0 == tab.locator("#by-status >> text=in flight").count()
    assert "1 clip" in str(tab.locator("#sums").text_content())
    assert "shot-02" == tab.locator(".card.current .id").text_content()
    press(tab, " ")
    until(tab, "document.querySelector('.card.current video')?.currentTime > 0")
    assert [] == loads


def test_a_take_that_arrives_leaves_what_plays_in_the_large_view_alone(
    folder: Kept, page: Page, tab: Any
) -> None:
    folder.add(attempt(ROWS[0]))
    tab.goto(page.address)
    tab.wait_for_selector(".clip")
    tab.keyboard.press("Enter")
    press(tab, " ")
    tab.evaluate("document.querySelector('#large video').dataset.mine = 'yes'")
    folder.add(attempt(ROWS[0], Phase.IN_FLIGHT, number=2, task_id="another"))
    until(tab, "document.querySelectorAll('#large figure').length === 2")
    assert tab.evaluate("document.querySelector('#large video').dataset.mine === 'yes'")


def test_marks_stars_and_notes_are_saved_at_once_and_two_windows_agree(
    folder: Kept, page: Page, tab: Any
) -> None:
    folder.add(*(attempt(of) for of in ROWS))
    other = tab.context.new_page()
    for window in (tab, other):
        window.goto(page.address)
    tab.wait_for_selector(".clip")
    press(tab, "y4jr")
    until(other, f"{CARD.format(0)}.dataset.mark === 'keep'")
    until(other, f"{CARD.format(1)}.dataset.mark === 'redo'")
    until(other, f"{CARD.format(0)}.textContent.includes('★★★★☆')")
    press(other, "jjne")
    other.keyboard.type("too <b>dark</b>")
    until(tab, f"{CARD.format(2)}.textContent.includes('too <b>dark</b>')")
    saved = {mark.key: mark for mark in read_marks(folder.path)}
    assert [Mark.KEEP, Mark.REDO, Mark.REJECT] == [saved[of.key].mark for of in ROWS[:3]]
    assert ("final 1", 4) == (saved["shot-01"].take, saved["shot-01"].stars)
    assert "too <b>dark</b>" == saved["shot-03"].note
    third = tab.context.new_page()
    third.goto(page.address)
    until(third, f"{CARD.format(2)}.dataset.mark === 'reject'")


def test_stars_are_given_by_a_click_too(folder: Kept, page: Page, tab: Any) -> None:
    folder.add(attempt(ROWS[0]))
    tab.goto(page.address)
    tab.wait_for_selector(".clip")
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="3 stars").click()
    until(tab, f"{CARD.format(0)}.textContent.includes('★★★☆☆')")


def test_the_bar_of_a_run_is_for_everybody(folder: Kept, page: Page, tab: Any) -> None:
    with held(RunFolder(folder.path)):
        folder.facts(run_open=1.0, run_rows=4)
        folder.add(attempt(ROWS[0]), attempt(ROWS[1], Phase.IN_FLIGHT))
        tab.goto(page.address)
        until(tab, "document.getElementById('course-words').textContent.startsWith('1 of 4 rows')")
        assert "left" in tab.locator("#course-words").inner_text()
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            assert [] == findings(tab)
    until(tab, "document.getElementById('course').hidden")


def test_a_server_that_ended_is_said_and_what_was_chosen_meanwhile_too(
    folder: Kept, chromium: Any
) -> None:
    folder.add(attempt(ROWS[0]))
    with chromium.new_context(viewport=VIEWPORT) as profile:
        tab = profile.new_page()
        with served(folder.path) as page:
            tab.goto(page.address)
            tab.wait_for_selector(".clip")  # all of the page is there
        until(tab, "!document.getElementById('gone').hidden")
        press(tab, "y")
        until(tab, "document.getElementById('trouble').textContent.includes('Not saved yet: 1')")


def given(*words: str, at: Path) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: the browser's tools keep an event loop in this one."""
    command = [sys.executable, "-m", "seedance_batch", *words]
    return subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)


def test_each_command_works_when_it_is_pasted_and_costs_what_the_page_said(
    chromium: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "it's.csv").write_text("id,Text\na,A paper boat\nb,A kite in the wind\n")
    (tmp_path / "fast.yaml").write_text("generation_time: '0'\nclips: plain\n")
    flags = ["--sandbox", "--sandbox-config", "fast.yaml", "--poll-interval", "0.1", "-q"]
    run = given(
        "run",
        "it's.csv",
        *flags,
        "--draft",
        "--set",
        "aspect_ratio=9:16",
        "--map",
        "prompt=Text",
        at=tmp_path,
    )
    assert 0 == run.returncode, run.stderr
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "it's-sandbox"
    with chromium.new_context(viewport=VIEWPORT) as profile, served(folder) as page:
        tab = profile.new_page()
        tab.goto(page.address)
        press(tab, "yjr")
        tab.click("#go-on")
        words = tab.locator("#next .command [data-part=words]").all_text_contents()
        commands = tab.locator("#next code").all_text_contents()
        while len(read_marks(folder)) < 2:
            tab.wait_for_timeout(25)
        tab.close()
    assert ["promote", "rerun"] == [shlex.split(command)[1] for command in commands]
    for command, said in zip(commands, words, strict=True):
        planned = given(*shlex.split(command)[1:], "--dry-run", "--json", at=tmp_path)
        assert 0 == planned.returncode, planned.stderr
        cost = float(json.loads(planned.stdout.splitlines()[-1])["new_cost_usd"])
        assert f", 1 row, about ${cost:.2f}: " in said
        assert "--set aspect_ratio=9:16" in command


@pytest.mark.more
def test_rows_of_other_flags_have_commands_of_their_own_also_where_ids_hold_commas(
    chromium: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 'id,prompt\n"boat, dawn",A paper boat\n"5"" kite, dusk",A kite\nc,A lamp\n'
    (tmp_path / "shots.csv").write_text(rows)
    (tmp_path / "fast.yaml").write_text("generation_time: '0'\nclips: plain\n")
    flags = ["--sandbox", "--sandbox-config", "fast.yaml", "--poll-interval", "0.1", "-q"]
    for chosen, ratio in (("1,2", "9:16"), ("3", "1:1")):
        more = ["--rows", chosen, "--set", f"aspect_ratio={ratio}", "--draft"]
        run = given("run", "shots.csv", *flags, *more, at=tmp_path)
        assert 0 == run.returncode, run.stderr
    monkeypatch.chdir(tmp_path)
    with chromium.new_context(viewport=VIEWPORT) as profile:
        tab = profile.new_page()
        with served(tmp_path / "runs" / "shots-sandbox") as page:
            tab.goto(page.address)
            press(tab, "yjyjy")
            tab.click("#go-on")
            commands = tab.locator("#next code").all_text_contents()
            while len(read_marks(tmp_path / "runs" / "shots-sandbox")) < 3:
                tab.wait_for_timeout(25)
        tab.close()
    planned = [given(*shlex.split(each)[1:], "--dry-run", at=tmp_path) for each in commands]
    assert [0, 0] == [each.returncode for each in planned], [each.stderr for each in planned]
    assert [2, 1] == [int("2 rows" in each.stdout) + 1 for each in planned]


def test_what_a_client_chose_on_a_copy_comes_back_as_a_list(
    folder: Kept, chromium: Any, tmp_path: Path
) -> None:
    folder.add(*(attempt(of) for of in ROWS))
    save_mark(folder.path, "shot-02", "final 1", {"mark": "keep", "seen": True})
    copy = tmp_path / "copy"
    wish = ShareWish(Selection(), prompts=False, costs=False)
    shared_copy(RunFolder(folder.path), folder.journal, copy, wish)
    with chromium.new_context(viewport=VIEWPORT) as profile:
        tab = profile.new_page()
        tab.goto((copy / "index.html").as_uri())
        until(tab, f"{CARD.format(1)}.dataset.mark === 'keep'")
        until(tab, f"{CARD.format(0)}.querySelector('img')?.naturalWidth > 0")
        press(tab, "r3")
        with tab.expect_download() as waiting:
            tab.click("#export")
        waiting.value.save_as(tmp_path / "picks.csv")
        assert "Send it to whom this page is from" in tab.locator("#next").inner_text()
        assert 0 == tab.locator("#next code").count()
    take = TakeName(Kind.FINAL, 1)
    assert [
        Pick("shot-01", Mark.REDO, "", take, 3),
        Pick("shot-02", Mark.KEEP, "", take),
    ] == read_picks(tmp_path / "picks.csv")
