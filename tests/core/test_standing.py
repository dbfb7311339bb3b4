"""How a run folder stands, in words and as values: rows by status, and money by how sure it is."""

from __future__ import annotations

import json

from seedance_batch.core.attempt import Attempt, ErrorClass, Phase
from seedance_batch.core.outcome import (
    Outcome,
    RowRecord,
    costs,
    outcomes,
    spent_in_words,
    standing_lines,
    standing_object,
    tally,
)
from tests.core.plan_builders import attempt, job

JOBS = [job(f"r{n}", n, cells={"client": client}) for n, client in enumerate("AAB\x1b", 1)]


def standing(*attempts: Attempt) -> list[Outcome]:
    rows = [
        RowRecord(j.row.number, j.key, j.content, j.row.cells, j.model, "720p", 5, "16:9")
        for j in JOBS
    ]
    return outcomes(rows, attempts)


def folder() -> list[Outcome]:
    """One of each: done, in flight, failed for an unknown charge, never sent."""
    return standing(
        attempt(JOBS[0], Phase.DONE, id=1, cost="0.50"),
        attempt(JOBS[1], Phase.IN_FLIGHT, id=2, cost="0.25"),
        attempt(JOBS[2], Phase.FAILED, id=3, cost="0.10", error=ErrorClass.TRANSIENT),
    )


def test_rows_are_counted_by_status_and_money_by_how_sure_it_is() -> None:
    assert list(standing_lines(folder())) == [
        "  new                    1",
        "  in flight              1",
        "  done                   1",
        "  failed                 1",
        "  spent           $0.50 to $0.60 settled (failed rows: unknown), $0.25 reserved",
    ]


def test_a_failure_that_a_rerun_mended_is_not_called_a_failed_row() -> None:
    found = standing(
        attempt(JOBS[0], Phase.FAILED, id=1, cost="0.58", error=ErrorClass.TRANSIENT),
        attempt(JOBS[0], Phase.DONE, id=2, number=2, cost="0.58"),
    )
    assert spent_in_words(tally(found)) == "$0.58 settled, earlier failed attempts: $0 to $0.58"


def test_by_a_column_every_value_has_its_own_counts_and_control_characters_are_escaped() -> None:
    shown = list(standing_lines(folder(), by="client"))
    assert [line for line in shown if line.startswith("client")] == [
        "client: A",
        "client: B",
        "client: \\x1b",
    ]
    at = shown.index("client: B")
    assert shown[at + 1 : at + 3] == [
        "  failed                 1",
        "  spent           $0.00 to $0.10 settled (failed rows: unknown)",
    ]


def test_a_row_without_the_column_counts_as_empty_and_a_removed_one_as_well() -> None:
    gone = attempt(job("gone", prompt="another"), Phase.DONE, id=9)
    assert "(empty)" in " ".join(standing_lines(standing(gone), by="client"))
    assert "studio: (empty)" in standing_lines(standing(), by="studio")


def test_the_values_are_the_same_as_json_with_amounts_as_decimal_texts() -> None:
    found = json.loads(json.dumps(standing_object(folder(), by="client")))
    assert found["rows"] == 4
    assert found["statuses"] == {"new": 1, "in_flight": 1, "done": 1, "failed": 1}
    money = {"settled_usd": "0.50", "reserved_usd": "0.25", "unknown_usd": "0.10"}
    assert money.items() <= found["money"].items()
    assert found["by"]["client"]["A"]["statuses"] == {"in_flight": 1, "done": 1}
    assert set(found["by"]["client"]) == {"A", "B", "\x1b"}


def test_an_attempt_without_a_price_is_said_and_never_zero() -> None:
    found = standing(attempt(JOBS[0], Phase.DONE, cost=None))
    assert spent_in_words(tally(found)) == "$0.00 settled, 1 attempt at an unknown price"
    assert standing_object(found)["money"]["unpriced_attempts"] == 1
    assert costs(tally(found).money) == ["an unknown amount for 1 clip"]


def test_what_a_run_has_cost_is_told_as_far_as_it_is_known() -> None:
    some = standing(
        attempt(JOBS[0], Phase.DONE, id=1, cost="0.50"),
        attempt(JOBS[1], Phase.DONE, id=2, cost=None),
        attempt(JOBS[2], Phase.IN_FLIGHT, id=3, cost=None),
        attempt(JOBS[3], Phase.FAILED, id=4, cost=None, error=ErrorClass.TRANSIENT),
    )
    assert costs(tally(some).money) == [
        "$0.50 for 2 clips",
        "an unknown amount reserved",
        "an unknown amount for attempts without a clip",
        "3 attempts at an unknown price",
    ]
    assert costs(tally(folder()).money) == [
        "$0.50 for 1 clip",
        "$0.25 reserved",
        "up to $0.10 for attempts without a clip",
    ]
    assert costs(tally(standing()).money) == ["$0.00 for 0 clips"]


def test_a_folder_in_which_nothing_was_sent_has_cost_nothing() -> None:
    assert list(standing_lines(standing())) == [
        "  new                    4",
        "  spent           $0.00 settled",
    ]
