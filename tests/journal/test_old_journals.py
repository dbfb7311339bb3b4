"""Every journal that was ever released is opened by today's code, and none is bought again."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from seedance_batch.core.outcome import Status, outcomes
from seedance_batch.journal.opening import SCHEMA_VERSION, open_journal

SAMPLES = sorted((Path(__file__).parents[1] / "data" / "journals").glob("*.db"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_released_journal_says_what_it_said(sample: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(sample, tmp_path / "journal.db"))
    with open_journal(path) as journal:
        found = outcomes(journal.rows(), journal.attempts())
        assert [(outcome.key, outcome.status) for outcome in found] == [
            ("one", Status.DONE),
            ("two", Status.DONE),
        ]
        assert journal.columns() == ("id", "prompt", "duration", "resolution")
        assert all(outcome.shown and outcome.shown.state.clip for outcome in found)


def test_there_is_a_sample_of_every_version() -> None:
    versions = range(1, SCHEMA_VERSION + 1)
    assert {path.stem for path in SAMPLES} == {f"version-{version}" for version in versions}
    assert {path.stem: _version(path) for path in SAMPLES} == {
        f"version-{version}": version for version in versions
    }


def _version(sample: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"{sample.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
