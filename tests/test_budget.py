"""However rows, failures, kills and restarts fall, the service never charges more than the cap."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from seedance_batch.cli.main import main
from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, ROW_COST, Shop, shot
from tests.service import Service

FAULTS = ["429", "503", "500", "reset", "500_after", "reset_after", "cut", "html_after"]
"""Ways in which a create goes wrong, half of them after the task was made."""
_SHOPS = itertools.count()
_NOON = f"NOON{datetime.now(UTC).hour - 12:+d}"
"""A local time at which no day ends."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A sandbox in its own process, so that this one may fork."""
    folder = tmp_path_factory.mktemp("service")
    config = folder / "config.yaml"
    config.write_text("{generation_time: 0.1, clips: plain}")
    command = [sys.executable, "-m", "seedance_batch", "sandbox", "--json", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Service(json.loads(process.stdout.readline())["api_url"])
        process.kill()


@dataclass(frozen=True)
class Act:
    """One start of the program, and what befalls it."""

    command: str
    concurrency: int
    create: dict[str, float]
    tasks: dict[str, float]
    killed_after: float | None


ACTS = st.builds(
    Act,
    command=st.sampled_from(["run", "run", "rerun"]),
    concurrency=st.sampled_from([1, 3, 10]),
    create=st.dictionaries(st.sampled_from(FAULTS), st.sampled_from([0.1, 0.3]), max_size=3),
    tasks=st.sampled_from([{}, {"TASK_TIMEOUT": 0.4}, {"TASK_FAILED": 0.4}]),
    killed_after=st.none() | st.floats(0.02, 0.8),
)


@dataclass(frozen=True)
class Schedule:
    """A manifest, a cap, and what happens to the batch."""

    seconds: list[int]
    cap: Decimal
    acts: list[Act]
    flag: str = "--max-cost"


SCHEDULES = st.builds(
    Schedule,
    seconds=st.lists(st.sampled_from([4, 4, 8, 15]), min_size=2, max_size=7),
    cap=st.integers(0, 14).map(lambda rows: ROW_COST * rows + Decimal("0.05")),
    acts=st.lists(ACTS, min_size=1, max_size=3),
    flag=st.sampled_from(["--max-cost", "--max-cost-per-day"]),
)


def start(shop: Shop, act: Act, cap: Decimal, flag: str) -> int:
    """The program in a child of its own, ended or killed; returns its exit code, negative if so."""
    argv = [act.command, str(shop.manifest), "--api-url", shop.service.api_url, *QUICK, "-q", "-y"]
    argv += [flag, f"{cap:f}", "-j", str(act.concurrency), "--wait", "2"]
    pid = os.fork()
    if pid == 0:
        code = 70
        with suppress(BaseException):
            silence = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(silence, descriptor)
            os.environ |= {"HIAPI_API_KEY": shop.key, "XDG_CACHE_HOME": str(shop.folder / "cache")}
            os.environ["XDG_STATE_HOME"] = str(shop.folder / "state")
            os.environ["TZ"] = _NOON
            code = main(argv)
        os._exit(code)
    if act.killed_after is not None:
        time.sleep(act.killed_after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def play(service: Service, schedule: Schedule) -> None:
    """Hold the cap against the service's own books after every act."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder), service, f"sk-budget-{next(_SHOPS)}")
        shop.write(*[shot(n, duration=s) for n, s in enumerate(schedule.seconds, 1)])
        sys.stdout.write(f"{schedule}\n")
        for act in schedule.acts:
            faults: dict[str, Any] = {"create": act.create, "tasks": act.tasks}
            with service.having(faults={**faults, "retry_after_seconds": 0.0}):
                code = start(shop, act, schedule.cap, schedule.flag)
            sys.stdout.write(
                f"{act.command} exited {code}, charged {shop.charged()} of {schedule.cap}" + "\n"
            )
            assert code != Exit.INTERNAL
            assert shop.charged() <= schedule.cap
        _finish(shop, schedule)


def _finish(shop: Shop, schedule: Schedule) -> None:
    """Undisturbed, all that fits is done, and what was not sent did not fit."""
    calm = Act("run", 10, {}, {}, None)
    codes = [start(shop, calm, schedule.cap, schedule.flag) for _ in range(2)]
    sys.stdout.write(f"calm runs exited {codes}, charged {shop.charged()} of {schedule.cap}" + "\n")
    assert shop.charged() <= schedule.cap
    assert codes[-1] in {Exit.OK, Exit.SOME_FAILED, Exit.BUDGET}
    prompts = shop.prompts()
    unsent = [n for n, _ in enumerate(schedule.seconds, 1) if shot(n)["prompt"] not in prompts]
    assert (codes[-1] == Exit.BUDGET) == bool(unsent)
    if unsent:
        next_cost = Decimal("0.048") * schedule.seconds[unsent[0] - 1]
        assert shop.charged() + next_cost > schedule.cap


FEW = settings(
    max_examples=4,
    database=None,
    print_blob=True,
    phases=[Phase.generate],  # kills fall where they fall: a smaller schedule proves nothing
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FEW
@given(schedule=SCHEDULES)
def test_the_cap_is_never_passed(service: Service, schedule: Schedule) -> None:
    play(service, schedule)


@pytest.mark.slow
@settings(FEW, max_examples=80)
@given(schedule=SCHEDULES)
def test_the_cap_is_never_passed_in_many_schedules(service: Service, schedule: Schedule) -> None:
    play(service, schedule)


def test_rows_that_leave_at_once_do_not_pass_the_cap_together(service: Service) -> None:
    every_create_is_slow = Act("run", 10, {}, {}, None)
    with service.having(create_seconds=0.2):
        play(service, Schedule([4] * 12, ROW_COST * 5, [every_create_is_slow]))


@pytest.mark.parametrize("flag", ["--max-cost", "--max-cost-per-day"])
@pytest.mark.parametrize("killed_after", [0.25, pytest.param(0.5, marks=pytest.mark.slow)])
def test_a_kill_among_lost_answers_leaves_the_cap_whole(
    service: Service, killed_after: float, flag: str
) -> None:
    lost = {"reset_after": 0.5, "500_after": 0.5}
    acts = [Act("run", 10, lost, {"TASK_TIMEOUT": 0.5}, killed_after)] * 2
    play(service, Schedule([4] * 6, ROW_COST * 4, acts, flag))
