"""A row that was mended in a failed sheet and paid for is mended for its manifest too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import Shop, shot
from tests.service import read_rows, write_rows


def mend_csv(path: Path, **cells: str) -> Path:
    write_rows(path, [{**row, **cells} for row in read_rows(path)])
    return path


def mend_workbook(path: Path, **cells: str) -> Path:
    path = path.with_suffix(".xlsx")
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[0]
    headings = {cell.value: cell.column for cell in sheet[1]}
    for name, value in cells.items():
        sheet.cell(2, headings[name]).value = value
    book.save(path)
    return path


@pytest.fixture
def failed(shop: Shop) -> Path:
    """The failed sheet of a run in which the first row was refused."""
    shop.write(shot(1, prompt="forbidden", note="hero"), shot(2, note=""))
    assert shop.run().code == Exit.SOME_FAILED
    return shop.run_folder / "failed.csv"


@pytest.mark.cases(1)
@pytest.mark.parametrize("mend", [mend_csv, mend_workbook])
def test_the_manifests_next_run_knows_the_row_as_mended(
    shop: Shop, failed: Path, mend: Callable[..., Path]
) -> None:
    assert shop.run(of=mend(failed, prompt="a kite")).code == Exit.OK
    for _ in range(2):
        said = shop.run()
        assert said.code == Exit.OK, said.out
        assert "failed" not in said.out
    assert [(row["status"], row["prompt"]) for row in shop.results()] == [
        ("done", "a kite"),
        ("done", "a paper boat, number 2"),
    ]
    assert not failed.exists()
    assert shop.plan("--json").lines[0]["steps"][0]["action"] == "done"
    assert shop.prompts().count("a kite") == 1


@pytest.mark.more
def test_mended_twice_counts_as_it_was_mended_last(shop: Shop, failed: Path) -> None:
    assert shop.run(of=mend_csv(failed, prompt="forbidden too")).code == Exit.SOME_FAILED
    assert "forbidden too" in shop.results()[0]["prompt"]
    assert shop.run(of=mend_csv(failed, prompt="a kite")).code == Exit.OK
    assert shop.run().code == Exit.OK
    assert shop.results()[0]["prompt"] == "a kite"


def test_an_edit_in_the_manifest_counts_as_ever(shop: Shop, failed: Path) -> None:
    assert shop.run(of=mend_csv(failed, prompt="a kite")).code == Exit.OK
    charged = len(shop.tasks())
    shop.write(shot(1, prompt="a balloon", note="hero"), shot(2, note=""))
    assert "prompt changed" in shop.plan("-v").out
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == charged + 1
    assert shop.results()[0]["prompt"] == "a balloon"


def test_the_same_mend_written_into_the_manifest_buys_nothing(shop: Shop, failed: Path) -> None:
    assert shop.run(of=mend_csv(failed, prompt="a kite")).code == Exit.OK
    charged = len(shop.tasks())
    shop.write(shot(1, prompt="a kite", note="hero"), shot(2, note=""))
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == charged


@pytest.mark.more
def test_a_mend_that_was_refused_too_is_what_the_manifest_is_told_of(
    shop: Shop, failed: Path
) -> None:
    assert shop.run(of=mend_csv(failed, prompt="forbidden again")).code == Exit.SOME_FAILED
    charged = len(shop.tasks())
    assert shop.run().code == Exit.SOME_FAILED
    assert shop.results()[0]["prompt"] == "forbidden again"
    assert len(shop.tasks()) == charged


@pytest.mark.more
def test_another_take_of_a_mended_row_is_made_of_the_mended_text(shop: Shop, failed: Path) -> None:
    assert shop.run(of=mend_csv(failed, prompt="a kite")).code == Exit.OK
    (shop.folder / "picks.csv").write_text("id,mark\nshot1,redo\n")
    said = shop.run("--from", "picks.csv", command="rerun")
    assert said.code == Exit.OK, said.err
    assert shop.prompts().count("a kite") == 2
    assert (shop.run_folder / "videos/shot1.take2.mp4").is_file()


@pytest.mark.more
def test_drafts_of_the_manifest_are_made_as_the_mended_row_reads(shop: Shop, failed: Path) -> None:
    assert shop.run(of=mend_csv(failed, prompt="a kite")).code == Exit.OK
    assert shop.run("--draft").code == Exit.OK
    assert shop.prompts().count("a kite") == 2


@pytest.mark.more
def test_a_manifest_that_goes_back_to_a_refused_text_is_told_of_the_clip_that_there_is(
    shop: Shop, failed: Path
) -> None:
    for prompt in ("a kite", "forbidden"):
        shop.write(shot(1, prompt=prompt, note="hero"), shot(2, note=""))
        said = shop.run()
    assert said.code == Exit.SOME_FAILED
    assert "(another version of this row is made: videos/shot1.mp4)" in said.out
    assert "videos/shot1.mp4" in shop.results()[0]["next_step"]
    assert "videos/shot1.mp4" in shop.plan("-v").out


@pytest.mark.more
def test_a_row_that_was_mended_as_a_draft_is_mended_for_its_manifest_and_its_final(
    shop: Shop,
) -> None:
    shop.write(shot(1, prompt="forbidden", duration=6, note="hero"), shot(2, note=""))
    assert shop.run("--draft").code == Exit.SOME_FAILED
    failed = shop.run_folder / "failed.csv"
    assert shop.run("--draft", of=mend_csv(failed, prompt="a kite")).code == Exit.OK
    charged = len(shop.tasks())
    for _ in range(2):
        said = shop.run("--draft")
        assert said.code == Exit.OK, said.out
        assert "failed" not in said.out
    assert [row["prompt"] for row in shop.results()] == ["a kite", "a paper boat, number 2"]
    assert not failed.exists()
    assert len(shop.tasks()) == charged

    keep = shop.folder / "picks.csv"
    write_rows(keep, [{"id": "shot1", "mark": "keep", "note": "", "take": "draft 1"}])
    assert shop.run("--from", str(keep), command="promote").code == Exit.OK
    final = shop.tasks()[-1]["input"]
    assert (final["prompt"], final["duration"]) == ("a kite", 6)
    assert shop.run("--from", str(keep), command="promote").code == Exit.OK
    assert len(shop.tasks()) == charged + 1


@pytest.mark.more
def test_an_edit_of_a_row_that_was_mended_as_a_draft_counts_as_ever(shop: Shop) -> None:
    shop.write(shot(1, prompt="forbidden"), shot(2))
    assert shop.run("--draft").code == Exit.SOME_FAILED
    mended = mend_csv(shop.run_folder / "failed.csv", prompt="a kite")
    assert shop.run("--draft", of=mended).code == Exit.OK
    charged = len(shop.tasks())
    shop.write(shot(1, prompt="a balloon"), shot(2))
    assert shop.run("--draft").code == Exit.OK
    assert len(shop.tasks()) == charged + 1
    assert shop.results()[0]["prompt"] == "a balloon"
