"""Die at every single step of a run, then run the same command again: nothing is paid twice,
and every paid clip arrives."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue

import pytest

from seedance_batch.clips.stills import given
from seedance_batch.core.model import LinkKind
from tests.crash.forker import HUNG, Forker, forking
from tests.crash.hooks import CRASHED, SEAMS
from tests.crash.tables import Tell
from tests.rig import PLAIN, Bench, Service, Verdict

LANES = 4
"""Runs at once; each waits for the sandbox half of the time."""
EVERY = dict.fromkeys(SEAMS, 1)
USUAL = {**EVERY, "sent": 4, "fsync": 5, "replace": 5, "unlink": 5}
"""What follows a send has hooks of its own; the others are nearly all about sheets, which are
rebuilt from the journal."""
THIRD = {**USUAL, "commit": 3, "received": 3, "send": 3}
MOST_RUNS = 4
"""Ordinary runs after a death until everything is done; one should do."""


@dataclass(frozen=True)
class Point:
    """One death, and what the ledger said once ordinary runs had ended the batch."""

    seam: str
    turn: int
    runs: int
    verdict: Verdict


@dataclass
class Lab:
    """Kills runs of a number of rows at chosen hooks, in several lanes."""

    service: Service
    forkers: SimpleQueue[Forker]
    folder: Path
    rows: int
    chained: bool = False
    """Whether each row takes its first frame from the row before."""
    stored: bool = False
    """Whether the clips go into a store, which is a folder of this disk."""

    def at_every_hook(self, steps: Mapping[str, int], begin: int = 1) -> list[Point]:
        """A death at hook 1, 2, 3 … of each seam, until a run sees none (or at every n-th)."""
        found = list[Point]()
        with ThreadPoolExecutor(self.forkers.qsize()) as lanes:
            for seam, step in steps.items():
                for first in count(min(begin, step), LANES * step):
                    turns = range(first, first + LANES * step, step)
                    points = list(lanes.map(lambda t, s=seam: self._at(s, t), turns))
                    found += [point for point in points if point is not None]
                    if None in points:
                        break
        return found

    def at_hooks(self, hooks: list[tuple[str, int]]) -> list[Point]:
        """A death at each of these hooks."""
        with ThreadPoolExecutor(self.forkers.qsize()) as lanes:
            points = lanes.map(lambda hook: self._at(*hook), hooks)
            return [point for point in points if point is not None]

    def hooks(self) -> Counter[str]:
        """How many hooks of each seam a run sees that nobody kills."""
        bench = self._bench("whole")
        forker = self.forkers.get()
        assert self._run(bench, forker, "", 0) == 0
        self.forkers.put(forker)
        return Counter(_log(bench).read_text().splitlines())

    def _bench(self, name: str) -> Bench:
        label = f"{self.rows}-{name.replace(' ', '-')}"
        bench = Bench(self.folder / label, self.service, f"sk-points-{label}")
        bench.store = bench.folder / "store" if self.stored else None
        bench.fill(self.rows, chained=self.chained)
        return bench

    def _at(self, seam: str, turn: int) -> Point | None:
        forker = self.forkers.get()
        try:
            return self._point(seam, turn, forker)
        finally:
            self.forkers.put(forker)

    def _point(self, seam: str, turn: int, forker: Forker) -> Point | None:
        bench = self._bench(f"{seam}-{turn}")
        code = self._run(bench, forker, seam, turn)
        if code == 0:
            return None
        assert code == CRASHED, _said(bench)
        runs = 0
        while code:
            runs += 1
            assert runs <= MOST_RUNS, _said(bench)
            code = forker.call(PLAIN, bench.environment(), bench.folder / "log", argv=bench.argv())
            assert code != HUNG, _said(bench)
        if self.chained:
            check_frames(bench)
        return Point(seam, turn, runs, bench.verdict(self.rows))

    def _run(self, bench: Bench, forker: Forker, seam: str, turn: int) -> int:
        return forker.call(
            "tests.crash.hooks:run",
            bench.environment(),
            bench.folder / "log",
            argv=bench.argv(),
            seam=seam,
            turn=turn,
            hooks_log=str(_log(bench)),
        )


def check_frames(bench: Bench) -> None:
    """Each row was sent the frame of the very take that it records, and the service got it."""
    attempts = {attempt.id: attempt for attempt in bench.attempts()}
    fed = [a for a in attempts.values() if a.intent.made_from]
    assert len(fed) == len(attempts) - 1
    for attempt in fed:
        (taken,) = attempt.intent.made_from
        take = attempts[taken.attempt]
        assert take.intent.key == taken.link.removeprefix("last_frame:")
        assert take.state.clip is not None
        frame = given(bench.run_folder, take.state.clip, LinkKind.LAST_FRAME, 1 << 24)
        assert taken.sent == f"sha256:{hashlib.sha256(frame.content).hexdigest()}"
    bodies = {attempt.intent.body_sha256 for attempt in attempts.values()}
    assert {task["body_sha256"] for task in bench.tasks()} == bodies


def _log(bench: Bench) -> Path:
    return bench.folder / "hooks.log"


def _said(bench: Bench) -> str:
    return (bench.folder / "log").read_text()[-3000:]


def judge(tell: Tell, rows: int, points: list[Point], least: int) -> None:
    """All points held; the table says how many there were of each kind."""
    tell(f"crash points, {rows} rows", *table(points))
    assert len(points) >= least
    assert [point for point in points if not point.verdict.holds] == []
    assert {point.verdict.charged for point in points} == {rows}


def table(points: list[Point]) -> Iterator[str]:
    """A line for each seam."""
    by_seam: defaultdict[str, list[Point]] = defaultdict(list)
    for point in points:
        by_seam[point.seam].append(point)
    yield f"{'death before':<14}{'deaths':>8}{'charges':>9}{'double':>8}{'lost':>6}{'orphans':>9}"
    for seam, found in [*sorted(by_seam.items()), ("all", points)]:
        verdicts = [point.verdict for point in found]
        yield (
            f"{seam:<14}{len(found):>8}{sum(v.charged for v in verdicts):>9}"
            f"{sum(len(v.double) for v in verdicts):>8}{sum(len(v.lost) for v in verdicts):>6}"
            f"{sum(len(v.orphans) for v in verdicts):>9}"
        )
    runs = Counter(point.runs for point in points)
    yield f"ordinary runs until done → deaths: {dict(sorted(runs.items()))}"


@pytest.fixture(scope="module")
def forkers() -> Iterator[SimpleQueue[Forker]]:
    with ExitStack() as stack:
        found: SimpleQueue[Forker] = SimpleQueue()
        for _ in range(LANES):
            found.put(stack.enter_context(forking()))
        yield found


@pytest.fixture
def lab(service: Service, forkers: SimpleQueue[Forker], tmp_path: Path) -> Callable[[int], Lab]:
    """A lab for so many rows."""
    return lambda rows: Lab(service, forkers, tmp_path, rows)


MakeLab = Callable[[int], Lab]


def test_one_row_survives_a_death_at_every_third_step(lab: MakeLab, tell: Tell) -> None:
    begin = random.randint(1, 3)
    print(f"from step {begin}")  # noqa: T201 - to repeat a failure
    judge(tell, 1, lab(1).at_every_hook(THIRD, begin), least=20)


def test_five_rows_survive_a_death_at_steps_of_every_kind(lab: MakeLab, tell: Tell) -> None:
    five = lab(5)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    hooks = sampled(five.hooks(), 1, random.Random(seed))
    judge(tell, 5, five.at_hooks(hooks), least=len(hooks) // 2)


def test_chained_rows_survive_a_death_at_steps_of_every_kind(
    service: Service, forkers: SimpleQueue[Forker], tmp_path: Path, tell: Tell
) -> None:
    three = Lab(service, forkers, tmp_path, 3, chained=True)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    chance = random.Random(seed)
    hooks = chance.sample(sampled(three.hooks(), 1, chance), 5)
    judge(tell, 3, three.at_hooks(hooks), least=2)


@pytest.mark.slow
def test_chained_rows_survive_a_death_at_every_step(
    service: Service, forkers: SimpleQueue[Forker], tmp_path: Path, tell: Tell
) -> None:
    three = Lab(service, forkers, tmp_path, 3, chained=True)
    judge(tell, 3, three.at_every_hook(USUAL), least=80)


@pytest.mark.slow
def test_rows_in_a_store_survive_a_death_at_every_single_step(
    service: Service, forkers: SimpleQueue[Forker], tmp_path: Path, tell: Tell
) -> None:
    two = Lab(service, forkers, tmp_path, 2, stored=True)
    judge(tell, 2, two.at_every_hook(USUAL), least=80)


def sampled(hooks: Counter[str], each: int, chance: random.Random) -> list[tuple[str, int]]:
    """Some hooks of every seam, from anywhere in the run."""
    assert hooks.keys() == set(SEAMS)
    return [
        (seam, turn)
        for seam, number in sorted(hooks.items())
        for turn in chance.sample(range(1, number + 1), min(each, number))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 5])
def test_rows_survive_a_death_at_every_single_step(rows: int, lab: MakeLab, tell: Tell) -> None:
    judge(tell, rows, lab(rows).at_every_hook(EVERY), least=80)


@pytest.mark.slow
def test_fifty_rows_survive_deaths_all_over_the_run(lab: MakeLab, tell: Tell) -> None:
    judge(tell, 50, lab(50).at_every_hook(dict.fromkeys(SEAMS, 12)), least=60)
