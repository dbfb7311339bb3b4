"""Which take of a row is meant: the newest of what it asks for now, unless another one was kept."""

from __future__ import annotations

from seedance_batch.batch.takes import chosen_of, take_of
from seedance_batch.core.attempt import Attempt, Kind, Phase, TakeName
from seedance_batch.core.outcome import outcomes
from seedance_batch.core.select import Selection
from tests.writer.samples import PERSON, attempt, row

ROW = row(1)
DRAFT = attempt(ROW, kind=Kind.DRAFT, id=1)
FIRST, SECOND, FAILED = (
    attempt(ROW, phase, number=number, id=1 + number)
    for number, phase in ((1, Phase.DONE), (2, Phase.DONE), (3, Phase.FAILED))
)


def meant(kind: Kind, *kept: str) -> Attempt | None:
    names = {TakeName(Kind(each.split()[0]), int(each.split()[1])) for each in kept}
    chosen = Selection(from_ids=[ROW.key], takes={ROW.key: names})
    (found,) = chosen_of(outcomes([ROW], [DRAFT, FIRST, SECOND, FAILED]), PERSON, chosen)
    return take_of(found, kind)


def test_the_kept_take_is_meant_in_place_of_the_newest() -> None:
    assert meant(Kind.FINAL) == SECOND
    assert meant(Kind.FINAL, "final 1") == FIRST
    assert meant(Kind.FINAL, "final 1", "final 2") == SECOND
    assert meant(Kind.FINAL, "draft 1") == SECOND
    assert meant(Kind.DRAFT, "final 1") == DRAFT


def test_a_kept_take_without_a_clip_leaves_the_others() -> None:
    assert meant(Kind.FINAL, "final 3") == SECOND
    assert meant(Kind.FINAL, "final 9") == SECOND


def test_the_kept_take_is_the_one_that_is_shared() -> None:
    chosen = Selection(takes={ROW.key: {TakeName(Kind.FINAL, 1)}})
    (found,) = chosen_of(outcomes([ROW], [DRAFT, FIRST, SECOND]), PERSON, chosen)
    assert (FIRST, (DRAFT, FIRST)) == (found.shown, found.attempts)
