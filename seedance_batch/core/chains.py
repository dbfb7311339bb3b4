"""Rows that feed each other: which row each link means, and who waits for whom in a plan. Pure.

A row waits for its sources; rows that wait for one another in a line are a chain.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Final

from seedance_batch.core.attempt import UNDER_WAY_PHASES, Attempt, Phase
from seedance_batch.core.decide import LOST, History, failure
from seedance_batch.core.manifest import Job, SourceRow, Trouble, content_hash
from seedance_batch.core.model import CLIP_SLACK, LONGEST_REFERENCE, PREVIOUS, Link, LinkKind
from seedance_batch.core.steps import Action, RerunChoice, Step
from seedance_batch.core.text import shown

_FRAME_BYTES: Final = 2 / 3
"""Of a request for each pixel of a frame: half a byte as a fine JPEG, written as base64."""
_MOST_NAMED: Final = 6
"""Rows of a circle that are named."""


@dataclass(frozen=True, slots=True)
class KnownRow:
    """A row of the manifest, whether or not it may be sent."""

    key: str
    line: object
    """Equal for the takes of one line, which all have the same row above."""


def linked(
    jobs: Sequence[Job],
    rows: Sequence[KnownRow],
    max_body: int,
    left_out: Collection[str] = (),
) -> tuple[tuple[Job, ...], list[Trouble]]:
    """The jobs with their sources, and the links that cannot be followed.

    ``rows`` are all rows that a link may name, in the manifest's order, ``max_body`` the bytes
    that a request may have, ``left_out`` ids of rows that are not wanted. Jobs without a link come
    back as they are.
    """
    if not any(_has_links(job) for job in jobs):
        return tuple(jobs), []
    finder = _Finder(jobs, rows, left_out)
    found = [finder.linked(job) if _has_links(job) else job for job in jobs]
    troubles = finder.troubles
    troubles += _circles(found)
    by_key = {job.key: job for job in found}
    for job in found:
        troubles += _too_much(job, by_key, max_body)
    return tuple(found), troubles


def is_unlinked(job: Job) -> bool:
    """Whether the rows that feed it are not known yet: a failed sheet lacks some of them."""
    return not job.sources and _has_links(job)


def _has_links(job: Job) -> bool:
    return next(job.input.links(), None) is not None


class _Finder:
    def __init__(
        self, jobs: Sequence[Job], rows: Sequence[KnownRow], left_out: Collection[str]
    ) -> None:
        self._left_out = left_out
        self._seconds = {job.key: job.input.duration for job in jobs}
        self._rows = rows
        self._position = {row.key: number for number, row in enumerate(rows)}
        self.troubles: list[Trouble] = []

    def linked(self, job: Job) -> Job:
        sources: dict[Link, SourceRow] = {}
        for field, link in job.input.links():
            key = self._key(job, link)
            if key is None:
                self.troubles.append(Trouble(job, field, self._nowhere(link)))
            else:
                sources[link] = SourceRow(link, key, self._seconds.get(key, LONGEST_REFERENCE))
        return replace(job, sources=tuple(sources.values()))

    def _key(self, job: Job, link: Link) -> str | None:
        if link.row == PREVIOUS:
            return self._above(job)
        if link.row in self._position:
            return link.row
        same = self._loosely.get(_loose(link.row), [])
        return same[0] if len(same) == 1 else None

    @cached_property
    def _loosely(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for key in self._position:
            found[_loose(key)].append(key)
        return found

    def _above(self, job: Job) -> str | None:
        here = self._position.get(job.key)
        if here is None:
            return None
        line = self._rows[here].line
        before = reversed(self._rows[:here])
        return next((row.key for row in before if row.line != line), None)

    def _nowhere(self, link: Link) -> str:
        if link.row == PREVIOUS:
            return "there is no row above this one"
        if link.row in self._left_out:
            return f"{shown(str(link))}: the sheet leaves this row out (skip, or --visible)"
        close = difflib.get_close_matches(link.row, self._position, n=1)
        meant = f"; did you mean {link.kind}:{shown(close[0])}?" if close else ""
        return f"{shown(str(link))}: no row has this id{meant}"


def _loose(key: str) -> str:
    """An id without what spreadsheets change: capitals, and the ``.0`` of a number."""
    return key.strip().casefold().removesuffix(".0")


# ── What cannot be made: rows that wait for themselves, requests that would be too large ──────────


def _circles(jobs: Iterable[Job]) -> Iterator[Trouble]:
    """Rows that wait for themselves, each circle once, at its first row of the manifest."""
    by_key = {job.key: job for job in jobs}
    clear: set[str] = set()
    for job in by_key.values():
        circle = _circle_from(job.key, by_key, clear)
        if circle:
            first = by_key[circle[0]]
            following = circle[1] if len(circle) > 1 else circle[0]
            link = next(source.link for source in first.sources if source.key == following)
            fields = (field for field, each in first.input.links() if each == link)
            yield Trouble(first, next(fields), _about(circle))


def _circle_from(start: str, by_key: Mapping[str, Job], clear: set[str]) -> list[str]:
    """The circle that is met on the way from a row, without recursion: chains can be long."""
    way = {} if start in clear else {start: _sources_of(start, by_key)}
    """The rows from there to here, each with those of its sources that are still to be tried."""
    while way:
        ahead = next(way[next(reversed(way))], None)
        if ahead is None:
            clear.add(way.popitem()[0])
        elif ahead in way:
            clear.update(way)
            keys = list(way)
            return keys[keys.index(ahead) :]
        elif ahead not in clear and ahead in by_key:
            way[ahead] = _sources_of(ahead, by_key)
    return []


def _sources_of(key: str, by_key: Mapping[str, Job]) -> Iterator[str]:
    return iter(dict.fromkeys(source.key for source in by_key[key].sources))


def _about(circle: Sequence[str]) -> str:
    if len(circle) == 1:
        return "this row waits for itself"
    named = [shown(key) for key in circle[:_MOST_NAMED]]
    more = [] if len(circle) <= _MOST_NAMED else [f"{len(circle) - _MOST_NAMED:,} more"]
    return f"these rows wait for each other: {' → '.join([*named, *more, shown(circle[0])])}"


def _too_much(job: Job, by_key: Mapping[str, Job], max_body: int) -> Iterator[Trouble]:
    """What a row takes from others may be more than a request holds, or the model takes."""
    if not job.sources:
        return
    lengths = {source.token: float(source.seconds) for source in job.sources}
    lengths |= {media.token: media.seconds or 0.0 for media in job.media}
    videos = [lengths.get(address, 0.0) for address in job.input.reference_video_urls or ()]
    if sum(videos) > LONGEST_REFERENCE + CLIP_SLACK * len(videos):
        words = f"lasts about {sum(videos):.0f} s in all; the limit is {LONGEST_REFERENCE} s"
        yield Trouble(job, "reference_video_urls", words)
    frames = [
        by_key[source.key].input.resolution.area * _FRAME_BYTES
        for source in job.sources
        if source.link.kind is not LinkKind.CLIP and source.key in by_key
    ]
    size = sum(frames) + sum(media.size * 4 / 3 for media in job.media)
    if frames and size > max_body:
        field = next(field for field, link in job.input.links() if link.kind is not LinkKind.CLIP)
        yield Trouble(
            job,
            field,
            f"would make the request about {size:,.0f} bytes long; the limit is {max_body:,} "
            "(--max-body raises that)",
        )


# ── The same link in other words ──────────────────────────────────────────────────────────────────


def respelled(job: Job, links: Mapping[Link, Link]) -> Job:
    """The job with links written otherwise; they mean the same rows."""
    tokens = {str(old): str(new) for old, new in links.items()}
    task_input = job.input.with_media(tokens)
    sources = tuple(replace(s, link=links.get(s.link, s.link)) for s in job.sources)
    content = content_hash(job.model, task_input)
    return replace(job, input=task_input, content=content, sources=sources)


# ── In a plan: who waits, who is held back, who is stale ──────────────────────────────────────────


_UNTRIED: Final = History()
_COMES: Final = frozenset({Action.IN_FLIGHT, Action.FETCH, Action.MOVED})
"""The row keeps an attempt, and its clip may be still to come."""


class Feeding:
    """Goes through the rows that wait for others, sources first.

    ``histories`` are those of the plan's kind. ``stands_for`` tells the attempt that a run would
    keep for a row; ``buy`` makes the step of a row that is to be bought for the reason that it is
    given, None where the row cannot be bought.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        histories: Mapping[str, History],
        rerun: RerunChoice | None,
        stands_for: Callable[[Job], Attempt | None],
        buy: Callable[[Job, str], Step | None],
    ) -> None:
        self._jobs = {job.key: job for job in jobs}
        self._histories = histories
        self._rerun = rerun
        self._stands_for = stands_for
        self._buy = buy
        self._takes: dict[str, Attempt | None] = {}
        self._why: dict[str, str] = {}
        """Rows that get no clip in this plan, and why; of rows that wait, their source's."""
        self.troubles: list[Trouble] = []

    def steps(self, steps: Iterable[Step], wanted: Collection[str]) -> list[Step]:
        """The steps, those of rows that wait as their sources allow.

        ``wanted`` are the rows that were chosen; those that a rerun does not touch have no step.
        """
        found = {step.key: step for step in steps}
        order = {key: number for number, key in enumerate(self._jobs)}
        for job in feeding_first(self._jobs.values()):
            if job.sources and job.key in wanted:
                step = self._step(job, found)
                if step is not None:
                    found[job.key] = step
        return sorted(found.values(), key=lambda step: order.get(step.key, len(order)))

    def _step(self, job: Job, steps: Mapping[str, Step]) -> Step | None:
        step = steps.get(job.key)
        if step is None:
            return self._taken_up(job, steps)
        if step.action is Action.DONE and step.attempt is not None:
            step = self._stale(job, step, step.attempt, steps)
        return self._waiting(job, step, steps) if step.action.spends else step

    # ── rows that wait ──────────────────────────────────────────────────────────────────────────

    def _waiting(self, job: Job, step: Step, steps: Mapping[str, Step]) -> Step:
        """A row to be bought: once its sources are made, or not at all."""
        waits_for, takes, missing = [], {}, dict[str, Step | None]()
        for key in dict.fromkeys(source.key for source in job.sources):
            of_source, take = steps.get(key), self._take(key)
            coming = self._coming(key, of_source, take)
            if of_source is not None and of_source.action.spends:
                waits_for.append(key)
            elif coming is not None:
                waits_for.append(key)
                takes[key] = coming.id
            elif take is not None:
                takes[key] = take.id
            else:
                missing[key] = of_source
        if missing:  # of all that it lacks, say first what can be chosen
            key = min(missing, key=lambda each: missing[each] is not None)
            return self._held_back(job, step, key, missing[key])
        return replace(step, waits_for=tuple(waits_for), takes=takes)

    def _held_back(self, job: Job, step: Step, key: str, of_source: Step | None) -> Step:
        if of_source is None:
            why = f"waits for {key}, which is not chosen and has no clip"
            links = {source.link for source in job.sources if source.key == key}
            fields = (field for field, link in job.input.links() if link in links)
            words = f"{why}: choose {key} as well"
            self.troubles.append(Trouble(job, next(fields, ""), words))
        else:
            why = self._why.get(key) or f"waits for {key}, which has no clip"
        self._why[job.key] = why
        return replace(step, action=Action.BLOCKED, reason=why, cost=None, no_price=None)

    def _take(self, key: str) -> Attempt | None:
        """The take of a row that feeds others: the one that it stands for, else its newest one."""
        if key not in self._takes:
            job, history = self._jobs.get(key), self._histories.get(key, _UNTRIED)
            kept = self._stands_for(job) if job else None
            done = [a for a in (*history.sent, kept) if a and a.state.phase is Phase.DONE]
            self._takes[key] = done[-1] if done else None
        return self._takes[key]

    def _coming(self, key: str, of_source: Step | None, take: Attempt | None) -> Attempt | None:
        """The take of a row that feeds others, where it is on its way and was paid for already."""
        history = self._histories.get(key, _UNTRIED)
        of_step = (of_source.attempt,) if of_source and of_source.action in _COMES else ()
        others = (history.inherited, *reversed(history.sent)) if take is None else ()
        known = (a for a in (*of_step, *others) if a is not None)
        return next((a for a in known if a.state.phase in UNDER_WAY_PHASES), None)

    # ── rows that a rerun makes because of their sources ────────────────────────────────────────

    def _taken_up(self, job: Job, steps: Mapping[str, Step]) -> Step | None:
        """A row that never was sent since its source failed, where a rerun makes the source."""
        if self._histories.get(job.key, _UNTRIED).sent:
            return None
        for source in job.sources:
            of_source = steps.get(source.key)
            made = of_source is not None and of_source.action.spends
            if made and self._take(source.key) is None:
                step = self._buy(job, f"waits for {source.key}, which is made now")
                bought = step is not None and step.action.spends
                return self._waiting(job, step, steps) if step is not None and bought else None
        return None

    def _stale(self, job: Job, step: Step, take: Attempt, steps: Mapping[str, Step]) -> Step:
        """A row that is done: is it made from what its sources have now?"""
        made_from = {each.link: each.attempt for each in take.intent.made_from}
        newer, other = list[str](), list[str]()
        for source in job.sources:
            current = self._take(source.key)
            of_source = steps.get(source.key)
            remade = self._remakes and of_source is not None and of_source.action.spends
            former = made_from.get(source.token)
            if remade or (current is not None and former not in {None, current.id}):
                own = self._histories.get(source.key, _UNTRIED).sent
                is_own = former is None or any(each.id == former for each in own)
                (newer if is_own else other).append(source.key)
        if not newer and not other:
            return step
        earlier = [f"an earlier take of {', '.join(newer)}"] if newer else []
        others = [f"another row than {', '.join(other)}"] if other else []
        why = f"made from {' and '.join(earlier + others)}"
        if self._rerun is None or not self._rerun.stale:
            return replace(step, stale=True, reason=f"done, {why}: rerun --stale makes it anew")
        failed = self._failed_since(job, take)
        if failed is not None and not self._rerun.tries_again(failed):
            return replace(step, action=Action.BLOCKED, reason=failure(failed), attempt=failed)
        return self._buy(job, why) or step

    def _failed_since(self, job: Job, take: Attempt) -> Attempt | None:
        """A later take that was made from what the sources have now, and came to nothing."""
        current = {s.token: t.id for s in job.sources if (t := self._take(s.key)) is not None}
        later = [
            a
            for a in self._histories.get(job.key, _UNTRIED).sent
            if a.intent.number > take.intent.number
            and a.state.phase in LOST
            and {each.link: each.attempt for each in a.intent.made_from} == current
        ]
        return later[-1] if later else None

    @property
    def _remakes(self) -> bool:
        return self._rerun is not None and self._rerun.stale


