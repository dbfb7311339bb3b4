"""A batch that could be another machine's: nothing is sent unless it is surely this one's, nor what
another one may have sent too long ago."""

from __future__ import annotations

import pytest

from seedance_batch.core.attempt import RESEND_WINDOW, Phase
from tests.benchmarks.world import START, Case, Played, play
from tests.rig import some

AWAY = (30.0, 630.0)
"""Ten minutes without the store."""


def is_there(seconds: float) -> bool:
    return not AWAY[0] <= seconds < AWAY[1]


def creates(played: Played) -> list[float]:
    """Seconds after the start of each POST."""
    return [r.time - START for r in played.requests if r.method == "POST"]


@pytest.mark.parametrize(
    "faults", some({"create": {"reset_after": 0.3, "500_after": 0.2}}, slow=[{}])
)
def test_while_the_store_is_away_nothing_is_sent_and_all_is_watched(
    faults: dict[str, dict[str, float]],
) -> None:
    settings = {"generation_time": "20", "rpm": 600, "faults": faults}
    played = play(Case(12, rpm=600, concurrency=2, settings=settings, may_send=is_there))
    sent = creates(played)
    assert len(sent) >= 12
    assert [at for at in sent if not is_there(at)] == []
    assert len({task.idempotency_key for task in played.tasks}) == len(played.tasks) == 12
    assert played.world.attempts.count(Phase.DONE) == 12
    looks = [r.time - START for r in played.requests if r.method == "GET"]
    assert any(AWAY[0] + 5 <= at < AWAY[1] for at in looks)
    assert played.seconds < AWAY[1] + 300


def test_what_another_machine_may_have_sent_is_sent_inside_23_hours_and_left_after() -> None:
    settings = {"generation_time": "30"}
    played = play(Case(8, concurrency=1, settings=settings, lost=RESEND_WINDOW - 60))
    attempts = played.world.attempts
    assert max(creates(played)) < 60
    assert 1 < attempts.count(Phase.DONE) == len(played.tasks) < 8
    assert attempts.count(Phase.AMBIGUOUS) == 8 - len(played.tasks)


def test_a_refusal_says_nothing_of_what_another_machine_sent() -> None:
    """A row that this one may not send for now is sent again with its key, and not as a new one."""
    settings = {"generation_time": "30", "max_at_once": 1}
    played = play(Case(4, concurrency=4, settings=settings, lost=3600.0))
    assert played.world.attempts.count(Phase.DONE) == len(played.tasks) == 4
