"""A batch that is moved, renamed or saved in another format stays what was paid for."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, Said, Shop, say, shot
from tests.service import serving, write_rows


@pytest.fixture
def done(shop: Shop) -> Shop:
    """Two rows in a project of their own, bought."""
    project = replace(shop, folder=shop.folder / "project")
    project.folder.mkdir()
    project.fill(2)
    assert project.run().code == Exit.OK
    return project


@pytest.mark.cases(1)
@pytest.mark.parametrize("deed", ["move", "copy"])
def test_a_project_that_is_moved_or_copied_goes_on_where_it_was(done: Shop, deed: str) -> None:
    there = done.folder.with_name("elsewhere")
    (shutil.move if deed == "move" else shutil.copytree)(done.folder, there)
    moved = replace(done, folder=there)
    assert moved.run().code == Exit.OK
    assert len(done.tasks()) == 2
    moved.fill(3)
    for source in (moved.manifest, moved.run_folder):
        assert moved.run(of=source).code == Exit.OK
        assert len(done.tasks()) == 3
    assert moved.statuses() == ["done"] * 3


@pytest.mark.more
def test_a_run_folder_stands_for_the_manifest_beside_it(done: Shop) -> None:
    """Also where the one that it was made from is still there, as after a copy."""
    copy = replace(done, folder=done.folder.with_name("copy"))
    shutil.copytree(done.folder, copy.folder)
    done.write(shot(1), shot(2), shot(8), shot(9))
    copy.fill(3)
    assert copy.run(of=copy.run_folder).code == Exit.OK
    assert done.prompts() == [shot(n)["prompt"] for n in (1, 2, 3)]


def test_a_sheet_that_is_fed_back_after_a_move_finds_the_files_beside_the_manifest(
    shop: Shop,
) -> None:
    project = replace(shop, folder=shop.folder / "project")
    (project.folder / "frames").mkdir(parents=True)
    Image.new("RGB", (864, 496), "navy").save(project.folder / "frames" / "one.png")
    project.write(shot(1, first_frame_url="frames/one.png"))
    assert project.run().code == Exit.OK
    moved = replace(project, folder=shop.folder / "elsewhere")
    shutil.move(project.folder, moved.folder)
    said = moved.run(of=moved.run_folder / "results.csv")
    assert said.code == Exit.OK, said.err
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_a_manifest_saved_in_another_format_keeps_its_clips(done: Shop) -> None:
    workbook = done.manifest.with_suffix(".xlsx")
    pd.read_csv(done.manifest).to_excel(workbook, index=False)
    assert done.run(of=workbook).code == Exit.OK
    assert done.run(of=done.manifest).code == Exit.OK
    assert len(done.tasks()) == 2


@pytest.mark.more
def test_a_renamed_manifest_with_every_row_edited_is_the_same_while_its_ids_are(
    done: Shop,
) -> None:
    renamed = done.manifest.rename(done.folder / "final.csv")
    write_rows(renamed, [shot(n, prompt=f"a kite, number {n}") for n in (1, 2)])
    said = done.run("--out", str(done.run_folder), of=renamed)
    assert said.code == Exit.OK, said.err
    assert {line["attempts"] for line in done.results()} == {"2"}


def test_another_manifest_is_refused_and_the_hint_buys_it_into_a_folder_of_its_own(
    done: Shop,
) -> None:
    other = done.folder / "shots.tsv"
    pd.DataFrame([shot(7), shot(8)]).to_csv(other, sep="\t", index=False)
    said = done.run("--set", "generate_audio=no", "--class", "transient", of=other, command="rerun")
    assert said.code == Exit.USAGE
    assert "belongs to the manifest" in said.err
    assert "asks for other clips" in said.err
    assert len(done.tasks()) == 2
    again = say(*said.hint, "--yes")
    assert again.code == Exit.OK, again.err
    assert [task["input"]["generate_audio"] for task in done.tasks()[2:]] == [False, False]
    assert (Path(f"{done.run_folder}-2") / "results.csv").exists()


@pytest.mark.more
def test_flags_that_were_left_out_make_no_other_manifest_of_another_format(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run("--set", "seed=7").code == Exit.OK
    workbook = shop.manifest.with_suffix(".xlsx")
    pd.read_csv(shop.manifest).to_excel(workbook, index=False)
    said = shop.run(of=workbook)
    assert said.code == Exit.OK, said.err
    assert len(shop.tasks()) == 2


def test_a_run_that_nobody_agreed_to_leaves_the_folder_to_its_manifest(done: Shop) -> None:
    other = done.folder / "other.csv"
    write_rows(other, [shot(1), shot(7)])
    out = ("--out", str(done.run_folder))
    assert say("run", str(other), "--api-url", done.service.api_url, *out).code == Exit.USAGE
    assert done.run(of=done.run_folder).code == Exit.OK
    assert len(done.tasks()) == 2


@pytest.mark.more
def test_a_table_from_a_pipe_does_not_take_a_folder_from_its_file(
    done: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with done.manifest.open() as table:
        monkeypatch.setattr("sys.stdin", table)
        assert done.run("--out", str(done.run_folder), of=Path("-")).code == Exit.OK
    done.write(*(shot(n, prompt=f"a kite, number {n}") for n in (1, 2)))
    assert done.run(of=done.run_folder).code == Exit.OK
    assert len(done.tasks()) == 4


def command_in(said: Said) -> list[str]:
    """The words of the command that leads to the other folder."""
    *_, command = (said.out + said.err).split("to continue there: ")
    return shlex.split(command.splitlines()[0])[1:]


@pytest.mark.cases(1)
@pytest.mark.parametrize("flags", [[], ["--draft"]], ids=["finals", "drafts"])
def test_the_plan_of_a_renamed_manifest_names_the_folder_that_bought_its_rows(
    shop: Shop, flags: list[str]
) -> None:
    shop.fill(2)
    assert shop.run(*flags).code == Exit.OK
    renamed = shop.manifest.rename(shop.folder / "shots_v2.csv")
    # Of drafts the same is asked at any size.
    write_rows(renamed, [shot(n, resolution="720p" if flags else "480p") for n in (1, 2, 3)])
    said = shop.plan(*flags, of=renamed)
    assert "runs/shots has bought 2 of these rows" in said.out
    there = say("run", *command_in(said)[1:], "--yes", *QUICK)
    assert there.code == Exit.OK, there.err
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_the_folder_that_bought_its_rows_is_named_whichever_way_one_asks(done: Shop) -> None:
    renamed = done.manifest.rename(done.folder / "shots_v2.csv")
    write_rows(renamed, [shot(1), shot(2), shot(3)])
    assert "to continue there" in done.plan("--json", of=renamed).err
    said = done.run("--ids", "shot3", of=renamed)
    assert said.err == ""  # nothing of what it buys is there
    said = done.run("--dry-run", of=done.folder / "runs" / "shots_v2")
    assert Path(command_in(said)[1]).name == "shots_v2.csv"  # a folder would stay where it is
    there = say(*command_in(said), "--dry-run")
    assert there.code == Exit.OK, there.err
    assert "done            2 rows" in there.out
    assert "to continue there" in done.run("--out", str(done.folder / "runs/new"), of=renamed).err


def test_a_folder_whose_manifest_is_still_there_is_named_and_nobody_is_sent_to_it(
    done: Shop,
) -> None:
    second = done.folder / "second.csv"
    write_rows(second, [shot(1), shot(1, id="twin"), shot(8)])
    said = done.plan(of=second)
    assert "runs/shots has bought 1 of these rows; --out " in said.out
    assert "would continue there, instead of project/shots.csv." in said.out


@pytest.mark.more
def test_ids_alone_do_not_make_a_living_manifest_give_up_its_folder(done: Shop) -> None:
    workbook = done.manifest.with_suffix(".xlsx")
    rows = [shot(n, prompt=f"a kite, number {n}") for n in (1, 2)]
    pd.DataFrame(rows).to_excel(workbook, index=False)
    said = done.run(of=workbook)
    assert said.code == Exit.USAGE
    assert "asks for other clips" in said.err
    assert len(done.tasks()) == 2


@pytest.mark.more
def test_a_run_folder_knows_its_manifest_among_others_of_its_name(done: Shop) -> None:
    january = done.folder / "january"
    january.mkdir()
    write_rows(january / "shots.csv", [shot(1), shot(5)])
    out = done.folder / "runs" / "january"
    assert done.run("--again", "--out", str(out), of=january / "shots.csv").code == Exit.OK
    for source in (out, out / "results.csv"):
        assert done.run(of=source).code == Exit.OK
        assert len(done.tasks()) == 4
    shutil.move(done.folder, done.folder.with_name("moved"))
    moved = done.folder.with_name("moved")
    write_rows(moved / "january" / "shots.csv", [shot(1), shot(5), shot(6)])
    assert done.run(of=moved / "runs" / "january").code == Exit.OK
    assert done.prompts()[4:] == [shot(6)["prompt"]]


def test_a_folder_where_nobody_agreed_to_a_run_is_free(shop: Shop) -> None:
    shop.fill(1)
    out = ("--out", str(shop.run_folder))
    assert say("run", str(shop.manifest), "--api-url", shop.service.api_url).code == Exit.USAGE
    other = shop.folder / "other.csv"
    write_rows(other, [shot(7)])
    assert shop.run(*out, of=other).code == Exit.OK
    assert len(shop.tasks()) == 1


def test_a_task_in_flight_under_the_former_name_is_not_forgotten(shop: Shop) -> None:
    shop.fill(2)
    with shop.service.having(generation_time="30"):
        assert shop.run("--wait", "0.5").code == Exit.UNFINISHED
    renamed = shop.manifest.rename(shop.folder / "shots_v2.csv")
    assert "runs/shots has bought 2 of these rows" in shop.plan(of=renamed).out


def test_a_neighbour_of_another_api_or_without_a_sound_journal_is_not_named(done: Shop) -> None:
    renamed = done.manifest.rename(done.folder / "other.csv")
    damaged = done.folder / "runs" / "damaged"
    damaged.mkdir()
    (damaged / "journal.db").write_bytes(b"no journal" * 100)
    assert "to continue there" not in say("plan", str(renamed), "--sandbox").out


@pytest.mark.more
def test_a_run_folder_of_another_api_leads_to_its_manifest_in_a_folder_of_its_own(
    done: Shop,
) -> None:
    with serving() as other:
        said = say("run", str(done.run_folder), "--api-url", other.api_url, *QUICK, "--yes")
        assert said.code == Exit.USAGE
        assert say(*said.hint, "--yes").code == Exit.OK
        assert len(other.tasks(done.key)) == 2
