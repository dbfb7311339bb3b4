"""Columns by looking: each clip is looked at once; a fault costs its own row's columns alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from seedance_batch.batch.looking import judge_named, judge_of
from seedance_batch.core.clip_sets import DatasetFormat
from seedance_batch.errors import UsageError
from tests.batch.finished import finished_folder
from tests.batch.test_exporting import exported, files, members

LOOKS = {"black", "frozen", "motion", "loudness", "phash", "alike"}


def records(dest: Path) -> dict[str, dict[str, Any]]:
    """What tar shards tell of each row."""
    found = (json.loads(content) for name, content in members(dest) if name.endswith(".json"))
    return {each["id"]: each for each in found}


def shards(dest: Path) -> dict[str, bytes]:
    """The tar shards."""
    return {name: content for name, content in files(dest).items() if name.endswith(".tar")}


def test_a_set_that_grows_looks_at_new_clips_only_and_keeps_its_shards(tmp_path: Path) -> None:
    run, dest = tmp_path / "run", tmp_path / "set"
    exported(dest, finished_folder(run, range(1, 8)), look=True)
    before, first = files(dest), records(dest)
    assert all(LOOKS <= each.keys() for each in first.values())
    # The films are the same picture by picture, whatever lies behind them in their files.
    assert len({each["alike"] for each in first.values()}) == 1
    assert exported(dest, finished_folder(run, range(1, 8)), look=True).made == ()
    assert files(dest) == before
    grown = finished_folder(run, range(1, 12))
    exported(dest, grown, look=True)
    assert shards(dest).items() >= {n: c for n, c in before.items() if n.endswith(".tar")}.items()

    seen: list[str] = []

    def judge(path: Path, record: dict[str, Any]) -> dict[str, Any]:
        seen.append(record["id"])
        return {"score": record["motion"], "name": path.name}

    exported(dest, grown, look=True, judge=judge_of(judge, "a:b"))
    assert len(seen) == 11
    exported(dest, finished_folder(run, range(1, 13)), look=True, judge=judge_of(judge, "a:b"))
    assert seen[11:] == ["shot-12"]
    exported(dest, finished_folder(run, range(1, 13)), look=True, judge=judge_of(judge, "a:c"))
    assert len(seen) == 24
    with pytest.raises(UsageError, match="was made with --look"):
        exported(dest, grown, judge=judge_of(judge, "a:b"))


def test_a_judges_faults_are_told_with_their_rows_and_are_asked_about_again(tmp_path: Path) -> None:
    folder, dest = finished_folder(tmp_path / "run", range(1, 9)), tmp_path / "set"
    answers: dict[str, Any] = {
        "shot-01": {"score": object()},
        "shot-02": ["no dict"],
        "shot-03": {"prompt": "another"},
        "shot-04": {"two words": 1},
        "shot-05": {"score": float("nan")},
    }

    def judge(path: Path, record: dict[str, Any]) -> Any:
        if record["id"] == "shot-06":
            raise KeyError("odd")
        return answers.get(record["id"], {"score": 2, "good": True, "word": "w", "none": None})

    found = exported(dest, folder, judge=judge_of(judge))
    assert found.samples == 8
    assert {each.key for each in found.troubles} == {f"shot-0{n}" for n in range(1, 7)}
    assert all(each.reason.startswith("judge: ") for each in found.troubles)
    assert records(dest)["shot-07"]["score"] == 2
    assert "score" not in records(dest)["shot-01"]
    answers.update((f"shot-0{n}", {"score": 1.5}) for n in range(1, 6))
    (again,) = exported(dest, folder, judge=judge_of(judge)).troubles
    assert again.key == "shot-06"
    assert records(dest)["shot-01"]["score"] == 1.5


@pytest.mark.parametrize("form", [DatasetFormat.PARQUET, DatasetFormat.HF])
def test_tables_have_the_columns_with_their_types(tmp_path: Path, form: DatasetFormat) -> None:
    folder, dest = finished_folder(tmp_path / "run", range(1, 9)), tmp_path / "set"

    def judge(path: Path, record: dict[str, Any]) -> Any:
        odd = int(record["id"][-1]) % 2
        return {"score": 1 if odd else 0.5, "good": bool(odd)} | ({"mixed": "x"} if odd else {})

    exported(dest, folder, form=form, look=True, judge=judge_of(judge))
    if form is DatasetFormat.HF:
        tables = [
            pandas.DataFrame(map(json.loads, path.read_text(encoding="utf-8").splitlines()))
            for path in dest.rglob("metadata.jsonl")
        ]
    else:
        tables = [pandas.read_parquet(path) for path in sorted(dest.glob("*.parquet"))]
    table = pandas.concat(tables)
    assert len(table) == 8
    assert table["score"].dtype == table["motion"].dtype == table["black"].dtype == "float64"
    assert table["good"].dtype == bool
    assert set(table["alike"].str.len()) == {20}
    assert table["mixed"].isna().sum() == 4


def test_a_clip_that_was_changed_is_not_looked_at(tmp_path: Path) -> None:
    folder, dest = finished_folder(tmp_path / "run", range(1, 4)), tmp_path / "set"
    clip = folder.path / "videos" / "shot-02.mp4"
    clip.write_bytes(clip.read_bytes()[:-1] + b"\0")
    found = exported(dest, folder, look=True, skip_missing=True)
    assert [each.key for each in found.left_out] == ["shot-02"]
    assert (found.samples, found.troubles) == (2, ())


def test_a_judge_is_imported_from_the_current_folder_or_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "def score(path, record):\n    return {'x': 1}\nwrong = 3\n"
    (tmp_path / "a_judge_here.py").write_text(text, encoding="utf-8")
    assert judge_named("a_judge_here:score").ask(Path(), {}) == {"x": 1}
    for name in ("a_judge_here:wrong", "a_judge_here:none", "no_such:score", "nothing", ":", ""):
        with pytest.raises(UsageError, match="--judge"):
            judge_named(name)
