"""Sheets are whole or not there, a person's edits survive, and a held file stops nothing."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.core.outcome import Outcome, outcomes
from seedance_batch.writer.files import Placing, Written, write_sheets

from .samples import attempt, row, source


def standing(phase: Phase) -> list[Outcome]:
    return outcomes([row(1)], [attempt(row(1), phase)])


def write(folder: Path, phase: Phase, before: Written | None = None) -> Written:
    written = before.hashes if before else {}
    return write_sheets(source(folder, standing(phase), written=written))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_sheet_of_ours_is_replaced_and_nothing_is_kept(tmp_path: Path) -> None:
    first = write(tmp_path, Phase.IN_FLIGHT)
    second = write(tmp_path, Phase.DONE, first)
    assert () == second.kept
    assert first.hashes["results.csv"] != second.hashes["results.csv"]


def test_an_edited_sheet_is_kept_before_it_is_replaced(tmp_path: Path) -> None:
    first = write(tmp_path, Phase.IN_FLIGHT)
    (tmp_path / "results.csv").write_text("my notes")
    second = write(tmp_path, Phase.DONE, first)
    assert (tmp_path / "results (yours 1).csv",) == second.kept
    assert "my notes" == second.kept[0].read_text()
    assert "done" in (tmp_path / "results.csv").read_text("utf-8")


def test_every_edit_is_kept_under_its_own_number_and_once(tmp_path: Path) -> None:
    written = write(tmp_path, Phase.IN_FLIGHT)
    for text, phase in (("one", Phase.DONE), ("two", Phase.EXPIRED), ("one", Phase.DONE)):
        (tmp_path / "results.csv").write_text(text)
        written = write(tmp_path, phase, written)
    assert {"results (yours 1).csv", "results (yours 2).csv"} == {
        name for name in names(tmp_path) if "yours" in name
    }


def test_a_file_that_was_there_before_us_is_kept(tmp_path: Path) -> None:
    (tmp_path / "results.xlsx").write_bytes(b"a person's")
    assert 1 == len(write(tmp_path, Phase.DONE).kept)


def test_a_sheet_that_holds_the_same_already_is_left_alone(tmp_path: Path) -> None:
    before = write(tmp_path, Phase.DONE)
    inodes = {path: path.stat().st_ino for path in tmp_path.iterdir()}
    again = write(tmp_path, Phase.DONE)  # the record of hashes was lost
    assert () == again.kept
    assert before.hashes == again.hashes
    assert inodes == {path: path.stat().st_ino for path in tmp_path.iterdir()}


def test_an_edited_failed_sheet_is_kept_when_nothing_fails_any_more(tmp_path: Path) -> None:
    first = write(tmp_path, Phase.FAILED)
    (tmp_path / "failed.csv").write_text("my corrections")
    second = write(tmp_path, Phase.DONE, first)
    assert (tmp_path / "failed (yours 1).csv",) == second.kept
    assert not (tmp_path / "failed.csv").exists()


def test_a_sheet_that_fails_half_way_leaves_the_old_one_and_no_scrap(tmp_path: Path) -> None:
    write(tmp_path, Phase.DONE)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def torn(path: Path) -> None:
        path.write_text("half a she")
        raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(OSError, match="no space"):
        Placing(tmp_path, {}).put("results.csv", torn)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_scraps_of_a_death_are_swept_by_the_next_writing(tmp_path: Path) -> None:
    for scrap in (".sheet.k3j4.csv", ".results.xlsx.k3j4"):
        (tmp_path / scrap).write_text("half a she")
    (tmp_path / ".partial").mkdir()
    write(tmp_path, Phase.DONE)
    assert {".partial"} == {name for name in names(tmp_path) if name.startswith(".")}


def test_hashes_are_announced_before_a_file_takes_its_name(tmp_path: Path) -> None:
    heard: dict[str, str] = {}

    def announce(hashes: Mapping[str, str]) -> None:
        assert not any((tmp_path / name).exists() for name in hashes)
        heard.update(hashes)

    done = write_sheets(source(tmp_path, standing(Phase.DONE), announce=announce))
    assert heard == done.hashes


def test_a_death_around_the_replacing_makes_no_sheet_look_edited(tmp_path: Path) -> None:
    journal: dict[str, str] = dict(write(tmp_path, Phase.IN_FLIGHT).hashes)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_sheets(source(tmp_path, standing(Phase.DONE), written=journal, announce=journal.update))
    # Died just after the replacing, before the caller recorded the final hashes …
    after = write_sheets(source(tmp_path, standing(Phase.EXPIRED), written=journal))
    assert () == after.kept
    # … or just before it.
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)
    assert () == write_sheets(source(tmp_path, standing(Phase.EXPIRED), written=journal)).kept


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """File names that another program holds, as Windows does what Excel has open."""
    names: set[str] = set()
    for deed in ("replace", "unlink"):
        real = getattr(Path, deed)

        def refusing(self: Path, *args: object, real: object = real, **kwargs: object) -> object:
            target = Path(str(args[0])) if args else self
            if target.name in names:
                raise PermissionError(errno.EACCES, "used by another process", str(target))
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Path, deed, refusing)
    return names


def test_a_held_file_gets_a_numbered_sibling(tmp_path: Path, held: set[str]) -> None:
    first = write(tmp_path, Phase.IN_FLIGHT)
    old = (tmp_path / "results.xlsx").read_bytes()
    held.add("results.xlsx")
    second = write(tmp_path, Phase.DONE, first)
    sibling = tmp_path / "results (2).xlsx"
    assert (sibling,) == second.siblings
    assert sibling == second.files["results.xlsx"]
    assert second.hashes["results (2).xlsx"]
    assert old == (tmp_path / "results.xlsx").read_bytes() != sibling.read_bytes()
    assert '"results.xlsx": "results (2).xlsx"' in (tmp_path / "summary.json").read_text("utf-8")
    assert not any(name.startswith(".") for name in names(tmp_path))


def test_a_sibling_is_written_again_while_the_file_is_held(tmp_path: Path, held: set[str]) -> None:
    held.add("results.xlsx")
    (tmp_path / "results.xlsx").write_bytes(b"open in Excel")
    first = write(tmp_path, Phase.IN_FLIGHT)
    second = write(tmp_path, Phase.DONE, first)
    assert first.siblings == second.siblings == (tmp_path / "results (2).xlsx",)


def test_the_sibling_goes_when_the_file_is_free_again(tmp_path: Path, held: set[str]) -> None:
    first = write(tmp_path, Phase.IN_FLIGHT)
    held.add("results.xlsx")
    second = write(tmp_path, Phase.DONE, first)
    held.clear()
    third = write_sheets(
        source(tmp_path, standing(Phase.DONE), written={**first.hashes, **second.hashes})
    )
    assert () == third.siblings == third.kept
    assert not (tmp_path / "results (2).xlsx").exists()


def test_a_persons_own_numbered_file_is_never_touched(tmp_path: Path, held: set[str]) -> None:
    (tmp_path / "results.xlsx").write_bytes(b"open in Excel")
    (tmp_path / "results (2).xlsx").write_bytes(b"a person's copy")
    held.add("results.xlsx")
    written = write(tmp_path, Phase.DONE)
    assert (tmp_path / "results (3).xlsx",) == written.siblings
    assert b"a person's copy" == (tmp_path / "results (2).xlsx").read_bytes()
