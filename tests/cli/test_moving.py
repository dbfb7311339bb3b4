"""A batch that is moved, renamed or saved in another format stays what was paid for."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, Shop, say, shot, write_rows


@pytest.fixture
def done(shop: Shop) -> Shop:
    """Two rows in a project of their own, bought."""
    project = replace(shop, folder=shop.folder / "project")
    project.folder.mkdir()
    project.fill(2)
    assert project.run().code == Exit.OK
    return project


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


def test_a_moved_run_folder_stands_for_the_manifest_beside_it(done: Shop) -> None:
    moved = replace(done, folder=done.folder.with_name("elsewhere"))
    shutil.move(done.folder, moved.folder)
    assert moved.run(of=moved.run_folder).code == Exit.OK
    assert len(done.tasks()) == 2


def test_a_manifest_saved_in_another_format_keeps_its_clips(done: Shop) -> None:
    workbook = done.manifest.with_suffix(".xlsx")
    pd.read_csv(done.manifest).to_excel(workbook, index=False)
    assert done.run(of=workbook).code == Exit.OK
    assert done.run(of=done.manifest).code == Exit.OK
    assert len(done.tasks()) == 2


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
    said = done.run("--set", "generate_audio=no", of=other)
    assert said.code == Exit.USAGE
    assert "belongs to the manifest" in said.err
    assert "none of these rows" in said.err
    assert len(done.tasks()) == 2
    again = say(*said.hint, "--yes")
    assert again.code == Exit.OK, again.err
    assert [task["input"]["generate_audio"] for task in done.tasks()[2:]] == [False, False]
    assert (Path(f"{done.run_folder}-2") / "results.csv").exists()


def test_the_plan_of_a_renamed_manifest_names_the_folder_that_has_its_clips(done: Shop) -> None:
    renamed = done.manifest.rename(done.folder / "shots_v2.csv")
    write_rows(renamed, [shot(1), shot(2), shot(3)])
    said = done.plan(command="plan", of=renamed)
    assert "runs/shots has 2 clips of these rows" in said.out
    *_, command = said.out.split("to go on there: ")
    there = say("run", *shlex.split(command.splitlines()[0])[2:], "--yes", *QUICK)
    assert there.code == Exit.OK, there.err
    assert len(done.tasks()) == 3


def test_a_neighbour_of_another_api_or_without_a_sound_journal_is_not_named(done: Shop) -> None:
    renamed = done.manifest.rename(done.folder / "other.csv")
    damaged = done.folder / "runs" / "damaged"
    damaged.mkdir()
    (damaged / "journal.db").write_bytes(b"no journal" * 100)
    assert "to go on there" not in say("plan", str(renamed), "--sandbox").out
