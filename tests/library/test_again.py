"""The calls beside ``plan`` and ``run``: make again, make finals, fetch, check the clips."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import seedance_batch as sb
from seedance_batch.errors import ConsentNeeded, Exit, FolderMissing, SettingsError, UsageError
from tests.cli.shop import shot, shots
from tests.library.conftest import manifest
from tests.service import Service, write_rows


def picks(home: Path, mark: str, *names: str, take: str = "final 1") -> Path:
    """A list as the review page exports it."""
    path = home / "picks.csv"
    write_rows(path, [{"id": name, "mark": mark, "note": "", "take": take} for name in names])
    return path


def test_failed_rows_are_made_again_for_new_money_that_is_agreed_to(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    write_rows(home / "shots.csv", [shot(1), shot(2, prompt="a forbidden fruit")])
    assert sb.run("shots.csv", yes=True, **options).exit_code == Exit.SOME_FAILED
    address = {"api_url": service.api_url}
    assert sb.plan("shots.csv", of="rerun", **address).new_rows == 0  # refused content
    forced = sb.plan("shots.csv", of="rerun", force=True, **address)
    assert (forced.new_rows, forced.new_cost) == (1, forced.plan.new[0].cost)
    before = service.posts()
    with pytest.raises(ConsentNeeded, match="The plan would send 1 row"):
        sb.rerun("shots.csv", force=True, **options)
    assert service.posts() == before
    with service.having(faults={}):
        finished = sb.rerun("shots.csv", force=True, yes=True, **options)
    assert finished.exit_code == Exit.OK
    assert service.posts() == before + 1


def test_a_class_of_failures_is_chosen_by_name(home: Path, options: dict[str, Any]) -> None:
    source = manifest(home)
    with pytest.raises(SettingsError, match=r"^classes: 'colour' is not"):
        sb.rerun(source, classes="colour", yes=True, **options)
    with pytest.raises(SettingsError, match=r"^of takes 'run', 'rerun', 'promote', not 'redo'"):
        sb.plan(source, of="redo")  # type: ignore[arg-type]
    for odd in ({"classes": 5}, {"reasons": [1]}, {"force": "yes"}, {"picks": 5}):
        with pytest.raises(SettingsError, match=f"^{next(iter(odd))} takes"):
            sb.rerun(source, yes=True, **options, **odd)


def test_a_row_marked_redo_gets_one_new_take_however_often_it_is_asked(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    source, before = manifest(home), service.posts()
    sb.run(source, yes=True, **options)
    wish = picks(home, "redo", "shot2")
    for _ in range(2):
        assert sb.rerun(source, picks=wish, yes=True, **options).exit_code == Exit.OK
    assert service.posts() == before + 3
    drafts = picks(home, "redo", "shot2", take="draft 1")
    with pytest.raises(UsageError, match="drafts only") as refused:
        sb.rerun(source, picks=drafts, yes=True, **options)
    assert "draft" in (refused.value.hint or "")


def test_drafts_that_are_kept_are_made_final_from_their_run_folder(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    drafts = sb.run(manifest(home, 3), draft=True, yes=True, **options)
    keep = picks(home, "keep", "shot1", "shot3", take="draft 1")
    address = {"api_url": service.api_url}
    assert sb.plan(drafts.folder, of="promote", picks=keep, **address).new_rows == 2
    with pytest.raises(ConsentNeeded):
        sb.promote(drafts.folder, picks=keep, **options)
    finals = sb.promote(drafts.folder, picks=keep, yes=True, **options)
    kinds = {o.key: o.shown.intent.kind.value for o in finals.outcomes if o.shown is not None}
    assert kinds == {"shot1": "final", "shot2": "draft", "shot3": "final"}
    again = sb.promote(drafts.folder, from_ids=["shot1"], **options)  # costs nothing: it is done
    assert again.exit_code == Exit.OK


def test_finals_need_a_list_and_are_no_drafts(home: Path, options: dict[str, Any]) -> None:
    source = manifest(home)
    with pytest.raises(UsageError, match="needs a list of picks") as refused:
        sb.promote(source, yes=True, **options)
    assert refused.value.hint == 'pass picks="picks.csv"'
    with pytest.raises(UsageError, match="makes final clips"):
        sb.promote(source, from_ids=["shot1"], draft=True, yes=True, **options)


def test_a_clip_that_is_gone_is_fetched_again_and_nothing_is_submitted(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    source = manifest(home)
    finished = sb.run(source, yes=True, **options)
    before = service.posts()
    (finished.folder / "videos/shot1.mp4").unlink()
    whole = finished.folder / "videos/shot2.mp4"
    whole.write_bytes(whole.read_bytes()[:-9])

    checked = sb.verify(source, claims="claims.csv")
    assert checked.exit_code == Exit.SOME_FAILED
    assert [each.attempt.intent.key for each in checked.faults] == ["shot1", "shot2"]
    frame = checked.to_frame()
    assert list(frame["can_be_fetched"]) == [True, True]
    with open(home / "claims.csv", encoding="utf-8-sig", newline="") as file:  # noqa: PTH123
        assert len(list(csv.DictReader(file))) == 2

    back = sb.fetch(finished.folder, **options)
    assert back.exit_code == Exit.OK
    assert sb.verify(finished.folder).faults == ()
    assert list(back.to_frame()["status"]) == ["done", "done"]
    assert service.posts() == before


def test_what_has_no_run_folder_is_told_the_call_that_makes_one(
    home: Path, options: dict[str, Any]
) -> None:
    source = manifest(home)
    for use in (sb.fetch, sb.verify):
        with pytest.raises(FolderMissing) as refused:
            use(source, **(options if use is sb.fetch else {}))
        assert refused.value.hint == f'sb.run("{source}", sandbox=True)'
        assert f"hint: {refused.value.hint}" in refused.value.__notes__
    with pytest.raises(SettingsError, match="'max_cost'"):
        sb.fetch(source, max_cost=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="not by a list"):
        sb.verify(shots(1))  # type: ignore[arg-type]
