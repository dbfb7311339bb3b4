"""The benches in virtual time: what is run, what it has to reach, and how that is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import anyio
import httpx

from seedance_batch.sandbox.config import ApiFault
from tests.in_process import InProcess

from .figures import Figures, figures, goodput, most_in_a_window
from .world import KEY, SECRET, START, Case, Played, Script, World, play

BURST = 4


@dataclass(frozen=True)
class Check:
    """One figure beside what it has to reach."""

    name: str
    value: float
    target: float

    @property
    def passed(self) -> bool:
        """Every figure here has a ceiling; goodput is given as what is lost of it."""
        return self.value <= self.target

    def __str__(self) -> str:
        sign = "ok  " if self.passed else "MISS"
        return f"{sign} {self.name} {self.value:.3f} (at most {self.target:g})"


Judge = Callable[[Played, Figures], list[Check]]


@dataclass(frozen=True)
class Bench:
    """A case, the cap that its limit is reckoned with, and what it has to reach."""

    name: str
    case: Case
    judge: Judge
    slots: int | None = None
    """The account's cap, where the person set none."""
    others: bool = False
    """Somebody else's requests are among those that the service has counted."""

    def run(self) -> tuple[Figures, list[Check]]:
        """Its figures, and its checks; those that always hold are among them."""
        played = play(self.case)
        found = figures(played, self.slots)
        checks = [*self.judge(played, found), *always(played, found)]
        return found, checks if self.others else [*checks, *in_pace(played, found)]


def in_pace(played: Played, found: Figures) -> list[Check]:
    """One budget of requests, and its burst."""
    times = [request.time for request in played.requests]
    return [
        Check("requests in any 60 s", found.most_a_minute, played.case.rpm),
        Check("requests at once", most_in_a_window(times, 60 / played.case.rpm), BURST),
    ]


def always(played: Played, found: Figures) -> list[Check]:
    """What holds in every run: the ceiling, every row done once."""
    case = played.case
    checks = [
        Check("rows not done", case.rows - found.done, 0),
        Check("tasks beyond one a row", found.tasks - case.rows, 0),
    ]
    if case.concurrency is not None:
        checks.append(Check("tasks at once", most_at_once(played), case.concurrency))
    return checks


def most_at_once(played: Played) -> int:
    """The most tasks that ran at the same time, by the server's own times."""
    moments = sorted(
        [(task.times.created, 1) for task in played.tasks]
        + [(task.times.final, -1) for task in played.tasks]
    )
    most = running = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


# ── the table ───────────────────────────────────────────────────────────────────────────────────


def many_slots(rows: int = 600, seed: int = 1, per_row: float = 1.35) -> Bench:
    """The budget of requests is what is scarce; the looks of the end weigh more on fewer rows."""
    return Bench(
        f"{rows} rows, 60 requests/min, many slots (seed {seed})",
        Case(rows, concurrency=None, settings={"rpm": 60}, seed=seed),
        lambda _, found: [
            Check("ratio", found.ratio, 1.10),
            Check("requests per row", found.per_row, per_row),
            Check("lag median", found.lag_median, 10),
            Check("lag p95", found.lag_p95, 60),
        ],
    )


def ten_slots(rows: int = 200, seed: int = 1) -> Bench:
    """The slots are what is scarce; looks tell when one is free."""
    return Bench(
        f"{rows} rows, 10 slots, 60 requests/min (seed {seed})",
        Case(rows, settings={"rpm": 60, "max_at_once": 10}, seed=seed),
        lambda _, found: [
            Check("ratio", found.ratio, 1.03),
            Check("lag median", found.lag_median, 3),
        ],
    )


def ten_slots_called_back(rows: int = 200, seed: int = 1) -> Bench:
    """The slots are what is scarce; callbacks tell when one is free."""
    settings = {"rpm": 60, "max_at_once": 10, "webhook_secret": SECRET}
    return Bench(
        f"{rows} rows, 10 slots, with callbacks (seed {seed})",
        Case(rows, settings=settings, seed=seed, callbacks=True),
        lambda _, found: [
            Check("ratio", found.ratio, 1.02),
            Check("requests per row", found.per_row, 1.3),
        ],
    )


def steady_cap(cap: int, rows: int, seed: int = 1) -> Bench:
    """A cap that the person does not know is found and held."""
    end = rows / cap * 130.0 - 100.0

    def judge(played: Played, found: Figures) -> list[Check]:
        return [
            Check("goodput lost", 1 - goodput(played, 200.0, end, cap), 0.1),
            _refusals(played, found, cap),
        ]

    case = Case(rows, concurrency=None, settings={"rpm": 60, "max_at_once": cap}, seed=seed)
    return Bench(f"server cap {cap}, --concurrency auto", case, judge, slots=cap)


def changing_cap(seed: int = 1) -> Bench:
    """A cap that changes while the run goes on is found again."""

    def judge(played: Played, found: Figures) -> list[Check]:
        spans = [(130.0, 600.0, 10), (800.0, 1500.0, 50), (1850.0, 2400.0, 10)]
        lost = [1 - goodput(played, *span) for span in spans]
        return [
            *(
                Check(f"goodput lost at cap {s[2]}", v, 0.1)
                for s, v in zip(spans, lost, strict=True)
            ),
            Check("share of 429s", found.refusals, 0.03),
        ]

    changes = ((600.0, {"max_at_once": 50}), (1500.0, {"max_at_once": 10}))
    case = Case(
        450,
        concurrency=None,
        settings={"rpm": 60, "max_at_once": 10},
        seed=seed,
        script=configured(*changes),
    )
    return Bench("server cap 10, then 50, then 10, --concurrency auto", case, judge, slots=50)