def feeding_first(jobs: Iterable[Job]) -> list[Job]:
    """The jobs, each after those that feed it. There are no circles among them: see `Trouble`."""
    by_key = {job.key: job for job in jobs}
    graph = {key: [source.key for source in job.sources] for key, job in by_key.items()}
    order = TopologicalSorter(graph).static_order()
    return [by_key[key] for key in order if key in by_key]


def heights(steps: Iterable[Step]) -> dict[str, int]:
    """How many rows wait in a line for each of these, itself included: who goes first."""
    waiting = {step.key: step.waits_for for step in steps}
    found = dict.fromkeys(waiting, 1)
    graph = {key: [w for w in waits if w in waiting] for key, waits in waiting.items() if waits}
    for key in reversed(list(TopologicalSorter(graph).static_order())):
        for source in graph.get(key, ()):
            found[source] = max(found[source], found[key] + 1)
    return found


def longest_chain(steps: Iterable[Step]) -> list[str]:
    """The rows of the longest line of steps that wait for each other, the first one first."""
    by_key = {step.key: step for step in steps}
    depth: dict[str, int] = {}
    graph = {key: [w for w in step.waits_for if w in by_key] for key, step in by_key.items()}
    for key in TopologicalSorter(graph).static_order():
        depth[key] = 1 + max((depth[source] for source in graph[key]), default=0)
    line: list[str] = []
    ahead = max(depth, key=lambda key: depth[key], default=None)
    while ahead is not None:
        line.append(ahead)
        ahead = max(graph[ahead], key=lambda key: depth[key], default=None)
    return line[::-1]
