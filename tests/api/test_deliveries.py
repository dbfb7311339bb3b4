"""Callbacks that come, do not come, come twice, too early or in a crowd: every row ends once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from seedance_batch.api.callbacks import Reception, ToldTask
from seedance_batch.core.attempt import Phase
from seedance_batch.core.hiapi import Task, TaskStatus
from seedance_batch.core.lifecycle import Accepted
from seedance_batch.events import AttemptChanged, RunEvent
from tests.api.sending import encoded, path_of, send, signed
from tests.benchmarks.figures import lags_of
from tests.benchmarks.world import SECRET, START, Case, Played, World, play

SIGNED = {"webhook_secret": SECRET, "generation_time": "lognormal:30:0.25"}


def assert_every_row_ended_once(played: Played) -> None:
    """One task, one way out of ``in_flight``, one file, for each row."""
    assert len(played.tasks) == played.case.rows
    attempts = list(played.world.attempts.by_id.values())
    assert [a.state.phase for a in attempts] == [Phase.DONE] * played.case.rows
    left = Counter(
        event.attempt.id
        for _, event in played.world.events
        if isinstance(event, AttemptChanged) and event.before is Phase.IN_FLIGHT
    )
    assert set(left.values()) == {1}
    assert len({a.state.clip.file for a in attempts if a.state.clip}) == played.case.rows


def sent(played: Played, method: str) -> int:
    return sum(1 for request in played.requests if request.method == method)


@pytest.mark.cases(4)
@pytest.mark.parametrize(
    "faults",
    [
        {"drop": 0.3},
        {"drop": 1.0},
        {"duplicate": 1.0},
        {"reorder": 1.0},
        {"late": 1.0},
        {"forged": 1.0},
        {"stale": 1.0},
        {"unsigned": 1.0},
        {"duplicate": 0.2, "drop": 0.2, "reorder": 0.2, "forged": 0.2},
    ],
    ids=str,
)
def test_every_row_ends_once_whatever_happens_to_its_callbacks(faults: dict[str, float]) -> None:
    settings = {**SIGNED, "faults": {"callbacks": faults, "reorder_seconds": 30.0}}
    assert_every_row_ended_once(play(Case(12, settings=settings, callbacks=True)))


@pytest.mark.parametrize("secret", [{"webhook_secret": SECRET}, {}], ids=["signed", "unsigned"])
@pytest.mark.slow
def test_a_hundred_callbacks_at_once_are_all_taken(secret: dict[str, str]) -> None:
    settings = {"generation_time": "60", **secret}
    played = play(Case(100, rpm=6000, concurrency=100, settings=settings, callbacks=True))
    assert_every_row_ended_once(played)
    assert max(lags_of(played)) < 3.0


def test_with_every_callback_signed_a_row_takes_hardly_more_than_its_create() -> None:
    played = play(Case(40, settings=SIGNED, callbacks=True))
    assert_every_row_ended_once(played)
    assert max(lags_of(played)) < 0.1
    assert sent(played, "GET") <= 8


def test_an_unsigned_callback_with_the_right_token_only_brings_the_look_forward() -> None:
    settings = {"generation_time": "lognormal:30:0.25"}
    played = play(Case(40, settings=settings, callbacks=True))
    assert_every_row_ended_once(played)
    assert max(lags_of(played)) < 3.0
    assert sent(played, "GET") <= 40 + 8  # at most one look for each hint


def test_hints_make_no_look_closer_to_another_than_the_poll_interval() -> None:
    async def script(world: World) -> None:
        while True:
            await anyio.sleep(0.1)
            for attempt in world.attempts.in_phase(Phase.IN_FLIGHT):
                told = {"taskId": attempt.state.task_id, "status": "success"}
                await send(world, path_of(attempt), encoded(told), {})

    settings = {"generation_time": "60"}
    played = play(Case(2, settings=settings, callbacks=True, script=script, poll_interval=5.0))
    assert_every_row_ended_once(played)
    looks = [
        r.time - START for r in played.requests if r.path.startswith("/v1/tasks?page=1&size=1")
    ]
    assert all(b - a >= 5.0 - 1e-6 for a, b in pairwise(looks))
    assert len(looks) > 8  # they did hint


@pytest.mark.parametrize("secret", [{"webhook_secret": SECRET}, {}], ids=["signed", "unsigned"])
@pytest.mark.parametrize("fault", ["late", "stall_after", "reset_after", "500_after"])
def test_a_callback_before_the_posts_answer_settles_the_row(
    fault: str, secret: dict[str, str]
) -> None:
    faults = {"create": {fault: 1.0}, "tries": 1, "late_seconds": 40.0}
    settings = {"generation_time": "5", "faults": faults, **secret}
    played = play(Case(3, settings=settings, callbacks=True))
    assert_every_row_ended_once(played)
    if fault in {"late", "stall_after"}:  # the answer was still awaited when the callback came
        assert sent(played, "POST") == 3
        assert max(lags_of(played) or [0.0]) < 3.0


def test_a_signed_callback_of_an_unknown_task_is_held_until_the_task_is_known() -> None:
    statuses = []

    async def script(world: World) -> None:
        await anyio.sleep(8.0)  # made at 0, over at 5, and its create is answered at 20
        (task,) = world.sandbox.engine.ledger.tasks()
        body = encoded(world.sandbox.engine.view().task(task))
        before = dict(world.attempts.by_id)
        for _ in range(3):
            statuses.append(await send(world, "/token/lost", body, signed(body, world.wall())))
        await anyio.sleep(1.0)
        assert dict(world.attempts.by_id) == before

    faults = {"create": {"late": 1.0}, "late_seconds": 20.0, "callbacks": {"drop": 1.0}}
    settings = {"generation_time": "5", "webhook_secret": SECRET, "faults": faults}
    played = play(Case(1, settings=settings, callbacks=True, script=script))
    assert [status for status, _ in statuses] == [200, 200, 200]
    assert_every_row_ended_once(played)
    assert sent(played, "GET") == 1  # the first request of a run; no look was needed


@pytest.mark.slow
def test_callbacks_of_unknown_tasks_are_kept_within_bounds() -> None:
    async def script(world: World) -> None:
        await anyio.sleep(5.0)
        for number in range(1_200):
            body = encoded({"taskId": f"tk-hiapi-{number}", "status": "success"})
            status, _ = await send(world, "/", body, signed(body, world.wall()))
            assert status == 200
        assert len(world.inbox._held) == 1_000

    played = play(Case(1, settings=SIGNED, callbacks=True, script=script))
    assert_every_row_ended_once(played)


def test_a_held_callback_that_newer_ones_push_out_is_looked_for_instead() -> None:
    async def script(world: World) -> None:
        await anyio.sleep(10.0)  # both are made and over, and their creates are not answered yet
        tasks = list(world.sandbox.engine.ledger.tasks())
        for task in tasks:
            body = encoded(world.sandbox.engine.view().task(task))
            await send(world, "/token/lost", body, signed(body, world.wall()))

        def push_out(event: RunEvent) -> None:
            if isinstance(event, AttemptChanged) and event.before is Phase.IN_FLIGHT:
                for number in range(1_000):
                    told = Task(f"tk-hiapi-{number}", TaskStatus.RUNNING)
                    assert world.inbox.hear(ToldTask(None, told, signed=True)) is Reception.HELD
                world.watch = None

        world.watch = push_out
        attempts = world.attempts.in_phase(Phase.SUBMITTING)
        for attempt, task in zip(attempts, tasks, strict=True):
            await world.attempts.apply(attempt.id, Accepted(task.task_id, world.wall()))

    faults = {"create": {"late": 1.0}, "late_seconds": 20.0, "callbacks": {"drop": 1.0}}
    settings = {"generation_time": "5", "webhook_secret": SECRET, "faults": faults}
    played = play(Case(2, settings=settings, callbacks=True, script=script))
    assert_every_row_ended_once(played)
    assert played.world.watch is None


def test_a_callback_that_comes_again_long_after_changes_nothing() -> None:
    async def script(world: World) -> None:
        while not world.attempts.count(Phase.DONE):
            await world.attempts.changed()
        done = world.attempts.in_phase(Phase.DONE)
        before = dict(world.attempts.by_id)
        for status in ("success", "fail", "handling"):
            told: dict[str, Any] = {"taskId": done[0].state.task_id, "status": status}
            told["error"] = {"code": "TASK_FAILED", "message": "no"}
            told["output"] = [{"type": "video", "url": "http://127.0.0.1/other.mp4"}]
            body = encoded(told)
            answer = await send(world, path_of(done[0]), body, signed(body, world.wall()))
            assert answer[0] == 200
        await anyio.sleep(0.1)
        assert {a: s for a, s in world.attempts.by_id.items() if a == done[0].id} == {
            a: s for a, s in before.items() if a == done[0].id
        }

    assert_every_row_ended_once(play(Case(3, settings=SIGNED, callbacks=True, script=script)))


def test_a_signed_ending_without_its_clip_is_asked_for() -> None:
    async def script(world: World) -> None:
        await anyio.sleep(12.0)
        (attempt,) = world.attempts.in_phase(Phase.IN_FLIGHT)
        body = encoded({"taskId": attempt.state.task_id, "status": "success"})
        status, _ = await send(world, path_of(attempt), body, signed(body, world.wall()))
        assert status == 200
        await anyio.sleep(0.1)
        assert world.attempts.by_id[attempt.id].state == attempt.state

    settings = {**SIGNED, "faults": {"callbacks": {"drop": 1.0}}}
    assert_every_row_ended_once(play(Case(1, settings=settings, callbacks=True, script=script)))


def test_a_receiver_whose_run_does_not_keep_up_asks_for_another_delivery() -> None:
    statuses: list[int] = []

    async def script(world: World) -> None:
        while not (tasks := list(world.sandbox.engine.ledger.tasks())):
            await world.attempts.changed()
        (attempt,) = world.attempts.in_phase(Phase.SUBMITTING)  # accepted, and not answered yet
        body = encoded({"taskId": tasks[0].task_id, "status": "handling"})
        for _ in range(1_002):  # the first is asked about, and that answer is late as well
            statuses.append((await send(world, path_of(attempt), body, {}))[0])
            await anyio.lowlevel.checkpoint()

    faults = {"create": {"late": 1.0}, "look": {"late": 1.0}, "tries": 1, "late_seconds": 40.0}
    settings = {"generation_time": "5", "faults": faults}
    played = play(Case(1, settings=settings, callbacks=True, script=script))
    assert_every_row_ended_once(played)
    assert statuses == [200] * 1_001 + [503]


def test_where_the_person_has_a_receiver_of_their_own_the_run_looks_by_itself() -> None:
    settings = {"generation_time": "lognormal:30:0.25"}
    played = play(Case(10, settings=settings, callbacks=False))
    assert_every_row_ended_once(played)
    assert max(lags_of(played)) < 15.0
