"""The first command of the README, on the manifest that it names."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from seedance_batch import media
from seedance_batch.cli import main
from seedance_batch.errors import Exit
from seedance_batch.model import AspectRatio, Resolution

MANIFESTS = Path(__file__).parent.parent / "manifests"


@pytest.fixture(scope="module")
def storyboard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the storyboard; the manifest's copy, with its run folder beside it."""
    folder = tmp_path_factory.mktemp("studio")
    shutil.copy(MANIFESTS / "storyboard.csv", folder)
    shutil.copytree(MANIFESTS / "frames", folder / "frames")
    assert main(["run", str(folder / "storyboard.csv"), "--sandbox", "-q"]) == Exit.OK
    return folder / "storyboard.csv"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _tasks(manifest: Path) -> int:
    with sqlite3.connect(manifest.parent / "runs/storyboard-sandbox/journal.db") as journal:
        return int(journal.execute("SELECT count(task_id) FROM attempts").fetchone()[0])


def test_every_row_is_done_in_manifest_order_with_the_persons_columns_unchanged(
    storyboard: Path,
) -> None:
    asked = _rows(storyboard)
    got = _rows(storyboard.parent / "runs/storyboard-sandbox/results.csv")
    assert len(got) == 12
    assert {row["status"] for row in got} == {"done"}
    assert [{name: row[name] for name in asked[0]} for row in got] == asked


def test_every_clip_is_what_its_row_asked_for(storyboard: Path) -> None:
    folder = storyboard.parent / "runs/storyboard-sandbox"
    for row in _rows(folder / "results.csv"):
        probe = media.probe(folder / row["video_file"])
        quotient = AspectRatio(row["aspect_ratio"]).quotient
        assert probe.seconds == pytest.approx(float(row["duration"]) + 1 / 24, abs=0.1)
        assert probe.width / probe.height == pytest.approx(quotient, rel=0.06)
        area = Resolution(row["resolution"]).area
        assert probe.width * probe.height == pytest.approx(area, rel=0.15)
        assert probe.has_audio == (row["generate_audio"] == "true")


def test_the_second_run_does_nothing_says_so_and_is_content(
    storyboard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = _tasks(storyboard)
    assert main(["run", str(storyboard), "--sandbox"]) == Exit.OK
    assert "Nothing to do" in capsys.readouterr().out
    assert _tasks(storyboard) == tasks == 12


def test_three_bad_cells_are_named_at_once_and_nothing_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(
        "id,prompt,duration,aspect_ratio\n"
        "a,A quiet street,3,16:9\n"
        "b,A quiet street,5,4:5\n"
        'c,"",5,16:9\n',
        encoding="utf-8",
    )
    assert main(["run", str(bad), "--sandbox"]) == Exit.USAGE
    said = capsys.readouterr().err
    for place in ("bad.csv:2:duration", "bad.csv:3:aspect_ratio", "bad.csv:4:prompt"):
        assert place in said
    assert not (tmp_path / "runs").exists()


def test_without_a_key_the_hint_names_both_ways_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIAPI_API_KEY", raising=False)
    monkeypatch.delenv("HIAPI_API_KEY_FILE", raising=False)
    assert main(["run", str(MANIFESTS / "storyboard.csv"), "--out", str(tmp_path)]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "--sandbox" in said
    assert "HIAPI_API_KEY" in said
    assert list(tmp_path.iterdir()) == []


def test_the_yaml_teaser_runs_as_well(tmp_path: Path) -> None:
    shutil.copy(MANIFESTS / "teaser.yaml", tmp_path)
    shutil.copytree(MANIFESTS / "frames", tmp_path / "frames")
    assert main(["run", str(tmp_path / "teaser.yaml"), "--sandbox", "-q"]) == Exit.OK
    summary = json.loads((tmp_path / "runs/teaser-sandbox/summary.json").read_text())
    assert summary["exit_code"] == 0
