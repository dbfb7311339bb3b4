"""What counts as useless in a row, when buying waits for clips, and when it ends."""

from __future__ import annotations

from seedance_batch.runner.gate import SEVERAL_CLIPS, Returns, Useless


def failing(returns: Returns, *numbers: int, how: Useless = Useless.FAILED) -> Returns:
    """These attempts gave nothing."""
    for number in numbers:
        returns.useless(number, how, "why")
    return returns


def test_failures_in_a_row_end_buying_and_a_success_or_a_clip_ends_the_row() -> None:
    assert failing(Returns(3), 1, 2, 3).is_over(coming=[9])
    between = failing(Returns(3), 1, 2)
    between.made()
    assert not failing(between, 3).is_over(coming=[9])
    arrived = failing(Returns(3), 1, 2)
    arrived.arrived()
    assert not failing(arrived, 3, 4).is_over(coming=[])
    assert failing(arrived, 5).is_over(coming=[])


def test_a_success_alone_does_not_end_a_row_that_no_clip_ends() -> None:
    returns = failing(Returns(3), 1, 2, how=Useless.MISMATCH)
    returns.made()
    failing(returns, 3, how=Useless.EXPIRED)
    assert returns.is_over(coming=[])
    assert not returns.is_over(coming=[9])  # a clip that nobody has asked for yet may be good
    returns.late(9, "404")
    assert returns.is_over(coming=[9])


def test_one_attempt_counts_once() -> None:
    assert not failing(Returns(2), 1, 1, 1).is_over(coming=[])


def test_buying_waits_where_several_clips_do_not_arrive_and_none_has_yet() -> None:
    returns = Returns(10)
    for number in range(SEVERAL_CLIPS):
        assert not returns.waits(range(SEVERAL_CLIPS))
        returns.late(number, "404")
    assert returns.waits(range(SEVERAL_CLIPS))
    assert returns.missing == "3 paid clips have not arrived (404)"
    assert not returns.waits([])  # nothing could settle it any more
    returns.arrived()
    assert not returns.waits([1, 2])


def test_once_a_clip_has_arrived_buying_waits_at_the_limit_alone() -> None:
    returns = Returns(10)
    returns.arrived()
    for number in range(1, 10):
        returns.late(number, "404")
    assert not returns.waits(range(1, 10))
    returns.late(10, "404")
    assert returns.waits(range(1, 11))


def test_buying_waits_for_the_first_of_as_many_clips_as_may_be_useless() -> None:
    assert Returns(4).waits(range(4))
    assert not Returns(4).waits(range(3))
    returns = Returns(4)
    returns.arrived()
    assert not returns.waits(range(40))


def test_without_a_limit_buying_never_waits_nor_ends() -> None:
    returns = failing(Returns(None), *range(100))
    returns.late(200, "404")
    assert not returns.waits([200])
    assert not returns.is_over([200])


def test_the_verdict_says_what_came_and_why_it_is_of_no_use() -> None:
    returns = Returns(3)
    returns.useless(1, Useless.MISMATCH, "lasts 6.0 s where 4 s were asked for")
    returns.useless(2, Useless.UNDELIVERED, "files.example.com answered 404")
    returns.useless(3, Useless.UNDELIVERED, "files.example.com answered 404")
    assert returns.verdict == (
        "3 rows in a row produced no good clip: 1 not what was asked for (lasts 6.0 s where 4 s "
        "were asked for), 2 could not be fetched (files.example.com answered 404)"
    )
    assert failing(Returns(2), 1, 2).verdict == "2 rows failed in a row (why)"
