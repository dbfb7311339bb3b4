"""Our own results sheets are manifests too: they order the clips of the manifest they tell of."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedance_batch.core.manifest import Manifest
from seedance_batch.core.outcome import Outcome, RowRecord, Status, outcomes
from seedance_batch.reader.read import grouped, read_manifest
from seedance_batch.writer.files import SheetSource, write_sheets
from tests.reader.sheets import is_prompt

from .sheets import write_csv

MANIFESTS = Path(__file__).parent.parent.parent / "manifests"
SHEETS = ("results.csv", "results.xlsx", "results.jsonl")


def results_of(
    manifest: Manifest, folder: Path, more: Sequence[Outcome] = (), only: Sequence[str] = SHEETS
) -> None:
    """The sheets that a run folder has before anything was sent."""
    rows = [
        RowRecord(
            job.row.number,
            job.key,
            job.content,
            job.row.cells,
            job.model,
            job.input.resolution.value,
            job.input.duration,
            job.input.aspect_ratio.value,
        )
        for job in manifest.jobs
    ]
    folder.mkdir(parents=True, exist_ok=True)
    source = SheetSource(
        folder=folder,
        columns=manifest.columns,
        outcomes=[*outcomes(rows, []), *more],
        prices_note="",
        written_hashes={},
        manifest_name=manifest.name,
        given_inputs=manifest.given_inputs,
    )
    write_sheets(source, only=only)


def orders(manifest: Manifest) -> list[tuple[str, str]]:
    assert not manifest.problems, grouped(manifest.problems)
    return [(job.key, job.content) for job in manifest.jobs]


def cells(manifest: Manifest) -> list[dict[str, str]]:
    return [dict(job.row.cells) for job in manifest.jobs]


@pytest.mark.parametrize("sheet", SHEETS)
@pytest.mark.parametrize("name", ["storyboard.csv", "teaser.yaml"])
def test_a_results_sheet_orders_what_its_manifest_orders(
    tmp_path: Path, name: str, sheet: str
) -> None:
    shutil.copytree(MANIFESTS / "frames", tmp_path / "frames")
    shutil.copy(MANIFESTS / name, tmp_path)
    manifest = read_manifest(tmp_path / name)
    folder = tmp_path / "runs" / manifest.name
    results_of(manifest, folder)

    again = read_manifest(folder / sheet)

    assert orders(again) == orders(manifest)
    assert again.columns == manifest.columns
    for cells_again, cells_before in zip(cells(again), cells(manifest), strict=True):
        assert cells_again.items() >= {k: v for k, v in cells_before.items() if v}.items()


TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff\ufeff"),
        st.sampled_from("'=+-@ \t\n0.5"),
    ),
    min_size=3,
    max_size=20,
).filter(lambda text: bool(text.strip()) and not text.startswith("#") and is_prompt(text))


@given(prompts=st.lists(TEXTS, min_size=1, max_size=5), status=TEXTS)
@settings(max_examples=15)
def test_no_text_changes_on_its_way_through_our_sheets(prompts: list[str], status: str) -> None:
    rows = [
        {"status": status, "prompt": prompt, "seconds": "5", "=x": status} for prompt in prompts
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_csv(Path(folder) / "shots.csv", rows)
        manifest = read_manifest(Path(folder) / "shots.csv")
        results_of(manifest, Path(folder), only=SHEETS)
        for sheet in SHEETS:
            again = read_manifest(Path(folder) / sheet)
            assert orders(again) == orders(manifest), sheet
            assert cells(again) == rows, sheet
            assert again.columns == ("status", "prompt", "seconds", "=x"), sheet


def test_an_apostrophe_in_a_sheet_that_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "shots.csv").write_text("prompt\n'=SUM(A1)\n", encoding="utf-8")

    assert [job.input.prompt for job in read_manifest(tmp_path / "shots.csv").jobs] == ["'=SUM(A1)"]


def test_an_edit_in_a_results_sheet_is_an_edit_of_the_row(tmp_path: Path) -> None:
    (tmp_path / "shots.csv").write_text("prompt\nA lamp wakes\n", encoding="utf-8")
    manifest = read_manifest(tmp_path / "shots.csv")
    results_of(manifest, tmp_path)
    with (tmp_path / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0] |= {"duration": "9", "status": "done", "prompt": "A lamp sleeps"}
    write_csv(tmp_path / "results.csv", rows)

    (job,) = read_manifest(tmp_path / "results.csv").jobs

    assert (job.input.duration, job.input.prompt) == (9, "A lamp sleeps")
    assert job.key == manifest.jobs[0].key
    assert dict(job.row.cells) == {"prompt": "A lamp sleeps"}


@pytest.mark.parametrize("sheet", SHEETS)
def test_rows_that_had_left_the_manifest_do_not_come_back(tmp_path: Path, sheet: str) -> None:
    (tmp_path / "shots.csv").write_text("prompt,status\nA lamp wakes,removed\n", encoding="utf-8")
    manifest = read_manifest(tmp_path / "shots.csv")
    removed = Outcome("r-0123456789", Status.REMOVED, None, None)
    results_of(manifest, tmp_path, more=[removed])

    again = read_manifest(tmp_path / sheet)

    assert orders(again) == orders(manifest)
