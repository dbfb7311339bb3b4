"""What spreadsheet programs do to our sheets and lists on the way back: ids and delimiters."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pandas
import pytest

from seedance_batch.core.select import meant_ids
from seedance_batch.errors import Exit
from tests.cli.shop import Shop, say, shot
from tests.service import read_rows, write_rows


@pytest.mark.parametrize(
    ("spelled", "known", "meant"),
    [
        ("1", ["1.0", "2.0"], "1.0"),
        ("1.0", ["1", "2"], "1"),
        ("7", ["007", "008"], "007"),
        ("1.1", ["1.10", "1.2"], "1.10"),
        ("1.10", ["1.1", "1.10"], "1.10"),
        ("1", ["1.0", "01"], "1"),  # two could be meant, so that none is
        ("1", ["1.5", "one"], "1"),
        ("a1", ["A1"], "a1"),
    ],
)
def test_an_id_that_became_a_number_means_the_one_id_that_is_that_number(
    spelled: str, known: list[str], meant: str
) -> None:
    assert meant_ids([spelled], known) == {spelled: meant}


def versions(shop: Shop, **fields: object) -> None:
    """A manifest whose ids look like numbers."""
    shop.write(*(shot(number, id=f"{number}.0", **fields) for number in (1, 2, 3)))


def chosen(shop: Shop, *flags: str) -> list[str]:
    said = shop.plan(*flags, "--json")
    assert said.code == Exit.OK, said.err
    return [step["id"] for step in said.lines[0]["steps"]]


def test_rows_are_chosen_by_ids_as_a_spreadsheet_shows_them(shop: Shop) -> None:
    versions(shop)
    assert chosen(shop, "--ids", "1,3") == ["1.0", "3.0"]
    assert say("plan", str(shop.manifest), "--ids", "4", "--sandbox").code == Exit.USAGE


@pytest.mark.parametrize("ending", ["xlsx", "ods"])
def test_a_list_of_picks_may_be_a_workbook(shop: Shop, ending: str) -> None:
    versions(shop)
    picks = pandas.DataFrame({"id": [1.0, 2.0], "mark": ["keep", "reject"], "note": ["", "x"]})
    picks.to_excel(f"picks.{ending}", index=False, engine={"ods": "odf"}.get(ending, "openpyxl"))
    assert chosen(shop, "--from", f"picks.{ending}") == ["1.0"]


def test_a_workbook_that_holds_no_picks_is_told_so(shop: Shop) -> None:
    shop.fill(1)
    pandas.DataFrame({"name": ["a"], "grade": [1]}).to_excel("picks.xlsx", index=False)
    Path("broken.xlsx").write_bytes(Path("picks.xlsx").read_bytes()[:900])
    for name in ("picks.xlsx", "broken.xlsx"):
        said = shop.plan("--from", name)
        assert said.code == Exit.USAGE
        assert name in said.err


def test_a_redo_asked_for_in_a_workbook_makes_one_more_take(shop: Shop) -> None:
    versions(shop)
    assert shop.run().code == Exit.OK
    book = openpyxl.Workbook()
    for line in (("id", "mark", "note", "take"), (2, "redo", "slower", "final 1")):
        book.active.append(line)
    book.save("picks.xlsx")
    for _ in range(2):  # the same list buys nothing twice
        assert shop.run("--from", "picks.xlsx", command="rerun").code == Exit.OK
        assert len(shop.tasks()) == 4


def test_failed_rows_that_come_back_with_numbers_for_ids_are_the_same_rows(shop: Shop) -> None:
    shop.write(shot(1, id="1.0", prompt="forbidden"), shot(2, id="2.0"))
    assert shop.run().code == Exit.SOME_FAILED
    failed = shop.run_folder / "failed.csv"
    (row,) = read_rows(failed)
    write_rows(failed, [{**row, "id": "1", "prompt": "a kite"}])
    assert shop.run(of=failed).code == Exit.OK
    assert shop.statuses() == ["done", "done"]
    assert [line["id"] for line in shop.results()] == ["1.0", "2.0"]


@pytest.mark.cases(1)
@pytest.mark.parametrize(("delimiter", "kept"), [(";", ";"), ("\t", "\t"), (",", ","), ("|", ",")])
def test_sheets_keep_the_delimiter_of_the_manifest(shop: Shop, delimiter: str, kept: str) -> None:
    lines = [
        ["id", "prompt", "duration", "resolution"],
        ["a", "a boat, slowly", "4", "480p"],
        ["b", "forbidden", "4", "480p"],
    ]
    cells = [[f'"{cell}"' if delimiter in cell else cell for cell in line] for line in lines]
    text = "\n".join(delimiter.join(line) for line in cells)
    shop.manifest.write_text(text, encoding="utf-8")
    assert shop.run("--delimiter", delimiter).code == Exit.SOME_FAILED
    for name in ("results.csv", "failed.csv"):
        first = (shop.run_folder / name).read_text(encoding="utf-8-sig").splitlines()[0]
        assert first.startswith(f"id{kept}prompt{kept}"), name
    assert shop.plan(of=shop.run_folder / "failed.csv").code == Exit.OK
    shop.at("results")
    assert (shop.run_folder / "results.csv").read_text("utf-8-sig").startswith(f"id{kept}")
