"""Every journal that was ever released is opened by today's code, and none is bought again."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Kind
from seedance_batch.core.outcome import Status, outcomes
from seedance_batch.journal.opening import SCHEMA_VERSION, look_into, open_journal
from seedance_batch.journal.records import Facts, KindFacts, facts_from, order_name, texts_of

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


def test_the_first_version_knows_what_it_knew(tmp_path: Path) -> None:
    path = Path(shutil.copy(SAMPLES[0], tmp_path / "journal.db"))
    with look_into(path) as journal:
        facts = journal.facts()
        assert (facts.origin, facts.manifest, facts.manifest_name) == (
            "sandbox",
            "/shots/shots.csv",
            "shots",
        )
        assert facts.given_inputs == ("id", "prompt", "duration", "resolution")
        assert facts.prices_note == "Sandbox prices, no real money."
        assert (facts.made_at, facts.manifest_from_here, facts.max_cost) == (None, None, None)
        assert journal.facts_of(Kind.FINAL) == KindFacts(flags={}, redone={})


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_journal_that_is_only_looked_at_tells_what_rows_took_from_others(
    sample: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(sample, tmp_path / "journal.db"))
    with look_into(path) as journal:
        made_from = [[each.link for each in a.intent.made_from] for a in journal.attempts()]
        follows = [row.follows for row in journal.rows()]
    if sample.stem == "version-1":
        assert (made_from, follows) == ([[], []], [(), ()])
    else:
        assert (made_from, follows) == ([[], ["last_frame:previous"]], [(), ("one",)])
    assert _version(path) == _version(sample)


def test_facts_are_kept_in_the_words_of_the_first_version() -> None:
    facts = Facts(max_cost=Decimal("Infinity"), run_open=0.0, given_inputs=("id", "prompt"))
    kept = {"max_cost": "none", "run_open": "", "given_inputs": "id prompt"}
    assert texts_of(facts) == kept
    assert facts_from(kept.items()) == facts
    flags = KindFacts(made_with={order_name("a", 2): {"set seed": "7"}})
    assert texts_of(flags, Kind.DRAFT) == {"made_with.draft": '{"a\\n2": {"set seed": "7"}}'}


def test_there_is_a_sample_of_every_version() -> None:
    versions = range(1, SCHEMA_VERSION + 1)
    assert {path.stem for path in SAMPLES} == {f"version-{version}" for version in versions}
    assert {path.stem: _version(path) for path in SAMPLES} == {
        f"version-{version}": version for version in versions
    }


def _version(sample: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"{sample.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