def outage(rows: int = 60, seed: int = 1) -> Bench:
    """Ten minutes in which everything is answered 503."""

    def judge(played: Played, found: Figures) -> list[Check]:
        sent = [r.time - START for r in played.requests]
        return [
            Check("requests during 10 min of 503", sum(1 for at in sent if 100 <= at < 700), 40),
            Check("requests in the minute after", sum(1 for at in sent if 700 <= at < 760), 60),
            Check("seconds lost beside the outage", found.makespan - found.limit - 600, 120),
        ]

    struck = {"create": {ApiFault.BUSY: 1.0}, "look": {ApiFault.BUSY: 1.0}, "retry_after": "none"}
    script = configured((100.0, struck), (700.0, {"create": {}, "look": {}}))
    case = Case(rows, settings={"rpm": 60, "max_at_once": 10}, seed=seed, script=script)
    return Bench("10 min of 503", case, judge)


def colleague(rows: int = 300, per_minute: int = 20, seed: int = 1) -> Bench:
    """Somebody outside who takes a third of the account's requests."""
    theirs: list[tuple[float, int]] = []

    async def script(world: World) -> None:
        transport = InProcess(world.sandbox.api)
        key = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, headers=key) as http:
            while True:
                answer = await http.get("http://127.0.0.1:1/v1/tasks?page=1&size=1")
                theirs.append((world.wall() - START, answer.status_code))
                await anyio.sleep(60 / per_minute)

    def judge(played: Played, _: Figures) -> list[Check]:
        until = max(task.times.created for task in played.tasks) - START
        every = [(r.time - START, r.status) for r in played.requests]
        taken, refused = (
            sum(1 for at, status in every if at <= until and (status == 429) is bad)
            - sum(1 for at, status in theirs if at <= until and (status == 429) is bad)
            for bad in (False, True)
        )
        left = (60 - per_minute) * until / 60
        return [
            Check("lost of what is left, while rows are sent", 1 - taken / left, 0.1),
            Check("share of 429s", refused / (taken + refused), 0.03),
            Check("their requests that were refused", sum(s == 429 for _, s in theirs), 12),
        ]

    case = Case(rows, concurrency=None, settings={"rpm": 60}, seed=seed, script=script)
    name = f"{rows} rows beside a colleague's {per_minute} requests a minute"
    return Bench(name, case, judge, others=True)


def untold(share: float, rows: int = 100, seed: int = 1) -> Bench:
    """Callbacks that are expected and do not come."""
    settings = {
        "rpm": 60,
        "max_at_once": 10,
        "webhook_secret": SECRET,
        "faults": {"callbacks": {"drop": share}},
    }
    return Bench(
        f"{rows} rows, 10 slots, {share:.0%} of callbacks dropped",
        Case(rows, settings=settings, seed=seed, callbacks=True),
        lambda _, found: [Check("ratio", found.ratio, 1.03)],
    )


def _refusals(played: Played, found: Figures, cap: int) -> Check:
    """Below ten slots a probe a generation is more than 3 % of the few requests, and fine."""
    if cap >= 10:
        return Check("share of 429s", found.refusals, 0.03)
    return Check("429s a generation", found.refused / (found.makespan / 130.0), 1.25)


def configured(*changes: tuple[float, dict[str, object]]) -> Script:
    """Changes the sandbox's settings, each so many seconds after the start."""

    async def script(world: World) -> None:
        for at, values in changes:
            await anyio.sleep(at - (world.wall() - START))
            engine = world.sandbox.engine
            config, faults = engine.config, engine.config.faults
            known = {name: values[name] for name in values.keys() & type(faults).model_fields}
            others = {name: value for name, value in values.items() if name not in known}
            changed = faults.model_copy(update=known)
            engine.configure(config.model_copy(update={**others, "faults": changed}))

    return script


def chains(count: int = 8, length: int = 10, seed: int = 1) -> Bench:
    """Each row waits for the clip of the one before: the longest chain is what takes the time."""
    return Bench(
        f"{count} chains of {length} rows, 10 slots (seed {seed})",
        Case(
            count * length,
            settings={"rpm": 60, "max_at_once": 10},
            seed=seed,
            chain=length,
        ),
        lambda _, found: [Check("ratio", found.ratio, 1.05)],
    )


def all_benches() -> Iterator[Bench]:
    """Every row of the table that time can be virtual for."""
    for seed in (1, 2, 3):
        yield many_slots(seed=seed)
    for seed in (1, 2):
        yield ten_slots(seed=seed)
        yield ten_slots_called_back(seed=seed)
    yield steady_cap(10, 200)
    yield steady_cap(50, 500)
    yield changing_cap()
    for cap in (1, 2, 3, 7):
        yield steady_cap(cap, 14 * cap)
    yield untold(0.3)
    yield untold(1.0)
    yield outage()
    yield colleague()
    for seed in (1, 2, 3):
        yield chains(seed=seed)
    yield chains(count=30, length=4)
